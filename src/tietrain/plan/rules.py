"""What a tying rule is, the table of all rules, and the stacks and parts of layers that options can name."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tietrain.errors import TyingError, check_choice
from tietrain.plan.plan import Pair
from tietrain.plan.slots import CROSS, PARTS, Slots, Stack

ATTENTION = ("self_attn", *CROSS)
# What the option `parts` can list: a part, `attention` for every attention of a stack, or one projection of a part.
ATTENTION_PROJECTIONS = tuple(f"{part}.{leaf}" for part in ATTENTION for leaf in "qkvo")
CHOICES = (*PARTS, "attention", *ATTENTION_PROJECTIONS, "ffn.gate", "ffn.in", "ffn.out")

Pairs = Callable[..., list[Pair]]
# A slot or the input of a layer, the name of a view, and its options.
Reading = tuple[str, str, Mapping[str, Any]]
PairsOf = TypeVar("PairsOf", bound=Pairs)


@dataclass(frozen=True)
class Rule:
    """A tying rule: a pure function from the slots of a model and options to pairs of slots.

    options: name -> default.
    joint_vocabulary: whether it needs one vocabulary for both languages.
    encoder: whether it needs a second stack.
    example: option values that fit a stack of six layers, for options whose defaults are not usable.
    note: what the user should know about the rule in a model, for example that a paper's code differs from its formula;
        None if there is nothing.
    readings: how slots of a plan are read, from the plan and options; None for a rule that only ties.
    beside: ties that an example of the rule has in front of it.
    """

    name: str
    pairs: Pairs
    summary: str
    options: Mapping[str, Any]
    source: str
    joint_vocabulary: bool = False
    encoder: bool = False
    example: Mapping[str, Any] = field(default_factory=dict)
    note: Callable[..., str | None] | None = None
    readings: Callable[..., list[Reading]] | None = None
    beside: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


RULES: dict[str, Rule] = {}


def rule(
    *,
    source: str,
    joint_vocabulary: bool = False,
    encoder: bool = False,
    example: Mapping[str, Any] | None = None,
) -> Callable[[PairsOf], PairsOf]:
    """Put a function (slots, **options) -> pairs into RULES under its own name."""

    def register(pairs: PairsOf) -> PairsOf:
        name = pairs.__name__
        summary = first_line(pairs)
        RULES[name] = Rule(name, pairs, summary, options_of(pairs), source, joint_vocabulary, encoder, example or {})
        return pairs

    return register


def first_line(function: Callable[..., Any]) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(function) or "").split("\n")[0]


def options_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Name -> default of every parameter except the first."""
    return {p.name: p.default for p in list(inspect.signature(function).parameters.values())[1:]}


def choose_stacks(slots: Slots, stacks: Sequence[str] | None) -> list[Stack]:
    """The stacks with these names; `encoder` and `decoder` also name every stack of that role; None for all.

    Raises:
        TyingError: the model has no such stack.
    """
    have = slots.shape.stacks
    if stacks is None:
        return list(have)
    chosen: list[Stack] = []
    for name in stacks:
        found = [stack for stack in have if name in (stack.name, stack.name.split("_")[0])]
        if not found:
            names = ", ".join(stack.name for stack in have)
            raise TyingError(f"stacks={name}", f"this model has no stack {name}", f"its stacks are {names}")
        chosen += found
    return list(dict.fromkeys(chosen))


def choose_parts(
    slots: Slots, stacks: Sequence[Stack], parts: Sequence[str] | None, *, norms: bool = False
) -> list[str]:
    """Names below a layer, `self_attn` or `ffn.in`; None for all parts.

    With `norms`, a whole part includes its norm; a single projection does not. One stack that has the part is enough.

    Raises:
        TyingError: a name is not a part, or none of the stacks has it.
    """
    chosen: list[str] = []
    for name in PARTS if parts is None else parts:
        check_choice("parts", name, CHOICES, TyingError)
        candidates = ATTENTION if name == "attention" else (name,)
        found = [part for part in candidates if any(slots.under(f"{stack.name}.0.{part}") for stack in stacks)]
        if not found and parts is not None:
            problem = f"no layer of {', '.join(stack.name for stack in stacks)} has it"
            raise TyingError(f"parts={name}", problem, "choose another part")
        for part in found:
            chosen += [part, f"{part}_norm"] if norms and part in PARTS else [part]
    return list(dict.fromkeys(chosen))


def layer_blocks(slots: Slots, stacks: Iterable[Stack], parts: Sequence[str]) -> Iterator[str]:
    """The blocks that the model has of these parts, layer by layer: `decoder.3.ffn`."""
    for stack in stacks:
        for layer in range(stack.n_layers):
            for part in parts:
                block = f"{stack.name}.{layer}.{part}"
                if slots.under(block):
                    yield block
