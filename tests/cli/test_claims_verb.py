"""Claim cards from the command line: every card fits its grid, exact ones hold, verdicts are kept and never overwrite a user's files."""

import json
from pathlib import Path

import pytest

from refusals import refusal
from tietrain.cli.claims import all_cards, grids_of, load_cards, pages_of, read_findings, requested_cards
from tietrain.cli.grid import split_cells, sweeper_of
from tietrain.config.compose import compose_config, compose_grid, initialized
from tietrain.config.identity import flat_settings
from tietrain.report.claims import MEASURES, RELATIONS
from tietrain.report.pages.claim_pages import FIGURES
from tietrain.runs.scores import SCORES
from tietrain.train.check.published import EXACT

CARDS = load_cards()
GRIDS = [card for card in CARDS if not card.exact]
KEPT = Path(__file__).parents[2] / "docs" / "claims"
SLOW = ("ties_survive", "tied_step_is_summed")


def arms_of(words):
    """The label and settings of every arm of a grid's command line."""
    common = compose_grid(words)
    assert sweeper_of(common) == "basic"
    with initialized(words, []):
        cells = split_cells(common)
    seen = {tuple(word for word in cell if not word.startswith("seed=")) for cell in cells}
    configs = [compose_config(list(cell)) for cell in sorted(seen)]
    return [{**flat_settings(config), "label": config.tying_label} for config in configs]


def test_cards_are_well_formed():
    assert len(CARDS) >= 20
    assert {card.exact for card in CARDS if card.exact} == set(EXACT)
    for card in CARDS:
        assert card.figure in FIGURES and card.claim.endswith(".") and card.budget, card.name
        assert bool(card.exact) != bool(card.grid and card.arms and card.expect), card.name
        for arm, relation, base in card.expect:
            assert relation in RELATIONS and {arm, base} <= set(card.arms), card.name
        assert card.exact or (card.metric in {**SCORES, **MEASURES} and 0 < card.margin < 10), card.name


@pytest.mark.slow
def test_every_arm_of_a_card_is_in_its_grid_once():
    found = {words: arms_of(words) for words in grids_of(GRIDS)}
    for card in GRIDS:
        arms = [arm for words in card.grid for arm in found[words]]
        assert {arm["study"] for arm in arms} == {card.study}
        for name, want in card.arms.items():
            fits = [arm for arm in arms if all(arm.get(key) == value for key, value in want.items())]
            assert len(fits) == (0 if "value" in want else 1), f"{card.name}: {name}"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in EXACT]
)
def test_exact_claims_hold(name):
    rows = EXACT[name]()
    assert rows and [row for row in rows if row[1] != row[2]] == []


def test_kept_verdicts_are_of_the_cards_as_they_are_and_their_pages_are_current():
    findings = read_findings(KEPT)
    assert len(findings) >= 12
    hashes = {card.name: card.hash for card in all_cards(findings)}
    assert {name: finding.hash for name, finding in findings.items()} == {name: hashes[name] for name in findings}
    assert {path.name: path.read_text(encoding="utf-8") for path in KEPT.glob("*.md")} == pages_of(findings)


def test_claim_keeps_its_verdict_and_its_page(tietrain_cli):
    assert "x6_takase_maps: not run" in tietrain_cli("claims").out
    ran = tietrain_cli("claim", "x6_takase_maps", "x5_mobilellm_sizes")
    assert ran.code == 0 and ran.out.startswith("x6_takase_maps: confirmed\n")
    listed = {card["name"]: card for card in json.loads(tietrain_cli("claims", "--json").out)}
    assert listed["x6_takase_maps"]["finding"]["hash"] == listed["x6_takase_maps"]["hash"]
    assert listed["x1_three_way_saves"]["finding"] is None


def test_claim_runs_each_grid_once_and_says_what_is_missing(tietrain_cli, monkeypatch, tmp_path):
    commands = []
    monkeypatch.setattr("tietrain.cli.main.main", lambda words: commands.append(words) or 1)
    ran = tietrain_cli("claim", "output_dominates", "input_gradient_balances", "--to", "kept")
    assert (ran.code, commands) == (1, [["experiment=claims_table"]])
    assert ran.out.count(": not testable at this budget") == 2
    page = (tmp_path / "kept" / "output_dominates.md").read_text()
    assert "Not testable at this budget" in page and "outputs/claims\\_table" in page
    assert "[output_dominates](output_dominates.md)" in (tmp_path / "kept" / "README.md").read_text()


def test_claim_on_another_text_is_another_finding(tietrain_cli, monkeypatch, tmp_path):
    commands = []
    monkeypatch.setattr("tietrain.cli.main.main", lambda words: commands.append(words) or 0)
    words = ["data=grammar", "data.preset=small"]
    assert tietrain_cli("claim", "output_dominates", "--to", "kept").code == 0
    ran = tietrain_cli("claim", "output_dominates", *words, "--to", "kept")
    assert ran.code == 0
    own, other = commands
    assert (own, other[:3]) == (["experiment=claims_table"], [*own, *words])
    text = other[3].removeprefix("study=claims_table_")
    assert text.startswith("grammar-") and ran.out.startswith(f"output_dominates.{text}: ")
    pages = {path.name: path.read_text() for path in (tmp_path / "kept").glob("*.md")}
    assert set(pages) == {"README.md", "output_dominates.md", f"output_dominates.{text}.md"}
    assert pages == pages_of(read_findings(tmp_path / "kept"))
    assert f"tietrain claim output_dominates {' '.join(words)}\n" in pages[f"output_dominates.{text}.md"]
    assert f"output_dominates.{text}: not testable" in tietrain_cli("claims", "--to", "kept").out


def test_a_text_is_known_by_its_content_and_not_by_its_folder(tmp_path):
    names = []
    for folder, text in (("here", "a b\n"), ("there", "a b\n"), ("there", "a c\n")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "t.txt").write_text(text)
        words = ["data=text", f"data.root={tmp_path / folder}", "data.splits={train: [t.txt], valid: [t.txt]}"]
        (card,) = requested_cards(["adam_ignores_scale", *words])
        assert card.grid[0][-1] == f"study={card.study}" and words[1] in card.grid[0]
        assert str(tmp_path) not in repr(card.text)
        names.append(card.text.name)
    assert names[0] == names[1] != names[2]


def test_a_text_whose_split_has_another_name_is_scored_on_it():
    (card,) = requested_cards(["adam_ignores_scale", "data=grammar", "report.split=unseen"])
    assert card.split == "unseen" and "report.split=unseen" in card.grid[0] and "report.split=unseen" in card.text.words
    (own,) = requested_cards(["adam_ignores_scale", "data=grammar"])
    assert own.split == "test" and own.text.name != card.text.name


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["data=tinyshakespeare"], "no card is named"),
        (["tying_helps", "data=grammar", "train.max_steps=9"], "a card fixes everything but its text"),
        (["x6_takase_maps", "data=grammar"], "its claim is about no text"),
        (["xor_tying_hurts", "data=grammar"], "its claim is about a text of its own"),
        (["tying_helps", "data=tinyshakespeare", "data.root=nowhere"], "nowhere"),
        (["tying_helps", "data=grammar", "data.preset=tiny,small"], "a finding is about one text"),
    ],
)
def test_requested_cards_refuse_what_is_no_other_text(arguments, problem):
    assert problem in str(refusal(requested_cards, arguments))


def test_claim_refusals(tietrain_cli, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    assert tietrain_cli("claim", "x6_takase_maps", "--to", "mine").is_refusal()
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    unknown = tietrain_cli("claim", "x6_takase_map")
    assert unknown.is_refusal() and "did you mean x6_takase_maps?" in unknown.err
    (tmp_path / "mine" / "claims.json").write_text('[{"name": 1, "hash": 2, "verdict": 3}]')
    assert tietrain_cli("claims", "--to", "mine").is_refusal()
