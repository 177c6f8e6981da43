"""Training text -> piece ids on disk: each line is read once and cut once by each vocabulary, and memory holds few lines."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tietrain.data.encoded import EncodedLines
from tietrain.data.progress import stage
from tietrain.data.sources.corpora import blank_rows
from tietrain.data.stored_lines import chunks
from tietrain.data.tokenizer import EOS_ID, UNK_ID, Vocabulary


class ArrayFile:
    """An array of whole numbers from 0 to `largest` that grows on disk."""

    def __init__(self, path: Path, largest: int):
        self.name, self.dtype = path.name, np.min_scalar_type(largest)
        self._file = open(path, "wb")  # noqa: SIM115

    def append(self, values: NDArray[Any]) -> None:
        """Add values at the end."""
        self._file.write(values.astype(self.dtype).data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def map_array(path: Path, dtype: str) -> NDArray[Any]:
    """What an `ArrayFile` holds, read from disk as it is used; processes share the memory."""
    return np.asarray(np.memmap(path, dtype, "r"))


def compact(counts: NDArray[Any]) -> NDArray[Any]:
    """The same numbers, from 0 on, in the smallest type that holds them."""
    return counts.astype(np.min_scalar_type(int(counts.max(initial=0))))


def encode_lines(
    lines: Collection[str],
    what: str,
    vocabularies: Mapping[str, Vocabulary],
    ids: Mapping[str, ArrayFile],
    starts: ArrayFile | None,
) -> dict[str, NDArray[Any]]:
    """Cut lines by every vocabulary.

    Args:
        what: the lines, for reports of progress.
        ids: vocabulary -> where ids go; of one that is missing only lengths are returned.
        starts: where the character of its line goes at which each token begins; then there is one vocabulary, and lines
            have end marks.
    Returns:
        `characters` of each line, `blank`, the numbers of lines without text, and for each vocabulary `lengths/NAME` in
        pieces and `unknown/NAME`, how many of the pieces of some lines are unknown.
    """
    found: dict[str, list[NDArray[Any]]] = defaultdict(list)
    n_lines = 0
    with stage(f"encoding {what}", len(lines)) as now:
        for chunk in chunks(lines):
            characters = np.fromiter(map(len, chunk), dtype=np.int64, count=len(chunk))
            found["characters"].append(compact(characters))
            found["blank"].append(blank_rows(chunk) + n_lines)
            for name, vocabulary in vocabularies.items():
                encoded = EncodedLines.of(vocabulary.encode(chunk))
                found[f"lengths/{name}"].append(compact(encoded.lengths))
                found[f"unknown/{name}"].append(np.count_nonzero(encoded.values == UNK_ID, keepdims=True))
                values, ends = encoded.values, encoded.offsets[1:]
                if starts:
                    values = np.insert(values, ends, EOS_ID)
                    starts.append(np.insert(vocabulary.starts(chunk, encoded), ends, characters))
                if name in ids:
                    ids[name].append(values)
            n_lines += len(chunk)
            now.done = n_lines
    return {name: np.concatenate(of_chunks) for name, of_chunks in found.items()}
