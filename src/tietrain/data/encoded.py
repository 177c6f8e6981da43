"""Rows of a split stored as one flat array; their lengths in pieces or characters, their order, and cuts of it."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.integer[Any]]
Counts = NDArray[np.int64]
# Numbers of a mapped array that are worked on at a time.
PART = 2**20


class PackedRows(Sequence[NDArray[Any]]):
    """A sequence of arrays, one per row, stored as one. Rows differ in length, and in no other dimension.

    values: those of all rows, one row after the other, in `dtype` or in a smaller one that holds them, in memory or mapped
        into it. offsets: row i is `values[offsets[i]:offsets[i + 1] - gap]`.
    """

    dtype: type[np.generic]
    gap = 0

    def __init__(self, values: NDArray[Any], offsets: Counts):
        self.values, self.offsets = values, offsets

    @classmethod
    def of(cls, rows: Iterable[Sequence[int] | NDArray[Any]]) -> Self:
        """Pack lists or arrays; packed rows come back as they are."""
        if isinstance(rows, cls):
            return rows
        arrays = [np.asarray(row, dtype=cls.dtype) for row in rows]
        values = np.concatenate(arrays) if arrays else np.empty(0, dtype=cls.dtype)
        return cls(values, offsets_of([len(a) for a in arrays]))

    @property
    def lengths(self) -> Counts:
        """Length of each row."""
        return np.diff(self.offsets) - self.gap

    def take(self, rows: Counts) -> Self:
        """The rows with the given numbers, in that order."""
        lengths = np.diff(self.offsets)[rows]
        offsets = offsets_of(lengths)
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return type(self)(self.values[places], offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> NDArray[Any] | Self:
        if isinstance(index, slice):
            begin, end, step = index.indices(len(self))
            if step != 1 or end < begin:
                return self.take(np.arange(len(self))[index])
            offsets = self.offsets[begin : end + 1]
            return type(self)(self.values[offsets[0] : offsets[-1]], offsets - offsets[0])
        row = range(len(self))[index]
        return self.values[self.offsets[row] : self.offsets[row + 1] - self.gap]


def offsets_of(lengths: Sequence[int] | Counts) -> Counts:
    """Where each row begins, and the end of the last."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


class EncodedLines(PackedRows):
    """The piece ids of lines, without bos and eos."""

    dtype = np.int32

    @cached_property
    def counts(self) -> Counts:
        """How often each id occurs, up to the largest."""
        counts = np.zeros(1 + int(self.values.max(initial=0)), dtype=np.int64)
        for values in parts(self.values):
            counts += np.bincount(values, minlength=len(counts))
        for end_mark in self.values[self.offsets[1:2] - 1] if self.gap else ():
            counts[end_mark] -= len(self)
        return counts


class EndedLines(EncodedLines):
    """The same with an eos after each line: `values` is the token stream of a language model."""

    gap = 1


def parts(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """An array in parts that take little memory."""
    for begin in range(0, len(values), PART):
        yield values[begin : begin + PART]


# Characters counted as one token: what European text has under a vocabulary of some thousand pieces. The same for every
# vocabulary and text: an average of either would cut its arms differently.
CHARS_PER_TOKEN = 4


def char_lengths(characters: Counts) -> Counts:
    """Lengths in tokens of lines with the given numbers of characters."""
    return -(-characters // CHARS_PER_TOKEN)


@dataclass(frozen=True)
class TokenStarts:
    """The character of the whole text at which each token of the stream of `windows.make_stream` begins.

    Lines are joined with a line end after each, at which the end mark of the line begins.

    within: the character of its line at which each token begins, end marks included. offsets: line i has the tokens from
        offsets[i] up to offsets[i + 1]. line_starts: the character of the text at which each line begins, and the end.
    """

    within: NDArray[Any]
    offsets: Counts
    line_starts: Counts

    @property
    def n_characters(self) -> int:
        """Characters of the text, line ends included."""
        return int(self.line_starts[-1])

    @cached_property
    def longest(self) -> int:
        """Most characters from one token to the next."""
        return max((int(np.diff(starts).max(initial=1)) for _, starts in self._parts(0)), default=1)

    def find(self, character: int) -> int:
        """The first token that begins at this character of the text or after it."""
        line = int(np.searchsorted(self.line_starts, character, side="right")) - 1
        begin, end = self.offsets[line], self.offsets[min(line + 1, len(self.offsets) - 1)]
        return int(begin + np.searchsorted(self.within[begin:end], character - self.line_starts[line]))

    def most_tokens(self, window: int) -> int:
        """Tokens of the fullest window of `window` tokens' worth of characters, wherever windows are cut."""
        width, most = CHARS_PER_TOKEN * window, 0
        for n, starts in self._parts(width):
            ends = np.searchsorted(starts, starts[:n] + width)
            most = max(most, int((ends - np.arange(n)).max()))
        return most

    def _parts(self, ahead: int) -> Iterator[tuple[int, Counts]]:
        """Tokens of some lines, and where they begin, with the tokens of `ahead` characters more."""
        first = 0
        while first < len(self.offsets) - 1:
            last = max(first + 1, int(np.searchsorted(self.offsets, self.offsets[first] + PART, side="right")) - 1)
            beyond = int(np.searchsorted(self.line_starts, self.line_starts[last] + ahead))
            lines = slice(first, min(beyond, len(self.offsets) - 1))
            within = self.within[self.offsets[lines.start] : self.offsets[lines.stop]]
            n_tokens = np.diff(self.offsets[lines.start : lines.stop + 1])
            yield int(self.offsets[last] - self.offsets[first]), within + np.repeat(self.line_starts[lines], n_tokens)
            first = last


def draws(n: int, *names: object) -> NDArray[np.uint64]:
    """n numbers of 64 bits that depend on the names and on nothing else, in every NumPy version (raw PCG64)."""
    seed = int.from_bytes(hashlib.sha256(" ".join(map(str, names)).encode()).digest(), "big")
    return np.random.PCG64(seed).random_raw(n)


def shuffle(n: int, *names: object) -> Counts:
    """The numbers below n in an order drawn from the names."""
    return np.argsort(draws(n, *names), kind="stable")


def length_order(src_lengths: Counts, tgt_lengths: Counts, ties: NDArray[Any], turn: int) -> Counts:
    """Rows by their longer side, and within one length by source minus target, up and down in turn.

    So neighbours differ little in both lengths, also if the longer side grows by one: of the positions of
    Multi30k batches (joint 8,000 pieces, 4,096 tokens per step) 0.966 are real; sorted by (longer, target) 0.939.
    `turn` odd swaps up and down, which moves the cuts.
    """
    longer = np.maximum(src_lengths, tgt_lengths)
    direction = 1 - 2 * ((longer + turn) % 2)
    return np.lexsort((ties, (src_lengths - tgt_lengths) * direction, longer))


def cut(order: Counts, lengths: Counts, budget: int) -> list[Counts]:
    """Cut ordered rows into runs with rows x longest at most `budget`, or one row."""
    runs, start = [], 0
    while start < len(order):
        ahead = lengths[start : start + max(1, budget // int(lengths[start]))]
        padded = np.maximum.accumulate(ahead) * np.arange(1, len(ahead) + 1)
        end = start + max(1, int(np.searchsorted(padded, budget, side="right")))
        runs.append(order[start:end])
        start = end
    return runs
