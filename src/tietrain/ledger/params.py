"""Parameter ledger: every owner counted once, from shapes and plan alone."""

from __future__ import annotations

from dataclasses import dataclass

from tietrain.tying.plan import TyingPlan
from tietrain.tying.slots import Slot

TABLE_PARTS = ("embed", "output", "positions")


@dataclass(frozen=True)
class ParameterLedger:
    """Counts of numbers, not bytes.

    params: stored. params_untied: as if every slot had its own. n_embedding: stored in embedding, output and
    position tables; n_once and n_repeated split the stored rest by whether an owner has one use or several.
    by_part: stored, by `stack.part`; saved_by_part: what the uses that own nothing would have added.
    uses: owner -> how many slots read it, its load.
    """

    params: int
    params_untied: int
    n_embedding: int
    n_once: int
    n_repeated: int
    by_part: dict[str, int]
    saved_by_part: dict[str, int]
    uses: dict[str, int]

    @property
    def params_saved(self) -> int:
        return self.params_untied - self.params


def count_params(plan: TyingPlan) -> ParameterLedger:
    """The ledger of a plan."""
    stored = plan.owners
    layered = [slot for slot in stored if slot.part not in TABLE_PARTS]
    return ParameterLedger(
        params=_total(stored),
        params_untied=_total(plan.slots),
        n_embedding=_total(s for s in stored if s.part in TABLE_PARTS),
        n_once=_total(s for s in layered if s.name not in plan.groups),
        n_repeated=_total(s for s in layered if s.name in plan.groups),
        by_part=_by_part(stored),
        saved_by_part=_by_part(s for s in plan.slots if plan.owner[s.name] != s.name),
        uses={owner: len(names) for owner, names in plan.uses.items()},
    )


def _total(slots) -> int:
    return sum(slot.size for slot in slots)


def _by_part(slots) -> dict[str, int]:
    parts: dict[str, int] = {}
    slot: Slot
    for slot in slots:
        key = f"{slot.stack}.{slot.part}"
        parts[key] = parts.get(key, 0) + slot.size
    return parts
