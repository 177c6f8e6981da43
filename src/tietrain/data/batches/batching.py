"""Batches: what makes a step, as a pure function of (seed, epoch, index). `pairs` cuts sentence pairs, `windows` a text.

Nothing else is needed to continue after an interruption, whatever the number of workers or processes.
"""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from tietrain.data.encoded import cut
from tietrain.data.tokenizer import PAD_ID


@dataclass(frozen=True)
class Batch:
    """Rows of one step, or of one part of it.

    sources: stack -> pieces + EOS [B, S], right-padded with PAD_ID, or feature vectors [B, S, F], right-padded with NaN;
        none for a language model.
    stack: the one that predicts. tgt_in_ids: [B, T] what it reads. tgt_out_ids: [B, T] what it must predict; PAD_ID
        where nothing is scored.
    lengths: stack -> real tokens of each row, end marks included. n_tokens: scored target tokens.
    row_seeds: int32 [B], what each row's dropout is drawn from; None for no dropout.
    """

    sources: dict[str, Tensor]
    stack: str
    tgt_in_ids: Tensor
    tgt_out_ids: Tensor
    lengths: dict[str, list[int]]
    n_tokens: int
    row_seeds: Tensor | None = None

    @property
    def padded_tokens(self) -> int:
        """Positions of the batch, padding included, of all sides."""
        return sum(ids.shape[0] * ids.shape[1] for ids in (self.tgt_in_ids, *self.sources.values()))

    def to(self, device: torch.device) -> "Batch":
        """The same batch with its tensors on a device; the copies to a GPU are waited for by what reads them alone."""
        tensors: dict[str, Any] = {k: to_device(v, device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, sources={k: to_device(v, device) for k, v in self.sources.items()}, **tensors)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on a device; the copy to a GPU is waited for by what reads it alone."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


class Batches(Protocol):
    """Every batch of every epoch. `fingerprint` is equal if the same sentences are in the same batches."""

    fingerprint: str

    def n_batches(self, epoch: int) -> int: ...

    def batch(self, epoch: int, index: int) -> Batch: ...


def split_batch(batch: Batch, device_batch_tokens: int) -> list[Batch]:
    """Parts of a batch, rows in order, padding trimmed.

    Each has at most `device_batch_tokens` padded tokens on its longest side, or is one row.
    """
    longer = np.max(list(batch.lengths.values()), axis=0)
    parts = cut(np.arange(len(longer)), longer, device_batch_tokens)
    return [batch] if len(parts) == 1 else [rows_of(batch, slice(rows[0], rows[-1] + 1)) for rows in parts]


def as_tensor(ids: np.ndarray) -> Tensor:
    """Ids as the int64 that PyTorch looks up."""
    return torch.from_numpy(ids.astype(np.int64, copy=False))


def rows_of(batch: Batch, rows: slice) -> Batch:
    """Some rows of a batch, at least one, as one of their own, padding trimmed."""
    lengths = {stack: side[rows] for stack, side in batch.lengths.items()}
    longest = max(lengths[batch.stack])
    sources = {stack: ids[rows, : max(lengths[stack])] for stack, ids in batch.sources.items()}
    inputs, targets = (ids[rows, :longest] for ids in (batch.tgt_in_ids, batch.tgt_out_ids))
    seeds = None if batch.row_seeds is None else batch.row_seeds[rows]
    return Batch(sources, batch.stack, inputs, targets, lengths, int((targets != PAD_ID).sum()), seeds)
