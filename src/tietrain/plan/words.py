"""Ties in words: slots by parts and runs of layers, the contents of shared layers, and the owner map.

Papers that share layers under one name differ in the contents: Takase & Kiyono 2021 share norms and biases, Reid et al.
2021 (Subformer) leave every layer its norms, Bae et al. 2025 have a switch. The hash of the contents tells such models
apart.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from tietrain.plan.plan import TyingPlan, short_hash
from tietrain.plan.slots import Slot, Stack
from tietrain.plan.views import describe_chain

MOST_SHOWN = 6


def part_words(leaves: Iterable[str], have: Iterable[str]) -> list[str]:
    """Leaves by part: the name of a complete part, `ffn weights` or `ffn biases`, else the single leaves.

    Args:
        leaves: the leaves to name, `ffn.in.weight`.
        have: all leaves, in forward order.

    >>> part_words(["ffn.in.weight", "ffn.out.weight"], ["ffn.in.weight", "ffn.in.bias", "ffn.out.weight", "ffn.out.bias"])
    ['ffn weights']
    """
    wanted = set(leaves)
    by_part: dict[str, list[str]] = {}
    for leaf in have:
        by_part.setdefault(leaf.split(".")[0], []).append(leaf)
    words: list[str] = []
    for part, every in by_part.items():
        chosen = [leaf for leaf in every if leaf in wanted]
        weights = [leaf for leaf in every if leaf.endswith("weight")]
        biases = [leaf for leaf in every if leaf.endswith("bias")]
        if chosen in (every, weights, biases) and chosen:
            words.append(part if chosen == every else f"{part} {'weights' if chosen == weights else 'biases'}")
        else:
            words += chosen
    return words


def runs_of_layers(layers: Sequence[int]) -> str:
    """Layers in their order; three or more in a row are a run. A long list is shortened.

    >>> runs_of_layers([0, 1, 2, 3, 7, 8]), runs_of_layers([5, 4, 3, 0])
    ('0-3, 7, 8', '5-3, 0')
    """
    words: list[str] = []
    i = 0
    while i < len(layers):
        step = layers[i + 1] - layers[i] if i + 1 < len(layers) else 0
        end = i
        while abs(step) == 1 and end + 1 < len(layers) and layers[end + 1] - layers[end] == step:
            end += 1
        long = end - i >= 2
        words.append(f"{layers[i]}-{layers[end]}" if long else str(layers[i]))
        i = end + 1 if long else i + 1
    return ", ".join(_shortened(words))


def _shortened(words: Sequence[str]) -> list[str]:
    """At most MOST_SHOWN words: the first ones, a mark and the last."""
    return [*words[: MOST_SHOWN - 2], "…", words[-1]] if len(words) > MOST_SHOWN else list(words)


@dataclass(frozen=True)
class Contents:
    """Groups of layers that share the same leaves; a leaf is `self_attn.q.weight`, a layer `decoder.3`.

    layers: one entry per group.
    shared: leaves that all layers of a group read from one owner.
    partly: leaves that are shared within other groups than this.
    own: leaves that every layer has for itself.
    inside: leaves that read another leaf of the same layer, `self_attn.k.weight = self_attn.q.weight`.
    """

    layers: tuple[tuple[str, ...], ...]
    shared: tuple[str, ...]
    partly: tuple[str, ...]
    own: tuple[str, ...]
    inside: tuple[str, ...]

    @cached_property
    def hash(self) -> str:
        """12 hex digits over the leaves, independent of the layers that share them."""
        return short_hash([self.shared, self.partly, self.own, self.inside])


# The contents of every shared layer of a plan, without tables.
Manifest = tuple[Contents, ...]


def manifest_json(manifest: Manifest) -> dict[str, Any]:
    """Groups and leaves, as stored in `ledger.json`, with 12 hex digits over contents and layers."""
    found = short_hash([(c.layers, c.hash) for c in manifest])
    return {"hash": found, "contents": [{"hash": c.hash, **asdict(c)} for c in manifest]}


def make_manifest(plan: TyingPlan) -> Manifest:
    """The manifest of a plan: one entry for each kind of group of layers; a group can span stacks."""
    leaves: dict[str, dict[str, str]] = {}
    readers: dict[str, dict[str, None]] = {}
    for slot in plan.slots:
        if slot.layer is not None:
            layer, owner = f"{slot.stack}.{slot.layer}", plan.owner[slot.name]
            leaves.setdefault(layer, {})[f"{slot.part}.{slot.leaf}"] = owner
            readers.setdefault(owner, {})[layer] = None
    groups = dict.fromkeys(tuple(layers) for owner, layers in readers.items() if owner in plan.groups)
    found: dict[tuple[tuple[str, ...], ...], list[tuple[str, ...]]] = {}
    for group in groups:
        found.setdefault(_contents(group, leaves, readers), []).append(group)
    return tuple(Contents(tuple(layers), *kinds) for kinds, layers in found.items())


def _contents(
    group: Sequence[str], leaves: dict[str, dict[str, str]], readers: dict[str, dict[str, None]]
) -> tuple[tuple[str, ...], ...]:
    """Shared, partly, own and inside of one group of layers."""
    shared: list[str] = []
    partly: list[str] = []
    own: list[str] = []
    inside: dict[str, None] = {}
    every: dict[str, None] = {}
    for layer in group:
        every |= dict.fromkeys(leaves[layer])
        inside |= dict.fromkeys(_inside(leaves[layer]))
    for leaf in every:
        owners = [leaves[layer].get(leaf) for layer in group]
        if len(set(owners)) == 1 and len(group) > 1:
            shared.append(leaf)
        elif all(len(readers[owner]) == 1 for owner in owners if owner):
            own.append(leaf)
        else:
            partly.append(leaf)
    return tuple(shared), tuple(partly), tuple(own), tuple(inside)


def _inside(leaves: dict[str, str]) -> list[str]:
    """Leaves of one layer, with their owners, that read another leaf of it."""
    first: dict[str, str] = {}
    pairs = [(leaf, first.setdefault(owner, leaf)) for leaf, owner in leaves.items()]
    return [f"{leaf} = {other}" for leaf, other in pairs if leaf != other]


def describe_manifest(manifest: Manifest) -> Iterator[str]:
    """One line per kind of shared layer: the layers, what they share, what each keeps, and the hash."""
    for c in manifest:
        have = [*c.shared, *c.partly, *c.own]
        by_verb = {"share": c.shared, "partly share": c.partly, "keep": c.own}
        words = [f"{verb} {', '.join(part_words(leaves, have))}" for verb, leaves in by_verb.items() if leaves]
        if c.inside:
            words.append("read " + ", ".join(c.inside))
        layers = ", ".join(_shortened([_chain(group) for group in c.layers]))
        yield f"layers {layers} {'; '.join(words)} (contents {c.hash})"


def describe_views(plan: TyingPlan) -> list[str]:
    """What is read through views: `decoder layers 0-5: ffn weights through relaxed (rank 8)`."""
    alike: dict[tuple[str, str], dict[int | None, list[str]]] = {}
    for name, chain in plan.views.items():
        slot = plan.slots.place(name)
        by_layer = alike.setdefault((slot.stack, describe_chain(chain)), {})
        by_layer.setdefault(slot.layer, []).append(f"{slot.part}.{slot.leaf}")
    lines = []
    for (stack, words), by_layer in alike.items():
        layers_of: dict[tuple[str, ...], list[int]] = {}
        for layer, leaves in by_layer.items():
            if layer is None:
                lines.append(f"{', '.join(f'{stack}.{leaf}' for leaf in leaves)} through {words}")
                continue
            have = [f"{slot.part}.{slot.leaf}" for slot in plan.slots.under(f"{stack}.{layer}")]
            layers_of.setdefault(tuple(part_words(leaves, [*have, "step.input"])), []).append(layer)
        lines += [
            f"{stack} layers {runs_of_layers(at)}: {', '.join(parts)} through {words}"
            for parts, at in layers_of.items()
        ]
    return lines


def _chain(group: Sequence[str]) -> str:
    """`decoder 0=2` for layers of one stack, `encoder.0=decoder.0` for several stacks."""
    stacks = {layer.split(".")[0] for layer in group}
    if len(stacks) > 1:
        return "=".join(_shortened(group))
    numbers = [layer.split(".")[1] for layer in group]
    return f"{stacks.pop()} {'='.join(_shortened(numbers))}"


def owner_map(plan: TyingPlan) -> list[str]:
    """The owner map as lines: one row per part, one column per layer, each cell the layer whose parameters are read.

    `e0` is layer 0 of the stack with initial e; `0q` is the projection q of layer 0; `0~` is read through views. If the tensors of a part have
    different owners, each tensor has a row. Tables and final norms come first, with the name of what they read.

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
    width = 2 + max(max(map(len, rows)) for rows in stacks)
    lines = [f"{name:<{width}}{text}" for rows in stacks for name, text in rows.items()]
    return [*lines, *(f"~ {line}" for line in describe_views(plan))]


def _stack_rows(plan: TyingPlan, stack: Stack) -> dict[str, str]:
    """Name -> text of a stack's rows: layer numbers, tables and final norms, parts of layers."""
    slots = plan.slots.under(stack.name)
    tables = _part_rows(plan, [slot for slot in slots if slot.layer is None])
    parts = _part_rows(plan, [slot for slot in slots if slot.layer is not None])
    layered = {stack.name: [str(layer) for layer in range(stack.n_layers)], **parts}
    width = max(max(map(len, cells)) for cells in layered.values())
    columns = {name: " ".join(f"{cell:>{width}}" for cell in cells) for name, cells in layered.items()}
    return {stack.name: columns.pop(stack.name), **{name: cells[0] for name, cells in tables.items()}, **columns}


def _part_rows(plan: TyingPlan, slots: Iterable[Slot]) -> dict[str, list[str]]:
    """Indented name -> cells; one row per part, or per tensor if the owners differ."""
    parts: dict[str, dict[str, list[str]]] = {}
    for slot in slots:
        parts.setdefault(slot.part, {}).setdefault(slot.leaf, []).append(_cell(plan, slot))
    rows: dict[str, list[str]] = {}
    for part, leaves in parts.items():
        different = {tuple(cells) for cells in leaves.values()}
        for leaf, cells in leaves.items():
            rows[f"  {part}" if len(different) == 1 else f"  {part}.{leaf}"] = cells
    return rows


def _cell(plan: TyingPlan, slot: Slot) -> str:
    owner = plan.slots.named(plan.owner[slot.name])
    assert owner is not None
    view = "~" if slot.name in plan.views else ""
    if slot.layer is None:
        return ("own" if owner is slot else owner.block) + view
    initial = "" if owner.stack == slot.stack else owner.stack[0]
    other_leaf = "" if owner.leaf == slot.leaf else owner.leaf.split(".")[0]
    return f"{initial}{owner.layer}{other_leaf}{view}"
