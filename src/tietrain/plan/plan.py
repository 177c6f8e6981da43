"""The tying plan: slot -> owner, made once from the configuration; all other code reads it."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from tietrain.errors import TyingError
from tietrain.plan.slots import ModelShape, Slot, Slots, slots_of
from tietrain.plan.views import VIEWS, Chain, Extra, Read

Pair = tuple[str, str]
Views = Mapping[str, Chain]


@dataclass(frozen=True)
class TyingPlan:
    """Which slot's parameters every slot reads, and through which views.

    `resolve` guarantees: every slot has an owner; an owner owns itself; all slots of a group ask their owner for one spec;
    the earliest slot of a group in forward order owns it. `notes` are messages for the user and not part of the identity.
    `views` has the slots, and the inputs of layers, that are not read as they are.
    """

    slots: Slots
    owner: Mapping[str, str]
    notes: tuple[str, ...] = ()
    views: Views = field(default_factory=dict)

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
    def reads(self) -> dict[str, tuple[Read, ...]]:
        """Each key of `views` -> how it reads, its first view first."""
        return {name: self._reads(name) for name in self.views}

    def _reads(self, name: str) -> tuple[Read, ...]:
        shape = self.slots.place(name).shape
        reads: list[Read] = []
        for view_name, options in reversed(self.views[name]):
            view = VIEWS[view_name](shape, **options)
            of = self.owner[name] if view.shared else name
            extras = tuple(f"{of}_{extra}" for extra in view.extras)
            reads.insert(0, Read(view, extras, view.stored or shape, shape))
            shape = reads[0].stored
        return tuple(reads)

    def asked(self, slot: Slot) -> Slot:
        """The slot as its owner must be for its views: of the kind and shape that the first one reads."""
        reads = self.reads.get(slot.name)
        if not reads:
            return slot
        kinds = [read.view.kind for read in reads if read.view.kind]
        return replace(slot, kind=kinds[0] if kinds else slot.kind, shape=reads[0].stored)

    @cached_property
    def extras(self) -> dict[str, Extra]:
        """Name of a stored tensor that a view brings -> its shape and initial values."""
        reads = [read for chain in self.reads.values() for read in chain]
        return {
            name: extra for read in reads for name, extra in zip(read.extras, read.view.extras.values(), strict=True)
        }

    @cached_property
    def stores(self) -> tuple[Slot, ...]:
        """Every stored tensor as a slot of its own name and shape: owners in forward order, extras after what reads them."""
        stores: dict[str, Slot] = {}
        inputs = [self.slots.place(name) for name in self.views if name not in self.owner]
        for slot in [*inputs, *self.slots]:
            if self.owner.get(slot.name) == slot.name:
                stores[slot.name] = self.asked(slot)
            for name in self.read_by(slot.name):
                if name not in stores:
                    leaf = slot.leaf + name.removeprefix(slot.name)
                    stores[name] = replace(slot, leaf=leaf, shape=self.extras[name].shape, kind="extra", vocabulary="")
        return tuple(stores.values())

    def read_by(self, name: str) -> tuple[str, ...]:
        """The stored tensors that a slot reads, its owner first; of the input of a layer, the extras alone."""
        owner = (self.owner[name],) if name in self.owner else ()
        return (*owner, *(extra for read in self.reads.get(name, ()) for extra in read.extras))

    @cached_property
    def readers(self) -> dict[str, tuple[str, ...]]:
        """Stored tensor -> every slot, or input of a layer, that reads it; `uses` with the extras of views."""
        readers: dict[str, list[str]] = {store.name: [] for store in self.stores}
        for name in dict.fromkeys([*self.owner, *self.views]):
            for store in self.read_by(name):
                readers[store].append(name)
        return {store: tuple(names) for store, names in readers.items()}

    @cached_property
    def hash(self) -> str:
        """12 hex digits over names, shapes, owners and views: equal for equal ties, in whatever way they were written."""
        body: list[Any] = [(s.name, s.shape, self.owner[s.name]) for s in self.slots]
        return short_hash([*body, self._views_json()] if self.views else body)

    def to_json(self) -> dict[str, object]:
        """Slot -> owner and shapes, as stored in `plan.json`; if there are views, they and what is stored too."""
        slots = [{"slot": s.name, "owner": self.owner[s.name], "shape": list(s.shape)} for s in self.slots]
        stores = {"stores": {store.name: list(store.shape) for store in self.stores}} if self.views else {}
        return {"hash": self.hash, "slots": slots} | self._views_json() | stores

    def header(self) -> dict[str, object]:
        """Slot -> owner, and views if there are any, as stored in every file of weights."""
        return {"hash": self.hash, "owner": dict(self.owner)} | self._views_json()

    def _views_json(self) -> dict[str, Any]:
        views = {name: [[view, dict(options)] for view, options in chain] for name, chain in self.views.items()}
        return {"views": views} if views else {}


def short_hash(body: object) -> str:
    """12 hex digits of a SHA-256 over plain values as JSON, mappings in the order of their keys."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12]


def resolve(model: ModelShape | Slots, pairs: Iterable[Pair], views: Views | None = None) -> TyingPlan:
    """The plan of a model whose slots are tied in pairs.

    Args:
        model: its shape, or its slots if the caller has them.
        pairs: names of slots, or prefixes with equal leaves, in any order.
        views: slot, or input of a layer -> its views.
    Raises:
        TyingError: the model has no slot of this name, or two slots ask their owner for different kinds, shapes or
            vocabularies.
    """
    slots = model if isinstance(model, Slots) else slots_of(model)
    untied = TyingPlan(slots, {slot.name: slot.name for slot in slots}, views=views or {})
    position = {slot.name: i for i, slot in enumerate(slots)}
    root = {slot.name: slot.name for slot in slots}

    def find(name: str) -> str:
        while root[name] != name:
            root[name] = root[root[name]]
            name = root[name]
        return name

    for left, right in pairs:
        for a, b in _corresponding(untied, left, right):
            first, second = sorted((find(a), find(b)), key=position.__getitem__)
            root[second] = first
    return replace(untied, owner={slot.name: find(slot.name) for slot in slots})


def _corresponding(untied: TyingPlan, left: str, right: str) -> Iterable[Pair]:
    slots = untied.slots
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
    for leaf, slot in first.items():
        a = untied.asked(slot)
        b = untied.asked(second[leaf])
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
