"""Lines as piece ids, stored as one flat array: what batches are cut from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
Counts = NDArray[np.int64]


class EncodedLines(Sequence[Ids]):
    """A sequence of id arrays, one a line, without bos and eos.

    ids: those of all lines, one after the other. offsets: line i is `ids[offsets[i]:offsets[i + 1]]`.
    """

    def __init__(self, ids: Ids, offsets: Counts):
        self.ids, self.offsets = ids, offsets

    @classmethod
    def of(cls, lines: Iterable[Sequence[int] | Ids]) -> EncodedLines:
        """Pack lists or arrays of ids; an EncodedLines comes back as it is."""
        if isinstance(lines, cls):
            return lines
        arrays = [np.asarray(line, dtype=np.int32) for line in lines]
        offsets = np.zeros(len(arrays) + 1, dtype=np.int64)
        np.cumsum([len(a) for a in arrays], out=offsets[1:])
        return cls(np.concatenate(arrays) if arrays else np.empty(0, dtype=np.int32), offsets)

    @property
    def lengths(self) -> Counts:
        """Pieces of each line."""
        return np.diff(self.offsets)

    def take(self, rows: Counts) -> EncodedLines:
        """The lines with the given numbers, in that order."""
        return EncodedLines.of([self[int(r)] for r in rows])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> Ids: ...
    @overload
    def __getitem__(self, index: slice) -> EncodedLines: ...
    def __getitem__(self, index: int | slice) -> Ids | EncodedLines:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                return self.take(np.arange(start, stop, step))
            offsets = self.offsets[start : max(start, stop) + 1]
            return EncodedLines(self.ids[offsets[0] : offsets[-1]], offsets - offsets[0])
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        i = index % len(self)
        return self.ids[self.offsets[i] : self.offsets[i + 1]]
