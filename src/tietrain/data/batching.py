"""Batches: which sentences make a step, as a pure function of (lengths, seed, epoch, index). `windows` has those of a text.

Nothing else is needed to go on after an interruption, whatever the number of workers or processes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from tietrain.data.encoded import Counts, EncodedLines, Ids
from tietrain.data.ordering import cut, draws, length_order, shuffle
from tietrain.data.tokenizer import BOS_ID, EOS_ID, PAD_ID


@dataclass(frozen=True)
class Batch:
    """Rows of one step, or of one part of it.

    src_ids: [B, S] pieces + EOS, right-padded with PAD_ID; None for a language model.
    tgt_in_ids: [B, T] what the decoder reads. tgt_out_ids: [B, T] what it is asked; PAD_ID where nothing is scored.
    lengths: stack -> real tokens of each row, end marks included. n_tokens: scored target tokens.
    row_seeds: int32 [B], what each row's dropout is drawn from; None for no dropout.
    """

    src_ids: Tensor | None
    tgt_in_ids: Tensor
    tgt_out_ids: Tensor
    lengths: dict[str, list[int]]
    n_tokens: int
    row_seeds: Tensor | None = None

    @property
    def padded_tokens(self) -> int:
        """Positions of the batch, padding included, of both sides."""
        return self.tgt_in_ids.numel() + (0 if self.src_ids is None else self.src_ids.numel())

    def to(self, device: torch.device) -> Batch:
        """The same batch with its tensors on a device."""
        tensors: dict[str, Any] = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **tensors)


class Batches(Protocol):
    """Every batch of every epoch. `fingerprint` is equal where the same sentences stand in the same batches."""

    fingerprint: str

    def n_batches(self, epoch: int) -> int: ...

    def batch(self, epoch: int, index: int) -> Batch: ...


class MtBatches:
    """Sentence pairs of like length, cut so that a step has at most `batch_tokens` padded target tokens.

    Lengths, end marks included, are the reference lengths. Pairs are put in `ordering.length_order`, pairs of equal
    lengths in a new order each epoch, cut greedily, and the batches are shuffled. A pair longer than the budget is a
    batch of its own.

    Args:
        src, tgt: ids of each line without bos and eos, in the arm's own vocabularies.
        reference_lengths: stack -> length of each line, see `prepare.Prepared`.
    """

    def __init__(
        self,
        src: Sequence[Ids],
        tgt: Sequence[Ids],
        reference_lengths: dict[str, Counts],
        batch_tokens: int,
        seed: int,
    ):
        self._src, self._tgt, self._seed, self._budget = EncodedLines.of(src), EncodedLines.of(tgt), seed, batch_tokens
        self._src_lengths, self._tgt_lengths = reference_lengths["encoder"] + 1, reference_lengths["decoder"] + 1
        self._data = hashlib.sha256(self._src_lengths.tobytes() + self._tgt_lengths.tobytes()).hexdigest()
        self._epoch: tuple[int, list[Counts]] = (-1, [])
        rows = self._plan(0)
        cuts = np.cumsum([len(r) for r in rows])
        self.fingerprint = hashlib.sha256(
            self._data.encode() + np.concatenate(rows).tobytes() + cuts.tobytes()
        ).hexdigest()

    def n_batches(self, epoch: int) -> int:
        """Steps of an epoch."""
        return len(self._plan(epoch))

    def batch(self, epoch: int, index: int) -> Batch:
        """Step `index` of an epoch."""
        return _mt_batch(self._src, self._tgt, self.rows(epoch, index))

    def rows(self, epoch: int, index: int) -> Counts:
        """Line numbers of the pairs of a step."""
        return self._plan(epoch)[index]

    def _plan(self, epoch: int) -> list[Counts]:
        if self._epoch[0] != epoch:
            ties = draws(len(self._tgt_lengths), self._data, self._seed, epoch, "ties")
            order = length_order(self._src_lengths, self._tgt_lengths, ties, turn=epoch)
            batches = cut(order, self._tgt_lengths[order], self._budget)
            shuffled = shuffle(len(batches), self._data, self._seed, epoch, "order")
            self._epoch = (epoch, [batches[i] for i in shuffled])
        return self._epoch[1]


def mt_eval_batches(src: Sequence[Ids], tgt: Sequence[Ids], batch_tokens: int) -> Iterator[tuple[Batch, Counts]]:
    """Batches that hold every pair exactly once, longest last, and the line number of each row.

    A batch has at most `batch_tokens` padded tokens of the longer side, or is one pair.
    """
    sources, targets = EncodedLines.of(src), EncodedLines.of(tgt)
    if not len(targets):
        return
    longer = np.maximum(sources.lengths, targets.lengths) + 1
    order = length_order(sources.lengths, targets.lengths, np.arange(len(longer)), turn=0)
    for rows in cut(order, longer[order], batch_tokens):
        yield _mt_batch(sources, targets, rows), rows


def split_batch(batch: Batch, device_batch_tokens: int) -> list[Batch]:
    """Parts of a batch, rows in order, padding trimmed.

    Each has at most `device_batch_tokens` padded tokens on its longer side, or is one row.
    """
    sides = list(batch.lengths.values())
    longer = np.maximum.reduce([np.asarray(side, dtype=np.int64) for side in sides])
    parts = cut(np.arange(len(longer)), longer, device_batch_tokens)
    return [batch] if len(parts) == 1 else [_part(batch, int(rows[0]), int(rows[-1]) + 1) for rows in parts]


def padding_efficiency(batches: Batches) -> dict[str, float]:
    """Stack -> real tokens over padded ones in the first epoch, and `both` for their sum."""
    real: dict[str, int] = {}
    padded: dict[str, int] = {}
    for index in range(batches.n_batches(0)):
        batch = batches.batch(0, index)
        for stack, ids in (("encoder", batch.src_ids), ("decoder", batch.tgt_in_ids)):
            if ids is not None:
                real[stack] = real.get(stack, 0) + sum(batch.lengths[stack])
                padded[stack] = padded.get(stack, 0) + ids.numel()
    return {**{s: real[s] / padded[s] for s in real}, "both": sum(real.values()) / sum(padded.values())}


def _mt_batch(src: EncodedLines, tgt: EncodedLines, rows: Counts) -> Batch:
    src_ids, src_lengths = _pad(src, rows)
    tgt_out_ids, tgt_lengths = _pad(tgt, rows)
    tgt_in_ids = np.roll(tgt_out_ids, 1, axis=1)
    tgt_in_ids[:, 0] = BOS_ID
    tgt_in_ids[np.arange(tgt_in_ids.shape[1]) >= tgt_lengths[:, None]] = PAD_ID
    lengths = {"encoder": src_lengths.tolist(), "decoder": tgt_lengths.tolist()}
    return Batch(as_tensor(src_ids), as_tensor(tgt_in_ids), as_tensor(tgt_out_ids), lengths, int(tgt_lengths.sum()))


def _pad(lines: EncodedLines, rows: Counts) -> tuple[np.ndarray, Counts]:
    """[B, longest] pieces + EOS + padding, and the tokens of each row, EOS included."""
    starts, lengths = lines.offsets[rows], lines.lengths[rows] + 1
    column = np.arange(int(lengths.max()))
    ids = np.full((len(rows), len(column)), PAD_ID, dtype=np.int64)
    real = column < lengths[:, None] - 1
    ids[real] = lines.ids[(starts[:, None] + column)[real]]
    ids[np.arange(len(rows)), lengths - 1] = EOS_ID
    return ids, lengths


def as_tensor(ids: np.ndarray) -> Tensor:
    """Ids as the int64 that PyTorch looks up."""
    return torch.from_numpy(ids.astype(np.int64, copy=False))


def _part(batch: Batch, start: int, end: int) -> Batch:
    lengths = {stack: side[start:end] for stack, side in batch.lengths.items()}
    s, t = max(lengths.get("encoder", [0])), max(lengths["decoder"])
    targets = batch.tgt_out_ids[start:end, :t]
    src_ids = None if batch.src_ids is None else batch.src_ids[start:end, :s]
    row_seeds = None if batch.row_seeds is None else batch.row_seeds[start:end]
    n_tokens = int((targets != PAD_ID).sum())
    return Batch(src_ids, batch.tgt_in_ids[start:end, :t], targets, lengths, n_tokens, row_seeds)
