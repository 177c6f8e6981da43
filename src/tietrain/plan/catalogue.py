"""The scheme table: what `tietrain schemes` prints and the documents show.

The first two comment lines of a file of `conf/tying/` say what it is: `# L5. What is shared.` with its number in the
catalogue, and `# Source: paper`. All else is computed: where it applies, and what it saves on a reference model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import yaml

from tietrain.errors import TyingError
from tietrain.plan.aliases import ALIASES
from tietrain.plan.picture import owner_map
from tietrain.plan.plan import TyingPlan
from tietrain.plan.schemes import RULES, make_plan
from tietrain.plan.slots import ModelShape, Stack

HEADER = re.compile(r"# (?P<catalogue>[^.]+)\. (?P<shares>.+?)\.?\n# Source: (?P<source>.+)\n")
CONF = "tietrain.conf"

# Transformer base of Vaswani et al. 2017 with one vocabulary of 37,000 pieces and learned positions, by what it is for:
# language models, masked ones, translation, translation of two sources, and between two languages with stacks of their own.
_DECODER = Stack("decoder", 6, 37_000, "joint", causal=True, has_output=True)
REFERENCE = {
    "lm": ModelShape((_DECODER,), 512, 8, 8, 64, 2048, 512, positions="learned", ffn_bias=True, norm_bias=True),
}
_ENCODER = Stack("encoder", 6, 37_000, "joint")


def _with(*stacks: Stack, routes: tuple[tuple[str, ...], ...] = ()) -> ModelShape:
    return replace(REFERENCE["lm"], stacks=stacks, routes=routes)


_SOURCES, _LANGUAGES = ("encoder_src", "encoder_mt"), ("encoder_a", "encoder_b")
REFERENCE |= {
    "mlm": _with(replace(_ENCODER, has_output=True)),
    "mt": _with(_ENCODER, replace(_DECODER, memories=(("encoder",),))),
    "sources": _with(
        *(replace(_ENCODER, name=name) for name in _SOURCES),
        replace(_DECODER, memories=tuple((name,) for name in _SOURCES)),
    ),
    "languages": _with(
        *(replace(_ENCODER, name=name) for name in _LANGUAGES),
        *(replace(_DECODER, name=name, memories=(_LANGUAGES,)) for name in ("decoder_b", "decoder_a")),
        routes=(("encoder_a", "decoder_b"), ("encoder_b", "decoder_a")),
    ),
}
# The first kind of model a scheme applies to, of this order, says what it is for.
FOR = {
    "lm": "every model",
    "mt": "translation",
    "sources": "several sources",
    "languages": "several languages",
    "mlm": "masked language models",
}


@dataclass(frozen=True)
class Scheme:
    """A file of `conf/tying/`: its name, what its header says, and its labelled ties."""

    name: str
    catalogue: str
    shares: str
    source: str
    ties: Mapping[str, Mapping[str, Any]]

    @property
    def example(self) -> dict[str, dict[str, Any]]:
        """The ties with values that fit six layers where the file leaves a value to the user."""
        return {label: {**tie, **RULES[tie["rule"]].example} for label, tie in self.ties.items()}

    def plans(self) -> dict[str, TyingPlan]:
        """Name in REFERENCE -> plan of that model, for those the scheme applies to."""
        plans = {}
        for task, shape in REFERENCE.items():
            try:
                plans[task] = make_plan(shape, self.example)
            except TyingError:
                continue
        return plans


def load_scheme(name: str) -> Scheme:
    """The scheme of a file of `conf/tying/`."""
    text = (files(CONF) / "tying" / f"{name}.yaml").read_text(encoding="utf-8")
    header = HEADER.match(text)
    assert header is not None, f"conf/tying/{name}.yaml does not begin with what it is and its source"
    return Scheme(name, header["catalogue"], header["shares"], header["source"], yaml.safe_load(text)["ties"])


def scheme_rows(names: Iterable[str]) -> list[dict[str, Any]]:
    """A row a scheme in catalogue order: name, catalogue, shares, models of REFERENCE, for, options, source, aliases."""
    rows = []
    for scheme in sorted((load_scheme(name) for name in names), key=_place):
        options = {k: v for tie in scheme.ties.values() for k, v in tie.items() if k != "rule"}
        rows.append(
            {
                "name": scheme.name,
                "catalogue": scheme.catalogue,
                "shares": scheme.shares,
                "models": (models := list(scheme.plans())),
                "for": next(words for name, words in FOR.items() if name in models),
                "options": options,
                "source": scheme.source,
                "aliases": [f"alias/{alias.file}" for alias in ALIASES if alias.scheme == scheme.name],
            }
        )
    return rows


def _place(scheme: Scheme) -> tuple[int, int, str]:
    """Tables, layers, feed-forwards, attentions, stacks, positions; by number within a letter."""
    letter, number = scheme.catalogue[0], re.findall(r"\d+", scheme.catalogue)
    return "ELFASP".index(letter), int(number[0]), scheme.name


def scheme_markdown(rows: Iterable[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = ["| | `tying=` | what is shared | for |", "|---|---|---|---|"]
    lines += [f"| {row['catalogue']} | `{row['name']}` | {row['shares']} | {row['for']} |" for row in rows]
    return "\n".join(lines) + "\n"


def scheme_pages(names: Iterable[str]) -> str:
    """A section a scheme: rule, source, owner map and parameters saved on the reference model, as Markdown."""
    return "\n".join(_section(scheme) for scheme in sorted((load_scheme(name) for name in names), key=_place))


def _section(scheme: Scheme) -> str:
    lines = [f"### {scheme.catalogue} `{scheme.name}`", "", f"{scheme.shares}. Source: {scheme.source}.", ""]
    tie = ", ".join(f"{k}: {_yaml(v)}" for ties in scheme.example.values() for k, v in ties.items())
    lines += [f"`{{{tie}}}`", ""]
    plans = scheme.plans()
    shown = [name for name in ("lm", "mt") if name in plans] or list(plans)[:1]
    for task, plan in ((name, plans[name]) for name in shown):
        untied = sum(slot.size for slot in plan.slots)
        stored = sum(slot.size for slot in plan.owners)
        lines.append(
            f"{task}: {untied - stored:,} of {untied:,} parameters saved ({100 * (1 - stored / untied):.1f} %)."
        )
    picture = owner_map(plans[shown[-1]])
    return "\n".join([*lines, "", "```", *picture, "```", ""])


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("\n").removesuffix("\n...")
