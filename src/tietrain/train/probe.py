"""How a model begins, at its real width: a look at one batch and at one update, after a few numbers of steps."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tietrain.data.batches.batching import split_batch
from tietrain.data.tokenizer import PAD_ID
from tietrain.model.transformer import Transformer, device_of
from tietrain.plan.tables import role_of
from tietrain.train.state import TrainState
from tietrain.train.tasks.task import Task

# Numbers of steps after which a run is looked at, before the next.
STEPS = (0, 10, 50, 200)
# Padded positions of the batch that is looked at; its logits are held at once.
MAX_TOKENS = 1024

# Roles that are not tables.
OTHER = ("matrices", "vectors")

Roles = dict[str, list[Tensor]]


class Probe:
    """Looks at a model in training. Changes neither weights nor gradients that a step uses, and draws no random number.

    A look is `above_uniform`, nats per token minus ln V; `logit_std` and `own_logit`, the spread of the logits and the mean
    logit of the token just read (causal models only: a table that is embedding and output scores it highly); and for each
    role `grad_norm_ROLE` and, of tables, `row_norm_ROLE`. Around a step also `update_ROLE`, the norm of what it adds over
    that of what was there. Roles: those of `plan.tables.role_of`.
    """

    def __init__(self, model: Transformer, task: Task):
        self._model = model
        self._batch = split_batch(task.batches.batch(0, 0), MAX_TOKENS)[0].to(device_of(model))
        self._roles = _roles(model)
        self._before: Roles = {}

    def before_step(self, state: TrainState) -> dict[str, float]:
        """A look if the next step is one of STEPS after the first; else empty."""
        if state.step not in STEPS:
            return {}
        self._before = {role: [p.detach().clone() for p in tensors] for role, tensors in self._roles.items()}
        return {"of_step": state.step, **self.look()}

    def after_step(self, seen: dict[str, float]) -> dict[str, float]:
        """A look with what the step has added."""
        for role, tensors in self._roles.items():
            added = [p.detach() - was for p, was in zip(tensors, self._before[role], strict=True)]
            if size := norm(self._before[role]):
                seen[f"update_{role}"] = norm(added) / size
        self._before = {}
        return seen

    def look(self) -> dict[str, float]:
        """What is seen on the batch."""
        model, batch = self._model, self._batch
        hidden = model(batch.sources, batch.tgt_in_ids, stack=batch.stack)  # [B, T, D]
        scored = batch.tgt_out_ids != PAD_ID
        logits = model.logits(hidden[scored], batch.stack).float()  # [N, V]
        loss = torch.nn.functional.cross_entropy(logits, batch.tgt_out_ids[scored].long())
        loss.backward()
        seen = {
            "above_uniform": loss.item() - math.log(logits.shape[-1]),
            "logit_std": logits.detach().std(dim=-1).mean().item(),
        }
        if model.shape.stack(batch.stack).causal:
            read = batch.tgt_in_ids[scored].long()  # [N]
            seen["own_logit"] = logits.detach().gather(1, read[:, None]).mean().item()
        for role, tensors in self._roles.items():
            seen[f"grad_norm_{role}"] = norm([p.grad for p in tensors if p.grad is not None])
        model.zero_grad(set_to_none=True)
        return seen | {f"row_norm_{role}": size for role, size in row_norms(model).items()}


def row_norms(model: Transformer) -> dict[str, float]:
    """Role of table -> mean norm of its rows."""
    tables = {role: tensors for role, tensors in _roles(model).items() if role not in OTHER}
    return {role: torch.cat([p.detach().norm(dim=1) for p in found]).mean().item() for role, found in tables.items()}


def _roles(model: Transformer) -> Roles:
    roles: Roles = {}
    for store in model.plan.stores:
        roles.setdefault(role_of(model.plan, store), []).append(model.get_parameter(store.name))
    return roles


def norm(tensors: Sequence[Tensor]) -> float:
    """Of all numbers of all tensors together."""
    return math.sqrt(sum(float(t.detach().double().square().sum()) for t in tensors))
