"""Rules that share between the layers of one stack: each is a layer map, from layer to parameter set.

Layers are numbered from 0: i is a layer, N the number of layers, M the number of parameter sets. Layers with the same set
read the parameters of the first of them; the set numbers have no other meaning. Final norms are never shared by these rules.
"""

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

from tietrain.errors import TyingError, check_choice
from tietrain.plan.plan import Pair
from tietrain.plan.rules import RULES, Rule, choose_parts, choose_stacks, first_line, layer_blocks, options_of
from tietrain.plan.slots import Slots, Stack

LayerMap = TypeVar("LayerMap", bound=Callable[..., Sequence[Hashable]])


def layer_rule(
    *,
    source: str,
    norms: bool = True,
    example: Mapping[str, Any] | None = None,
    note: Callable[..., str | None] | None = None,
) -> Callable[[LayerMap], LayerMap]:
    """Put a layer map (n_layers, **options) -> sets into RULES; the rule has three more options.

    stacks: names of the stacks that share; None for all. parts: self_attn, cross_attn, ffn, attention for all attentions,
    or projections such as self_attn.q; None for all. norms: whether the norm of a shared part is shared.
    """

    def register(layer_map: LayerMap) -> LayerMap:
        own = options_of(layer_map)

        def pairs(slots: Slots, **options: Any) -> list[Pair]:
            stacks = choose_stacks(slots, options.get("stacks"))
            parts = choose_parts(slots, stacks, options.get("parts"), norms=options.get("norms", norms))
            of_map = {name: value for name, value in options.items() if name in own}
            found: list[Pair] = []
            for stack in stacks:
                first = _first_readers(layer_map, stack, of_map)
                for part in parts:
                    blocks = list(layer_blocks(slots, [stack], [part]))
                    found += [(block, blocks[first[i]]) for i, block in enumerate(blocks) if first[i] != i]
            return found

        name = layer_map.__name__
        options = {**own, "stacks": None, "parts": None, "norms": norms}
        RULES[name] = Rule(name, pairs, first_line(layer_map), options, source, example=example or {}, note=note)
        return layer_map

    return register


def _first_readers(layer_map: Callable[..., Sequence[Hashable]], stack: Stack, options: Mapping[str, Any]) -> list[int]:
    """For every layer, the first layer that reads the same set; an error names the stack."""
    try:
        sets = list(layer_map(stack.n_layers, **options))
    except TyingError as e:
        problem = f"stack {stack.name} has depth {stack.n_layers}: {e.problem}"
        raise TyingError(e.setting, problem, e.remedy) from None
    return [sets.index(s) for s in sets]


# Order -> the set that layer i of n layers reads, of m sets.
ORDERS: dict[str, Callable[[int, int, int], int]] = {
    "sequence": lambda i, n, m: i * m // n,
    "cycle": lambda i, n, m: i % m,
    "cycle_rev": lambda i, n, m: i % m if i < n - m else n - 1 - i,
}


def _released_code(n_layers: int, order: str = "sequence", n_unique: int = 1) -> str | None:
    note = f"order={order}: n_unique={n_unique} does not divide {n_layers} layers; tietrain uses the paper's formula; "
    return f"{note}the released code uses a group size and may give another map" if n_layers % n_unique else None


@layer_rule(source="Takase & Kiyono 2021; n_unique=1: Dehghani et al. 2018, Lan et al. 2019", note=_released_code)
def cross_layer(n_layers: int, order: str = "sequence", n_unique: int = 1) -> list[int]:
    """Layers reuse the parameters of `n_unique` layers of their stack, in the order sequence, cycle or cycle_rev.

    The paper's formulas hold even if the depth is not a multiple of n_unique.

    >>> cross_layer(6, "sequence", 3), cross_layer(6, "cycle", 3), cross_layer(6, "cycle_rev", 3)
    ([0, 0, 1, 1, 2, 2], [0, 1, 2, 0, 1, 2], [0, 1, 2, 2, 1, 0])
    """
    check_choice("order", order, ORDERS, TyingError)
    _check_between("n_unique", n_unique, 1, n_layers)
    return [ORDERS[order](i, n_layers, n_unique) for i in range(n_layers)]


def _odd_depth(n_layers: int) -> str | None:
    return f"one of {n_layers} layers runs only once; the paper runs every layer twice" if n_layers % 2 else None


@layer_rule(source="Liu et al. 2024 (MobileLLM, reverse)", note=_odd_depth)
def mirror(n_layers: int) -> list[int]:
    """The second half of a stack reads the layers of the first half in reverse order: set min(i, N - 1 - i).

    >>> mirror(6)
    [0, 1, 2, 2, 1, 0]
    """
    return [min(i, n_layers - 1 - i) for i in range(n_layers)]


@layer_rule(source="Liu et al. 2024 (MobileLLM, immediate block-wise)", note=_odd_depth)
def immediate(n_layers: int) -> list[int]:
    """Every parameter set is used twice in a row: set floor(i / 2).

    >>> immediate(6)
    [0, 0, 1, 1, 2, 2]
    """
    return [i // 2 for i in range(n_layers)]


@layer_rule(source="Reid et al. 2021 (Subformer) and its released code", norms=False)
def sandwich(n_layers: int) -> list[int]:
    """All layers except the first and the last share one set; as in the released code, each keeps its own norms.

    >>> sandwich(6)
    [0, 1, 1, 1, 1, 2]
    """
    return [0, *[1] * (n_layers - 2), 2][:n_layers]


@layer_rule(source="Reid et al. 2021 (Subformer), released code", norms=False)
def all_but_last(n_layers: int) -> list[int]:
    """All layers except the last share one set.

    >>> all_but_last(6)
    [0, 0, 0, 0, 0, 1]
    """
    return [*[0] * (n_layers - 1), 1]


@layer_rule(source="Bae et al. 2025 (Mixture-of-Recursions)")
def middle_cycle(n_layers: int, repeats: int = 2) -> list[int]:
    """First and last layer have their own sets; the K = (N - 2) / `repeats` sets between cycle: 1 + (i - 1) mod K.

    >>> middle_cycle(6, 2)
    [0, 1, 2, 1, 2, 3]
    """
    return prelude_loop_coda(n_layers, prelude=1, coda=1, repeats=repeats)


def _dropped_layers(n_layers: int, repeats: int = 2) -> str | None:
    between = max(n_layers - 2, 0)
    note = f"repeats={repeats} does not divide the {between} layers between the first and the last; "
    return f"{note}the released code drops layers until it does" if between % repeats else None


@layer_rule(source="Bae et al. 2025 (Mixture-of-Recursions)", note=_dropped_layers)
def middle_sequence(n_layers: int, repeats: int = 2) -> list[int]:
    """First and last layer have their own sets; each set between runs `repeats` times in a row: 1 + floor((i - 1) / R).

    >>> middle_sequence(6, 2)
    [0, 1, 1, 2, 2, 5]
    """
    _check_between("repeats", repeats, 1)
    return [i if i in (0, n_layers - 1) else 1 + (i - 1) // repeats for i in range(n_layers)]


@layer_rule(source="Schwethelm et al. 2026; layers only, without input injection")
def prelude_loop_coda(n_layers: int, prelude: int = 1, coda: int = 1, repeats: int = 2) -> list[int]:
    """A block of layers runs `repeats` times, after `prelude` layers and before `coda` layers with their own sets.

    >>> prelude_loop_coda(8, prelude=2, coda=2, repeats=2)
    [0, 1, 2, 3, 2, 3, 4, 5]
    """
    _check_between("prelude", prelude, 0)
    _check_between("coda", coda, 0)
    _check_between("repeats", repeats, 1)
    looped = max(n_layers - prelude - coda, 0)
    if looped < repeats or looped % repeats:
        remedy = f"choose a depth of {prelude + coda} plus a multiple of {repeats}, or another number of repeats"
        raise TyingError(f"repeats={repeats}", f"{looped} layers are left for the repeated block", remedy)
    block = looped // repeats
    body = [prelude + i % block for i in range(block * repeats)]
    return [*range(prelude), *body, *range(prelude + block, prelude + block + coda)]


@layer_rule(source="OpenAI parameter-golf 2026, records with repeated layers", example={"blocks": ["0-3", "2-3"]})
def execution(n_layers: int, blocks: Sequence[int | str] | None = None) -> list[int]:
    """Layers run a list of blocks, given as numbers and ranges: `blocks=[0-5,3-5,3-10]` runs 17 layers of 11 blocks.

    >>> execution(6, ["0-3", "2-3"])
    [0, 1, 2, 3, 2, 3]
    """
    requested = f"blocks={_written(blocks)}"
    ranges = [_block_range(requested, entry) for entry in blocks or ()]
    _check_one_per_layer(requested, sum(r.stop - r.start for r in ranges), n_layers)
    listed = [number for r in ranges for number in r]
    # Only numbers below the depth: a larger number leaves a gap there too, and may be huge.
    unused = sorted(set(range(min(max(listed), n_layers))) - set(listed))
    if unused:
        raise TyingError(requested, f"block {unused[0]} never runs", "number the blocks from 0 without gaps")
    return listed


def _two_implementations(n_layers: int, layers: Sequence[int] = ()) -> str | None:
    note = (
        f"layers={_written(layers)}: numbers name sets, as in Marian's transformer.h; where they number layers, as in "
    )
    note += "Marian's other implementation, this is another model"
    return note if any(layers[entry - 1] != entry for entry in layers) else None


@layer_rule(
    source="Marian, option transformer-tied-layers",
    example={"layers": [1, 1, 3, 3, 3, 6]},
    note=_two_implementations,
)
def index_vector(n_layers: int, layers: Sequence[int] | None = None) -> list[int]:
    """Layers with the same number read one parameter set: one entry per layer, from 1 to the depth.

    >>> index_vector(6, [1, 1, 2, 2, 3, 3])
    [1, 1, 2, 2, 3, 3]
    """
    requested = f"layers={_written(layers)}"
    entries = list(layers or ())
    _check_one_per_layer(requested, len(entries), n_layers)
    for entry in entries:
        if type(entry) is not int or not 1 <= entry <= n_layers:
            raise TyingError(requested, f"there is no layer {entry!r}", f"number the layers from 1 to {n_layers}")
    return entries


@layer_rule(source="tietrain: a negative control")
def random_map(n_layers: int, n_unique: int = 2, draw: int = 1, sizes: str = "random") -> list[int]:
    """A control that claims about a pattern must beat: layers read `n_unique` sets at random, another map for each `draw`.

    sizes: random, where every set has at least one layer, or those of an order of cross_layer, whose layers are permuted.

    >>> random_map(6, 2, draw=1), random_map(6, 2, draw=2), random_map(6, 2, draw=1, sizes="sequence")
    ([0, 0, 0, 0, 1, 1], [1, 0, 0, 0, 1, 0], [1, 0, 1, 1, 0, 0])
    """
    _check_between("n_unique", n_unique, 1, n_layers)
    _check_between("draw", draw, 0)
    check_choice("sizes", sizes, ["random", *ORDERS], TyingError)
    shuffled = sorted(range(n_layers), key=lambda layer: _drawn(draw, "place", layer))
    sets = [i if i < n_unique else _drawn(draw, "set", i) % n_unique for i in range(n_layers)]
    if sizes != "random":
        sets = [ORDERS[sizes](i, n_layers, n_unique) for i in range(n_layers)]
    return [sets[shuffled.index(layer)] for layer in range(n_layers)]


def _drawn(*key: object) -> int:
    """A number that only the key decides, on any machine."""
    return int.from_bytes(hashlib.sha256(" ".join(map(str, key)).encode()).digest()[:8])


def _block_range(requested: str, entry: int | str) -> range:
    """`3-5` is 3, 4, 5; a number is itself."""
    ends = str(entry).split("-")
    if len(ends) <= 2 and all(map(str.isdecimal, ends)) and int(ends[0]) <= int(ends[-1]):
        return range(int(ends[0]), int(ends[-1]) + 1)
    raise TyingError(requested, f"{str(entry)!r} is not a block or a range of blocks", "write them as [0-5,3-5,3-10]")


def _written(values: Sequence[object] | None) -> str:
    return "null" if values is None else f"[{','.join(map(str, values))}]"


def _check_one_per_layer(requested: str, n_listed: int, n_layers: int) -> None:
    if n_listed != n_layers:
        remedy = "list one entry per layer, or change stacks=[...] or model.n_layers"
        raise TyingError(requested, f"the list has {n_listed} entries", remedy)


def _check_between(option: str, value: object, least: int, most: int | None = None) -> None:
    if type(value) is not int or value < least or (most is not None and value > most):
        span = f"{least} or more" if most is None else f"{least} to {most}"
        raise TyingError(f"{option}={value}", "the value is out of range", f"choose {span}")
