"""Which point is chosen, and what n trials are expected to find, against every draw there is."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tietrain.report.tuning import DIVERGED, choose_point, edge_keys, expected_best, mean_score

SCORES = st.lists(st.floats(0.5, 9) | st.just(DIVERGED), min_size=1, max_size=4)


@given(SCORES, st.integers(1, 4))
def test_expected_best_is_the_mean_over_all_draws(scores, n):
    best = [min(draw) for draw in itertools.product(scores, repeat=n)]
    finite = [score for score in best if math.isfinite(score)]
    found = expected_best(scores, n)
    assert found == (pytest.approx(math.fsum(finite) / len(finite)) if finite else None)


@given(SCORES)
def test_more_trials_find_no_worse(scores):
    found = [expected_best(scores, n) for n in range(1, 6)]
    if found[0] is not None:
        assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(found))
        assert found[-1] >= min(scores) - 1e-9


@pytest.mark.parametrize(
    ("scores", "point"),
    [
        ({1: [3.0], 2: [2.0], 3: [2.5]}, 2),
        ({1: [2.0, 3.0], 2: [2.4, 2.4]}, 2),
        ({2: [2.0], 1: [2.0]}, 1),  # of equal ones the first of the list
        ({1: [1.0, DIVERGED], 2: [5.0, 5.0]}, 2),
        ({1: [DIVERGED], 2: [DIVERGED]}, 1),
        ({1: [DIVERGED], 2: [9.0]}, 2),
    ],
)
def test_the_lowest_mean_is_chosen_and_what_diverged_is_worst(scores, point):
    assert choose_point(scores) == point


def test_a_mean_does_not_depend_on_the_order_of_seeds():
    assert mean_score([0.1, 0.2, 0.3]) == mean_score([0.3, 0.1, 0.2])


@pytest.mark.parametrize(
    ("best", "keys"),
    [(1, {"lr": "lowest"}), (2, {}), (3, {}), (4, {"lr": "highest"})],
)
def test_edges_are_of_keys_with_an_inside(best, keys):
    points = {i: {"lr": lr, "warmup": i % 2, "name": "a"} for i, lr in enumerate((1, 2, 3, 4), start=1)}
    assert edge_keys(points, best) == keys
