"""What differs between two plans: slots, shapes, owners and numbers stored; as data, and in few lines.

One plan is `there` (a run, a checkpoint, another scheme), the other `here`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tietrain.plan.plan import TyingPlan
from tietrain.plan.wording import Place, part_words, place_of, spans

Shape = tuple[int, ...]
# What a slot reads: None for its own, else the owner's stack and layer, and its leaf where that is another.
Reads = tuple[str, int | None, str] | None
MOST_SHAPES = 3
MOST_LINES = 2


@dataclass(frozen=True)
class PlanRecord:
    """A plan as it is stored: slot -> owner, slot -> shape."""

    owner: Mapping[str, str]
    shapes: Mapping[str, Shape]

    @property
    def params(self) -> int:
        """Numbers stored."""
        return sum(math.prod(self.shapes[name]) for name in set(self.owner.values()))


def record_of(plan: TyingPlan | Mapping[str, Any]) -> PlanRecord:
    """The record of a plan, or of the content of `plan.json`."""
    slots: Any = (plan.to_json() if isinstance(plan, TyingPlan) else plan)["slots"]
    return PlanRecord({s["slot"]: s["owner"] for s in slots}, {s["slot"]: tuple(s["shape"]) for s in slots})


@dataclass(frozen=True)
class Difference:
    """The difference of two plans; slots in forward order."""

    there: PlanRecord
    here: PlanRecord

    @cached_property
    def only_there(self) -> list[str]:
        """Slots the plan here has not."""
        return [slot for slot in self.there.owner if slot not in self.here.owner]

    @cached_property
    def only_here(self) -> list[str]:
        """Slots the plan there has not."""
        return [slot for slot in self.here.owner if slot not in self.there.owner]

    @cached_property
    def owners(self) -> dict[str, tuple[str, str]]:
        """Slot -> owner there and here, where they differ."""
        return self._changes(self.there.owner, self.here.owner)

    @cached_property
    def shapes(self) -> dict[str, tuple[Shape, Shape]]:
        """Slot -> shape there and here, where they differ."""
        return self._changes(self.there.shapes, self.here.shapes)

    def _changes(self, there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        return {s: (there[s], here[s]) for s in self.here.owner if s in self.there.owner and there[s] != here[s]}

    @property
    def same_ties(self) -> bool:
        """Whether both have the same slots with the same owners, of whatever shapes."""
        return not (self.only_there or self.only_here or self.owners)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `tietrain plan --against WHAT --json`."""
        there, here = self.there.params, self.here.params
        return {
            "same_ties": self.same_ties,
            "only_there": self.only_there,
            "only_here": self.only_here,
            "owners": {slot: {"there": a, "here": b} for slot, (a, b) in self.owners.items()},
            "shapes": {slot: {"there": list(a), "here": list(b)} for slot, (a, b) in self.shapes.items()},
            "params": {"there": there, "here": here, "more_here": here - there},
        }

    def tie_lines(self) -> list[str]:
        """Slots and owners in few lines: what changes alike is one; empty where the ties are the same."""
        return [
            *(f"only there: {where}" for where in _where(self.only_there, self.there.owner)),
            *(f"only here: {where}" for where in _where(self.only_here, self.here.owner)),
            *_owner_lines(self.owners, self.here.owner),
        ]

    def lines(self) -> list[str]:
        """Slots, owners and shapes in few lines; empty where the plans are equal."""
        return self.tie_lines() + _shape_lines(self.shapes)

    def words(self) -> str:
        """The first lines in one, for an error; empty where the plans are equal."""
        return first_of(self.lines())


def first_of(lines: Sequence[str]) -> str:
    """At most MOST_LINES lines in one, and how many more there are."""
    left = len(lines) - MOST_LINES
    return "; ".join([*lines[:MOST_LINES], *([f"and {left} more differences"] if left > 0 else [])])


def _where(slots: Iterable[str], among: Iterable[str]) -> list[str]:
    """Slots by stack and layers, `decoder layers 0-5: cross_attn`; a whole stack by its name."""
    places, have = [place_of(slot) for slot in slots], [place_of(slot) for slot in among]
    kept = {place.stack for place in set(have) - set(places)}
    lines = list(dict.fromkeys(place.stack for place in places if place.stack not in kept))
    groups = _merged({place: () for place in places if place.stack in kept}, have)
    return lines + [_subject(stack, words, [layer for layer, _ in uses]) for (stack, words, _), uses in groups.items()]


def _owner_lines(owners: Mapping[str, tuple[str, str]], among: Iterable[str]) -> list[str]:
    changes = {place_of(slot): tuple(_reads(slot, owner) for owner in pair) for slot, pair in owners.items()}
    lines = []
    for (stack, words, _), uses in _merged(changes, [place_of(slot) for slot in among]).items():
        layers = [layer for layer, _ in uses]
        there, here = ([reads[i] for _, reads in uses] for i in (0, 1))
        verb = "reads" if len(words) == len(layers) == 1 and layers[0] is None else "read"
        own = f"{'their' if verb == 'read' else 'its'} own parameters"
        subject = _subject(stack, words, layers)
        lines.append(f"{subject} {verb} {_read_words(stack, there, own)} there, {_read_words(stack, here, own)} here")
    return lines


def _reads(slot: str, owner: str) -> Reads:
    at, of = place_of(slot), place_of(owner)
    if slot == owner:
        return None
    same_leaf = at[2:] == of[2:] and of.layer is not None
    return of.stack, of.layer, "" if same_leaf else f"{of.part}.{of.leaf}".removesuffix(".weight")


def _merged(changes: Mapping[Place, tuple[Reads, ...]], have: Iterable[Place]) -> dict[Any, list[Any]]:
    """(stack, words for parts, what is read but for its layer) -> layers with what they read."""
    leaves_of: dict[tuple[str, int | None], list[str]] = {}
    for place in have:
        leaves_of.setdefault(place[:2], []).append(f"{place.part}.{place.leaf}")
    alike: dict[tuple[str, int | None, tuple[Reads, ...]], list[str]] = {}
    for place, reads in changes.items():
        alike.setdefault((place.stack, place.layer, reads), []).append(f"{place.part}.{place.leaf}")
    merged: dict[Any, list[Any]] = {}
    for (stack, layer, reads), leaves in alike.items():
        have_all = layer is not None and len(leaves) == len(leaves_of[stack, layer])
        words = ("all parts",) if have_all else tuple(part_words(leaves, leaves_of[stack, layer]))
        kinds = tuple(r and (r[0], r[2]) for r in reads)
        # Tables have no layer to be merged by.
        for words_of_line in [words] if layer is not None else [(word,) for word in words]:
            merged.setdefault((stack, words_of_line, kinds), []).append((layer, reads))
    return merged


def _subject(stack: str, words: Iterable[str], layers: list[int | None]) -> str:
    parts, numbers = ", ".join(words), [layer for layer in layers if layer is not None]
    if not numbers:
        return f"{stack}.{parts}"
    return f"{stack} {_layers(numbers)}: {parts}"


def _read_words(stack: str, reads: list[Reads], own: str) -> str:
    first = reads[0]
    if first is None:
        return own
    numbers = [r[1] for r in reads if r is not None and r[1] is not None]
    if not numbers:
        return f"{first[0]}.{first[2]}'s"
    of = f"{_layers(numbers)}'s" if first[0] == stack else f"{first[0]} {_layers(numbers)}'s"
    return f"{of} {first[2]}".rstrip()


def _layers(numbers: list[int]) -> str:
    return f"layer {numbers[0]}" if len(set(numbers)) == 1 else f"layers {spans(numbers)}"


def _shape_lines(shapes: Mapping[str, tuple[Shape, Shape]]) -> list[str]:
    by_pair: dict[tuple[Shape, Shape], list[str]] = {}
    for slot, pair in shapes.items():
        by_pair.setdefault(pair, []).append(slot)
    lines = []
    for (there, here), slots in list(by_pair.items())[:MOST_SHAPES]:
        more = f" and {len(slots) - 1} more" if len(slots) > 1 else ""
        lines.append(f"{slots[0]}{more}: {list(there)} there, {list(here)} here")
    n_left = sum(len(slots) for slots in list(by_pair.values())[MOST_SHAPES:])
    return lines + ([f"{n_left} more slots have other shapes"] if n_left else [])


def describe_difference(difference: Difference, there: str) -> list[str]:
    """What differs from the plan called `there`, in lines, with the numbers stored; `same ties` where nothing does."""
    lines = [f"against {there}: {'same ties' if difference.same_ties else 'other ties'}"]
    lines += [f"  {line}" for line in difference.lines()]
    more = difference.here.params - difference.there.params
    if not more:
        return [*lines, "  as many parameters"]
    return [*lines, f"  {abs(more):,} {'more' if more > 0 else 'fewer'} parameters here"]
