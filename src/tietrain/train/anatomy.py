"""What each use of a shared parameter asks of it: the gradients of a step by use, before they are summed."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor

from tietrain.config import OptimConfig
from tietrain.data.batches.batching import Batch, rows_of, split_batch
from tietrain.model.loss import LossSum
from tietrain.model.transformer import Transformer
from tietrain.plan.plan import TyingPlan
from tietrain.train.hardware import Hardware
from tietrain.train.optim import Optimizer
from tietrain.train.probe import norm

Loss = Callable[[Transformer, Batch], LossSum]
# Use -> its gradient, one tensor per shared parameter of a group.
Gradients = dict[str, list[Tensor]]


class Anatomy:
    """Looks at the gradients of shared parameters around a step. Changes no weight and no gradient, and draws no random number.

    A look takes one more forward and backward pass over the step's batch, with its dropout, in two halves. Its numbers are named
    GROUP/MEASURE or GROUP/MEASURE/USE; see docs/anatomy.md. The gradients are those before clipping; `clip` is what the step
    multiplied them by.

    Sources: Press & Wolf 2017, section 3.1, for the two gradients of a tied table; Lopardo et al. 2026 for their sizes on rows
    that are read.
    """

    def __init__(self, model: Transformer, optimizer: Optimizer, loss: Loss, hardware: Hardware, config: OptimConfig):
        self._model, self._optimizer, self._loss = model, optimizer, loss
        self._hardware, self._config = hardware, config
        self._groups = groups_of(model.plan)
        self._seen: dict[str, float] = {}
        self._gradients: dict[str, Gradients] = {}
        self._before: dict[str, list[Tensor]] = {}

    def before_step(self, batch: Batch, step: int) -> None:
        """Look at the gradients of a batch, which has its seeds of dropout."""
        self._seen = {"of_step": step}
        middle = len(batch.tgt_in_ids) // 2
        halves = [rows_of(batch, slice(middle)), rows_of(batch, slice(middle, None))] if middle else [batch]
        by_slot = [gradients_by_slot(self._model, half, batch.n_tokens, self._loss, self._hardware) for half in halves]
        for name, uses in self._groups.items():
            parts = [{use: [found[slot] for slot in slots] for use, slots in uses.items()} for found in by_slot]
            whole = {use: [sum(both) for both in zip(*(part[use] for part in parts), strict=True)] for use in uses}
            self._gradients[name] = whole
            self._before[name] = [p.detach().clone() for p in self._parameters(name)]
            self._seen |= {f"{name}/{measure}": value for measure, value in _measures(whole, parts).items()}

    def after_step(self, grad_norm: float) -> dict[str, float]:
        """All that was seen, with what the step has made of it. grad_norm: of the step, before clipping."""
        limit = self._config.clip_norm
        clip = 1.0 if limit is None or grad_norm <= limit else limit / grad_norm
        seen = self._seen | {"clip": clip}
        for name, gradients in self._gradients.items():
            parameters, before = self._parameters(name), self._before[name]
            moved = [p.detach() - was for p, was in zip(parameters, before, strict=True)]
            if size := norm(before):
                seen[f"{name}/update"] = norm(moved) / size
            if self._is_table(name) and self._config.name != "sgd":
                seen |= {f"{name}/{measure}": value for measure, value in self._adam(name, gradients, clip).items()}
        self._gradients = {}
        self._before = {}
        return seen

    def _parameters(self, name: str) -> list[Tensor]:
        slots = next(iter(self._groups[name].values()))
        return [self._model.parameter(slot) for slot in slots]

    def _is_table(self, name: str) -> bool:
        first = self._model.plan.slots.named(next(iter(self._groups[name].values()))[0])
        return first is not None and first.kind == "table"

    def _adam(self, name: str, gradients: Gradients, clip: float) -> dict[str, float]:
        """Norm of each use's share of Adam's update, g / (sqrt(v) + eps), over all rows, and over those that are read.

        v is the second moment of the whole gradient after the step, so shares add up to the update of a step without
        momentum; it is not additive itself.
        """
        (table,) = self._parameters(name)
        state = self._optimizer.state[table]
        v = state["exp_avg_sq"] / (1 - self._config.betas[1] ** state["step"])
        shares = {use: clip * found[0] / (v.sqrt() + self._config.eps) for use, found in gradients.items()}
        looked_up = [found[0] for use, found in gradients.items() if not use.endswith(".output")]
        read = torch.stack([(g != 0).any(dim=1) for g in looked_up]).any(dim=0) if looked_up else None  # [V]
        seen = {f"adam/{use}": norm([share]) for use, share in shares.items()}
        if read is not None:
            seen |= {f"adam_read/{use}": norm([share[read]]) for use, share in shares.items()}
        return seen


def groups_of(plan: TyingPlan) -> dict[str, dict[str, tuple[str, ...]]]:
    """Group -> use -> its slots. A group is a shared block, which its first use names: its leaves are looked at together.

    If a block uses one parameter twice, its leaves are groups of their own.
    """
    found: dict[tuple[str, ...], list[tuple[str, ...]]] = {}  # uses -> the slots of each leaf
    for slots in plan.groups.values():
        blocks = tuple(slot.block for slot in map(plan.slots.place, slots))
        repeated = max(Counter(blocks).values()) > 1
        uses = tuple(slot.removesuffix(".weight") for slot in slots) if repeated else blocks
        found.setdefault(uses, []).append(slots)
    n_named = Counter(uses[0] for uses in found)
    groups = {}
    for uses, leaves in found.items():
        name = uses[0] if n_named[uses[0]] == 1 else leaves[0][0]
        groups[name] = dict(zip(uses, zip(*leaves, strict=True), strict=True))
    return groups


def gradients_by_slot(
    model: Transformer, batch: Batch, n_tokens: int, loss: Loss, hardware: Hardware
) -> dict[str, Tensor]:
    """Every slot that shares its parameter -> the gradient of its use alone, of the objective over n_tokens.

    They add up to the gradient of the parameter. Each slot reads a tensor of its own with the values of its owner.
    """
    slots = [slot for group in model.plan.groups.values() for slot in group]
    if not slots:
        return {}
    own = {slot: model.parameter(slot).detach().requires_grad_() for slot in slots}
    summed = {slot: torch.zeros_like(tensor) for slot, tensor in own.items()}
    parts = split_batch(batch, hardware.device_batch_tokens) if hardware.device_batch_tokens else [batch]
    for part in parts:
        with model.apart(own), hardware.products():
            with hardware.autocast():
                objective = loss(model, part.to(hardware.device)).objective / n_tokens
            gradients = torch.autograd.grad(objective, [*own.values()], allow_unused=True)
        for slot, found in zip(own, gradients, strict=True):
            if found is not None:
                summed[slot] += found
    return summed


def _measures(whole: Gradients, parts: Sequence[Gradients]) -> dict[str, float]:
    """norm/USE; cosine: mean over pairs of uses; cancellation: norm of the sum over the sum of the norms; ceiling: mean over
    uses of the cosine of the two halves of the batch, which a cosine of uses cannot be expected to exceed.
    """
    norms = {use: norm(gradient) for use, gradient in whole.items()}
    seen = {f"norm/{use}": size for use, size in norms.items()}
    total = [torch.stack(leaves).sum(dim=0) for leaves in zip(*whole.values(), strict=True)]
    if sum(norms.values()):
        seen["cancellation"] = norm(total) / sum(norms.values())
    seen |= _mean("cosine", (_cosine(a, b) for a, b in combinations(whole.values(), 2)))
    if len(parts) == 2:
        first, second = parts
        seen |= _mean("ceiling", (_cosine(first[use], second[use]) for use in whole))
    return seen


def _mean(name: str, values: Iterable[float]) -> Mapping[str, float]:
    known = [value for value in values if math.isfinite(value)]
    return {name: sum(known) / len(known)} if known else {}


def _cosine(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """NaN if one of them is zero."""
    product = sum(float((x.double() * y.double()).sum()) for x, y in zip(a, b, strict=True))
    size = norm(a) * norm(b)
    return product / size if size else math.nan
