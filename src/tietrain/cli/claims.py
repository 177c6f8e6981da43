"""Claim cards, `conf/claims/*.yaml`: read, run and judged; the folder in which their verdicts are kept."""

import hashlib
from collections.abc import Iterable
from importlib.resources import files

import yaml

from tietrain.config.keys import choices_of
from tietrain.errors import check_choice
from tietrain.plan.catalogue import CONF
from tietrain.report.claims import Card

EXPERIMENT = "experiment="


def load_cards(names: Iterable[str] = ()) -> list[Card]:
    """The cards of these names, or all.

    Raises:
        SettingsError: there is no such card.
    """
    known = choices_of("claims")
    for name in names:
        check_choice("claim", name, known)
    return [_load(name) for name in names or known]


def _load(name: str) -> Card:
    text = _text("claims", name)
    body = yaml.safe_load(text)
    for key in ("grid", "expect"):
        body[key] = tuple(tuple(map(str, words)) for words in body.get(key, ()))
    named = sorted({word for words in body["grid"] for word in words if word.startswith(EXPERIMENT)})
    parts = [text, *(_text("experiment", word.removeprefix(EXPERIMENT)) for word in named)]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
    return Card(name=name, hash=digest, **body)


def _text(group: str, name: str) -> str:
    return (files(CONF) / group / f"{name}.yaml").read_text(encoding="utf-8")
