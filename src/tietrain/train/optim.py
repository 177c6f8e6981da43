"""Optimizers over owners, their learning rate, and one training step: micro-batches, clipping, one update."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tietrain.config import OptimConfig
from tietrain.config.training import RoleFactors
from tietrain.data.batches.batching import Batch
from tietrain.data.encoded import draws
from tietrain.model.loss import LossSum
from tietrain.model.transformer import Transformer
from tietrain.plan.plan import TyingPlan
from tietrain.plan.tables import role_of
from tietrain.train.hardware import Hardware
from tietrain.train.processes import ALONE, Alone

Loss = Callable[[Transformer, Batch], LossSum]

# The first step of a run bounded by seconds alone has no known length: warm-up starts here instead of at 0.
MIN_WARMUP_RATIO = 1e-3


class Optimizer:
    """AdamW, Adam or SGD by torch's fused kernels: the bits, groups and state of torch.optim's own classes.

    Those load torch's compiler into the process, for more than a second. A fused kernel passes once over each parameter;
    measured three times faster than the loop on a CPU.

    param_groups: each with its parameters, weight decay, rate, and the factor of its rate. state: parameter -> name -> moment or
        count of steps.

    Args:
        of_uses: parameter -> what its gradient is multiplied by before clipping, of shared layers.
    """

    def __init__(
        self, groups: Iterable[Mapping[str, Any]], config: OptimConfig, of_uses: Mapping[Tensor, float] | None = None
    ):
        self.param_groups = [{"lr_factor": 1.0, **group} for group in groups]
        self.of_uses = of_uses or {}
        set_learning_rate(self, config.lr)
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        self._config = config
        self._failed = torch.zeros((), device=self.param_groups[0]["params"][0].device)  # 1 once a step was not finite

    @torch.no_grad()
    def step(self, is_finite: Tensor | None = None) -> None:
        """Move every parameter that has a gradient; none from the first step on that is not finite.

        Args:
            is_finite: boolean [], on the device; None for yes.
        """
        if is_finite is not None:
            self._failed = torch.maximum(self._failed, ~is_finite)
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            if moved:
                update = self._step_sgd if self._config.name == "sgd" else self._step_adam
                update(moved, [p.grad for p in moved], lr=group["lr"], weight_decay=group["weight_decay"])

    def scale_gradients(self) -> None:
        """Make of each shared layer's summed gradient what `optim.shared_gradient` says."""
        for p, factor in self.of_uses.items():
            if p.grad is not None:
                p.grad *= factor

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def _step_adam(self, moved: list[Tensor], gradients: list[Tensor], **rates: float) -> None:
        for p in moved:
            if p not in self.state:
                count = torch.zeros((), dtype=torch.float32, device=p.device)
                self.state[p] = {"step": count, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        first, second, counts = ([self.state[p][name] for p in moved] for name in ("exp_avg", "exp_avg_sq", "step"))
        torch._foreach_add_(counts, [1 - self._failed] * len(counts))
        fused = torch._fused_adamw_ if self._config.name == "adamw" else torch._fused_adam_
        beta1, beta2 = self._config.betas
        options: dict[str, Any] = {
            "eps": self._config.eps,
            "amsgrad": False,
            "maximize": False,
            "found_inf": self._failed,
            **rates,
        }
        fused(moved, gradients, first, second, [], counts, beta1=beta1, beta2=beta2, **options)

    def _step_sgd(self, moved: list[Tensor], gradients: list[Tensor], **rates: float) -> None:
        momentum = self._config.momentum
        is_first = bool(momentum) and moved[0] not in self.state
        if is_first:
            self.state |= {p: {"momentum_buffer": torch.empty_like(p)} for p in moved}
        buffers = [self.state[p]["momentum_buffer"] for p in moved] if momentum else []
        options: dict[str, Any] = {"dampening": 0.0, "nesterov": False, "maximize": False, **rates}
        options |= {"is_first_step": is_first, "found_inf": self._failed}
        torch._fused_sgd_(moved, gradients, buffers, momentum=momentum, **options)


def build_optimizer(model: Transformer, config: OptimConfig) -> Optimizer:
    """An optimizer that holds every owner once; weight decay is for matrices, never for vectors.

    Tables decay only if `decay_tables` says so. A row whose piece does not come up has no gradient in an untied
    embedding and decays, while an output table, tied or not, moves every row at every step: decay would be one more
    difference between arms.

    Source: Loshchilov & Hutter 2019 (AdamW); Radford et al. 2019 code and its successors (no decay of vectors).
    """
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for store in model.plan.stores:
        p = model.get_parameter(store.name)
        decays = p.ndim >= 2 and (store.kind != "table" or config.decay_tables)
        role = role_of(model.plan, store)
        decay = config.weight_decay * _factor(config.weight_decay_factor, role) if decays else 0.0
        groups.setdefault((decay, _factor(config.lr_factor, role)), []).append(p)
    of_uses: dict[Tensor, float] = {
        model.get_parameter(name): _of_uses(config, len(uses)) for name, uses in _shared_layers(model.plan)
    }
    return Optimizer(
        [
            {"params": found, "weight_decay": decay, "lr_factor": factor}
            for (decay, factor), found in sorted(groups.items(), key=lambda group: group[0], reverse=True)
        ],
        config,
        of_uses if config.shared_gradient != "sum" else None,
    )


def _factor(factors: RoleFactors, role: str) -> float:
    given = getattr(factors, role)
    return 1.0 if given is None else float(given)


def _shared_layers(plan: TyingPlan) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every stored tensor of a layer that several slots read, and these."""
    for store in plan.stores:
        if store.layer is not None and len(plan.readers[store.name]) > 1:
            yield store.name, plan.readers[store.name]


def _of_uses(config: OptimConfig, n: int) -> float:
    return 1 / n if config.shared_gradient == "mean" else n**-0.5


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Give every group this rate, times the factor of its roles."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_factor"]


def learning_rate(config: OptimConfig, fraction: float) -> float:
    """The rate at a fraction of the stated budget, 0 to 1.

    Linear warm-up over the first `warmup` of the budget to `lr`, then: constant; inverse_sqrt, lr x sqrt(warmup /
    fraction); cosine, half a period down to min_lr_ratio x lr; wsd, constant until the last `decay` of the budget,
    then linear to min_lr_ratio x lr.

    Source: Vaswani et al. 2017, section 5.3 (inverse_sqrt); Loshchilov & Hutter 2017, section 3 (cosine); Hu et al.
    2024, section 4 (wsd).
    """
    if fraction < config.warmup:
        return config.lr * max(fraction / config.warmup, MIN_WARMUP_RATIO)
    lowest = config.lr * config.min_lr_ratio
    fraction = min(fraction, 1.0)
    if config.schedule == "inverse_sqrt":
        return config.lr * math.sqrt(config.warmup / fraction)
    if config.schedule == "cosine" and config.warmup < 1:
        turn = math.pi * (fraction - config.warmup) / (1 - config.warmup)
        return lowest + (config.lr - lowest) * (1 + math.cos(turn)) / 2
    if config.schedule == "wsd" and fraction > 1 - config.decay:
        return lowest + (config.lr - lowest) * (1 - fraction) / config.decay
    return config.lr


def fraction_spent(used: Mapping[str, float], budgets: Mapping[str, float]) -> float:
    """The largest share spent of any stated budget; training ends at 1.

    Args:
        used, budgets: unit -> amount, of steps, tokens, flops and seconds.
    """
    return max(used[unit] / limit for unit, limit in budgets.items())


@dataclass(frozen=True)
class StepSums:
    """Of one step; its floats wait for the device.

    numbers: objective and nll in nats, summed over tokens, and the gradient norm before clipping: float64 [3] on the device.
    padded_tokens: positions computed.
    """

    numbers: Tensor
    padded_tokens: int

    @property
    def objective(self) -> float:
        return self.numbers[0].item()

    @property
    def nll(self) -> float:
        return self.numbers[1].item()

    @property
    def grad_norm(self) -> float:
        return self.numbers[2].item()


def train_step(
    model: Transformer,
    optimizer: Optimizer,
    batch: Batch,
    loss: Loss,
    *,
    hardware: Hardware,
    clip_norm: float | None,
    seed: int,
    step: int,
    team: Alone = ALONE,
) -> StepSums:
    """Take step number `step`, counted from 1: the gradient is that of the summed objective over the batch's tokens.

    The sum does not depend on the cut into micro-batches or on the number of processes, up to rounding: dropout depends on
    (seed, step, row of the whole batch) and on the place in the row and the model alone. So a resumed run needs no state of a
    generator. Nothing here waits for the device: the optimizer makes no step from the first on whose loss or gradient is not
    finite, and whoever reads the sums tells.

    Args:
        model: what computes, possibly compiled; the optimizer holds its parameters.
        clip_norm: None for no clipping.
    Raises:
        PeerError: another process is gone; the weights are those before the step.
    """
    sums, padded_tokens = add_gradients(model, with_dropout(batch, seed, step), loss, hardware, team)
    return StepSums(update(model, optimizer, sums, clip_norm), padded_tokens)


def update(
    model: nn.Module, optimizer: Optimizer, sums: Tensor, clip_norm: float | None, team: Alone = ALONE
) -> Tensor:
    """Make one step of the gradients that are there, clipped, and forget them; none if it is not finite.

    Args:
        model: whose gradients they are. sums: of `add_gradients`. team: which holds the other gradients, if there are others.
    Returns:
        `StepSums.numbers`.
    """
    optimizer.scale_gradients()
    norm = _clip(model, clip_norm, team).double()
    optimizer.step(torch.isfinite(norm) & torch.isfinite(sums[0]))
    optimizer.zero_grad()
    return torch.cat([sums, norm[None]])


def add_gradients(model: Transformer, batch: Batch, loss: Loss, hardware: Hardware, team: Alone) -> tuple[Tensor, int]:
    """Add to the gradients that of the objective per token of a batch: this process's rows, on the leader those of all.

    Args:
        batch: all rows, with their seeds of dropout.
    Returns:
        Objective and nll of the same rows, float64 [2] on the device, and how many positions were computed.
    """
    sums = torch.zeros(2, dtype=torch.float64, device=hardware.device)
    padded_tokens = 0
    for part in team.parts(batch, hardware.device_batch_tokens):
        with hardware.products():
            with hardware.autocast():
                found = loss(model, part.to(hardware.device))
            (found.objective / batch.n_tokens).backward()
        sums += torch.stack([found.objective.detach().double(), found.nll])
        padded_tokens += part.padded_tokens
    return sums, team.add_up(model, sums, padded_tokens)


def _clip(model: nn.Module, clip_norm: float | None, team: Alone) -> Tensor:
    """The norm of all gradients together, every parameter once; they are scaled down to clip_norm if it is larger.

    Source: Pascanu et al. 2013, section 3.2.
    """
    gradients: list[Tensor] = [p.grad for p in model.parameters() if p.grad is not None]
    norm = team.whole_norm(nn.utils.get_total_norm(gradients))
    if clip_norm is not None:
        factor = (clip_norm / norm.double()).clamp(max=1).to(norm.dtype)
        # A CPU knows at once whether it must, and a pass over all gradients is not free.
        if factor.device.type != "cpu" or factor < 1:
            torch._foreach_mul_(gradients, factor)
    return norm


def with_dropout(batch: Batch, seed: int, step: int) -> Batch:
    """The batch with what the dropout of each row in a step is drawn from, int32 [B]."""
    seeds = draws(len(batch.tgt_in_ids), "dropout", seed, step).astype(np.uint32).view(np.int32)
    return replace(batch, row_seeds=torch.from_numpy(seeds))
