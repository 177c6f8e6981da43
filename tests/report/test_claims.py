"""Claim cards against runs with made-up scores: verdicts, power, controls, and all cards counted together."""

import json
from dataclasses import replace

import pytest

from fabricated import digest, make_config, write_run
from tietrain.errors import DataError
from tietrain.report.claims import (
    CONFIRMED,
    NO_DIFFERENCE,
    NOT_REPRODUCED,
    NOT_TESTABLE,
    Card,
    Finding,
    Text,
    judge_card,
    output_share,
    settle,
)
from tietrain.report.pages.claim_pages import claim_page
from tietrain.runs.view import Run

# A nat of loss is 0.34 bits per byte; half of the seeds is as good as the other half.
LOSSES = (2.500, 2.504, 2.497, 2.493, 2.503, 2.499)
CARD = Card(
    name="mine",
    claim="A tied table is better.",
    source="nobody 2026",
    figure="none",
    reported="no figure",
    budget="seconds",
    hash="0123",
    study="demo",
    arms={"tied": {"label": "pre_softmax"}, "untied": {"label": "none"}},
    expect=(("tied", "better", "untied"),),
    margin=0.01,
)


@pytest.fixture
def judged(tmp_path):
    """What runs whose tied arm is better by some nats say of a card."""

    def of(card=CARD, by=0.0, losses=LOSSES, **changes):
        for label, gain in (("none", 0.0), ("pre_softmax", by)):
            for seed, loss in enumerate(losses, start=1):
                write_run(tmp_path, make_config("lm", label, seed), loss=loss - gain, **changes)
        return judge_card(card, tmp_path)

    return of


@pytest.mark.parametrize(
    ("relation", "by", "verdict"),
    [
        ("better", 0.1, CONFIRMED),
        ("better", -0.1, NOT_REPRODUCED),
        ("better", 0.004, NO_DIFFERENCE),  # equal within the margin
        ("equal", 0.0, CONFIRMED),
        ("equal", 0.1, NOT_REPRODUCED),
        ("not worse", 0.0, CONFIRMED),
        ("not worse", -0.1, NOT_REPRODUCED),
    ],
)
def test_judge_card_says_what_was_found(judged, relation, by, verdict):
    finding = judged(replace(CARD, expect=(("tied", relation, "untied"),)), by)
    assert (finding.alone, finding.doubts) == (verdict, ())
    assert finding.power > 0.8 and finding.false < 0.06
    (pair,) = finding.pairs
    assert pair.difference == pytest.approx(-0.34 * by, abs=0.002) and pair.low < pair.difference < pair.high
    assert Finding.from_json(finding.to_json()) == finding


def test_judge_card_needs_every_pair_of_a_claim(judged):
    both = replace(CARD, expect=(("tied", "better", "untied"), ("untied", "better", "tied")))
    finding = judged(both, 0.1)
    assert finding.alone == NOT_REPRODUCED and finding.p == pytest.approx(2 * finding.pairs[1].p_different)


def test_judge_card_compares_seed_by_seed_if_the_card_says_so(judged):
    """Runs that differ by as much in every seed, under a spread that hides it otherwise."""
    losses = [2.5 + 8 * (loss - 2.5) for loss in LOSSES]
    finding = judged(replace(CARD, paired=True, margin=0.002), 0.01, losses=losses)
    assert finding.pairs[0].difference == pytest.approx(-0.0034, abs=1e-4) and finding.pairs[0].p < 0.001


def test_judge_card_of_noisy_seeds_is_not_testable(judged):
    finding = judged(by=0.1, losses=[2.5 + 8 * (loss - 2.5) for loss in LOSSES])
    assert finding.alone == NOT_TESTABLE and finding.power < 0.8 and "of repeats" in finding.doubts[0]


def test_judge_card_whose_halves_differ_is_not_testable(judged):
    """Every second seed is far off: whatever made it so, seeds are not alike."""
    finding = judged(replace(CARD, margin=1.0), losses=[2.5, 2.6, 2.501, 2.601, 2.499, 2.599])
    assert finding.doubts == ("two halves of the seeds of one arm are called different",)


def test_judge_card_of_few_seeds_or_other_arms(judged, tmp_path):
    few = judged(losses=LOSSES[:3])
    assert few.alone == NOT_TESTABLE and few.p is None and "fewer than 4 seeds" in few.doubts[0]
    with pytest.raises(DataError, match="tied fits 0 arms"):
        judge_card(replace(CARD, arms={"tied": {"label": "three_way"}, "untied": {"label": "none"}}), tmp_path)


def test_judge_card_against_a_constant_is_a_test_of_one_sample(judged, tmp_path):
    """An arm of the grid that has one seed yet tells nothing of the spread."""
    write_run(tmp_path, make_config("lm", "cross_layer", 1))
    arms = {**CARD.arms, "untied": {"value": 0.9}}
    finding = judged(replace(CARD, arms=arms, expect=(("tied", "better", "untied"),)), 0.1)
    assert finding.alone == CONFIRMED and finding.pairs[0].means[1] == 0.9


def test_judge_card_on_another_text_says_on_which(judged):
    finding = judged(replace(CARD, text=Text("mine-0123", ("data=text",))), 0.1)
    assert finding.scope.endswith(", on mine-0123")
    assert finding.text == Text("mine-0123", ("data=text",), digest("corpus"))
    assert Finding.from_json(json.loads(json.dumps(finding.to_json()))) == finding


def test_settle_counts_all_cards_together():
    """One card at p = 0.04 is confirmed alone, and not beside four that found nothing; doubtful cards do not count."""
    card = Finding("a", "0", CONFIRMED, p=0.04)
    others = [Finding(name, "0", NO_DIFFERENCE, p=0.9) for name in "bcde"]
    doubtful = [Finding(name, "0", NOT_TESTABLE, p=0.9, doubts=("power",)) for name in "fghi"]
    assert settle([card, *doubtful])[0].verdict == CONFIRMED
    among = settle([card, *others])
    assert among[0].verdict == NO_DIFFERENCE and among[0].q == pytest.approx(0.2)
    assert settle([among[0]])[0].verdict == CONFIRMED


def test_output_share_is_that_of_the_first_third_of_the_looks():
    looks = [{"t/adam_read/d.output": a, "t/adam_read/d.embed": 1 - a} for a in (0.9, 0.7, 0.1, 0.1, 0.1, 0.1)]
    assert output_share(Run("x", "done", anatomy=tuple(looks))) == pytest.approx(0.8)
    assert output_share(Run("x", "done")) is None


def test_claim_page(golden, judged):
    card = replace(CARD, grid=(("experiment=demo",),), source_params=61e6, leaves_out="everything")
    finding = judged(card, 0.1)
    exact = Finding("counts", "0", CONFIRMED, verdict=CONFIRMED, rows=(("table", "64,000", "64,000"),))
    pages = {"grid": claim_page(card, settle([finding])[0], 1), "exact": claim_page(replace(CARD, exact="x"), exact, 0)}
    golden("claim_pages", pages)
