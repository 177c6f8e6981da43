"""Parameter ledger: every owner counted once, from shapes and plan alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tietrain.plan.plan import TyingPlan
from tietrain.plan.slots import Slot

TABLE_PARTS = ("embed", "output", "positions")


@dataclass(frozen=True)
class Load:
    """Tensors of one role that are read equally often: how many, and how many numbers they hold together.

    Source: Ge et al. 2022 (EdgeFormer), which balances uses per parameter.
    """

    role: str
    n_uses: int
    n_tensors: int
    n_numbers: int


@dataclass(frozen=True)
class ParameterLedger:
    """Counts of numbers, not bytes.

    params: stored. params_untied: as if every slot had its own. n_embedding: stored in embedding, output and
    position tables; n_once and n_repeated split the stored rest by whether an owner has one use or several.
    by_part: stored, by `stack.part`; saved_by_part: what the uses that own nothing would have added.
    by_role: stored, by `role_of` all uses of an owner joined, so that a shared table is `source+input+output`;
    saved_by_role: what the uses that own nothing would have added, each under its own role.
    uses: owner -> how many slots read it, its load. loads: the same in groups, by role.
    """

    params: int
    params_untied: int
    n_embedding: int
    n_once: int
    n_repeated: int
    by_part: dict[str, int]
    saved_by_part: dict[str, int]
    by_role: dict[str, int]
    saved_by_role: dict[str, int]
    uses: dict[str, int]
    loads: tuple[Load, ...]

    @property
    def params_saved(self) -> int:
        return self.params_untied - self.params


def count_params(plan: TyingPlan) -> ParameterLedger:
    """The ledger of a plan."""
    stored = plan.owners
    borrowed = [slot for slot in plan.slots if plan.owner[slot.name] != slot.name]
    layered = [slot for slot in stored if slot.part not in TABLE_PARTS]
    joined = _joined_roles(plan)
    return ParameterLedger(
        params=_total(stored),
        params_untied=_total(plan.slots),
        n_embedding=_total(s for s in stored if s.part in TABLE_PARTS),
        n_once=_total(s for s in layered if s.name not in plan.groups),
        n_repeated=_total(s for s in layered if s.name in plan.groups),
        by_part=_sums(stored, _stack_part),
        saved_by_part=_sums(borrowed, _stack_part),
        by_role=_sums(stored, lambda slot: joined[slot.name]),
        saved_by_role=_sums(borrowed, lambda slot: role_of(plan, slot)),
        uses={owner: len(names) for owner, names in plan.uses.items()},
        loads=_loads(plan, joined),
    )


def role_of(plan: TyingPlan, slot: Slot) -> str:
    """What a slot's numbers do in the model.

    Tables: `source` (embedding or adapter of a stack that predicts nothing), `input` and `output` (of one that predicts),
    `positions`. In layers: `attention`, `ffn`, and `norm`, which final norms are too. A bias has a role of its own:
    `attention.bias`, `ffn.bias`, `norm.bias`, `output.bias`.
    """
    if slot.part in ("embed", "adapter"):
        return "input" if plan.slots.shape.stack(slot.stack).has_output else "source"
    part = "norm" if slot.part.endswith("norm") else "attention" if slot.part.endswith("attn") else slot.part
    return f"{part}.bias" if slot.leaf.endswith("bias") else part


def _joined_roles(plan: TyingPlan) -> dict[str, str]:
    """Owner -> the roles of its uses, each once, in forward order."""
    roles: dict[str, dict[str, None]] = {}
    for slot in plan.slots:
        roles.setdefault(plan.owner[slot.name], {})[role_of(plan, slot)] = None
    return {owner: "+".join(found) for owner, found in roles.items()}


def _loads(plan: TyingPlan, roles: dict[str, str]) -> tuple[Load, ...]:
    found: dict[tuple[str, int], list[Slot]] = {}
    for slot in plan.owners:
        found.setdefault((roles[slot.name], len(plan.uses[slot.name])), []).append(slot)
    return tuple(Load(role, n_uses, len(slots), _total(slots)) for (role, n_uses), slots in found.items())


def _stack_part(slot: Slot) -> str:
    return f"{slot.stack}.{slot.part}"


def _total(slots: Iterable[Slot]) -> int:
    return sum(slot.size for slot in slots)


def _sums(slots: Iterable[Slot], key: Callable[[Slot], str]) -> dict[str, int]:
    """Key -> numbers of its slots, in order of first appearance."""
    sums: dict[str, int] = {}
    for slot in slots:
        sums[key(slot)] = sums.get(key(slot), 0) + slot.size
    return sums
