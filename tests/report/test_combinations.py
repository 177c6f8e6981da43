"""Weighted sums of arm means and their ratios, against formulas written out for one study and against repeated draws."""

import numpy as np
import pytest
from scipy import stats

from calibrate import Four
from tietrain.report.combinations import combine, ratio
from tietrain.report.contrasts import contrast

WEIGHTS = np.array([[1.0, -1.0, 0.0], [0.0, -1.0, 1.0], [1.0, -2.0, 1.0]])


def draw(rng, n_seeds, shape=()):
    return rng.standard_normal((*shape, 3, n_seeds)) + np.array([[1.0], [0.0], [3.0]])


@pytest.mark.parametrize("n_seeds", [3, 7])
def test_a_sum_of_two_arms_is_the_contrast_of_every_report(n_seeds):
    scores = draw(np.random.default_rng(0), n_seeds)
    found = combine(scores, WEIGHTS[:2], np.full(3, 0.5))
    known = contrast(scores, [0, 2], [1, 1], luck=0.5)
    np.testing.assert_allclose(found.value, known.difference)
    np.testing.assert_allclose(np.sqrt(np.diagonal(found.covariance)), known.se)
    np.testing.assert_allclose([found.low, found.high], [known.low, known.high])


def test_arms_share_one_noise_with_few_seeds_and_only_tuned_ones_have_luck():
    scores = draw(np.random.default_rng(1), 3)
    found = combine(scores, WEIGHTS[2:], np.array([0.5, 0.0, 0.0]))
    pooled = scores.var(axis=1, ddof=1).mean()
    variance = pooled * ((1 / 3 + 0.5) + 4 / 3 + 1 / 3)
    half = stats.t.ppf(0.975, 6) * variance**0.5
    assert found.value[0] == pytest.approx(scores.mean(axis=1) @ [1, -2, 1])
    assert [found.low[0], found.high[0]] == pytest.approx([found.value[0] - half, found.value[0] + half])


def test_the_ends_of_a_ratio_are_where_a_test_begins_to_refuse_it():
    scores = draw(np.random.default_rng(2), 4)
    (low, high), bounded = ratio(combine(scores, WEIGHTS, np.zeros(3)), 0, 1)
    assert bounded and low < high
    for end in (low, high):
        of_end = combine(scores, (WEIGHTS[0] - end * WEIGHTS[1])[None], np.zeros(3))
        assert min(abs(of_end.low[0]), abs(of_end.high[0])) == pytest.approx(0, abs=1e-9)


def test_a_ratio_has_no_ends_if_its_bottom_may_be_zero():
    scores = draw(np.random.default_rng(3), 4)
    same = scores.copy()
    same[2] = same[1] + np.array([0.1, -0.1, 0.1, -0.1])
    ends, bounded = ratio(combine(same, WEIGHTS, np.zeros(3)), 0, 1)
    assert not bounded and np.isnan(ends).all()


@pytest.mark.parametrize("gain", [0.0, 3.0])
@pytest.mark.parametrize("n_seeds", [3, 10])
def test_simulated_answers_err_as_rarely_as_documented(n_seeds, gain):
    kind = Four(n_seeds, gain)
    assert kind.problems(kind.rates(4000), 4000) == []
