"""Do the ties hold? On the live model, in the optimizer and in a checkpoint.

The ledger computes from shapes and plan; the audit counts real tensors. Two books that must agree.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from tietrain.errors import TietrainError
from tietrain.model.transformer import Transformer
from tietrain.plan.params import count_params
from tietrain.plan.plan import TyingPlan

MOST_NAMED = 6


class Groups(Protocol):
    """What the audit reads of an optimizer."""

    param_groups: list[dict[str, Any]]


class AuditError(TietrainError):
    """A model, optimizer or checkpoint does not hold the parameters its plan says."""


def audit_model(model: Transformer) -> dict[str, object]:
    """What a live model holds, as stored in `audit.json`, after checking it against its plan.

    Raises:
        AuditError: names the slots that read another parameter than their owner's, the parameters of no owner, owners
            that overlap in memory, have another shape or numbers that are not finite, or a count that is not the
            ledger's.
    """
    plan, stored = model.plan, dict(model.named_parameters(remove_duplicate=False))
    audit_checkpoint_keys(plan, stored, what="model parameters")
    astray = [slot.name for slot in plan.slots if model.parameter(slot.name) is not stored[plan.owner[slot.name]]]
    _require(not astray, f"tie of {_names(astray)}", "it reads another parameter than its owner's")
    overlaps = _overlaps(stored)
    _require(not overlaps, f"owners {_names(overlaps)}", "they share memory, or have none")
    shapes = [store.name for store in plan.stores if tuple(stored[store.name].shape) != store.shape]
    _require(not shapes, f"shape of {_names(shapes)}", "it is not the plan's")
    params, ledger = sum(p.numel() for p in stored.values()), count_params(plan).params
    _require(params == ledger, f"{params} stored numbers", f"the ledger counts {ledger}")
    broken = [name for name, p in stored.items() if not bool(torch.isfinite(p).all())]
    _require(not broken, f"values of {_names(broken)}", "they are not all finite")
    groups = {owner: list(uses) for owner, uses in plan.groups.items()}
    return {"plan": plan.hash, "n_slots": len(plan.slots), "n_owners": len(stored), "params": params, "groups": groups}


def audit_optimizer(model: Transformer, optimizer: Groups) -> None:
    """Check that the optimizer holds every parameter of the model exactly once and nothing else.

    Raises:
        AuditError: names the parameters that are missing or held several times, or counts the foreign ones.
    """
    held = Counter(id(p) for group in optimizer.param_groups for p in group["params"])
    names = {id(p): name for name, p in model.named_parameters()}
    wrong = [name for key, name in names.items() if held[key] != 1]
    _require(not wrong, f"optimizer groups and {_names(wrong)}", "each must be held exactly once")
    foreign = held.keys() - names.keys()
    _require(not foreign, f"{len(foreign)} tensors of the optimizer", "they are not parameters of the model")


def audit_checkpoint_keys(plan: TyingPlan, keys: Iterable[str], *, what: str = "checkpoint keys") -> None:
    """Check that the keys are exactly the plan's owners and what its views bring.

    Raises:
        AuditError: names those that are missing and the keys that are none.
    """
    have, owners = set(keys), {store.name for store in plan.stores}
    missing, extra = sorted(owners - have), sorted(have - owners)
    _require(not missing, f"{what}: {_names(missing)}", "the plan's owners are missing")
    _require(not extra, f"{what}: {_names(extra)}", f"no slot of plan {plan.hash} owns them")


def _overlaps(stored: dict[str, nn.Parameter]) -> list[str]:
    """Names whose bytes overlap another's, or that have no bytes at all (meta tensors)."""
    spans = sorted((p.data_ptr(), p.data_ptr() + n_bytes(p), name) for name, p in stored.items())
    homeless = [name for start, _, name in spans if start == 0]
    crossing = [pair for pair in pairwise(spans) if pair[1][0] < pair[0][1]]
    return homeless or [name for pair in crossing for _, _, name in pair]


def n_bytes(tensor: Tensor) -> int:
    """Bytes from a tensor's first number to the end of its last."""
    last = sum((extent - 1) * stride for extent, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (last + 1) * tensor.element_size()


def _names(names: Sequence[str]) -> str:
    listed = ", ".join(names[:MOST_NAMED])
    return listed if len(names) <= MOST_NAMED else f"{listed} and {len(names) - MOST_NAMED} more"


def _require(holds: bool, requested: str, problem: str) -> None:
    if not holds:
        raise AuditError(
            requested, problem, "the run stops here; load weights of the same plan, or report this as a bug"
        )
