"""What a rule is, and the table of all of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from tietrain.errors import TyingError
from tietrain.plan.plan import Pair


@dataclass(frozen=True)
class Rule:
    """A tying rule: a pure function from the slots of a model and options to pairs of slots.

    options: name -> default. joint_vocabulary, encoder: whether it needs one vocabulary for two languages, a second
    stack. example: option values that fit a stack of six layers, where the defaults name none. note: what is worth
    saying of the rule in a model, for example where a paper's code differs from its formula; None for nothing.
    """

    name: str
    pairs: Callable[..., list[Pair]]
    summary: str
    options: Mapping[str, Any]
    source: str
    joint_vocabulary: bool = False
    encoder: bool = False
    example: Mapping[str, Any] = field(default_factory=dict)
    note: Callable[..., str | None] | None = None


RULES: dict[str, Rule] = {}


def rule(*, source: str, joint_vocabulary: bool = False, encoder: bool = False):
    """Put a pairs function, (slots, **options) -> pairs, into RULES under its own name."""

    def register(pairs: Callable[..., list[Pair]]) -> Callable[..., list[Pair]]:
        name = pairs.__name__
        RULES[name] = Rule(
            name,
            pairs,
            first_line(pairs),
            options_of(pairs),
            source,
            joint_vocabulary=joint_vocabulary,
            encoder=encoder,
        )
        return pairs

    return register


def first_line(function: Callable[..., Any]) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(function) or "").split("\n")[0]


def options_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Name -> default of every parameter but the first."""
    return {p.name: p.default for p in list(inspect.signature(function).parameters.values())[1:]}


def check_choice(key: str, value: object, choices: Sequence[str] | Mapping[str, object]) -> None:
    """TyingError unless value is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        near = get_close_matches(value, list(choices), n=1) if isinstance(value, str) else []
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(choices)}"
        raise TyingError(f"{key}={value}", "there is no such choice", hint)
