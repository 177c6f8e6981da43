"""A folder in Hugging Face format, read with distrust: config.json, *.safetensors and their index. No torch, no pickle, no code.

A safetensors file is 8 bytes (the length n of the header, little-endian), n bytes of JSON (name -> dtype, shape, data_offsets),
and the tensors one behind the other.
"""

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from tietrain.errors import DataError
from tietrain.runs import record as runs
from tietrain.runs.reading import is_folder, names_in, reading

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
SUFFIX = ".safetensors"
# Key of config.json for what tietrain says of a folder that it wrote.
OWN = "tietrain"
LENGTH_BYTES = 8
# Bytes of a number, by the name that the format gives its type.
SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2}
SIZES |= {"F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1}
SIZES |= {"U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8, "C64": 8}
# Dimensions and offsets of a tensor, and characters of a name that a message shows.
MOST_EXTENTS = 64
LONGEST_NAME = 200
REMEDY = "download the folder again, or give another one"


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies. shape: of its numbers, of `size` bytes each; start: its first byte in the file."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int

    @property
    def size(self) -> int:
        """Bytes of one number."""
        return SIZES[self.dtype]

    @property
    def n_numbers(self) -> int:
        """Numbers of the tensor."""
        return math.prod(self.shape)

    def chunks(self, n_bytes: int) -> Iterator[bytes]:
        """The bytes of the tensor, at most n_bytes at a time.

        Raises:
            DataError: the file is shorter than it was. StorageError: the system refuses to read it.
        """
        left = self.n_numbers * self.size
        with reading(self.path) as file:
            file.seek(self.start)
            while left:
                chunk = file.read(min(n_bytes, left))
                if not chunk:
                    raise DataError(str(self.path), "it ends early", REMEDY)
                left -= len(chunk)
                yield chunk


@dataclass(frozen=True)
class HfFolder:
    """What a folder holds. broken: what its index says, or its files say twice, that is not so."""

    config: dict[str, Any]
    tensors: dict[str, Stored]
    broken: tuple[str, ...]


def read_hf_folder(directory: Path) -> HfFolder:
    """Configuration and headers of a folder; no tensor is read.

    Raises:
        DataError: there is no such folder, or no safetensors in it, or a file is damaged.
        StorageError: the system refuses to read one.
    """
    if not is_folder(directory):
        raise DataError(str(directory), "it is not a folder", "name one with config.json and *.safetensors")
    names = names_in(directory)
    present = [name for name in names if name.endswith(SUFFIX)]
    if not present:
        remedy = f"save the model as {WEIGHTS}; pickled weights (*.bin, *.pt) are never opened"
        raise DataError(str(directory), f"there is no *{SUFFIX} in it", remedy)
    config = _json_object(directory / CONFIG) if CONFIG in names else {}
    index = _read_index(directory / INDEX) if INDEX in names else {}
    files = [WEIGHTS] if WEIGHTS in present else present
    if index:
        files = sorted(set(index.values()) & set(present))
    tensors: dict[str, Stored] = {}
    broken = [f"{INDEX} names {name}, which is not there" for name in sorted(set(index.values()) - set(present))]
    for file in files:
        found = read_header(directory / file)
        broken += [f"{name} is in {tensors[name].path.name} and in {file}" for name in found if name in tensors]
        if index and not found:
            broken.append(f"{file} is empty")
        for name, stored in found.items():
            tensors.setdefault(name, stored)
    broken += [
        f"{INDEX} says that {name} is in {file}, and it is not"
        for name, file in index.items()
        if file in files and (name not in tensors or tensors[name].path.name != file)
    ]
    return HfFolder(config, tensors, tuple(broken))


def read_header(path: Path) -> dict[str, Stored]:
    """Name -> tensor, of a safetensors file, in the order of their bytes; DataError if it is none or damaged."""
    try:
        with reading(path) as file:
            return _parsed(path, file)
    except DataError as e:
        raise DataError(e.setting, e.problem, REMEDY) from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        raise DataError(str(path), f"it is not a safetensors file ({e})", REMEDY) from e


def _parsed(path: Path, file: BufferedReader) -> dict[str, Stored]:
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    n_bytes = os.fstat(file.fileno()).st_size
    begin = LENGTH_BYTES + length
    if not 2 <= length <= min(n_bytes - LENGTH_BYTES, runs.MAX_JSON_BYTES):
        raise ValueError("the length of its header is impossible")
    header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    tensors: dict[str, Stored] = {}
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        first, last = entry["data_offsets"]
        stored = Stored(path, entry["dtype"], tuple(entry["shape"]), begin + first)
        called = name[:LONGEST_NAME]
        if stored.dtype not in SIZES:
            raise ValueError(f"{called} has an unknown type")
        extents = (*stored.shape, first, last)
        if len(extents) > MOST_EXTENTS or not all(type(extent) is int and extent >= 0 for extent in extents):
            raise ValueError(f"{called} has an impossible shape")
        # One behind the other, so that no byte is read twice.
        if first != end or last - first != stored.n_numbers * stored.size:
            raise ValueError(f"the bytes of {called} are not where they should be")
        end = last
        tensors[name] = stored
    if begin + end != n_bytes:
        raise ValueError("its header describes more or fewer bytes than it has")
    return tensors


def _read_index(path: Path) -> dict[str, str]:
    """Name of a tensor -> file that has it."""
    files = _json_object(path).get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(file, str) for file in files.values()):
        raise DataError(str(path), "it has no weight_map from names to files", REMEDY)
    return files


def _json_object(path: Path) -> dict[str, Any]:
    try:
        body = runs.read_json(path)
    except DataError as e:
        raise DataError(e.setting, e.problem, REMEDY) from None
    if not isinstance(body, dict):
        raise DataError(str(path), "it is not a JSON object", REMEDY)
    return body
