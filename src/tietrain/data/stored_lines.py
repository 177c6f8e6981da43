"""Lines of text kept outside of memory: what the training text of any size is read into."""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Self, overload

from tietrain.errors import storage_error

# Text up to this size stays in memory.
IN_MEMORY_BYTES = 32 * 2**20
# Text that is read, or worked on, at a time; a longer line comes alone.
CHUNK_BYTES = 2**20

# A new, empty column of text.
Store = Callable[[], "list[str] | StoredLines"]


class StoredLines(Sequence[str]):
    """Lines that are appended, then read as often as wanted: UTF-8 in a file, and 8 bytes of memory for each.

    The file has no name: it goes with this object, or with the process, however that ends.

    Args:
        folder: where the file is made if the text does not fit in memory.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._file = SpooledTemporaryFile(IN_MEMORY_BYTES, dir=str(folder))  # noqa: SIM115
        self._ends = array("q", [0])

    def __del__(self) -> None:
        self._file.close()

    def append(self, line: str) -> None:
        """Add a line; only before the lines are read.

        Raises:
            StorageError: the disk refuses.
        """
        try:
            self._ends.append(self._ends[-1] + self._file.write(line.encode()))
        except OSError as e:
            raise storage_error(f"data.cache={self._folder}", e) from e

    def extend(self, lines: Iterable[str]) -> Self:
        """Add lines."""
        for line in lines:
            self.append(line)
        return self

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[str]:
        first = 0
        while first < len(self):
            last = bisect_right(self._ends, self._ends[first] + CHUNK_BYTES, first + 2) - 1
            yield from self._read(first, last)
            first = last

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        row = range(len(self))[index]
        return self._read(row, row + 1)[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def _read(self, first: int, last: int) -> list[str]:
        ends = self._ends[first : last + 1]
        self._file.seek(ends[0])
        content = self._file.read(ends[-1] - ends[0])
        return [content[begin - ends[0] : end - ends[0]].decode() for begin, end in pairwise(ends)]


@dataclass(frozen=True)
class Joined:
    """The lines of several columns, one column after the other, as often as wanted."""

    columns: Sequence[Iterable[str]]

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self.columns)


def store_for(split: str, folder: Path) -> Store:
    """Makes columns of a split: the training text is kept outside of memory, text that is scored in memory."""
    return partial(StoredLines, folder) if split == "train" else list


def chunks(lines: Iterable[str]) -> Iterator[list[str]]:
    """The lines in lists of about CHUNK_BYTES characters."""
    chunk: list[str] = []
    size = 0
    for line in lines:
        chunk.append(line)
        size += len(line) + 1
        if size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
