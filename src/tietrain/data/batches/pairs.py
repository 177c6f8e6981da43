"""Sentence pairs in batches, each of one direction: a pure function of (lengths, seed, epoch, index)."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from tietrain.data.batches.batching import Batch, as_tensor
from tietrain.data.encoded import Counts, EncodedLines, cut, draws, length_order, shuffle
from tietrain.data.sources.features import FeatureRows
from tietrain.data.tokenizer import BOS_ID, EOS_ID, PAD_ID

Lines = EncodedLines | FeatureRows


@dataclass(frozen=True)
class Sources:
    """What is read to translate each of some rows.

    lines: stack -> its rows, without end marks, in the order in which the direction names them.
    tag: piece that says which language to write, put before the pieces of the first text; None for none.
    """

    lines: dict[str, Lines]
    tag: int | None = None

    @cached_property
    def _tagged(self) -> str | None:
        """The stack that reads the tag."""
        texts = (stack for stack, lines in self.lines.items() if isinstance(lines, EncodedLines))
        return None if self.tag is None else next(texts, None)

    @cached_property
    def lengths(self) -> dict[str, Counts]:
        """Stack -> tokens of each row, tag and end mark included, or vectors."""
        return {
            stack: lines.lengths + (isinstance(lines, EncodedLines) + (stack == self._tagged))
            for stack, lines in self.lines.items()
        }

    @property
    def longest(self) -> Counts:
        """Tokens of each row in its longest source, without an end mark."""
        return np.asarray(np.maximum.reduce(list(self.lengths.values())) - 1)

    @property
    def length_basis(self) -> Counts:
        """Source length that limits the length of a translation: pieces of the longest text of each row, or its vectors."""
        texts = [lines.lengths for lines in self.lines.values() if isinstance(lines, EncodedLines)]
        return np.asarray(np.maximum.reduce(texts or [lines.lengths for lines in self.lines.values()]))

    def __len__(self) -> int:
        return len(next(iter(self.lines.values())))

    def __getitem__(self, rows: slice) -> "Sources":
        return replace(self, lines={stack: lines[rows] for stack, lines in self.lines.items()})

    def padded(self, rows: Counts) -> dict[str, torch.Tensor]:
        """Stack -> its rows as `Batch.sources` holds them."""
        padded: dict[str, torch.Tensor] = {}
        for stack, lines in self.lines.items():
            if isinstance(lines, FeatureRows):
                padded[stack] = torch.from_numpy(_padded(lines, rows, np.nan))
            else:
                padded[stack] = as_tensor(_pad(lines, rows, self.tag if stack == self._tagged else None))
        return padded


@dataclass(frozen=True)
class Pairs:
    """Sources, and what `stack` is to write for each of them, without end marks."""

    sources: Sources
    stack: str
    target: EncodedLines

    @property
    def longest(self) -> Counts:
        """Tokens of each row on its longest side, without an end mark."""
        return np.maximum(self.sources.longest, self.target.lengths)

    def first(self, n: int | None) -> "Pairs":
        """The first n pairs; all for None."""
        return Pairs(self.sources[:n], self.stack, self.target[:n])

    def batch(self, rows: Counts) -> Batch:
        """These pairs as a batch."""
        tgt_out_ids = _pad(self.target, rows)
        lengths = self.target.lengths[rows] + 1
        tgt_in_ids = np.roll(tgt_out_ids, 1, axis=1)
        tgt_in_ids[:, 0] = BOS_ID
        tgt_in_ids[np.arange(tgt_in_ids.shape[1]) >= lengths[:, None]] = PAD_ID
        read = {stack: counts[rows].tolist() for stack, counts in self.sources.lengths.items()}
        read[self.stack] = lengths.tolist()
        inputs, targets = map(as_tensor, (tgt_in_ids, tgt_out_ids))
        return Batch(self.sources.padded(rows), self.stack, inputs, targets, read, int(lengths.sum()))


@dataclass(frozen=True)
class TrainingPairs:
    """The pairs of one direction that are trained on.

    rows: their numbers. src_lengths, tgt_lengths: reference length of each pair, see `prepared.Prepared`; of several
        sources the longest.
    """

    name: str
    pairs: Pairs
    rows: Counts
    src_lengths: Counts
    tgt_lengths: Counts

    @cached_property
    def digest(self) -> str:
        """sha256 over the reference lengths, end marks included."""
        return hashlib.sha256((self.src_lengths + 1).tobytes() + (self.tgt_lengths + 1).tobytes()).hexdigest()


class MtBatches:
    """Pairs of like length and one direction, cut so that a step has at most `batch_tokens` padded target tokens.

    Lengths, end marks included, are the reference lengths. Pairs are put in `encoded.length_order`, pairs of equal
    lengths in a new order each epoch, cut greedily, and the batches of all directions are shuffled. A pair longer than
    the budget is a batch of its own.

    An epoch has as many pairs as all directions together; `shares` says how many are of each direction. A direction takes
    them from its own sequence, one permutation of its pairs after another, that continues from epoch to epoch.

    Args:
        temperature: see `shares`.
    """

    def __init__(self, directions: Sequence[TrainingPairs], batch_tokens: int, seed: int, temperature: float = 1.0):
        self._directions, self._seed, self._budget = directions, seed, batch_tokens
        self._shares = shares([len(d.rows) for d in directions], temperature)
        self._data = directions[0].digest
        if len(directions) > 1:
            digests = [f"{d.name} {d.digest} {hashlib.sha256(d.rows.tobytes()).hexdigest()}" for d in directions]
            self._data = hashlib.sha256("\0".join(digests).encode()).hexdigest()
        self._epoch: tuple[int, list[tuple[int, Counts]]] = (-1, [])
        plan = self._plan(0)
        digest = hashlib.sha256(self._data.encode() + np.concatenate([places for _, places in plan]).tobytes())
        digest.update(np.cumsum([len(places) for _, places in plan]).tobytes())
        if len(directions) > 1:
            digest.update(np.asarray([which for which, _ in plan]).tobytes())
        self.fingerprint = digest.hexdigest()

    def n_batches(self, epoch: int) -> int:
        """Steps of an epoch."""
        return len(self._plan(epoch))

    def batch(self, epoch: int, index: int) -> Batch:
        """Step `index` of an epoch."""
        direction, rows = self.step(epoch, index)
        return direction.pairs.batch(rows)

    def step(self, epoch: int, index: int) -> tuple[TrainingPairs, Counts]:
        """Direction of a step, and line numbers of its pairs."""
        which, places = self._plan(epoch)[index]
        direction = self._directions[which]
        return direction, direction.rows[places]

    def _plan(self, epoch: int) -> list[tuple[int, Counts]]:
        """Number of the direction, and places among its pairs, of each step."""
        if self._epoch[0] != epoch:
            batches: list[tuple[int, Counts]] = []
            for which, direction in enumerate(self._directions):
                drawn = self._drawn(which, direction, epoch)
                tgt = direction.tgt_lengths[drawn] + 1
                ties = draws(len(drawn), direction.digest, self._seed, epoch, "ties")
                order = length_order(direction.src_lengths[drawn] + 1, tgt, ties, turn=epoch)
                batches += [(which, drawn[places]) for places in cut(order, tgt[order], self._budget)]
            self._epoch = (epoch, [batches[i] for i in shuffle(len(batches), self._data, self._seed, epoch, "order")])
        return self._epoch[1]

    def _drawn(self, which: int, direction: TrainingPairs, epoch: int) -> Counts:
        """Places, among the pairs of a direction, of those of an epoch."""
        n = len(direction.rows)
        share = self._shares[which]
        if share == n:
            return np.arange(n)  # one permutation; the order is drawn again
        begin = epoch * share
        turns = range(begin // n, -(-(begin + share) // n))
        names = (direction.name, direction.digest, self._seed)
        sequence = np.concatenate([shuffle(n, *names, turn, "pairs") for turn in turns])
        return sequence[begin - turns.start * n :][:share]


def shares(sizes: Sequence[int], temperature: float) -> list[int]:
    """Pairs of each direction in an epoch: in proportion to size ** (1 / temperature), at least one.

    Source: Arivazhagan et al. 2019.

    >>> shares([900, 100], 1.0), shares([900, 100], 2.0)
    ([900, 100], [750, 250])
    """
    weights = np.asarray(sizes) ** (1 / temperature)
    counts: list[int] = np.maximum(1, np.rint(weights / weights.sum() * sum(sizes))).astype(int).tolist()
    return counts


def mt_eval_batches(pairs: Pairs, batch_tokens: int) -> Iterator[tuple[Batch, Counts]]:
    """Batches that hold every pair exactly once, longest last, and the line number of each row.

    A batch has at most `batch_tokens` padded tokens of its longest side, or is one pair.
    """
    if not len(pairs.target):
        return
    order = length_order(pairs.sources.longest, pairs.target.lengths, np.arange(len(pairs.target)), turn=0)
    for rows in cut(order, pairs.longest[order] + 1, batch_tokens):
        yield pairs.batch(rows), rows


def _pad(lines: EncodedLines, rows: Counts, tag: int | None = None) -> np.ndarray:
    """[B, longest] pieces + EOS + padding, after the tag if there is one."""
    before = int(tag is not None)
    ids = np.pad(_padded(lines, rows, PAD_ID), ((0, 0), (before, 1)), constant_values=PAD_ID)
    ids[np.arange(len(rows)), before + lines.lengths[rows]] = EOS_ID
    if tag is not None:
        ids[:, 0] = tag
    return ids


def _padded(lines: Lines, rows: Counts, fill: float) -> np.ndarray:
    """[B, longest] ids or [B, longest, F] vectors, right-padded."""
    starts = lines.offsets[rows]
    lengths = lines.lengths[rows]
    column = np.arange(int(lengths.max()))
    padded = np.full((len(rows), len(column), *lines.values.shape[1:]), fill, dtype=lines.dtype)
    real = column < lengths[:, None]
    padded[real] = lines.values[(starts[:, None] + column)[real]]
    return padded
