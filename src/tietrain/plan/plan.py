"""The tying plan: slot -> owner, made once from the configuration and read by everybody else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from tietrain.errors import TyingError
from tietrain.plan.slots import ModelShape, Slot, Slots

Pair = tuple[str, str]


@dataclass(frozen=True)
class TyingPlan:
    """Which slot's parameters every slot reads.

    Laws, checked by `resolve`: total (every slot has an owner), idempotent (an owner owns itself), shape-true (a
    slot and its owner have equal specs), canonical (the earliest slot in forward order owns its group). `notes` are
    worth telling the user and identify nothing.
    """

    slots: Slots
    owner: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @cached_property
    def owners(self) -> tuple[Slot, ...]:
        """Slots that have parameters of their own, in forward order."""
        return tuple(slot for slot in self.slots if self.owner[slot.name] == slot.name)

    @cached_property
    def uses(self) -> dict[str, tuple[str, ...]]:
        """Owner -> every slot that reads it, itself included, in forward order."""
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
        """12 hex digits over names, shapes and owners: equal for equal ties, however they were written."""
        body = [(s.name, s.shape, self.owner[s.name]) for s in self.slots]
        return hashlib.sha256(json.dumps(body).encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, object]:
        """Slot -> owner and shapes, as stored in `plan.json` and in every checkpoint."""
        slots = [{"slot": s.name, "owner": self.owner[s.name], "shape": list(s.shape)} for s in self.slots]
        return {"hash": self.hash, "slots": slots}


def resolve(model: ModelShape | Slots, pairs: Iterable[Pair]) -> TyingPlan:
    """The plan of a model whose slots are tied in pairs.

    Args:
        model: its shape, or its slots where they are at hand.
        pairs: names of slots, or of prefixes whose slots correspond leaf by leaf, in any order.
    Raises:
        TyingError: a name is no slot of this model, or two slots differ in kind, shape or vocabulary.
    """
    slots = model if isinstance(model, Slots) else Slots(model)
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
    found = slots.under(left), slots.under(right)
    for prefix, under in zip((left, right), found, strict=True):
        if not under:
            raise TyingError(
                f"tie {left} = {right}",
                f"this model has no slot {prefix}",
                f"its slots are in {', '.join(_places(slots))}",
            )
    suffixes = [
        {slot.name.removeprefix(prefix): slot for slot in under}
        for prefix, under in zip((left, right), found, strict=True)
    ]
    if suffixes[0].keys() != suffixes[1].keys():
        odd = sorted(suffixes[0].keys() ^ suffixes[1].keys())
        raise TyingError(f"tie {left} = {right}", f"only one of them has {', '.join(odd)}", "tie the leaves both have")
    for suffix, a in suffixes[0].items():
        b = suffixes[1][suffix]
        if a.spec != b.spec:
            raise TyingError(
                f"tie {a.name} = {b.name}",
                _difference(a, b),
                "only slots of equal kind, shape and vocabulary can share",
            )
        yield a.name, b.name


def _places(slots: Slots) -> list[str]:
    """Stack parts in forward order, layers as ranges: `decoder.embed, decoder.0-5.self_attn, ...`."""
    places: dict[str, None] = {}
    for slot in slots:
        depth = slots.shape.stack(slot.stack).n_layers
        layers = "" if slot.layer is None else f".0-{depth - 1}" if depth > 1 else ".0"
        places[f"{slot.stack}{layers}.{slot.part}"] = None
    return list(places)


def _difference(a: Slot, b: Slot) -> str:
    if a.kind != b.kind:
        return f"their kinds are {a.kind} and {b.kind}"
    if a.vocabulary != b.vocabulary:
        return f"their vocabularies are {a.vocabulary} and {b.vocabulary}"
    return f"their shapes are {list(a.shape)} and {list(b.shape)}"
