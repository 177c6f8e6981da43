"""Numbers of the report against published ones, against scipy, and against counting every case."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tietrain.report.statistics import CHUNK, Draws, compare_lines, two_level_interval

N_SEEDS, N_DOCUMENTS = 40, 400
# Half the width of a t interval, in standard errors with divisor n.
WIDE = stats.t.ppf(0.975, N_SEEDS - 1) * (N_SEEDS / (N_SEEDS - 1)) ** 0.5


def half_interval(*texts):
    """Half the width of the interval of texts whose differences are [seeds, documents]."""
    ours = np.stack(texts)
    low, high = two_level_interval(ours, np.zeros_like(ours), np.ones((len(texts), texts[0].shape[1])))
    assert low < np.mean(texts) < high
    return (high - low) / 2


def test_two_level_interval_keeps_its_numbers():
    """The same draws from the same seed, whatever the code around them."""
    differences = np.random.default_rng(11).normal(0.1, 1.0, size=(2, 8, 25))
    found = two_level_interval(differences, np.zeros_like(differences), np.linspace(1, 2, 50).reshape(2, 25))
    assert found == pytest.approx((-0.055327703707188064, 0.24468104847370808), rel=1e-12)


@given(st.floats(-5, 5), st.lists(st.floats(0.5, 50), min_size=1, max_size=20))
def test_two_level_interval_of_a_constant_difference_has_no_width(value, units):
    units = np.array(units)
    base = np.ones((1, 9, len(units)))
    interval = two_level_interval(base[:, :8] + np.tile(value * units, (1, 8, 1)), base, units[None])
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
    assert two_level_interval(differences, np.zeros_like(differences), units) == (
        pytest.approx(2.0),
        pytest.approx(2.0),
    )


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
