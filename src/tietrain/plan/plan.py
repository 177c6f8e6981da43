"""The tying plan: slot -> owner, made once from the configuration; all other code reads it."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from tietrain.errors import TyingError
from tietrain.plan.slots import ModelShape, Slot, Slots, slots_of

Pair = tuple[str, str]


@dataclass(frozen=True)
class TyingPlan:
    """Which slot's parameters every slot reads.

    `resolve` guarantees: every slot has an owner; an owner owns itself; a slot and its owner have equal specs; the
    earliest slot of a group in forward order owns it. `notes` are messages for the user and not part of the identity.
    """

    slots: Slots
    owner: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @cached_property
    def owners(self) -> tuple[Slot, ...]:
        """Slots that have their own parameters, in forward order."""
        return tuple(slot for slot in self.slots if self.owner[slot.name] == slot.name)

    @cached_property
    def uses(self) -> dict[str, tuple[str, ...]]:
        """Owner -> every slot that reads it, including itself, in forward order."""
        uses: dict[str, list[str]] = {slot.name: [] for slot in self.owners}
        for slot in self.slots:
            uses[self.owner[slot.name]].append(slot.name)
        return {owner: tuple(names) for owner, names in uses.items()}

    @cached_property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Owners with more than one use."""
        return {owner: names for owner, names in self.uses.items() if len(names) > 1}

    @cached_property
    def hash(self) -> str:
        """12 hex digits over names, shapes and owners: equal for equal ties, in whatever way they were written."""
        return short_hash([(s.name, s.shape, self.owner[s.name]) for s in self.slots])

    def to_json(self) -> dict[str, object]:
        """Slot -> owner and shapes, as stored in `plan.json` and in every checkpoint."""
        slots = [{"slot": s.name, "owner": self.owner[s.name], "shape": list(s.shape)} for s in self.slots]
        return {"hash": self.hash, "slots": slots}


def short_hash(body: object) -> str:
    """12 hex digits of a SHA-256 over plain values as JSON, mappings in the order of their keys."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12]


def resolve(model: ModelShape | Slots, pairs: Iterable[Pair]) -> TyingPlan:
    """The plan of a model whose slots are tied in pairs.

    Args:
        model: its shape, or its slots if the caller has them.
        pairs: names of slots, or prefixes with equal leaves, in any order.
    Raises:
        TyingError: the model has no slot of this name, or two slots differ in kind, shape or vocabulary.
    """
    slots = model if isinstance(model, Slots) else slots_of(model)
    position = {slot.name: i for i, slot in enumerate(slots)}
    root = {slot.name: slot.name for slot in slots}

    def find(name: str) -> str:
        while root[name] != name:
            root[name] = root[root[name]]
            name = root[name]
        return name

    for left, right in pairs:
        for a, b in _corresponding(slots, left, right):
            first, second = sorted((find(a), find(b)), key=position.__getitem__)
            root[second] = first
    return TyingPlan(slots, {slot.name: find(slot.name) for slot in slots})


def _corresponding(slots: Slots, left: str, right: str) -> Iterable[Pair]:
    requested = f"tie {left} = {right}"
    leaves: list[dict[str, Slot]] = []
    for prefix in (left, right):
        found = slots.under(prefix)
        if not found:
            remedy = f"its slots are {', '.join(_blocks(slots))}"
            raise TyingError(requested, f"this model has no slot {prefix}", remedy)
        leaves.append({slot.name.removeprefix(prefix): slot for slot in found})
    first, second = leaves
    if first.keys() != second.keys():
        odd = sorted(leaf.removeprefix(".") for leaf in first.keys() ^ second.keys())
        raise TyingError(requested, f"only one of them has {', '.join(odd)}", "tie only leaves that both have")
    for leaf, a in first.items():
        b = second[leaf]
        if a.spec != b.spec:
            remedy = "only slots of equal kind, shape and vocabulary can share"
            raise TyingError(f"tie {a.name} = {b.name}", _difference(a, b), remedy)
        yield a.name, b.name


def _blocks(slots: Slots) -> list[str]:
    """The parts of every stack in forward order, layers as ranges: `decoder.embed`, `decoder.0-5.self_attn`."""
    blocks: dict[str, None] = {}
    for slot in slots:
        depth = slots.shape.stack(slot.stack).n_layers
        layers = "" if slot.layer is None else f".0-{depth - 1}" if depth > 1 else ".0"
        blocks[f"{slot.stack}{layers}.{slot.part}"] = None
    return list(blocks)


def _difference(a: Slot, b: Slot) -> str:
    if a.kind != b.kind:
        return f"their kinds are {a.kind} and {b.kind}"
    if a.vocabulary != b.vocabulary:
        return f"their vocabularies are {a.vocabulary} and {b.vocabulary}"
    return f"their shapes are {list(a.shape)} and {list(b.shape)}"
