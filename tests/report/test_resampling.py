"""The interval over seeds and documents: as wide as both kinds of chance make it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tietrain.report.resampling import CHUNK, two_level_interval

N_SEEDS, N_DOCUMENTS = 40, 400
UNITS = np.ones(N_DOCUMENTS)


def half_width(differences):
    low, high = two_level_interval(differences, np.ones(differences.shape[1]))
    assert low < differences.mean() < high
    return (high - low) / 2


@given(st.floats(-5, 5), st.lists(st.floats(0.5, 50), min_size=1, max_size=20))
def test_a_constant_difference_a_unit_has_no_width(value, units):
    units = np.array(units)
    interval = two_level_interval(np.tile(value * units, (8, 1)), units)
    assert interval == (pytest.approx(value), pytest.approx(value))


def test_chance_in_documents_is_not_averaged_away_by_seeds():
    """All seeds alike: what is left is the documents' standard error, whatever the number of seeds."""
    one = np.random.default_rng(1).normal(size=N_DOCUMENTS)
    expected = 1.96 * one.std() / N_DOCUMENTS**0.5
    assert half_width(np.tile(one, (N_SEEDS, 1))) == pytest.approx(expected, rel=0.06)


def test_chance_in_seeds_is_not_averaged_away_by_documents():
    one = np.random.default_rng(2).normal(size=N_SEEDS)
    expected = 1.96 * one.std() / N_SEEDS**0.5
    assert half_width(np.tile(one[:, None], (1, N_DOCUMENTS))) == pytest.approx(expected, rel=0.06)


def test_both_kinds_of_chance_add_up():
    draw = np.random.default_rng(3)
    seeds, documents = draw.normal(scale=0.3, size=(N_SEEDS, 1)), draw.normal(size=(1, N_DOCUMENTS))
    expected = 1.96 * (seeds.var() / N_SEEDS + documents.var() / N_DOCUMENTS) ** 0.5
    assert half_width(seeds + documents) == pytest.approx(expected, rel=0.06)


def test_samples_are_drawn_in_pieces_that_fit(monkeypatch):
    monkeypatch.setattr("tietrain.report.resampling.CHUNK", N_DOCUMENTS * 7)
    assert CHUNK > N_DOCUMENTS * 7
    one = np.random.default_rng(1).normal(size=N_DOCUMENTS)
    assert half_width(np.tile(one, (8, 1))) == pytest.approx(1.96 * one.std() / N_DOCUMENTS**0.5, rel=0.06)
