"""Rules that say how uses of shared parameters read them: each gives views (see `views`) of slots or inputs of layers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from tietrain.errors import TyingError, check_choice
from tietrain.plan.plan import Pair, TyingPlan
from tietrain.plan.rules import RULES, Reading, Rule, choose_parts, choose_stacks, first_line, layer_blocks, options_of
from tietrain.plan.slots import Slot, Slots, layer_input

Readings = TypeVar("Readings", bound=Callable[..., list[Reading]])


def _no_pairs(slots: Slots, **options: Any) -> list[Pair]:
    return []


def view_rule(
    *, source: str, beside: Mapping[str, Mapping[str, Any]] | None = None, pairs: Callable[..., list[Pair]] = _no_pairs
) -> Callable[[Readings], Readings]:
    """Put a function (plan, **options) -> readings into RULES under its own name.

    Args:
        beside: ties that an example has in front of it, of a rule that needs shared parameters.
        pairs: what it ties, from slots and the same options.
    """

    def register(readings: Readings) -> Readings:
        name = readings.__name__
        options = options_of(readings)
        RULES[name] = Rule(name, pairs, first_line(readings), options, source, beside=beside or {}, readings=readings)
        return readings

    return register


@view_rule(source="Lan et al. 2019 (ALBERT), section 3.1, without the bias of the released code")
def factorised(plan: TyingPlan, rank: int = 128, up: str = "own", stacks: Sequence[str] | None = None) -> list[Reading]:
    """Token tables are narrow, [V, rank], and every use maps to the width of the model; other rules tie the tables.

    Args:
        up: own: each use has its own map; shared: the uses of one table have one.
    """
    _check_at_least("rank", rank, 1)
    check_choice("up", up, ("own", "shared"), TyingError)
    tables = [slot.name for slot in _slots_of(plan, stacks) if slot.kind == "table"]
    return [(table, "factorised", {"rank": rank, "up": up}) for table in tables]


@view_rule(
    source="Bae et al. 2024 (Relaxed Recursive Transformers)",
    beside={"universal": {"rule": "cross_layer"}},
)
def relaxed(
    plan: TyingPlan, rank: int = 8, stacks: Sequence[str] | None = None, parts: Sequence[str] | None = None
) -> list[Reading]:
    """Each use of a shared matrix of a layer adds a product of low rank of its own; rank 0 is the strict tie.

    Args:
        stacks, parts: as of rules that share layers; None for all.
    """
    _check_at_least("rank", rank, 0)
    matrices = _shared_matrices(plan, stacks, parts) if rank else []
    return [(slot.name, "relaxed", {"rank": rank}) for slot in matrices]


@view_rule(source="no reported ablation is known", beside={"universal": {"rule": "cross_layer"}})
def scaled(
    plan: TyingPlan, of: str = "out", stacks: Sequence[str] | None = None, parts: Sequence[str] | None = None
) -> list[Reading]:
    """Each use of a shared matrix of a layer has a gain for every input or output, which starts at 1.

    Args:
        of: in or out.
        stacks, parts: as of rules that share layers; None for all.
    """
    check_choice("of", of, ("in", "out"), TyingError)
    return [(slot.name, "scaled", {"of": of}) for slot in _shared_matrices(plan, stacks, parts)]


def _in_and_out(slots: Slots, stacks: Sequence[str] | None = None) -> list[Pair]:
    blocks = layer_blocks(slots, choose_stacks(slots, stacks), ["ffn"])
    return [(f"{block}.in.weight", f"{block}.out.weight") for block in blocks]


@view_rule(source="no reported ablation is known; tied weights of autoencoders", pairs=_in_and_out)
def transposed(plan: TyingPlan, stacks: Sequence[str] | None = None) -> list[Reading]:
    """The output matrix of every feed-forward is its input matrix transposed; the initial scale is the input matrix's."""
    return [(out, "transposed", {}) for _, out in _in_and_out(plan.slots, stacks)]


@view_rule(
    source="Dehghani et al. 2018, section 2.1: one signal per layer that runs; positions are added once, as model.positions"
)
def step_signal(plan: TyingPlan, signal: str = "learned", stacks: Sequence[str] | None = None) -> list[Reading]:
    """The input of each layer that runs has a signal added, so that layers that share parameters know which one runs.

    Args:
        signal: learned: a vector of its own for each; sinusoidal: sines and cosines of the number of the layer.
    """
    check_choice("signal", signal, ("learned", "sinusoidal"), TyingError)
    readings: list[Reading] = []
    for stack in choose_stacks(plan.slots, stacks):
        for layer in range(stack.n_layers):
            name = layer_input(plan.slots.shape, stack, layer).name
            readings.append((name, "step_signal", {"signal": signal, "step": layer}))
    return readings


@view_rule(source="Lopardo et al. 2026", beside={"pre_softmax": {"rule": "pre_softmax"}})
def input_gradient(plan: TyingPlan, by: float = 2.0, stacks: Sequence[str] | None = None) -> list[Reading]:
    """The gradient that reaches a shared table through its use as embedding is multiplied by a factor."""
    embeds = [slot for slot in _slots_of(plan, stacks) if slot.part == "embed" and _is_shared(plan, slot)]
    return [(slot.name, "input_gradient", {"by": float(by)}) for slot in embeds]


def _slots_of(plan: TyingPlan, stacks: Sequence[str] | None) -> Iterable[Slot]:
    names = {stack.name for stack in choose_stacks(plan.slots, stacks)}
    return (slot for slot in plan.slots if slot.stack in names)


def _shared_matrices(plan: TyingPlan, stacks: Sequence[str] | None, parts: Sequence[str] | None) -> list[Slot]:
    chosen = choose_stacks(plan.slots, stacks)
    blocks = list(layer_blocks(plan.slots, chosen, choose_parts(plan.slots, chosen, parts)))
    slots = [slot for block in blocks for slot in plan.slots.under(block)]
    return [slot for slot in slots if len(slot.shape) == 2 and _is_shared(plan, slot)]


def _is_shared(plan: TyingPlan, slot: Slot) -> bool:
    return plan.owner[slot.name] in plan.groups


def _check_at_least(option: str, value: int, least: int) -> None:
    if value < least:
        raise TyingError(f"{option}={value}", "the value is out of range", f"choose {least} or more")
