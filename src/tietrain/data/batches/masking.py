"""Which tokens of a window are hidden and asked for: the batches of a masked language model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tietrain.data.batches.batching import Batch, as_tensor
from tietrain.data.batches.windows import LmBatches
from tietrain.data.ordering import draws
from tietrain.data.tokenizer import PAD_ID

# Of the tokens asked for in training, the shares read as the mask and as a random piece; the rest is read as it is.
MASKED, RANDOM = 0.8, 0.1
STACK = "encoder"


class MlmBatches:
    """The windows of a language model with a share of each row's tokens hidden, others in every epoch.

    Args:
        windows: what is cut from the text; fingerprint, epochs and order are its own.
        mask_id: the piece that stands for a hidden token; pieces from mask_id + 1 to vocab_size are text.
        rate: share of a row's tokens that is asked for, at least one.
    Source: Devlin et al. 2019, section 3.1; masks drawn anew every time: Liu et al. 2019.
    """

    def __init__(self, windows: LmBatches, mask_id: int, vocab_size: int, rate: float, seed: int):
        self.windows, self.fingerprint = windows, windows.fingerprint
        self._mask_id, self._vocab_size, self._rate, self._seed = mask_id, vocab_size, rate, seed

    def n_batches(self, epoch: int) -> int:
        """Steps of an epoch."""
        return self.windows.n_batches(epoch)

    def batch(self, epoch: int, index: int) -> Batch:
        """Step `index` of an epoch."""
        batch = self.windows.batch(epoch, index)
        text = batch.tgt_out_ids.numpy()
        drawn = [
            draws(text.size, "mask", self._seed, epoch, index, what).reshape(text.shape) / 2.0**64
            for what in ("which", "how", "piece")
        ]
        which, how, piece = drawn
        real = text != PAD_ID
        rank = np.where(real, which, 2.0).argsort(axis=1).argsort(axis=1)
        requested = rank < np.maximum(1, np.round(self._rate * real.sum(axis=1, keepdims=True)))
        first = self._mask_id + 1
        other = np.where(how < MASKED, self._mask_id, first + (piece * (self._vocab_size - first)).astype(np.int64))
        return ask(batch, text, requested, np.where(how < MASKED + RANDOM, other, text))


def ask(batch: Batch, text: np.ndarray, requested: np.ndarray, instead: np.ndarray | int) -> Batch:
    """The windows of a batch with some tokens hidden and asked for.

    Args:
        text: [B, T], right-padded. asked: boolean [B, T]. instead: what is read in their place, [B, T] or one piece.
    """
    counts = requested.sum(axis=1)
    return replace(
        batch,
        stack=STACK,
        tgt_in_ids=as_tensor(np.where(requested, instead, text)),
        tgt_out_ids=as_tensor(np.where(requested, text, PAD_ID)),
        lengths={STACK: batch.lengths["decoder"], f"{STACK}?": counts.tolist()},
        n_tokens=int(counts.sum()),
    )
