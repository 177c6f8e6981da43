"""Precomputed feature vectors, a sequence of them a row: a source beside text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from tietrain.data.encoded import Counts

Vectors = NDArray[np.float32]


class FeatureRows(Sequence[Vectors]):
    """A sequence of float32 arrays [S, F], one a row; S differs between rows, F does not.

    values: vectors of all rows [N, F], one row after the other. offsets: row i is `values[offsets[i]:offsets[i + 1]]`.
    """

    def __init__(self, values: Vectors, offsets: Counts):
        self.values, self.offsets = values, offsets

    @classmethod
    def of(cls, rows: Iterable[NDArray[Any]]) -> FeatureRows:
        """Pack arrays [S, F], at least one."""
        arrays = list(rows)
        return cls(np.concatenate(arrays).astype(np.float32, copy=False), offsets_of([len(a) for a in arrays]))

    @classmethod
    def joined(cls, parts: Sequence[FeatureRows]) -> FeatureRows:
        """The rows of several, at least one, one after the other."""
        return cls(np.concatenate([p.values for p in parts]), offsets_of(np.concatenate([p.lengths for p in parts])))

    @property
    def width(self) -> int:
        """F, the numbers of a vector."""
        return self.values.shape[1]

    @property
    def lengths(self) -> Counts:
        """Vectors of each row."""
        return np.diff(self.offsets)

    @property
    def fingerprint(self) -> str:
        """sha256 over shapes and numbers."""
        digest = hashlib.sha256(f"{self.values.shape} {len(self)}".encode())
        digest.update(np.ascontiguousarray(self.offsets, dtype="<i8").data)
        digest.update(np.ascontiguousarray(self.values, dtype="<f4").data)
        return digest.hexdigest()

    def take(self, rows: Counts) -> FeatureRows:
        """The rows with the given numbers, in that order."""
        lengths = self.lengths[rows]
        offsets = offsets_of(lengths)
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return FeatureRows(self.values[places], offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> Vectors: ...
    @overload
    def __getitem__(self, index: slice) -> FeatureRows: ...
    def __getitem__(self, index: int | slice) -> Vectors | FeatureRows:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        i = index % len(self)
        return self.values[self.offsets[i] : self.offsets[i + 1]]


def offsets_of(lengths: Sequence[int] | Counts) -> Counts:
    """Where each row begins, and the end of the last."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
