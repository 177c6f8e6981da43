"""The answer at the top: what the verdicts allow, and why none where they allow none."""

import random

import pytest

from fabricated import make_config, write_run
from tietrain.config import ReportConfig
from tietrain.report.arms import compare, make_arms
from tietrain.report.collect import MAX_TEXT, collect
from tietrain.report.headline import make_headline
from tietrain.report.method import method_paragraph, method_sentences
from tietrain.report.verdicts import judge


def judged(root, shifts, *, tuned=True, n_seeds=6, margin=None):
    """Arms whose loss is a shift away from 2.5 nats, with a little chance of every seed's own."""
    for label, shift in shifts.items():
        chance = random.Random(label)
        for seed in range(1, n_seeds + 1):
            config = make_config("lm", label, seed)
            config.report = ReportConfig(metric="bits_per_byte", margin=margin)
            write_run(root, config, loss=2.5 + shift + chance.gauss(0, 0.002))
    (comparison,) = compare(make_arms(collect(root)))
    return comparison, judge(comparison, tuned=tuned)


def test_smallest_of_the_better_and_equivalent_is_recommended(tmp_path):
    found = judged(tmp_path, {"none": 0.0, "pre_softmax": -0.3, "cross_layer": -0.1})
    headline = make_headline(*found)
    assert headline.answer.startswith("Use cross_layer: better than none in bits/byte on test. It stores least")
    assert headline.answer.endswith("also: pre_softmax (better).")
    assert headline.saves == "393,728 parameters (46.5 %)"
    assert "the same training FLOPs" in headline.costs and headline.costs.startswith("-0.03")
    assert headline.sure.startswith("6 paired seeds, adjusted p") and "diverged 0 of 6" in headline.sure


def test_equivalent(tmp_path):
    headline = make_headline(*judged(tmp_path, {"none": 0.0, "pre_softmax": 0.0}, margin=0.05))
    assert headline.answer == "Use pre_softmax: equivalent to none in bits/byte on test."


@pytest.mark.parametrize(
    "shifts, options, answer",
    [
        ({"none": 0.0, "pre_softmax": 0.3, "cross_layer": 0.4}, {}, "Keep none: every other arm was worse"),
        (
            {"none": 0.0, "pre_softmax": 0.3},
            {"tuned": False},
            "No recommendation can be given: pre_softmax differs, but",
        ),
        (
            {"none": 0.0, "pre_softmax": -0.3},
            {"n_seeds": 1},
            "No recommendation can be given: one seed an arm tells nothing of chance.",
        ),
        ({"none": 0.0, "pre_softmax": 0.0}, {}, "No recommendation can be given: pre_softmax was not shown to differ"),
        ({"none": 0.0}, {}, "No recommendation can be given: there is one arm"),
        ({"pre_softmax": 0.0, "cross_layer": 0.1}, {}, "No recommendation can be given: no arm none."),
    ],
)
def test_why_there_is_no_recommendation(tmp_path, shifts, options, answer):
    headline = make_headline(*judged(tmp_path, shifts, **options))
    assert headline.answer.startswith(answer)
    assert headline.costs in ("nothing", "not known: no difference carries a verdict")


def test_method_paragraph_says_what_a_reviewer_asks(tmp_path):
    text = method_paragraph(*judged(tmp_path, {"none": 0.0, "pre_softmax": -0.1}, tuned=False, margin=0.02))
    for said in (
        "2 arms (none and pre_softmax), which differ in the tie alone",
        "pre_softmax: decoder.output.weight = decoder.embed.weight.",
        "sha256 of corpus",
        "1,000 target pieces",
        "test 10,000 target tokens and 42,000 bytes",
        "n_heads 4",
        "lr 0.002",
        "batch_tokens",
        "lowest nats_per_token on valid",
        "No arm was tuned: all were trained at one common rate.",
        "Training seeds that finished: 1, 2, 3, 4, 5, 6 for every arm. Diverged: 0 of 12 runs.",
        "Primary score, stated before training: bits/byte on test, margin 0.02.",
        "matmul-full-square-3x",
        "torch 2.13.0",
        "window 128, stride 128",
    ):
        assert said in text, said
    assert "`" not in text and "{}" not in text


def test_the_page_shows_the_whole_method(tmp_path):
    comparison, judgement = judged(tmp_path, {"none": 0.0, "pre_softmax": -0.1}, tuned=False, margin=0.02)
    assert len(method_paragraph(comparison, judgement)) > MAX_TEXT  # of one text from a run directory
    assert max(map(len, method_sentences(comparison, judgement))) < MAX_TEXT
