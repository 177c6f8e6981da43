"""What the training loop and the main job ask of a task."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch

from tietrain.data.batching import Batch, Batches
from tietrain.model.transformer import Transformer
from tietrain.tasks.loss import LossSum, token_loss
from tietrain.tasks.scoring import Scores, SplitScores


class Task(Protocol):
    """A task: batches to learn from, a loss, a quick look at `valid`, and the final scores of a split."""

    @property
    def batches(self) -> Batches:
        """What to learn from, in order."""

    def loss(self, model: Transformer, batch: Batch) -> LossSum:
        """Summed objective and nats of one batch."""

    def evaluate(self, model: Transformer) -> Scores:
        """`nats_per_token` on the lines of `valid` used while training."""

    def score(self, model: Transformer, split: str) -> SplitScores:
        """Final scores of a split."""


def batch_loss(model: Transformer, batch: Batch, label_smoothing: float) -> LossSum:
    """The one token loss of both tasks."""
    return token_loss(model, model(batch.src_ids, batch.tgt_in_ids), batch.tgt_out_ids, label_smoothing)


@torch.inference_mode()
def total_nats(model: Transformer, batches: Iterable[Batch]) -> tuple[float, int]:
    """Plain nats of all scored tokens, and their number."""
    model.eval()
    nats, n_tokens, device = 0.0, 0, device_of(model)
    for batch in batches:
        nats += float(batch_loss(model, batch.to(device), 0.0).nll)
        n_tokens += batch.n_tokens
    return nats, n_tokens


def device_of(model: Transformer) -> torch.device:
    """Where the model's parameters are."""
    return next(model.parameters()).device
