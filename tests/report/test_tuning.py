"""Trials of a tuned study: which point is chosen, what n trials find, and when a comparison of tuned arms has verdicts."""

import csv
import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabricated import make_config, write_run
from tietrain.config import TuneConfig
from tietrain.report.arms import compare, make_arms
from tietrain.report.pages.markdown import make_markdown, make_sections
from tietrain.report.pages.method import method_sentences
from tietrain.report.tuning import DIVERGED, choose_point, edge_keys, expected_best, mean_score
from tietrain.report.verdicts import judge
from tietrain.report.write import write_report
from tietrain.runs.view import collect

RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)
POINTS = [{"optim.lr": lr, "optim.warmup": warmup} for lr in RATES for warmup in (0.05, 0.2)]
LIST = TuneConfig("rates", POINTS, seeds=[101, 102], reporting_seeds=[1, 2, 3, 4, 5, 6])
# Arm -> loss of each rate, None if it diverges; the longer warm-up is 0.01 better.
LOSSES = {"none": (3.0, 2.8, 2.6, 2.7, None), "pre_softmax": (3.0, 2.8, 2.6, 2.4, 2.3), "cross_layer": (None,) * 5}


def run_of(label, place, seed, role):
    point, config = POINTS[place - 1], make_config("lm", label, seed)
    config.optim.lr, config.optim.warmup = point["optim.lr"], point["optim.warmup"]
    return replace(config, tune=replace(LIST, role=role, point=place))


def write_arm(root, label, chosen, leave_out=()):
    losses = [loss for loss in LOSSES[label] for _ in range(2)]
    for place, loss in enumerate(losses, start=1):
        for seed in LIST.seeds:
            if (place, seed) not in leave_out:
                own = (loss or 3) + (0.01 if place % 2 else 0) + 0.001 * (seed - 101)
                write_run(root, run_of(label, place, seed, "tuning"), status="done" if loss else "diverged", loss=own)
    for seed in LIST.reporting_seeds:
        loss = losses[chosen - 1]
        own = (loss or 3) + 0.01 * (seed % 3) + (0.002 if label == "none" else 0.001) * seed
        write_run(root, run_of(label, chosen, seed, "reporting"), status="done" if loss else "diverged", loss=own)


def read(root):
    found = collect(root)
    (comparison,) = comparisons = compare(make_arms(found))
    judgements = {comparison.slug: judge(comparison, tuned=comparison.tuned)}
    sections = make_sections(comparison, judgements[comparison.slug], ())
    return comparison, make_markdown(found, comparisons, judgements, {comparison.slug: sections})


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("tuned")
    for label, chosen in (("none", 6), ("pre_softmax", 10), ("cross_layer", 1)):
        write_arm(root, label, chosen)
    return root


def test_page_of_a_tuned_study(study):
    comparison, page = read(study)
    assert comparison.tuned
    assert "(tuned: rates, 10 trials per arm, 0 to 6 seeds)" in page
    assert [len(arm.runs) for arm in comparison.arms] == [6, 6, 6]
    assert "| `none` | `rates` | 6: `optim.lr=0.002`, `optim.warmup=0.2` | 10 of 10 | 2 |" in page
    assert "| 6: `optim.lr=0.002`, `optim.warmup=0.2` | **2.6005** | 2.6005 | diverged |" in page
    assert "`pre_softmax`: the best `optim.lr` (0.008) is the highest of the list" in page
    assert "the best `optim.warmup`" not in page and "`none`: the best" not in page
    assert "`cross_layer`: every point diverged" in page
    assert "| better |" in page and "No arm was tuned" not in page
    method = " ".join(method_sentences(comparison, judge(comparison, tuned=True)))
    assert "10 points (rates: optim.lr, optim.warmup)" in method and "seeds 101, 102" in method
    assert "Chosen: none optim.lr 0.002, optim.warmup 0.2; pre_softmax optim.lr 0.008" in method
    assert "pre_softmax: the best optim.lr (0.008) is the highest of the list" in method
    assert "| `none` | 6 of 6 |" in page  # of the costs
    assert "tune.point" not in page.split("What differs between")[1].split("What is tied")[0]


def test_write_report_of_a_tuned_study(study):
    paths = write_report(study)
    names = {path.name for path in paths.files}
    stems = ("lm_tuning", "lm_tuning_expected")
    assert {f"{stem}.{end}" for stem in stems for end in ("png", "svg", "csv")} <= names
    with open(study / "report" / "lm_tuning.csv", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == 30 and [row["point"] for row in rows if row["chosen"] == "True"] == ["6", "10", "1"]
    assert rows[8] | {"chosen": ""} == {
        "arm": "none", "point": "9", "optim.lr": "0.008", "optim.warmup": "0.05", "valid_nats_per_token": "",
        "n_seeds": "2", "n_diverged": "2", "chosen": "",
    }  # fmt: skip
    with open(study / "report" / "lm_tuning_expected.csv", encoding="utf-8") as f:
        assert [row["trials"] for row in csv.DictReader(f)] == [*map(str, range(1, 11))] * 2
    assert "tuned: rates, 10 trials per arm" in (study / "report" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("chosen", "leave_out", "said"),
    [
        (10, [(3, 102)], "only 19 of its 20 tuning runs are here, so the best point is unknown"),
        (4, [], "the tuning runs that are here choose point 10, not the point that is reported"),
    ],
)
def test_comparison_is_not_tuned_if_an_arm_is_not_at_its_best(tmp_path, chosen, leave_out, said):
    write_arm(tmp_path, "none", 6)
    write_arm(tmp_path, "pre_softmax", chosen, leave_out)
    comparison, page = read(tmp_path)
    assert not comparison.tuned
    assert "(not every arm tuned in the same way, 6 seeds)" in page
    assert f"**Warning:** `pre_softmax`: {said}." in page
    assert "Not every arm was tuned in the same way: another learning rate could favour another arm" in page
    assert "| better |" not in page


def test_comparison_is_not_tuned_if_an_arm_was_not(tmp_path):
    write_arm(tmp_path, "none", 6)
    for seed in LIST.reporting_seeds:
        write_run(tmp_path, make_config("lm", "pre_softmax", seed), loss=2.0 + 0.01 * seed)
    comparison, page = read(tmp_path)
    assert not comparison.tuned and "not every arm tuned in the same way" in page


def test_comparison_is_not_tuned_by_two_lists_of_one_name(tmp_path, monkeypatch):
    write_arm(tmp_path, "none", 6)
    monkeypatch.setattr(f"{__name__}.LIST", replace(LIST, seeds=[101]))
    write_arm(tmp_path, "pre_softmax", 10)
    assert not read(tmp_path)[0].tuned


SCORES = st.lists(st.floats(0.5, 9) | st.just(DIVERGED), min_size=1, max_size=4)


@given(SCORES, st.integers(1, 4))
def test_expected_best_is_the_mean_over_all_draws(scores, n):
    best = [min(draw) for draw in itertools.product(scores, repeat=n)]
    finite = [score for score in best if math.isfinite(score)]
    found = expected_best(scores, n)
    assert found == (pytest.approx(math.fsum(finite) / len(finite)) if finite else None)


@given(SCORES)
def test_expected_best_of_more_trials_is_no_worse(scores):
    found = [expected_best(scores, n) for n in range(1, 6)]
    if found[0] is not None:
        assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(found))
        assert found[-1] >= min(scores) - 1e-9


def test_choose_point_takes_the_lowest_mean():
    assert choose_point({1: [3.0], 2: [2.0], 3: [2.5]}) == 2
    assert choose_point({1: [2.0, 3.0], 2: [2.4, 2.4]}) == 2
    assert choose_point({2: [2.0], 1: [2.0]}) == 1  # of equal ones the first in the list
    assert choose_point({1: [1.0, DIVERGED], 2: [5.0, 5.0]}) == 2
    assert choose_point({1: [DIVERGED], 2: [DIVERGED]}) == 1
    assert choose_point({1: [DIVERGED], 2: [9.0]}) == 2


def test_mean_score_does_not_depend_on_the_order_of_seeds():
    assert mean_score([0.1, 0.2, 0.3]) == mean_score([0.3, 0.1, 0.2])


def test_edge_keys_are_those_with_interior_points():
    points = {i: {"lr": lr, "warmup": i % 2, "name": "a"} for i, lr in enumerate((1, 2, 3, 4), start=1)}
    assert [edge_keys(points, best) for best in points] == [{"lr": "lowest"}, {}, {}, {"lr": "highest"}]
