"""The owner map in characters: whose parameters every layer reads."""

from __future__ import annotations

from collections.abc import Iterable

from tietrain.plan.plan import TyingPlan
from tietrain.plan.slots import Slot, Stack


def owner_map(plan: TyingPlan) -> list[str]:
    """A row a part, a column a layer: the number of the layer that owns what is read, as lines of text.

    A layer of another stack has that stack's initial before it, another projection of the owner its letter behind. A
    part whose tensors have different owners gets a row each. Tables and final norms come first, with what they read.

    >>> from tietrain.plan.plan import resolve
    >>> from tietrain.plan.slots import ModelShape
    >>> lm = ModelShape((Stack("decoder", 3, 9, "v", causal=True, has_output=True),), 8, 2, 2, 4, 16, 64)
    >>> print("\\n".join(owner_map(resolve(lm, [("decoder.2.ffn", "decoder.0.ffn"), ("decoder.output", "decoder.embed")]))))
    decoder           0 1 2
      embed           own
      final_norm      own
      output          decoder.embed
      self_attn_norm  0 1 2
      self_attn       0 1 2
      ffn_norm        0 1 2
      ffn             0 1 0
    """
    stacks = [_stack_rows(plan, stack) for stack in plan.slots.shape.stacks]
    width = 2 + max(len(name) for rows in stacks for name in rows)
    return [f"{name:<{width}}{text}" for rows in stacks for name, text in rows.items()]


def _stack_rows(plan: TyingPlan, stack: Stack) -> dict[str, str]:
    """Name -> text of a stack's rows: the layers' numbers, then tables and final norms, then the parts of layers."""
    slots = plan.slots.under(stack.name)
    tables = _part_rows(plan, [slot for slot in slots if slot.layer is None])
    parts = _part_rows(plan, [slot for slot in slots if slot.layer is not None])
    layered = {stack.name: [str(layer) for layer in range(stack.n_layers)], **parts}
    width = max(len(cell) for cells in layered.values() for cell in cells)
    columns = {name: " ".join(f"{cell:>{width}}" for cell in cells) for name, cells in layered.items()}
    return {stack.name: columns.pop(stack.name), **{name: cells[0] for name, cells in tables.items()}, **columns}


def _part_rows(plan: TyingPlan, slots: Iterable[Slot]) -> dict[str, list[str]]:
    """Indented part -> cells; a part of several owners has a row a tensor."""
    parts: dict[str, dict[str, list[str]]] = {}
    for slot in slots:
        parts.setdefault(slot.part, {}).setdefault(slot.leaf, []).append(_cell(plan, slot))
    rows: dict[str, list[str]] = {}
    for part, leaves in parts.items():
        one_row = len({tuple(cells) for cells in leaves.values()}) == 1
        rows |= {f"  {part}" if one_row else f"  {part}.{leaf}": cells for leaf, cells in leaves.items()}
    return rows


def _cell(plan: TyingPlan, slot: Slot) -> str:
    owner = plan.slots.named(plan.owner[slot.name])
    assert owner is not None
    if slot.layer is None:
        return "own" if owner is slot else owner.block
    initial = "" if owner.stack == slot.stack else owner.stack[0]
    other_leaf = "" if owner.leaf == slot.leaf else owner.leaf.split(".")[0]
    return f"{initial}{owner.layer}{other_leaf}"
