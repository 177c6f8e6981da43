"""One training step: micro-batches forward and backward, clipping, one update."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tietrain.data.batches.batching import Batch, split_batch
from tietrain.data.encoded import draws
from tietrain.errors import DivergedError
from tietrain.model.loss import LossSum
from tietrain.model.transformer import Transformer
from tietrain.train.hardware import Hardware


@dataclass(frozen=True)
class StepSums:
    """Of one step: objective and nll in nats, summed over tokens; gradient norm before clipping; positions computed."""

    objective: float
    nll: float
    grad_norm: float
    padded_tokens: int


def train_step(
    model: Transformer,
    optimizer: Optimizer,
    batch: Batch,
    loss: Callable[[Transformer, Batch], LossSum],
    *,
    hardware: Hardware,
    clip_norm: float | None,
    seed: int,
    step: int,
) -> StepSums:
    """Take step number `step`, counted from 1: the gradient is that of the summed objective over the batch's tokens.

    However the batch is cut into micro-batches, the sum is the same up to rounding: dropout depends on (seed, step, row
    of the whole batch) and the place in the row and the model alone. So a resumed run needs no state of a generator.

    Args:
        model: what computes, possibly compiled; the optimizer holds its parameters.
        loss: (model, batch) -> LossSum.
        clip_norm: None for no clipping.
    Raises:
        DivergedError: loss or gradient norm is not finite; the weights are those before the step.
    """
    batch = replace(batch, row_seeds=_row_seeds(len(batch.tgt_in_ids), seed, step))
    micro_batches = split_batch(batch, hardware.device_batch_tokens) if hardware.device_batch_tokens else [batch]
    objective = nll = 0.0
    padded_tokens = 0
    for micro_batch in micro_batches:
        with hardware.autocast():
            sums = loss(model, micro_batch.to(hardware.device))
        (sums.objective / batch.n_tokens).backward()
        objective += sums.objective.item()
        nll += sums.nll.item()
        padded_tokens += micro_batch.padded_tokens
    grad_norm = _clip(model, clip_norm)
    for name, value in (("loss", objective), ("gradient norm", grad_norm)):
        if not math.isfinite(value):
            remedy = "lower optim.lr, raise optim.warmup or set optim.clip_norm; no later weights were saved"
            raise DivergedError(f"step {step}", f"the {name} is {value}", remedy)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return StepSums(objective, nll, grad_norm, padded_tokens)


def _clip(model: nn.Module, clip_norm: float | None) -> float:
    """The norm of all gradients together, every parameter once; they are scaled down to clip_norm where it is larger.

    Source: Pascanu et al. 2013, section 3.2.
    """
    gradients: list[Tensor] = [p.grad for p in model.parameters() if p.grad is not None]
    norm = float(nn.utils.get_total_norm(gradients))
    if clip_norm is not None and norm > clip_norm:
        torch._foreach_mul_(gradients, clip_norm / norm)
    return norm


def _row_seeds(n_rows: int, seed: int, step: int) -> Tensor:
    """What the dropout of each row of a step is drawn from, int32 [B]."""
    return torch.from_numpy(draws(n_rows, "dropout", seed, step).astype(np.uint32).view(np.int32))
