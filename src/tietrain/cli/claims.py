"""Claim cards, `conf/claims/*.yaml`: read, run and judged; the folder in which their verdicts are kept."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import yaml

from tietrain.config.keys import choices_of
from tietrain.config.setting import check
from tietrain.errors import DataError, check_choice
from tietrain.plan.catalogue import CONF
from tietrain.report.claims import CONFIRMED, NOT_CONFIRMED, NOT_TESTABLE, Card, Finding, Text, judge_card, settle
from tietrain.report.pages.claim_pages import INDEX, claim_page, index_page
from tietrain.report.pages.html import make_page
from tietrain.runs import record as runs
from tietrain.runs.ownership import make_marked_folder
from tietrain.runs.reading import is_there

EXPERIMENT = "experiment="
ROOT = "data.root="
SPLIT = "report.split="
# The file that keeps what is known.
CLAIMS = "claims.json"


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


def requested_cards(arguments: Sequence[str]) -> list[Card]:
    """The cards that a command line names; `data=NAME`, `data.KEY=VALUE` and `report.split=NAME` choose another text for all of them.

    Raises:
        SettingsError: no card is named, or one that does not exist or has no other text; a word is not about data.
        DataError, StorageError: the text cannot be read.
    """
    words = [argument for argument in arguments if "=" in argument]
    names = [argument for argument in arguments if argument not in words]
    check(bool(names), " ".join(words), "no card is named", "name one of `tietrain claims`")
    for word in words:
        is_of_text = word.lstrip("+").startswith(("data=", "data.", SPLIT))
        remedy = "give only data=NAME, data.KEY=VALUE and report.split=NAME"
        check(is_of_text, word, "a card fixes everything but its text", remedy)
    cards = load_cards(names)
    return [_on(card, words, _text_name(card, words)) for card in cards] if words else cards


def _text_name(card: Card, words: Sequence[str]) -> str:
    """The preset that words choose, with a hash of them and of the text; not of the folder where it lies."""
    from tietrain.cli.grid import split_cells, swept_keys
    from tietrain.config.compose import compose_config, compose_grid, initialized
    from tietrain.data.sources.named import corpus_key

    requested = f"claim {card.name} {' '.join(words)}"
    has_own = any(key.startswith("data.") for arm in card.arms.values() for key in arm)
    problem = f"its claim is about {'a text of its own' if has_own else 'no text'}"
    check(not has_own and not card.exact, requested, problem, "leave out the words of data")
    grid = [*card.grid[0], *words]
    common = compose_grid(grid)
    is_one = not any(key.startswith("data") for key in swept_keys(common.hydra, grid))
    check(is_one, requested, "a finding is about one text", "give one after the other")
    with initialized(grid, []):
        cell = split_cells(common)[0]
    config = compose_config(cell)
    identity = [corpus_key(config.data, config.task.name), *_without_root(words)]
    return f"{common.hydra.runtime.choices.data}-{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:8]}"


def _without_root(words: Sequence[str]) -> list[str]:
    return [f"{ROOT}DIR" if word.startswith(ROOT) else word for word in words]


def _on(card: Card, words: Sequence[str], text: str) -> Card:
    """The same card on another text: a study, a finding and a page of its own."""
    study = f"{card.study}_{text}"
    grid = tuple((*of_card, *words, f"study={study}") for of_card in card.grid)
    split = next((word.removeprefix(SPLIT) for word in reversed(words) if word.startswith(SPLIT)), card.split)
    of_text = Text(text, tuple(_without_root(words)))
    return replace(card, name=f"{card.name}.{text}", study=study, grid=grid, split=split, text=of_text)


def all_cards(findings: Mapping[str, Finding]) -> list[Card]:
    """Every card; after each the same card on the other texts of which there are findings."""
    cards = []
    for card in load_cards():
        texts = [f.text for f in findings.values() if f.text and f.name == f"{card.name}.{f.text.name}"]
        cards += [card, *(_on(card, text.words, text.name) for text in texts)]
    return cards


def grids_of(cards: Sequence[Card]) -> list[tuple[str, ...]]:
    """The command lines that these cards need, each once."""
    return list(dict.fromkeys(words for card in cards for words in card.grid))


def judge(card: Card) -> Finding:
    """What the check of an exact card says, or the runs of the card's study in `outputs`."""
    if card.exact:
        from tietrain.train.check.published import EXACT

        rows = tuple(EXACT[card.exact]())
        holds = all(stated == computed for _, stated, computed in rows)
        return Finding(card.name, card.hash, CONFIRMED if holds else NOT_CONFIRMED, rows=rows)
    try:
        return judge_card(card, Path("outputs", card.study))
    except DataError as e:
        return Finding(card.name, card.hash, NOT_TESTABLE, doubts=(f"{e.setting}: {e.problem}",), text=card.text)


def read_findings(folder: Path) -> dict[str, Finding]:
    """Card -> what is kept of it in a folder, which need not be there.

    Raises:
        DataError: the file is damaged.
    """
    path = folder / CLAIMS
    if not is_there(path):
        return {}
    try:
        return {body["name"]: Finding.from_json(body) for body in runs.read_json(path)}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise DataError(str(path), "it does not hold verdicts on claims", "restore it, or remove it") from None


def keep(folder: Path, found: Sequence[Finding]) -> dict[str, Finding]:
    """Add findings to those of a folder, count all cards together, and write every page anew; returns all.

    Raises:
        SettingsError: the folder holds something else. StorageError: it cannot be written.
    """
    make_marked_folder(folder)
    known = read_findings(folder) | {finding.name: finding for finding in found}
    findings = {finding.name: finding for finding in settle(list(known.values()))}
    runs.write_json(folder / CLAIMS, [finding.to_json() for finding in findings.values()])
    for name, text in pages_of(findings).items():
        runs.write_text(folder / name, text)
        if name != INDEX:
            title = text.partition("\n")[0].removeprefix("# ")
            runs.write_text((folder / name).with_suffix(".html"), make_page(title, text))
    return findings


def pages_of(findings: Mapping[str, Finding]) -> dict[str, str]:
    """File name -> page in Markdown: one for each card that has a finding, and the index of all cards."""
    cards = all_cards(findings)
    n_tested = sum(finding.q is not None for finding in findings.values())
    found = {card.name: card for card in cards if card.name in findings}
    pages = {f"{name}.md": claim_page(card, findings[name], n_tested) for name, card in found.items()}
    return {**pages, INDEX: index_page(cards, findings)}
