"""The difference between two plans: slots, shapes, owners and stored parameters, as data and in a few lines.

One plan is `there` (a run, a checkpoint, another scheme), the other one `here`.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from tietrain.plan.plan import TyingPlan
from tietrain.plan.slots import Place, place_of
from tietrain.plan.views import Chain, describe_chain
from tietrain.plan.words import part_words, runs_of_layers

Shape = tuple[int, ...]
MOST_SHAPES = 3
MOST_LINES = 2


@dataclass(frozen=True)
class PlanRecord:
    """A plan as it is stored: slot -> owner, slot -> shape; with views also these and name -> shape of what is stored."""

    owner: Mapping[str, str]
    shapes: Mapping[str, Shape]
    views: Mapping[str, Chain] = field(default_factory=dict)
    stores: Mapping[str, Shape] = field(default_factory=dict)

    @property
    def params(self) -> int:
        """Stored numbers."""
        return sum(map(math.prod, self.stores.values() or (self.shapes[name] for name in set(self.owner.values()))))


def record_of(plan: TyingPlan | Mapping[str, Any]) -> PlanRecord:
    """The record of a plan, or of the contents of `plan.json`."""
    body: Any = plan.to_json() if isinstance(plan, TyingPlan) else plan
    slots = body["slots"]
    stores = {name: tuple(shape) for name, shape in body.get("stores", {}).items()}
    owner = {s["slot"]: s["owner"] for s in slots}
    return PlanRecord(owner, {s["slot"]: tuple(s["shape"]) for s in slots}, views_of(body), stores)


def views_of(body: Mapping[str, Any]) -> dict[str, Chain]:
    """The views of a stored plan; TypeError, ValueError or AttributeError if they are none."""
    views: Any = body.get("views", {})
    return {name: tuple((str(view), dict(options)) for view, options in chain) for name, chain in views.items()}


@dataclass(frozen=True)
class Difference:
    """The difference of two plans; slots in forward order."""

    there: PlanRecord
    here: PlanRecord

    @cached_property
    def only_there(self) -> list[str]:
        """Slots that the plan here lacks."""
        return [slot for slot in self.there.owner if slot not in self.here.owner]

    @cached_property
    def only_here(self) -> list[str]:
        """Slots that the plan there lacks."""
        return [slot for slot in self.here.owner if slot not in self.there.owner]

    @cached_property
    def owners(self) -> dict[str, tuple[str, str]]:
        """Slot -> owner there and here, if they differ."""
        return self._changes(self.there.owner, self.here.owner)

    @cached_property
    def shapes(self) -> dict[str, tuple[Shape, Shape]]:
        """Slot -> shape there and here, if they differ."""
        return self._changes(self.there.shapes, self.here.shapes)

    def _changes(self, there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        common = [slot for slot in self.here.owner if slot in self.there.owner]
        return {slot: (there[slot], here[slot]) for slot in common if there[slot] != here[slot]}

    @cached_property
    def views(self) -> dict[str, tuple[Chain, Chain]]:
        """Slot, or input of a layer, -> views there and here, if they differ; without slots that only one plan has."""
        names = dict.fromkeys([*self.there.views, *self.here.views])
        pairs = {name: (self.there.views.get(name, ()), self.here.views.get(name, ())) for name in names}
        alone = {*self.only_there, *self.only_here}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1] and name not in alone}

    @property
    def same_ties(self) -> bool:
        """Whether both have the same slots with the same owners and views; shapes may differ."""
        return not (self.only_there or self.only_here or self.owners or self.views)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `tietrain plan --against WHAT --json`."""
        there = self.there.params
        here = self.here.params
        views = {name: [*map(describe_chain, pair)] for name, pair in self.views.items()}
        return {
            "same_ties": self.same_ties,
            "only_there": self.only_there,
            "only_here": self.only_here,
            "owners": {slot: {"there": a, "here": b} for slot, (a, b) in self.owners.items()},
            "shapes": {slot: {"there": list(a), "here": list(b)} for slot, (a, b) in self.shapes.items()},
            "params": {"there": there, "here": here, "more_here": here - there},
        } | ({"views": {name: {"there": a, "here": b} for name, (a, b) in views.items()}} if views else {})

    def tie_lines(self) -> list[str]:
        """Slots and owners in a few lines, one line for equal changes; empty if the ties are the same."""
        return [
            *(f"only there: {slots}" for slots in _describe_slots(self.only_there, self.there.owner)),
            *(f"only here: {slots}" for slots in _describe_slots(self.only_here, self.here.owner)),
            *self._reading_lines(),
        ]

    def _reading_lines(self) -> Iterator[str]:
        names = dict.fromkeys([*self.owners, *self.views])
        changes = {name: (_reading(name, self.there), _reading(name, self.here)) for name in names}
        return _reading_lines(changes, dict.fromkeys([*self.here.owner, *self.views]))

    def lines(self) -> list[str]:
        """Slots, owners and shapes in a few lines; empty if the plans are equal."""
        return [*self.tie_lines(), *_shape_lines(self.shapes)]

    def words(self) -> str:
        """The first lines joined, for an error message; empty if the plans are equal."""
        return first_of(self.lines())


def first_of(lines: Sequence[str]) -> str:
    """The first MOST_LINES lines joined, and the number of the others."""
    shown = list(lines[:MOST_LINES])
    if len(lines) > MOST_LINES:
        shown.append(f"and {len(lines) - MOST_LINES} more differences")
    return "; ".join(shown)


class Reading(NamedTuple):
    """What a slot reads, in words before and after the layers: `encoder ` 0 `'s`; empty for its own parameters."""

    before: str = ""
    layer: int | None = None
    after: str = ""


# What a slot reads there and here; empty for a slot that only one plan has.
Readings = tuple[Reading, ...]


class Group(NamedTuple):
    """Slots that change alike, apart from layers: a stack, its parts in words, and what each layer reads."""

    stack: str
    parts: tuple[str, ...]
    uses: list[tuple[int | None, Readings]]

    @property
    def subject(self) -> str:
        """`decoder layers 1-3: ffn`, or `decoder.embed`."""
        layers = [layer for layer, _ in self.uses if layer is not None]
        parts = ", ".join(self.parts)
        return f"{self.stack} {_layers(layers)}: {parts}" if layers else f"{self.stack}.{parts}"


def _describe_slots(slots: Iterable[str], among: Iterable[str]) -> list[str]:
    """Slots by stack and layers, `decoder layers 0-5: cross_attn`; a complete stack by its name."""
    places = [place_of(slot) for slot in slots]
    have = [place_of(slot) for slot in among]
    incomplete = {place.stack for place in set(have) - set(places)}
    complete = dict.fromkeys(place.stack for place in places if place.stack not in incomplete)
    groups = _group({place: () for place in places if place.stack in incomplete}, have)
    return [*complete, *(group.subject for group in groups)]


def _reading_lines(changes: Mapping[str, Readings], among: Iterable[str]) -> Iterator[str]:
    places = {place_of(slot): readings for slot, readings in changes.items()}
    for group in _group(places, [place_of(slot) for slot in among]):
        one_table = len(group.parts) == len(group.uses) == 1 and group.uses[0][0] is None
        verb, own = ("reads", "its own parameters") if one_table else ("read", "their own parameters")
        there, here = (_read_words([readings[i] for _, readings in group.uses]) or own for i in (0, 1))
        yield f"{group.subject} {verb} {there} there, {here} here"


def _reading(slot: str, plan: PlanRecord) -> Reading:
    words = describe_chain(plan.views.get(slot, ()))
    if slot not in plan.owner:  # the input of a layer
        return Reading(words or "nothing")
    through = f" through {words}" if words else ""
    owner = plan.owner[slot]
    if slot == owner:
        return Reading(f"own parameters{through}" if through else "")
    at = place_of(slot)
    of = place_of(owner)
    leaf = of.in_layer.removesuffix(".weight")
    if of.layer is None:
        return Reading(f"{of.stack}.{leaf}'s{through}")
    before = "" if of.stack == at.stack else f"{of.stack} "
    return Reading(before, of.layer, ("'s" if at.in_layer == of.in_layer else f"'s {leaf}") + through)


def _group(changes: Mapping[Place, Readings], have: Iterable[Place]) -> list[Group]:
    """Changes grouped twice: the leaves of a layer that read alike, then the layers whose parts read alike."""
    leaves_of: dict[tuple[str, int | None], list[str]] = {}
    for place in have:
        leaves_of.setdefault((place.stack, place.layer), []).append(place.in_layer)
    alike: dict[tuple[str, int | None, Readings], list[str]] = {}
    for place, readings in changes.items():
        alike.setdefault((place.stack, place.layer, readings), []).append(place.in_layer)
    groups: dict[Any, Group] = {}
    for (stack, layer, readings), leaves in alike.items():
        have_all = layer is not None and len(leaves) == len(leaves_of[stack, layer])
        parts = ["all parts"] if have_all else part_words(leaves, leaves_of[stack, layer])
        read = tuple((reading.before, reading.after) for reading in readings)
        # Tables have no layer, so each has its own group.
        for words in [tuple(parts)] if layer is not None else [(part,) for part in parts]:
            group = groups.setdefault((stack, words, read), Group(stack, words, []))
            group.uses.append((layer, readings))
    return list(groups.values())


def _read_words(readings: Sequence[Reading]) -> str:
    """What slots read that differs in its layer alone: `layer 0's`; empty for their own parameters."""
    layers = [reading.layer for reading in readings if reading.layer is not None]
    return f"{readings[0].before}{_layers(layers) if layers else ''}{readings[0].after}"


def _layers(layers: Sequence[int]) -> str:
    return f"layer {layers[0]}" if len(set(layers)) == 1 else f"layers {runs_of_layers(layers)}"


def _shape_lines(shapes: Mapping[str, tuple[Shape, Shape]]) -> Iterator[str]:
    by_pair: dict[tuple[Shape, Shape], list[str]] = {}
    for slot, pair in shapes.items():
        by_pair.setdefault(pair, []).append(slot)
    for (there, here), slots in list(by_pair.items())[:MOST_SHAPES]:
        more = f" and {len(slots) - 1} more" if len(slots) > 1 else ""
        yield f"{slots[0]}{more}: {list(there)} there, {list(here)} here"
    n_left = sum(len(slots) for slots in list(by_pair.values())[MOST_SHAPES:])
    if n_left:
        yield f"{n_left} more slots have other shapes"


def describe_difference(difference: Difference, there: str) -> list[str]:
    """The difference from the plan called `there` in lines, with the change in stored parameters."""
    lines = [f"against {there}: {'same ties' if difference.same_ties else 'other ties'}"]
    lines += [f"  {line}" for line in difference.lines()]
    more = difference.here.params - difference.there.params
    if not more:
        return [*lines, "  equal number of parameters"]
    return [*lines, f"  {abs(more):,} {'more' if more > 0 else 'fewer'} parameters here"]
