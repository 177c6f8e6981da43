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
    CHUNK,
    LEVEL,
    Draws,
    adjust_holm,
    compare_lines,
    compare_seeds,
    equivalence_p,
    power,
    seeds_needed,
    sign_flip_p,
    smallest_effect,
    smallest_sign_flip_p,
    two_level_interval,
)

# Additional hours of sleep under two drugs, Cushny & Peebles 1905, as Student 1908 has them; R's `sleep`.
SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
# Crossed minus self-fertilised maize, eighths of an inch, Darwin 1876; Fisher 1935 counts 1,726 of 32,768.
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]

spread = st.lists(st.integers(-1000, 1000), min_size=2, max_size=12).filter(lambda d: len(set(d)) > 1)
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=7)


def test_compare_seeds_of_students_data():
    found = compare_seeds(SLEEP)
    assert (found.n, found.mean) == (10, pytest.approx(1.58))
    assert found.mean / found.se == pytest.approx(4.0621, abs=1e-4)
    assert found.p == pytest.approx(0.002833, abs=1e-6)
    assert (found.low, found.high) == (pytest.approx(0.7001142), pytest.approx(2.4598858))


@given(spread)
def test_compare_seeds_equals_scipy(differences):
    found, theirs = compare_seeds(differences), stats.ttest_1samp(differences, 0)
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-9)
    interval = theirs.confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))


@given(spread)
def test_compare_seeds_is_symmetric(differences):
    one, other = compare_seeds(differences), compare_seeds([-d for d in differences])
    assert (one.p, one.p_sign_flip, one.sd) == (other.p, other.p_sign_flip, other.sd)
    assert (one.low, one.high) == (-other.high, -other.low)
    assert one.mean == pytest.approx(statistics.fmean(differences))


def test_compare_seeds_of_equal_differences():
    for value, p in ((0.0, 1.0), (0.25, 0.0)):
        found = compare_seeds([value] * 3)
        assert (found.sd, found.low, found.high, found.p) == (0, value, value, p)
        assert (equivalence_p(found, 0.3), equivalence_p(found, 0.2)) == (0, 0 if value == 0 else 1)


def test_sign_flip_p_of_fishers_data():
    assert sign_flip_p(MAIZE) == 2 * 863 / 2**15 == 1726 / 32_768


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=8))
def test_sign_flip_p_counts_every_pattern(differences):
    patterns = itertools.product((-1, 1), repeat=len(differences))
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in patterns]
    expected = sum(s >= abs(sum(differences)) for s in sums) / len(sums)
    assert sign_flip_p([d / 7 for d in differences]) == expected


@given(st.lists(st.floats(0.1, 9), min_size=2, max_size=10))
def test_smallest_sign_flip_p_is_reached_if_all_signs_agree(differences):
    assert sign_flip_p(differences) == smallest_sign_flip_p(len(differences))


def test_sign_flip_p_of_many_seeds_is_drawn_and_never_zero():
    assert sign_flip_p([1.0] * 20) >= smallest_sign_flip_p(20) > 0
    assert sign_flip_p([1.0, -1.0] * 10) > 0.5


def test_adjust_holm_equals_r():
    """p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")"""
    assert adjust_holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])


@given(p_values)
def test_adjust_holm_is_the_closure_of_bonferroni(ps):
    """Marcus, Peritz & Gabriel 1976: a hypothesis is rejected if every set that contains it is rejected."""
    sets = [s for n in range(1, len(ps) + 1) for s in itertools.combinations(range(len(ps)), n)]
    bonferroni = {s: min(1.0, len(s) * min(ps[i] for i in s)) for s in sets}
    expected = [max(p for s, p in bonferroni.items() if i in s) for i in range(len(ps))]
    assert adjust_holm(ps) == pytest.approx(expected)


@given(spread, st.floats(0.1, 2000))
def test_equivalence_p_is_that_of_two_one_sided_tests(differences, margin):
    found = compare_seeds(differences)
    above = stats.ttest_1samp(differences, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(differences, margin, alternative="less").pvalue
    assert equivalence_p(found, margin) == pytest.approx(max(above, below), rel=1e-6, abs=1e-12)
    low, high = stats.ttest_1samp(differences, 0).confidence_interval(1 - 2 * LEVEL)
    if min(abs(low + margin), abs(high - margin)) > 1e-6 * margin:
        assert (equivalence_p(found, margin) < LEVEL) == (-margin < low and high < margin)


def test_seeds_needed_equals_g_power():
    """G*Power 3.1, t tests, matched pairs, two-tailed, 0.05, power 0.80."""
    for effect, n in ((0.2, 199), (0.5, 34), (0.8, 15)):
        assert seeds_needed(effect, 1.0) == seeds_needed(-3 * effect, 3.0) == n


def test_seeds_needed_of_extremes():
    cases = [((0.0, 1.0), None), ((0.0, 0.0), None), ((0.1, 0.0), 2), ((1e-200, 1.0), None), ((1e200, 1.0), 2)]
    assert [seeds_needed(*case) for case, _ in cases] == [n for _, n in cases]


@given(st.floats(0.1, 1e4))
def test_seeds_needed_is_the_fewest(effect):
    n = seeds_needed(effect, 1.0)
    assert power(n, effect) >= 0.8 and (n == 2 or power(n - 1, effect) < 0.8)


def test_power_equals_that_of_simulated_seeds():
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
def test_smallest_effect_has_the_power(n, sd, level):
    effect = smallest_effect(n, sd, level)
    assert power(n, effect / sd, level) == pytest.approx(0.8)
    assert seeds_needed(effect * 1.001, sd, level) <= n


N_SEEDS, N_DOCUMENTS = 40, 400
# Half the width of a t interval, in standard errors with divisor n.
WIDE = stats.t.ppf(0.975, N_SEEDS - 1) * (N_SEEDS / (N_SEEDS - 1)) ** 0.5


def half_interval(*texts):
    """Half the width of the interval of texts whose differences are [seeds, documents]."""
    low, high = two_level_interval(np.stack(texts), np.ones((len(texts), texts[0].shape[1])))
    assert low < np.mean(texts) < high
    return (high - low) / 2


def test_two_level_interval_keeps_its_numbers():
    """The same draws from the same seed, whatever the code around them."""
    differences = np.random.default_rng(11).normal(0.1, 1.0, size=(2, 8, 25))
    found = two_level_interval(differences, np.linspace(1, 2, 50).reshape(2, 25))
    assert found == pytest.approx((-0.06389793707301422, 0.25380423052710954), rel=1e-12)


@given(st.floats(-5, 5), st.lists(st.floats(0.5, 50), min_size=1, max_size=20))
def test_two_level_interval_of_a_constant_difference_has_no_width(value, units):
    units = np.array(units)
    interval = two_level_interval(np.tile(value * units, (1, 8, 1)), units[None])
    assert interval == (pytest.approx(value), pytest.approx(value))


def test_two_level_interval_is_as_wide_as_both_kinds_of_chance():
    """Neither the chance of documents nor that of seeds is averaged away by the other; both add up."""
    rng = np.random.default_rng(3)
    seeds, documents = rng.normal(scale=0.3, size=(N_SEEDS, 1)), rng.normal(size=(1, N_DOCUMENTS))
    nothing = np.zeros((N_SEEDS, N_DOCUMENTS))
    of_seeds, of_documents = seeds.var() / N_SEEDS, documents.var() / N_DOCUMENTS
    assert half_interval(nothing + documents) == pytest.approx(WIDE * of_documents**0.5, rel=0.06)
    assert half_interval(nothing + seeds) == pytest.approx(WIDE * of_seeds**0.5, rel=0.06)
    assert half_interval(seeds + documents) == pytest.approx(WIDE * (of_seeds + of_documents) ** 0.5, rel=0.06)


@pytest.mark.parametrize("n", [8, 20])
def test_two_level_interval_of_few_seeds_is_as_wide_as_the_t_interval(n):
    """Plain percentiles would hold the mean of 8 normal seeds in 89 of 100 studies instead of 95."""
    one = stats.norm.ppf((np.arange(n) + 0.5) / n)
    expected = stats.t.ppf(0.975, n - 1) * one.std(ddof=1) / n**0.5
    assert half_interval(np.tile(one[:, None] + 1, (1, n))) == pytest.approx(expected, rel=0.08)


def test_two_level_interval_draws_lines_of_several_texts_together():
    """Line i of one text is the translation of line i of the other: two texts tell no more about lines than one."""
    rng = np.random.default_rng(4)
    lines, seeds = rng.normal(size=(1, N_DOCUMENTS)), rng.normal(scale=0.05, size=(N_SEEDS, 1))
    one = seeds + lines
    assert half_interval(one, one) == half_interval(one)
    assert half_interval(one, seeds - lines) == pytest.approx(WIDE * seeds.std() / N_SEEDS**0.5, rel=0.06)


def test_two_level_interval_gives_each_text_the_same_weight():
    """Whatever its number of units."""
    units = np.stack([np.full(30, 1.0), np.full(30, 99.0)])
    differences = np.stack([np.tile(value * of, (8, 1)) for value, of in zip((1.0, 3.0), units, strict=True)])
    assert two_level_interval(differences, units) == (pytest.approx(2.0), pytest.approx(2.0))


def test_two_level_interval_draws_in_pieces_that_fit(monkeypatch):
    monkeypatch.setattr("tietrain.report.statistics.CHUNK", N_DOCUMENTS * 7)
    assert CHUNK > N_DOCUMENTS * 7
    one = np.random.default_rng(1).normal(size=N_DOCUMENTS)
    assert half_interval(np.tile(one, (N_SEEDS, 1))) == pytest.approx(WIDE * one.std() / N_DOCUMENTS**0.5, rel=0.06)


FEW = Draws(200, 300, seed=7)


def test_compare_lines_keeps_its_numbers():
    """The same draws from the same seed, whatever the code around them."""
    rng = np.random.default_rng(11)
    a, units = rng.random(40) * 4, rng.integers(1, 9, 40).astype(float)
    found = compare_lines(a, a + rng.normal(0.2, 0.5, 40), units, FEW)
    assert (found.a_ci, found.b_ci) == pytest.approx((0.14601416205644527, 0.1594918755867388), rel=1e-12)
    assert (found.p_bootstrap, found.p_randomisation) == (0.004975124378109453, 0.0033222591362126247)


def test_compare_lines_equals_all_exchanges_and_all_samples():
    rng = np.random.default_rng(11)
    a, b, units = rng.random(5) * 4, rng.random(5) * 4 + 0.4, rng.integers(1, 6, 5).astype(float)
    difference = (b.sum() - a.sum()) / units.sum()
    found = compare_lines(a, b, units, Draws(40_000, 40_000, seed=1))
    assert (found.a, found.b) == pytest.approx((a.sum() / units.sum(), b.sum() / units.sum()))
    exchanged = [(b - a) @ signs / units.sum() for signs in itertools.product((-1, 1), repeat=5)]
    exact = np.mean(np.abs(exchanged) >= abs(difference) * (1 - 1e-9))
    assert found.p_randomisation == pytest.approx(exact, abs=0.01) and 0 < exact < 1
    rows = np.array(list(itertools.product(range(5), repeat=5)))
    drawn = ((b - a)[rows].sum(1)) / units[rows].sum(1) - difference
    exact = np.mean(np.abs(drawn) >= abs(difference) * (1 - 1e-9))
    assert found.p_bootstrap == pytest.approx(exact, abs=0.01) and 0 < exact < 1
    low, high = np.quantile(a[rows].sum(1) / units[rows].sum(1), [0.025, 0.975])
    assert found.a_ci == pytest.approx((high - low) / 2, rel=0.05)


def test_compare_lines_of_equal_models():
    a = np.random.default_rng(5).random(30)
    found = compare_lines(a, a.copy(), np.ones(30), FEW)
    assert (found.p_bootstrap, found.p_randomisation) == (1.0, 1.0)


def test_compare_lines_seldom_calls_chance_a_difference():
    """Two models that differ only by noise: p is below 0.05 for about 5 % of the test sets."""
    units, small = np.ones(50), {"p_bootstrap": 0, "p_randomisation": 0}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        found = compare_lines(rng.normal(3, 1, 50), rng.normal(3, 1, 50), units, Draws(200, 200, seed))
        for name in small:
            small[name] += getattr(found, name) < 0.05
    assert all(2 <= n <= 22 for n in small.values()), small


def test_compare_lines_draws_in_pieces_that_fit(monkeypatch):
    a, b = np.random.default_rng(5).random((2, 40))
    units = np.ones(40)
    whole = compare_lines(a, b, units, FEW)
    monkeypatch.setattr("tietrain.report.statistics.CHUNK", 400)
    parts = compare_lines(a, b, units, FEW)
    assert (parts.a, parts.b) == (whole.a, whole.b)
    assert parts.p_bootstrap == pytest.approx(whole.p_bootstrap, abs=0.1)
    assert parts.p_randomisation == pytest.approx(whole.p_randomisation, abs=0.1)
    assert compare_lines(a, b, units, Draws(200, 300, seed=8)) != parts
