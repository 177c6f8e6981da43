"""The ties of a stored plan in words: layers of a stack by ranges, tables slot by slot."""

import re
from collections.abc import Iterable, Mapping, Sequence

from tietrain.report.pages.markup import code

# Slot of a layer: stack, layer, part, leaf. Tables and final norms do not match.
LAYERED = re.compile(r"([^.]+)\.(\d{1,6})\.([^.]+)\.(.+)")


def shared_uses(owner: Mapping[str, str]) -> dict[str, list[str]]:
    """Owner -> the slots that read it, if there are several; `owner` is slot -> owner, as in `plan.json`."""
    uses: dict[str, list[str]] = {}
    for slot, root in owner.items():
        uses.setdefault(root, []).append(slot)
    return {root: slots for root, slots in uses.items() if len(slots) > 1}


def ties_tables(owner: Mapping[str, str]) -> bool:
    """Whether some token table has several uses; `owner` is slot -> owner, as in `plan.json`."""
    tables = [root for slot, root in owner.items() if slot.endswith((".embed.weight", ".output.weight"))]
    return len(set(tables)) < len(tables)


def describe_ties(owner: Mapping[str, str], views: Sequence[str] = ()) -> list[str]:
    """One Markdown line per kind of tie, and per view; `owner` is slot -> owner, as in `plan.json`.

    >>> describe_ties({"decoder.embed.weight": "decoder.embed.weight", "decoder.output.weight": "decoder.embed.weight"})
    ['`decoder.output.weight` = `decoder.embed.weight`']
    >>> describe_ties({f"decoder.{i}.ffn.in.weight": "decoder.0.ffn.in.weight" for i in range(6)})
    ['`decoder` layers 0 = … = 5: `ffn`']
    """
    plain: list[str] = []
    layered: dict[tuple[str, tuple[int, ...]], list[tuple[str, str]]] = {}
    for root, slots in shared_uses(owner).items():
        found = [LAYERED.fullmatch(slot) for slot in slots]
        places = {(m[1], m[3], m[4]) for m in found if m}
        if all(found) and len(places) == 1:
            stack, part, leaf = places.pop()
            layers = tuple(sorted(int(m[2]) for m in found if m))
            layered.setdefault((stack, layers), []).append((part, leaf))
        else:
            plain.append(" = ".join(code(slot) for slot in [*(s for s in reversed(slots) if s != root), root]))
    lines: dict[tuple[str, str], list[str]] = {}
    for (stack, layers), leaves in layered.items():
        lines.setdefault((stack, _parts(stack, leaves, owner)), []).append(_chain(layers))
    maps = [f"{code(stack)} layers {', '.join(sets)}: {parts}" for (stack, parts), sets in lines.items()]
    return [*plain, *maps, *(f"read {code(line)}" for line in views)]


def _parts(stack: str, leaves: Iterable[tuple[str, str]], owner: Mapping[str, str]) -> str:
    """A part by its name if all its leaves are tied, otherwise leaf by leaf; a norm is named with its part."""
    leaves = list(leaves)
    names: list[str] = []
    for part in dict.fromkeys(part for part, _ in leaves):
        tied = [leaf for p, leaf in leaves if p == part]
        all_leaves = {m[4] for slot in owner if (m := LAYERED.fullmatch(slot)) and m[1] == stack and m[3] == part}
        names += [part] if set(tied) == all_leaves else [f"{part}.{leaf}" for leaf in tied]
    with_norm = {name for name in names if f"{name}_norm" in names}
    kept = [name for name in names if name.removesuffix("_norm") not in with_norm or name in with_norm]
    return ", ".join(code(name) + (" with its norm" if name in with_norm else "") for name in kept)


def _chain(layers: Sequence[int]) -> str:
    consecutive = layers == tuple(range(layers[0], layers[0] + len(layers)))
    if consecutive and len(layers) > 3:
        return f"{layers[0]} = … = {layers[-1]}"
    return " = ".join(map(str, layers))
