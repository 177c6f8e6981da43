"""What is inside a shared layer: which weights, biases and norms layers have in common, and which each keeps.

Papers that share layers alike by name differ in this: Takase & Kiyono 2021 share norms and biases, Reid et al. 2021
(Subformer) leave every layer its norms, Bae et al. 2025 have a switch. The hash of the contents tells such models apart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from tietrain.plan.plan import TyingPlan
from tietrain.plan.wording import part_words, shortened

MOST_SHOWN = 6


@dataclass(frozen=True)
class Contents:
    """Groups of layers that share the same leaves; a leaf is `self_attn.q.weight`, a layer `decoder.3`.

    layers: one entry a group. shared: read from one owner by all layers of a group. own: every layer that has the leaf
    has it for itself alone. partly: neither, shared within another group than this. inside: leaves of a layer that read
    another leaf of the same layer, `self_attn.k.weight = self_attn.q.weight`.
    """

    layers: tuple[tuple[str, ...], ...]
    shared: tuple[str, ...]
    partly: tuple[str, ...]
    own: tuple[str, ...]
    inside: tuple[str, ...]

    @cached_property
    def hash(self) -> str:
        """12 hex digits over the leaves, whichever layers share them."""
        return _hash([self.shared, self.partly, self.own, self.inside])


@dataclass(frozen=True)
class Manifest:
    """The contents of every shared layer of a plan; tables are no layers and are left out."""

    contents: tuple[Contents, ...]

    @cached_property
    def hash(self) -> str:
        """12 hex digits over contents and layers."""
        return _hash([(c.layers, c.hash) for c in self.contents])

    def to_json(self) -> dict[str, Any]:
        """Hashes, groups and leaves, as stored in `ledger.json`."""
        return {"hash": self.hash, "contents": [{"hash": c.hash, **asdict(c)} for c in self.contents]}


def make_manifest(plan: TyingPlan) -> Manifest:
    """The manifest of a plan: one entry for each kind of group of layers, across stacks too."""
    leaves: dict[str, dict[str, str]] = {}
    readers: dict[str, dict[str, None]] = {}
    for slot in plan.slots:
        if slot.layer is not None:
            layer, owner = f"{slot.stack}.{slot.layer}", plan.owner[slot.name]
            leaves.setdefault(layer, {})[f"{slot.part}.{slot.leaf}"] = owner
            readers.setdefault(owner, {})[layer] = None
    several_uses = (tuple(layers) for owner, layers in readers.items() if owner in plan.groups)
    found: dict[tuple[tuple[str, ...], ...], list[tuple[str, ...]]] = {}
    for group in dict.fromkeys(several_uses):
        found.setdefault(_contents(group, leaves, readers), []).append(group)
    return Manifest(tuple(Contents(tuple(groups), *kinds) for kinds, groups in found.items()))


def _contents(
    group: Sequence[str], leaves: dict[str, dict[str, str]], readers: dict[str, dict[str, None]]
) -> tuple[tuple[str, ...], ...]:
    """Shared, partly, own and inside of one group of layers."""
    kinds: tuple[list[str], ...] = ([], [], [])
    for leaf in dict.fromkeys(leaf for layer in group for leaf in leaves[layer]):
        owners = [leaves[layer].get(leaf) for layer in group]
        if len(set(owners)) == 1 and len(group) > 1:
            kinds[0].append(leaf)
        elif all(len(readers[owner]) == 1 for owner in owners if owner):
            kinds[2].append(leaf)
        else:
            kinds[1].append(leaf)
    inside = [line for layer in group for line in _inside(leaves[layer])]
    return *map(tuple, kinds), tuple(dict.fromkeys(inside))


def _inside(leaves: dict[str, str]) -> list[str]:
    first: dict[str, str] = {}
    pairs = [(leaf, first.setdefault(owner, leaf)) for leaf, owner in leaves.items()]
    return [f"{leaf} = {other}" for leaf, other in pairs if leaf != other]


def _hash(body: object) -> str:
    return hashlib.sha256(json.dumps(body).encode()).hexdigest()[:12]


def describe_manifest(manifest: Manifest) -> list[str]:
    """A line for each kind of shared layer: which layers, what they share, what each keeps, and the hash."""
    lines = []
    for c in manifest.contents:
        have = [*c.shared, *c.partly, *c.own]
        said = {"share": c.shared, "partly share": c.partly, "keep": c.own}
        words = [f"{word} {', '.join(part_words(leaves, have))}" for word, leaves in said.items() if leaves]
        words += ["read " + ", ".join(c.inside)] if c.inside else []
        lines.append(f"layers {_groups(c.layers)} {'; '.join(words)} (contents {c.hash})")
    return lines


def _groups(groups: Sequence[Sequence[str]]) -> str:
    """`decoder 0=2, decoder 1=3, encoder.0=decoder.0`; of many groups the first and the last."""
    return ", ".join(shortened([_chain(group) for group in groups], MOST_SHOWN))


def _chain(group: Sequence[str]) -> str:
    stacks = {layer.split(".")[0] for layer in group}
    names = [layer.split(".")[1] for layer in group] if len(stacks) == 1 else group
    chain = "=".join(shortened(names, MOST_SHOWN))
    return f"{stacks.pop()} {chain}" if len(stacks) == 1 else chain
