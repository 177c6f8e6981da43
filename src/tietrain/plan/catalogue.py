"""The scheme table that `tietrain schemes` prints and the documents show.

The first two comment lines of a file of `conf/tying/` describe the scheme: `# L5. What is shared.` with its number in the
catalogue, and `# Source: paper`. The rest is computed: which models it fits, and what it saves on a reference model.
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import yaml

from tietrain.errors import TyingError
from tietrain.plan.aliases import ALIASES
from tietrain.plan.plan import TyingPlan
from tietrain.plan.rules import RULES
from tietrain.plan.schemes import Ties, make_plan
from tietrain.plan.slots import ModelShape, Stack

HEADER = re.compile(r"# (?P<catalogue>[^.]+)\. (?P<shares>.+?)\.?\n# Source: (?P<source>.+)\n")
# The package of the YAML files.
CONF = "tietrain.conf"

# Transformer base of Vaswani et al. 2017 with one vocabulary of 37,000 pieces and learned positions.
_ENCODER = Stack("encoder", 6, 37_000, "joint")
_DECODER = Stack("decoder", 6, 37_000, "joint", causal=True, has_output=True)
_BASE = ModelShape((_DECODER,), 512, 8, 8, 64, 2048, 512, positions="learned", ffn_bias=True, norm_bias=True)
_SOURCES = ("encoder_src", "encoder_mt")
_LANGUAGES = ("encoder_a", "encoder_b")


def _base(*stacks: Stack, routes: tuple[tuple[str, ...], ...] = ()) -> ModelShape:
    return replace(_BASE, stacks=stacks, routes=routes)


# One model per kind of task; `languages` translates between two languages with separate stacks.
REFERENCE = {
    "lm": _BASE,
    "mlm": _base(replace(_ENCODER, has_output=True)),
    "mt": _base(_ENCODER, replace(_DECODER, memories=(("encoder",),))),
    "sources": _base(
        *(replace(_ENCODER, name=name) for name in _SOURCES),
        replace(_DECODER, memories=tuple((name,) for name in _SOURCES)),
    ),
    "languages": _base(
        *(replace(_ENCODER, name=name) for name in _LANGUAGES),
        *(replace(_DECODER, name=name, memories=(_LANGUAGES,)) for name in ("decoder_b", "decoder_a")),
        routes=(("encoder_a", "decoder_b"), ("encoder_b", "decoder_a")),
    ),
}
# In this order, the first kind of model that a scheme applies to describes its use.
FOR = {
    "lm": "every model",
    "mt": "translation",
    "sources": "several sources",
    "languages": "several languages",
    "mlm": "masked language models",
}


@dataclass(frozen=True)
class Scheme:
    """A file of `conf/tying/`: its name, its header, and its labelled ties."""

    name: str
    catalogue: str
    shares: str
    source: str
    ties: Mapping[str, Mapping[str, Any]]

    @property
    def example(self) -> dict[str, dict[str, Any]]:
        """The ties, with values for six layers if the file leaves a value to the user, and with what they need beside them."""
        return with_examples(self.ties)

    def plans(self) -> dict[str, TyingPlan]:
        """Name in REFERENCE -> plan, for the models that the scheme applies to."""
        plans = {}
        for task, shape in REFERENCE.items():
            with suppress(TyingError):
                plans[task] = make_plan(shape, self.example)
        return plans


def with_examples(ties: Ties) -> dict[str, dict[str, Any]]:
    """Ties with values for six layers if they leave some to the user, after those that their rules need beside them."""
    rules = [RULES[tie["rule"]] for tie in ties.values()]
    beside = {label: dict(tie) for rule in rules for label, tie in rule.beside.items()}
    return beside | {label: {**tie, **RULES[tie["rule"]].example} for label, tie in ties.items()}


def load_scheme(name: str) -> Scheme:
    """The scheme of a file of `conf/tying/`."""
    text = (files(CONF) / "tying" / f"{name}.yaml").read_text(encoding="utf-8")
    header = HEADER.match(text)
    assert header is not None, f"conf/tying/{name}.yaml does not begin with a description and a source"
    return Scheme(name, header["catalogue"], header["shares"], header["source"], yaml.safe_load(text)["ties"])


def scheme_rows(names: Iterable[str]) -> list[dict[str, Any]]:
    """One row per scheme in catalogue order: name, catalogue, shares, models, for, options, source, aliases."""
    return [_row(scheme) for scheme in load_in_order(names)]


def _row(scheme: Scheme) -> dict[str, Any]:
    models = list(scheme.plans())
    options: dict[str, Any] = {}
    for tie in scheme.ties.values():
        options |= tie
    options.pop("rule")
    return {
        "name": scheme.name,
        "catalogue": scheme.catalogue,
        "shares": scheme.shares,
        "models": models,
        "for": next(words for name, words in FOR.items() if name in models),
        "options": options,
        "source": scheme.source,
        "aliases": [f"alias/{alias.file}" for alias in ALIASES if alias.scheme == scheme.name],
    }


def load_in_order(names: Iterable[str]) -> list[Scheme]:
    """The schemes of these files in catalogue order."""
    return sorted((load_scheme(name) for name in names), key=_catalogue_order)


def _catalogue_order(scheme: Scheme) -> tuple[int, int, str]:
    """Tables, layers, feed-forwards, attentions, stacks, positions; by number within a letter."""
    letter, number = scheme.catalogue[0], re.findall(r"\d+", scheme.catalogue)
    return "ELFASPN".index(letter), int(number[0]), scheme.name
