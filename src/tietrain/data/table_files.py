"""Files of vectors that token tables start from: read by piece, and kept in the run directory as far as they were used."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from tietrain.data.progress import stage
from tietrain.data.sources.validate import raw_lines
from tietrain.data.tokenizer import BLANK, SPECIAL_PIECES, Vocabulary
from tietrain.errors import DataError
from tietrain.runs import record as runs
from tietrain.runs.durable import entry_of, write_directory
from tietrain.runs.hf_folder import read_header
from tietrain.runs.reading import is_there, reading

# Larger files of text are refused: those of millions of words have 5 to 20 GB.
MAX_TEXT_BYTES = 2**36
CHUNK = 2**24
# Names of number types in safetensors -> how their bytes are read; of BF16 they are the upper half of a float32.
TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
SUFFIX = ".safetensors"

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class TableFile:
    """Rows for token tables.

    values: [n, width]. names: of the rows; None if the rows are the pieces of a vocabulary's file, in their order.
    of_words: whether names are words, without a mark for the blank before them.
    """

    path: Path
    values: Floats
    names: list[str] | None = None
    of_words: bool = False

    def rows(self, vocabulary: Vocabulary) -> tuple[NDArray[np.int64], Floats]:
        """The pieces [n] that have a row, and these rows [n, width].

        Raises:
            DataError: no piece has one, or rows without names are more or fewer than the pieces.
        """
        if self.names is None:
            first = vocabulary.n_own if len(self.values) == vocabulary.size - vocabulary.n_own else 0
            if len(self.values) != vocabulary.size - first:
                problem = f"its table has {len(self.values):,} rows, and the vocabulary {vocabulary.size:,} pieces"
                raise DataError(
                    str(self.path), problem, "give the table of this vocabulary, or text with a name per row"
                )
            return np.arange(first, vocabulary.size), self.values
        pieces = piece_by_name(vocabulary, self.of_words)
        found = {pieces[name]: row for row, name in enumerate(self.names) if name in pieces}
        if not found:
            remedy = "give text (word2vec, fastText, GloVe) with vectors of the vocabulary's pieces or words"
            raise DataError(str(self.path), "none of its names is a piece of the vocabulary", remedy)
        return np.array(list(found)), self.values[list(found.values())]


def piece_by_name(vocabulary: Vocabulary, of_words: bool) -> dict[str, int]:
    """Name of a row in a file -> the piece that starts from it.

    Args:
        of_words: then a piece that begins a word has the name of the word, and one inside of words has none.
    """
    pieces = {piece: i for i, piece in enumerate(vocabulary.pieces)}
    begin = {piece[1:]: i for piece, i in pieces.items() if piece.startswith(BLANK) and len(piece) > 1}
    # Other toolkits write <pad>, <unk>, <s> and </s>.
    special = {piece[1:]: i for i, piece in enumerate(SPECIAL_PIECES)}
    return (begin if of_words and begin else pieces) | special


def read_table_file(path: Path, sha256: str, vocabularies: Iterable[Vocabulary]) -> TableFile:
    """The rows of a file that pieces of the vocabularies can have.

    Args:
        sha256: of its bytes, by which the run is known; or, of a file that a run has kept, of the file it was made of.
    Raises:
        DataError: it has changed, or it is not such a file. StorageError: the system refuses to read it.
    """
    with stage(f"reading {path.name}"):
        if path.parent.name == runs.INIT_TABLES and is_there(_beside(path)):
            return _read_kept(path, sha256)
        if sha256 != entry_of(path)["sha256"]:
            raise DataError(str(path), "it is not the file that the run began with", "restore it")
        if path.suffix == SUFFIX:
            return TableFile(path, _read_safetensors(path))
        names = [piece_by_name(v, of_words).keys() for v in vocabularies for of_words in (False, True)]
        return _read_text(path, {name.encode() for name in set().union(*names)})


def keep_table_files(run: Path, files: Mapping[str, TableFile], contents: Mapping[str, str]) -> None:
    """Write what was read into a run directory, so that nothing else is needed to run it again.

    Args:
        files, contents: by the key of init_tables; contents are those of `read_table_file`.
    """

    def fill(folder: Path) -> None:
        for use, file in files.items():
            path = folder / f"{use}{SUFFIX}"
            about = {"sha256": contents[use], "names": file.names, "of_words": file.of_words}
            save_file({"table": file.values}, path)
            _beside(path).write_text(json.dumps(about), encoding="utf-8")

    write_directory(run / runs.INIT_TABLES, fill, sum(file.values.nbytes for file in files.values()))


def _beside(path: Path) -> Path:
    """Where a run directory keeps what a table does not say of itself."""
    return path.with_name(f"{path.name}.json")


def _read_kept(path: Path, sha256: str) -> TableFile:
    values = _read_safetensors(path)
    about = runs.read_json(_beside(path))
    with suppress(TypeError, KeyError):
        names = about["names"]
        if sha256 in (about["sha256"], entry_of(path)["sha256"]) and (
            names is None or len({*map(str, names)}) == len(values)
        ):
            return TableFile(path, values, names, about["of_words"])
    raise DataError(str(path), "it is not what the run began with", "name the file that the run was given")


def _read_safetensors(path: Path) -> Floats:
    tables = {name: stored for name, stored in read_header(path).items() if len(stored.shape) == 2}
    if len(tables) != 1:
        problem = f"it has {len(tables)} tables, and one is needed"
        raise DataError(str(path), problem, "save the table of tokens alone: save_file({'table': weight}, FILE)")
    ((name, stored),) = tables.items()
    if stored.dtype not in TYPES:
        raise DataError(str(path), f"{name} holds numbers of type {stored.dtype}", f"save it as {', '.join(TYPES)}")
    values = np.frombuffer(b"".join(stored.chunks(CHUNK)), TYPES[stored.dtype]).reshape(stored.shape)
    if stored.dtype == "BF16":
        values = (values.astype("<u4") << 16).view("<f4")
    if not np.isfinite(values).all():
        raise DataError(str(path), f"{name} is not finite", "give a table of a model that has not diverged")
    return values.astype(np.float32)


def _read_text(path: Path, wanted: set[bytes]) -> TableFile:
    """The rows of the wanted names; of a name that occurs twice the first."""
    rows: dict[bytes, Floats] = {}
    has_marks = False
    with reading(path) as file:
        for number, line in enumerate(raw_lines(file, path, MAX_TEXT_BYTES), start=1):
            name, _, numbers = line.rstrip().partition(b" ")
            if number == 1 and numbers.isdigit() and name.isdigit():
                continue  # how many rows of how many numbers follow
            has_marks = has_marks or name.startswith(BLANK.encode())
            if name not in wanted or name in rows:
                continue
            row = _numbers(numbers, f"{path}:{number}")
            width = len(next(iter(rows.values()), row))
            if len(row) != width:
                problem = f"it has {len(row)} numbers, and lines before it have {width}"
                raise DataError(f"{path}:{number}", problem, "get the whole file again")
            rows[name] = row
    values = np.stack(list(rows.values())) if rows else np.empty((0, 0), np.float32)
    return TableFile(path, values, [name.decode() for name in rows], not has_marks)


def _numbers(text: bytes, where: str) -> Floats:
    try:
        row = np.array([float(number) for number in text.split()], np.float32)
    except ValueError:
        row = np.empty(0, np.float32)
    if not len(row) or not np.isfinite(row).all():
        remedy = "give text with a name and its numbers on each line, a blank between them"
        raise DataError(where, "what follows its name is not finite numbers", remedy)
    return row
