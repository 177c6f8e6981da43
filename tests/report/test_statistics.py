"""Numbers of the report against published ones, against scipy, and against counting every case."""

import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tietrain.report.statistics import (
    LEVEL,
    adjust_holm,
    compare_paired,
    equivalence_p,
    power,
    seeds_needed,
    sign_flip_p,
    smallest_effect,
    smallest_sign_flip_p,
)

# Additional hours of sleep under two drugs, Cushny & Peebles 1905, as Student 1908 has them; R's `sleep`.
SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
# Crossed minus self-fertilised maize, eighths of an inch, Darwin 1876; Fisher 1935 counts 1,726 of 32,768.
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]

spread = st.lists(st.integers(-1000, 1000), min_size=2, max_size=12).filter(lambda d: len(set(d)) > 1)
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=7)


def test_paired_t_of_students_data():
    found = compare_paired(SLEEP)
    assert (found.n, found.mean) == (10, pytest.approx(1.58))
    assert found.mean / found.se == pytest.approx(4.0621, abs=1e-4)
    assert found.p == pytest.approx(0.002833, abs=1e-6)
    assert (found.low, found.high) == (pytest.approx(0.7001142), pytest.approx(2.4598858))


@given(spread)
def test_paired_t_is_scipys(differences):
    found, theirs = compare_paired(differences), stats.ttest_1samp(differences, 0)
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-9)
    interval = theirs.confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))


@pytest.mark.parametrize(("value", "p"), [(0.0, 1.0), (0.25, 0.0)])
def test_differences_that_do_not_vary(value, p):
    found = compare_paired([value] * 3)
    assert (found.sd, found.low, found.high, found.p) == (0, value, value, p)
    assert (equivalence_p(found, 0.3), equivalence_p(found, 0.2)) == (0, 0 if value == 0 else 1)


def test_sign_flips_of_fisher():
    assert sign_flip_p(MAIZE) == 2 * 863 / 2**15 == 1726 / 32_768


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=8))
def test_sign_flips_counted_one_by_one(differences):
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in _signs(len(differences))]
    expected = sum(s >= abs(sum(differences)) for s in sums) / len(sums)
    assert sign_flip_p([d / 7 for d in differences]) == expected


def _signs(n):
    return itertools.product((-1, 1), repeat=n)


@given(st.lists(st.floats(0.1, 9), min_size=2, max_size=10))
def test_the_smallest_sign_flip_p_is_reached_where_all_signs_agree(differences):
    assert sign_flip_p(differences) == smallest_sign_flip_p(len(differences))


def test_sign_flips_of_many_seeds_are_drawn_and_never_zero():
    assert sign_flip_p([1.0] * 20) >= smallest_sign_flip_p(20) > 0
    assert sign_flip_p([1.0, -1.0] * 10) > 0.5


def test_holm_as_r_adjusts():
    """p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")"""
    assert adjust_holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])


@given(p_values)
def test_holm_is_the_closure_of_bonferroni(ps):
    """Marcus, Peritz & Gabriel 1976: a hypothesis falls where every set that holds it falls."""
    sets = [s for n in range(1, len(ps) + 1) for s in itertools.combinations(range(len(ps)), n)]
    bonferroni = {s: min(1.0, len(s) * min(ps[i] for i in s)) for s in sets}
    expected = [max(p for s, p in bonferroni.items() if i in s) for i in range(len(ps))]
    assert adjust_holm(ps) == pytest.approx(expected)


@given(spread, st.floats(0.1, 2000))
def test_equivalence_is_two_one_sided_tests(differences, margin):
    found = compare_paired(differences)
    above = stats.ttest_1samp(differences, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(differences, margin, alternative="less").pvalue
    assert equivalence_p(found, margin) == pytest.approx(max(above, below), rel=1e-6, abs=1e-12)
    low, high = stats.ttest_1samp(differences, 0).confidence_interval(1 - 2 * LEVEL)
    if min(abs(low + margin), abs(high - margin)) > 1e-6 * margin:
        assert (equivalence_p(found, margin) < LEVEL) == (-margin < low and high < margin)


@pytest.mark.parametrize(("effect", "n"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_seeds_needed_as_g_power_says(effect, n):
    """G*Power 3.1, t tests, matched pairs, two-tailed, 0.05, power 0.80."""
    assert seeds_needed(effect, 1.0) == seeds_needed(-3 * effect, 3.0) == n


def test_power_is_that_of_simulated_seeds():
    drawn = np.random.default_rng(0).normal(1.2, 1.0, size=(20_000, 6))
    found = (stats.ttest_1samp(drawn, 0, axis=1).pvalue < LEVEL).mean()
    assert power(6, 1.2) == pytest.approx(found, abs=0.01)


@given(st.integers(2, 60), st.floats(0.01, 3))
def test_power_is_both_tails_of_the_noncentral_t(n, effect):
    critical, shift = stats.t.ppf(0.975, n - 1), effect * math.sqrt(n)
    upper, lower = stats.nct.sf(critical, n - 1, shift), stats.nct.cdf(-critical, n - 1, shift)
    if not math.isnan(lower):
        assert power(n, effect) == pytest.approx(upper + lower, abs=1e-9)


@given(st.integers(2, 200), st.floats(1e-3, 1e3), st.sampled_from([0.05, 0.05 / 7]))
def test_the_smallest_effect_has_the_power_asked(n, sd, level):
    effect = smallest_effect(n, sd, level)
    assert power(n, effect / sd, level) == pytest.approx(0.8)
    assert seeds_needed(effect * 1.001, sd, level) <= n


@given(st.floats(0.1, 1e4))
def test_one_seed_less_than_needed_is_too_few(effect):
    n = seeds_needed(effect, 1.0)
    assert power(n, effect) >= 0.8 and (n == 2 or power(n - 1, effect) < 0.8)


@pytest.mark.parametrize(
    ("difference", "sd", "n"), [(0.0, 1.0, None), (0.0, 0.0, None), (0.1, 0.0, 2), (1e-200, 1.0, None), (1e200, 1.0, 2)]
)
def test_extremes_of_the_seeds_needed(difference, sd, n):
    assert seeds_needed(difference, sd) == n


@given(spread)
def test_a_difference_turned_round_is_the_same_evidence(differences):
    one, other = compare_paired(differences), compare_paired([-d for d in differences])
    assert (one.p, one.p_sign_flip, one.sd) == (other.p, other.p_sign_flip, other.sd)
    assert (one.low, one.high) == (-other.high, -other.low)
    assert one.mean == pytest.approx(statistics.fmean(differences))
