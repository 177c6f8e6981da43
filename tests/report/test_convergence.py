"""How fast arms learn, on curves whose differences and crossings are known."""

import math

import pytest
from scipy import stats

from fabricated import make_config, write_run
from tietrain.report.arms import compare, make_arms
from tietrain.report.convergence import convergence
from tietrain.report.pages.convergence_text import convergence_rows, convergence_text
from tietrain.report.verdicts import judge
from tietrain.runs import record as runs
from tietrain.runs.metrics import append_metrics
from tietrain.runs.view import collect


def straight(start, slope, n_steps=100, every=10, flops=1e6):
    """Rows of a loss that falls along a straight line."""
    steps = range(every, n_steps + 1, every)
    return [{"step": s, "tokens": 64 * s, "flops": flops * s, "nats_per_token": start - slope * s} for s in steps]


@pytest.fixture
def judged(tmp_path):
    """Verdicts of arms with the curves that are given: label -> seed -> rows."""

    def judged(curves, task="lm"):
        for label, by_seed in curves.items():
            for seed, points in by_seed.items():
                directory = write_run(tmp_path, make_config(task, label, seed))
                (directory / runs.METRICS).unlink()
                append_metrics(directory, [{"split": "valid", "seconds": 1.0, **point} for point in points])
        (comparison,) = compare(make_arms(collect(tmp_path)))
        return judge(comparison, tuned=False)

    return judged


def test_losses_are_compared_at_equal_flops(judged):
    """Half the FLOPs per step and the same loss per step: the arm is ahead by what the baseline gains in the other half."""
    ours = {seed: straight(5.0, 0.02, n_steps=200, flops=0.5e6) for seed in (1, 2)}
    theirs = {seed: straight(5.0, 0.02) for seed in (1, 2)}
    (found,) = convergence(judged({"none": theirs, "pre_softmax": ours}))
    for part, value in found.at.items():
        assert value.mean == pytest.approx(-0.02 * 100 * part)
        assert value.low == pytest.approx(value.high) == pytest.approx(value.mean)
    assert found.area.mean == pytest.approx(-0.02 * (100 + 10) / 2)
    assert (found.updates.mean, found.flops.mean) == pytest.approx((1.0, 0.5))


def test_ratios_are_geometric_means_with_paired_intervals(judged):
    theirs = {seed: straight(5.0, 0.02) for seed in (1, 2, 3)}
    slopes = {1: 0.04, 2: 0.025, 3: 0.032}
    ours = {seed: straight(5.0, slope) for seed, slope in slopes.items()}
    (found,) = convergence(judged({"none": theirs, "pre_softmax": ours}))
    logs = [math.log(0.02 / slope) for slope in slopes.values()]
    low, high = stats.t.interval(0.95, 2, loc=sum(logs) / 3, scale=stats.sem(logs))
    assert found.updates.mean == pytest.approx(math.exp(sum(logs) / 3))
    assert (found.updates.low, found.updates.high) == pytest.approx((math.exp(low), math.exp(high)))
    assert (found.never, found.n, found.flops.n) == (0, 3, 3)


def test_a_seed_that_never_gets_there_leaves_no_ratio(judged):
    theirs = {seed: straight(5.0, 0.02) for seed in (1, 2)}
    verdicts = judged({"none": theirs, "pre_softmax": {1: straight(5.0, 0.03), 2: straight(5.0, 0.01)}})
    (found,) = convergence(verdicts)
    assert found.updates is None and found.flops is None
    assert "never for 1 of 2 seeds" in convergence_text(verdicts)
    assert {row["measure"]: row["mean"] for row in convergence_rows(verdicts)}["updates_ratio"] is None


def test_only_common_seeds_and_vocabularies_are_compared(judged):
    curve = straight(5.0, 0.02)
    assert convergence(judged({"none": {1: curve}, "pre_softmax": {2: curve}})) == []


def test_other_vocabularies_are_left_out(judged):
    curves = {label: {1: straight(5.0, 0.02)} for label in ("none", "shared_vocab", "three_way")}
    found = convergence(judged(curves, task="mt"))
    assert [(one.arm.label, one.base.label) for one in found] == [("three_way", "shared_vocab")]
    assert (found[0].updates.low, found[0].updates.high) == (None, None)


def test_curves_without_numbers_or_order_give_no_error(judged):
    """Points at step 0, one point, FLOPs that shrink and numbers at their bounds."""
    wild = [{"step": 0, "tokens": 0, "flops": 0, "nats_per_token": 1e99}, *straight(5.0, 0.02, every=100)]
    shrinking = [{"step": 10 * i, "tokens": 1, "flops": 10.0 / i, "nats_per_token": 1e99 / i} for i in range(1, 4)]
    verdicts = judged({"none": {1: wild, 2: shrinking}, "pre_softmax": {1: shrinking, 2: wild}})
    assert convergence_text(verdicts)
