"""The interval over seeds and documents: as wide as both kinds of chance make it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tietrain.report.resampling import CHUNK, two_level_interval

N_SEEDS, N_DOCUMENTS = 40, 400
# Standard errors (divisor n) to either side: those of a t interval.
WIDE = stats.t.ppf(0.975, N_SEEDS - 1) * (N_SEEDS / (N_SEEDS - 1)) ** 0.5


def half_width(*texts):
    """Of texts whose differences are [seeds, documents]."""
    low, high = two_level_interval(np.stack(texts), np.ones((len(texts), texts[0].shape[1])))
    assert low < np.mean(texts) < high
    return (high - low) / 2


@given(st.floats(-5, 5), st.lists(st.floats(0.5, 50), min_size=1, max_size=20))
def test_a_constant_difference_a_unit_has_no_width(value, units):
    units = np.array(units)
    interval = two_level_interval(np.tile(value * units, (1, 8, 1)), units[None])
    assert interval == (pytest.approx(value), pytest.approx(value))


def test_chance_in_documents_is_not_averaged_away_by_seeds():
    """All seeds alike: what is left is the documents' standard error, whatever the number of seeds."""
    one = np.random.default_rng(1).normal(size=N_DOCUMENTS)
    expected = WIDE * one.std() / N_DOCUMENTS**0.5
    assert half_width(np.tile(one, (N_SEEDS, 1))) == pytest.approx(expected, rel=0.06)


def test_chance_in_seeds_is_not_averaged_away_by_documents():
    one = np.random.default_rng(2).normal(size=N_SEEDS)
    expected = WIDE * one.std() / N_SEEDS**0.5
    assert half_width(np.tile(one[:, None], (1, N_DOCUMENTS))) == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("n", [8, 20])
def test_over_few_seeds_alone_it_is_as_wide_as_the_t_interval(n):
    """Plain percentiles would hold the mean of 8 normal seeds in 89 of 100 studies instead of 95."""
    one = stats.norm.ppf((np.arange(n) + 0.5) / n)
    expected = stats.t.ppf(0.975, n - 1) * one.std(ddof=1) / n**0.5
    assert half_width(np.tile(one[:, None] + 1, (1, n))) == pytest.approx(expected, rel=0.08)


def test_lines_of_several_texts_are_drawn_together():
    """What line i is worth in one text it is in its translation: two texts say no more of the lines than one does."""
    draw = np.random.default_rng(4)
    lines, seeds = draw.normal(size=(1, N_DOCUMENTS)), draw.normal(scale=0.05, size=(N_SEEDS, 1))
    one = seeds + lines
    assert half_width(one, one) == half_width(one)
    assert half_width(one, seeds - lines) == pytest.approx(WIDE * seeds.std() / N_SEEDS**0.5, rel=0.06)


def test_the_mean_of_texts_gives_each_the_same_weight():
    """However many units it has."""
    units = np.stack([np.full(30, 1.0), np.full(30, 99.0)])
    differences = np.stack([np.tile(value * of, (8, 1)) for value, of in zip((1.0, 3.0), units, strict=True)])
    assert two_level_interval(differences, units) == (pytest.approx(2.0), pytest.approx(2.0))


def test_both_kinds_of_chance_add_up():
    draw = np.random.default_rng(3)
    seeds, documents = draw.normal(scale=0.3, size=(N_SEEDS, 1)), draw.normal(size=(1, N_DOCUMENTS))
    expected = WIDE * (seeds.var() / N_SEEDS + documents.var() / N_DOCUMENTS) ** 0.5
    assert half_width(seeds + documents) == pytest.approx(expected, rel=0.06)


def test_samples_are_drawn_in_pieces_that_fit(monkeypatch):
    monkeypatch.setattr("tietrain.report.resampling.CHUNK", N_DOCUMENTS * 7)
    assert CHUNK > N_DOCUMENTS * 7
    one = np.random.default_rng(1).normal(size=N_DOCUMENTS)
    assert half_width(np.tile(one, (N_SEEDS, 1))) == pytest.approx(WIDE * one.std() / N_DOCUMENTS**0.5, rel=0.06)
