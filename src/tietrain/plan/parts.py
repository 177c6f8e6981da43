"""Which stacks, parts and projections of a layer a rule was asked to share."""

from __future__ import annotations

from collections.abc import Sequence

from tietrain.errors import TyingError
from tietrain.plan.rules import check_choice
from tietrain.plan.slots import CROSS, PARTS, Slots, Stack

ATTENTION = ("self_attn", *CROSS)
LEAVES = {**dict.fromkeys(ATTENTION, ("q", "k", "v", "o")), "ffn": ("gate", "in", "out")}
# What `parts` may list: a part, `attention` for every attention a stack has, or one projection of a part.
CHOICES = (*PARTS, "attention", *(f"{part}.{leaf}" for part, leaves in LEAVES.items() for leaf in leaves))


def choose_stacks(slots: Slots, stacks: Sequence[str] | None) -> list[Stack]:
    """The stacks of those names; `encoder` and `decoder` also name every stack of that role; None for all.

    TyingError names the stacks the model has.
    """
    have = slots.shape.stacks
    if stacks is None:
        return list(have)
    chosen: list[Stack] = []
    for name in stacks:
        found = [stack for stack in have if name in (stack.name, stack.name.split("_")[0])]
        if not found:
            names = ", ".join(stack.name for stack in have)
            raise TyingError(f"stacks={name}", f"this model has no stack {name}", f"its stacks are {names}")
        chosen += found
    return list(dict.fromkeys(chosen))


def choose_parts(
    slots: Slots, stacks: Sequence[Stack], parts: Sequence[str] | None, *, norms: bool = False
) -> list[str]:
    """Names below a layer, `self_attn` or `ffn.in`; None for all parts.

    A whole part comes with its norm where `norms` is true, a single projection does not. A name stays where any of the
    stacks has it.

    Raises:
        TyingError: a name is no part, or none of the stacks has it.
    """
    chosen: list[str] = []
    for name in PARTS if parts is None else parts:
        check_choice("parts", name, CHOICES)
        found = [p for p in (ATTENTION if name == "attention" else (name,)) if _has(slots, stacks, p)]
        if not found and parts is not None:
            raise TyingError(
                f"parts={name}", f"no layer of {', '.join(s.name for s in stacks)} has it", "choose another part"
            )
        for part in found:
            chosen += [part, f"{part}_norm"] if norms and part in PARTS else [part]
    return list(dict.fromkeys(chosen))


def _has(slots: Slots, stacks: Sequence[Stack], part: str) -> bool:
    return any(slots.under(f"{stack.name}.0.{part}") for stack in stacks)
