"""The owner map in characters: whose parameters every layer reads."""

from __future__ import annotations

from tietrain.tying.plan import TyingPlan
from tietrain.tying.slots import Slot, Stack


def owner_map(plan: TyingPlan) -> list[str]:
    """A row a part, a column a layer: the number of the layer that owns what is read, as lines of text.

    A layer of another stack has that stack's initial before it, another projection of the owner its letter behind. A
    part whose tensors have different owners gets a row each. Tables and final norms come first, with what they read.

    >>> from tietrain.tying.plan import resolve
    >>> from tietrain.tying.slots import ModelShape
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
    rows = [(stack, _stack_rows(plan, stack)) for stack in plan.slots.shape.stacks]
    names = 4 + max(len(name) for _, parts in rows for name in parts)
    lines = []
    for stack, parts in rows:
        width = max(len(cell) for cells in parts.values() for cell in cells if len(cells) == stack.n_layers)
        numbers = [str(layer) for layer in range(stack.n_layers)]
        for name, cells in {stack.name: numbers, **{f"  {name}": cells for name, cells in parts.items()}}.items():
            lines.append(f"{name:<{names}}{' '.join(f'{cell:>{width}}' for cell in cells)}")
    return lines


def _stack_rows(plan: TyingPlan, stack: Stack) -> dict[str, list[str]]:
    """Part -> cells, tables first; a part of several owners has a row a tensor."""
    parts: dict[str, dict[str, list[str]]] = {}
    for slot in sorted(plan.slots.under(stack.name), key=lambda slot: slot.layer is not None):
        parts.setdefault(slot.part, {}).setdefault(slot.leaf, []).append(_cell(plan, slot))
    rows = {}
    for part, leaves in parts.items():
        one_row = len({tuple(cells) for cells in leaves.values()}) == 1
        rows |= {part if one_row else f"{part}.{leaf}": cells for leaf, cells in leaves.items()}
    return rows


def _cell(plan: TyingPlan, slot: Slot) -> str:
    owner = plan.slots.named(plan.owner[slot.name])
    assert owner is not None
    if slot.layer is None:
        return "own" if owner is slot else owner.block
    initial = "" if owner.stack == slot.stack else owner.stack[0]
    other_leaf = "" if owner.leaf == slot.leaf else owner.leaf.split(".")[0]
    return f"{initial}{owner.layer}{other_leaf}"
