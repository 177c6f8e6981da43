"""What a list of points is worth, from the scores they got: numbers in, numbers out; lower is better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeGuard

# Of a run that diverged: worse than any other.
DIVERGED = math.inf
# A key with fewer values has no inside.
MIN_VALUES = 3


def mean_score(scores: Sequence[float]) -> float:
    """The mean over tuning seeds; a point one of whose runs diverged has diverged.

    >>> mean_score([2.0, 3.0]), mean_score([2.0, DIVERGED])
    (2.5, inf)
    """
    return math.fsum(scores) / len(scores)


def choose_point(scores: Mapping[int, Sequence[float]]) -> int:
    """The point with the lowest mean; of several the first of the list, also where all diverged.

    >>> choose_point({1: [2.0], 2: [1.0, 1.5], 3: [1.25]}), choose_point({1: [DIVERGED], 2: [DIVERGED]})
    (2, 1)
    """
    return min(sorted(scores), key=lambda point: mean_score(scores[point]))


def expected_best(scores: Sequence[float], n: int) -> float | None:
    """Expected score of the best of n trials, drawn with replacement from those that were made; None where all diverged.

    With N scores sorted from best to worst, the best of n is at or behind place i with chance ((N - i + 1) / N) ** n.
    Sets of n that diverged altogether have no score and are left out.

    Source: Dodge et al. 2019.

    >>> expected_best([1.0, 2.0], 1), expected_best([2.0, 1.0], 2), expected_best([1.0, DIVERGED], 1)
    (1.5, 1.25, 1.0)
    """
    size, finite = len(scores), sorted(score for score in scores if math.isfinite(score))
    if not finite:
        return None
    behind = [((size - i) / size) ** n for i in range(len(finite) + 1)]
    parts = [score * (behind[i] - behind[i + 1]) for i, score in enumerate(finite)]
    return math.fsum(parts) / (behind[0] - behind[-1])


def edge_keys(points: Mapping[int, Mapping[str, object]], best: int) -> dict[str, str]:
    """Key -> `lowest` or `highest`, where the best point has that of at least MIN_VALUES numbers of the list.

    >>> edge_keys({1: {"lr": 1, "w": 0}, 2: {"lr": 2, "w": 0}, 3: {"lr": 3, "w": 1}}, 3)
    {'lr': 'highest'}
    """
    found = {}
    for key, value in points[best].items():
        values = {v for point in points.values() if is_number(v := point.get(key))}
        if is_number(value) and len(values) >= MIN_VALUES and value in (min(values), max(values)):
            found[key] = "lowest" if value == min(values) else "highest"
    return found


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value lies on a scale."""
    return isinstance(value, int | float) and not isinstance(value, bool)
