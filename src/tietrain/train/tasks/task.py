"""What the training loop and the main job ask of a task."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray

from tietrain.config import RunConfig
from tietrain.data.batches.batching import Batch, Batches
from tietrain.model.loss import LossSum, token_loss, token_nats
from tietrain.model.transformer import Transformer, device_of
from tietrain.train.processes import Alone
from tietrain.train.tasks.scoring import Scores, SplitScores


class Task(Protocol):
    """A task: batches to learn from, a loss, a quick look at `valid`, and the final scores of a split."""

    team: Alone
    """The processes that work at it; each calls the methods."""

    @property
    def batches(self) -> Batches:
        """What to learn from, in order."""

    def loss(self, model: Transformer, batch: Batch) -> LossSum:
        """Summed objective and nats of one batch."""

    def evaluate(self, model: Transformer) -> Scores:
        """`nats_per_token` on the lines of `valid` used while training."""

    def samples(self, model: Transformer) -> list[dict[str, str]]:
        """A little of what the model writes: name -> text of each piece."""

    def score(self, model: Transformer, split: str) -> SplitScores:
        """Final scores of a split."""


class _Compiled:
    def __init__(self, model: Transformer, options: Mapping[str, Any]):
        self.model, self.parameters = model, model.parameters
        self.loss = torch.compile(_loss, **options)


def compiled(model: Transformer, **options: Any) -> Transformer:
    """What `batch_loss` takes as a model to compute forward pass and loss in one graph. options: of `torch.compile`."""
    return cast(Transformer, _Compiled(model, options))


def compiled_for(config: RunConfig, model: Transformer) -> Transformer:
    """The model of a run, `compiled`.

    Sizes are variables from the start if the lengths of batches differ: two graphs are enough for all batches, one of them for
    sides of one length. Windows of one length have a graph of their own.
    """
    lengths_differ = config.task.name == "mt" or config.train.batch_by == "chars"
    return compiled(model, dynamic=True if lengths_differ else None)


def batch_loss(model: Transformer, batch: Batch, label_smoothing: float) -> LossSum:
    """The one token loss of all tasks."""
    if isinstance(model, _Compiled):
        found: LossSum = model.loss(model.model, replace(batch, lengths={}), label_smoothing)  # a graph of any lengths
        return found
    return _loss(model, batch, label_smoothing)


def _loss(model: Transformer, batch: Batch, label_smoothing: float) -> LossSum:
    hidden = model(batch.sources, batch.tgt_in_ids, batch.row_seeds, batch.stack)
    return token_loss(model, hidden, batch.tgt_out_ids, label_smoothing, batch.stack, batch.n_tokens)


@torch.inference_mode()
def batch_nats(model: Transformer, batch: Batch) -> NDArray[np.float64]:
    """Plain nats of each target position of a batch, [B, T]; 0 where nothing is scored."""
    batch = batch.to(device_of(model))
    hidden = model(batch.sources, batch.tgt_in_ids, stack=batch.stack)
    return token_nats(model, hidden, batch.tgt_out_ids, batch.stack, batch.n_tokens).cpu().numpy()
