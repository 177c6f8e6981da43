"""How token tables start and how they are read: a standard deviation per role, and two factors."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tietrain.plan.plan import TyingPlan
from tietrain.plan.slots import Slot

# Initial standard deviation of learned positions that have none of their own. Source: Radford et al. 2019, code.
POSITION_STD = 0.02


@dataclass(frozen=True)
class Tables:
    """One parametrisation of all tables of a model, the same for every tying scheme.

    std: initial standard deviation of a table whose role has none of its own; None is d_model ** -0.5.
    by_role: role (see `table_role`, or "positions") -> initial standard deviation.
    embed_scale: factor on what a table gives as embedding.
    output_scale: factor on the hidden states before they meet an output table.
    """

    std: float | None = None
    by_role: Mapping[str, float] = field(default_factory=dict)
    embed_scale: float = 1.0
    output_scale: float = 1.0

    def std_of(self, role: str, d_model: int) -> float:
        """The initial standard deviation of a table."""
        common = POSITION_STD if role == "positions" else self.std
        found = self.by_role.get(role, common)
        return d_model**-0.5 if found is None else found


def role_of(plan: TyingPlan, store: Slot) -> str:
    """The role of a stored tensor: that of its table, `positions`, `matrices` or `vectors`."""
    if store.kind == "table":
        return table_role(plan, store.name)
    if store.kind == "positions":
        return "positions"
    return "matrices" if len(store.shape) > 1 else "vectors"


def table_role(plan: TyingPlan, owner: str) -> str:
    """What a token table is read as: `source` (by encoders), `input` (by decoders, or both), `output`, or `tied`, which is
    input or source together with output.
    """
    uses = table_uses(plan, owner)
    if "output" in uses:
        return "tied" if len(uses) > 1 else "output"
    return "input" if "input" in uses else "source"


def table_uses(plan: TyingPlan, owner: str) -> set[str]:
    """How slots read a token table: `source` (an encoder reads it), `input` (a stack that predicts does), `output`."""
    slots = [slot for slot in map(plan.slots.named, plan.uses[owner]) if slot is not None]
    inputs = {True: "input", False: "source"}
    return {
        "output" if slot.part == "output" else inputs[plan.slots.shape.stack(slot.stack).has_output] for slot in slots
    }
