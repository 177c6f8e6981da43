"""The answer at the top: what the verdicts allow, and why none where they allow none."""

import random
import re
from dataclasses import replace

import pytest

from fabricated import make_config, write_run
from tietrain.config import ReportConfig
from tietrain.report.arms import compare, make_arms
from tietrain.report.pages.headline import make_headline
from tietrain.report.pages.method import method_paragraph, method_sentences
from tietrain.report.verdicts import judge
from tietrain.runs.view import MAX_TEXT, collect


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


def test_size_against_a_baseline_of_another_vocabulary(tmp_path):
    """Ties save of the arm's own model; what it stores less than the baseline is told besides."""
    judged(tmp_path, {"none": 0.0, "pre_softmax": 0.3})
    found = [
        replace(run, params_untied=run.params_untied + 10_000, params_saved=run.params_saved + 10_000)
        if run.label == "pre_softmax"
        else run
        for run in collect(tmp_path)
    ]
    (comparison,) = compare(make_arms(found))
    headline = make_headline(comparison, judge(comparison, tuned=False))
    less = 100 * (1 - comparison.arms[1].first.params / comparison.arms[0].first.params)
    assert headline.saves.endswith(f"by pre_softmax; stores {less:.1f} % less than the baseline")


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
    assert headline.costs.startswith(("nothing", "not known: no difference carries a verdict"))


def test_what_was_seen_is_told_where_it_carries_no_verdict(tmp_path):
    """Arms of one verdict are one reason, and the ends of the range of differences are named."""
    found = judged(tmp_path, {"none": 0.0, "pre_softmax": 0.3, "cross_layer": 0.5}, tuned=False)
    headline = make_headline(*found)
    assert "cross_layer differ, but at one common rate" in headline.answer and headline.answer.count("differ") == 1
    assert re.search(r"; seen: \+0\.1\d+ \(pre_softmax\) to \+0\.1\d+ \(cross_layer\) bits/byte$", headline.costs)


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
        "Training seeds that finished: 1, 2, 3, 4, 5, 6 for every arm. Of 12 runs 0 diverged.",
        "Primary score, stated before training: bits/byte on test, margin 0.02; every other score",
        "1 arm against none: two-sided paired t tests",
        "two one-sided tests against the margin",
        "precision fp32, compile false, threads 2",
        "matmul-full-square-3x",
        "torch 2.13.0",
        "window 128, stride 128",
    ):
        assert said in text, said
    for unused in (
        "`",
        "{}",
        "device auto",
        "precision auto",
        "vocabulary auto",
        "mask_rate",
        "beam",
        "max_output",
        "momentum",
        "n_averaged",
        "bleu",
    ):
        assert unused not in text, unused


def test_method_paragraph_says_whose_vocabularies_are_joint(tmp_path):
    for label in ("none", "pre_softmax", "three_way"):
        write_run(tmp_path, make_config("mt", label, 1))
    (comparison,) = compare(make_arms(collect(tmp_path)))
    text = method_paragraph(comparison, judge(comparison, tuned=False))
    assert "One vocabulary a stack: none and pre_softmax. One for all stacks: three_way." in text


def test_the_page_shows_the_whole_method(tmp_path):
    comparison, judgement = judged(tmp_path, {"none": 0.0, "pre_softmax": -0.1}, tuned=False, margin=0.02)
    assert len(method_paragraph(comparison, judgement)) > MAX_TEXT  # of one text from a run directory
    assert max(map(len, method_sentences(comparison, judgement))) < MAX_TEXT
