"""Rules: one small pure function a tying scheme, from slots and options to pairs; RULES holds them with their source.

Adding a scheme is one function here and one file under `conf/tying/`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from tietrain.errors import TyingError
from tietrain.tying.plan import Pair, TyingPlan, resolve
from tietrain.tying.slots import PARTS, ModelShape, Slots, Stack


@dataclass(frozen=True)
class Rule:
    """A tying rule with what it needs: `joint_vocabulary` for tables of two languages, `encoder` for a second stack."""

    name: str
    pairs: Callable[..., list[Pair]]
    source: str
    joint_vocabulary: bool
    encoder: bool

    @property
    def summary(self) -> str:
        """First line of the rule's docstring."""
        return inspect.getdoc(self.pairs).splitlines()[0]  # type: ignore[union-attr]

    @property
    def options(self) -> dict[str, Any]:
        """Option -> default."""
        parameters = list(inspect.signature(self.pairs).parameters.values())[1:]
        return {p.name: p.default for p in parameters}


RULES: dict[str, Rule] = {}


def rule(*, source: str, joint_vocabulary: bool = False, encoder: bool = False):
    """Put a pairs function into RULES under its own name."""

    def register(pairs: Callable[..., list[Pair]]) -> Callable[..., list[Pair]]:
        name = pairs.__name__
        RULES[name] = Rule(name, pairs, source, joint_vocabulary, encoder)
        return pairs

    return register


@rule(source="-")
def none(slots: Slots) -> list[Pair]:
    """Nothing is shared; source and target have a vocabulary each."""
    return []


@rule(source="Sennrich et al. 2016, section 3.2 (joint BPE)", joint_vocabulary=True, encoder=True)
def shared_vocab(slots: Slots) -> list[Pair]:
    """One joint vocabulary, tables still separate: the control that splits vocabulary from tie."""
    return []


@rule(source="Press & Wolf 2017, section 4", joint_vocabulary=True, encoder=True)
def embeddings(slots: Slots) -> list[Pair]:
    """The embedding tables of all stacks are one."""
    first, *others = slots.shape.stacks
    return [(f"{stack.name}.embed", f"{first.name}.embed") for stack in others]


@rule(source="Press & Wolf 2017; Inan et al. 2017; Vaswani et al. 2017, section 3.4")
def pre_softmax(slots: Slots) -> list[Pair]:
    """Every output projection reads the embedding table of its own stack."""
    return [(f"{s.name}.output.weight", f"{s.name}.embed.weight") for s in slots.shape.stacks if s.has_output]


@rule(
    source="Press & Wolf 2017 (TWWT); Vaswani et al. 2017, section 3.4",
    joint_vocabulary=True,
    encoder=True,
)
def three_way(slots: Slots) -> list[Pair]:
    """Source embedding, target embedding and output projection are one table."""
    return embeddings(slots) + pre_softmax(slots)


# The parameter set that layer i of n reads, of m sets.
ORDERS: dict[str, Callable[[int, int, int], int]] = {
    "sequence": lambda i, n, m: i * m // n,
    "cycle": lambda i, n, m: i % m,
    "cycle_rev": lambda i, n, m: i % m if i < n - m else n - 1 - i,
}


def layer_sets(order: str, n_layers: int, n_unique: int) -> list[int]:
    """The parameter set each layer reads.

    Source: Takase & Kiyono 2021, section 2 (sequence, cycle, cycle (rev)), where M sets serve N layers; defined by
    the same formulas where M does not divide N.

    >>> layer_sets("sequence", 6, 3), layer_sets("cycle", 6, 3), layer_sets("cycle_rev", 6, 3)
    ([0, 0, 1, 1, 2, 2], [0, 1, 2, 0, 1, 2], [0, 1, 2, 2, 1, 0])
    """
    return [ORDERS[order](i, n_layers, n_unique) for i in range(n_layers)]


@rule(source="Takase & Kiyono 2021; n_unique=1: Dehghani et al. 2018, Lan et al. 2019")
def cross_layer(
    slots: Slots,
    order: str = "sequence",
    n_unique: int = 1,
    stacks: Sequence[str] | None = None,
    parts: Sequence[str] | None = None,
    norms: bool = True,
) -> list[Pair]:
    """Layers of a stack reuse the parameters of `n_unique` layers of the same stack.

    Args:
        order: sequence, cycle or cycle_rev.
        n_unique: parameter sets a stack, 1 to its depth.
        stacks: names of the stacks that share; None for all.
        parts: self_attn, cross_attn and ffn; None for all. A part comes with its norm where `norms` is true.
        norms: whether the norms of shared parts are shared; the final norm never is.
    """
    check_choice("order", order, ORDERS)
    chosen = _chosen_stacks(slots, stacks)
    wanted = _chosen_parts(slots, chosen, parts)
    pairs: list[Pair] = []
    for stack in chosen:
        if not isinstance(n_unique, int) or not 1 <= n_unique <= stack.n_layers:
            raise TyingError(
                f"n_unique={n_unique}",
                f"stack {stack.name} has {stack.n_layers} layers",
                f"choose 1 to {stack.n_layers}",
            )
        sets = layer_sets(order, stack.n_layers, n_unique)
        # A set number is not a layer number: the first layer that reads a set stands for it.
        pairs += _layer_pairs(slots, stack, [sets.index(s) for s in sets], wanted, norms)
    return pairs


def _layer_pairs(slots: Slots, stack: Stack, first: Sequence[int], parts: Sequence[str], norms: bool) -> list[Pair]:
    """Layer i's parts read those of layer first[i]."""
    names = [p + suffix for p in parts for suffix in (("_norm", "") if norms else ("",))]
    return [
        (f"{stack.name}.{i}.{name}", f"{stack.name}.{j}.{name}")
        for i, j in enumerate(first)
        if i != j
        for name in names
        if slots.under(f"{stack.name}.{i}.{name}")
    ]


def _chosen_stacks(slots: Slots, stacks: Sequence[str] | None) -> list[Stack]:
    have = {stack.name: stack for stack in slots.shape.stacks}
    if stacks is None:
        return list(have.values())
    for name in stacks:
        check_choice("stacks", name, have)
    return [have[name] for name in stacks]


def _chosen_parts(slots: Slots, stacks: Sequence[Stack], parts: Sequence[str] | None) -> list[str]:
    if parts is None:
        return list(PARTS)
    for name in parts:
        check_choice("parts", name, PARTS)
        if not any(slot.part == name for stack in stacks for slot in slots.under(stack.name)):
            raise TyingError(
                f"parts={name}", f"no layer of {', '.join(s.name for s in stacks)} has it", "choose another part"
            )
    return list(parts)


def check_choice(key: str, value: object, choices: Sequence[str] | Mapping[str, object]) -> None:
    """TyingError unless value is one of the choices."""
    if value not in choices:
        near = get_close_matches(str(value), list(choices), n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(choices)}"
        raise TyingError(f"{key}={value}", "there is no such choice", hint)


def check_ties(ties: Mapping[str, Mapping[str, Any]]) -> None:
    """Every label names a known rule with options that rule has; TyingError naming the full key otherwise."""
    for label, tie in ties.items():
        key = f"tying.ties.{label}"
        if not isinstance(tie, Mapping):
            raise TyingError(f"{key}={tie}", "a tie is a rule with its options", f"write {key}={{rule: NAME}}")
        try:
            check_choice("rule", tie.get("rule"), RULES)
            for option, value in tie.items():
                if option != "rule":
                    check_choice("option", option, RULES[tie["rule"]].options)
                    _check_type(option, value, RULES[tie["rule"]].options[option])
        except TyingError as e:
            raise TyingError(f"{key}.{e.asked}", e.is_so, e.to_do) from None
    if len(ties) > 1 and "none" in ties:
        others = ", ".join(label for label in ties if label != "none")
        raise TyingError(
            f"tying=[{', '.join(ties)}]",
            "none ties nothing and cannot be combined",
            f"leave none out to tie by {others}",
        )


def _check_type(option: str, value: object, default: object) -> None:
    """TyingError unless a value is of its default's type; where the default is None, it is None or a list of names."""
    if default is None:
        fits = value is None or (isinstance(value, Sequence) and not isinstance(value, str))
        raise_as = "a list: [a,b]"
    else:
        fits, raise_as = type(value) is type(default), f"of type {type(default).__name__}"
    if not fits:
        raise TyingError(f"{option}={value}", "the value is of another type", f"give one {raise_as}")


def needs_joint_vocabulary(ties: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether any chosen rule joins the vocabularies of two languages."""
    return any(RULES[tie["rule"]].joint_vocabulary for tie in ties.values())


def make_plan(shape: ModelShape, ties: Mapping[str, Mapping[str, Any]]) -> TyingPlan:
    """The plan of a model under labelled rules, as a file of `conf/tying/` gives them.

    Raises:
        TyingError: a rule is unknown, has no such option, or does not fit the model; the message names the scheme,
            the slots the model has, and what would fit.
    """
    check_ties(ties)
    slots, plan = Slots(shape), resolve(shape, [])
    pairs: list[Pair] = []
    for label, tie in ties.items():
        chosen = RULES[tie["rule"]]
        if chosen.joint_vocabulary and len({stack.vocabulary for stack in shape.stacks}) > 1:
            raise TyingError(
                f"tying={label}",
                "it needs one vocabulary for both languages and this model has one for each",
                "leave data.vocabulary=auto",
            )
        if chosen.encoder and len(shape.stacks) < 2:
            raise TyingError(
                f"tying={label}",
                f"it joins source and target, and this model has one stack: {', '.join(dict.fromkeys(s.block for s in slots if s.layer is None))}",
                "a language model ties by tying=pre_softmax",
            )
        try:
            pairs += chosen.pairs(slots, **{k: v for k, v in tie.items() if k != "rule"})
            plan = resolve(shape, pairs)
        except TyingError as e:
            raise TyingError(f"tying={label}: {e.asked}", e.is_so, e.to_do) from None
    return plan


def tying_label(ties: Mapping[str, Mapping[str, Any]]) -> str:
    """The labels of the chosen schemes, joined: `three_way+cross_layer`; `none` where nothing is chosen."""
    return "+".join(ties) or "none"
