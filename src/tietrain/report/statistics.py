"""Paired comparison of two arms over training seeds: numbers in, numbers out.

A difference is arm minus baseline at one seed. Loaded by the report alone: scipy takes most of a second.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

LEVEL = 0.05
POWER = 0.8
# Sign patterns counted one by one, up to 16 seeds; of more, as many are drawn.
MAX_PATTERNS = 2**16
# Beyond this, the number of seeds is no plan.
MAX_SEEDS = 1000
# Standard deviations that two seeds see with certainty, and few enough for scipy's noncentral F.
MAX_EFFECT = 1e6

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Paired:
    """Differences over n seeds: mean, standard deviation (n - 1), 95 % t interval, and two-sided p of a mean of 0.

    p_sign_flip: of differences whose signs are chance, without a normal distribution.
    """

    n: int
    mean: float
    sd: float
    low: float
    high: float
    p: float
    p_sign_flip: float

    @property
    def se(self) -> float:
        """Standard error of the mean."""
        return self.sd / math.sqrt(self.n)


def compare_paired(differences: Sequence[float]) -> Paired:
    """The paired t test and the sign-flip test of two or more differences.

    Source: Student 1908 (t); Fisher 1935 (sign flips).

    >>> found = compare_paired([1.0, 2.0, 3.0])
    >>> [round(x, 4) for x in (found.mean, found.low, found.high, found.p, found.p_sign_flip)]
    [2.0, -0.4841, 4.4841, 0.0742, 0.25]
    """
    d = np.asarray(differences, dtype=float)
    n, mean, sd = len(d), float(d.mean()), float(d.std(ddof=1))
    half = half_width(n, sd)
    return Paired(n, mean, sd, mean - half, mean + half, 2 * _tail(abs(mean), sd / math.sqrt(n), n), sign_flip_p(d))


def half_width(n: int, sd: float) -> float:
    """Half of the 95 % t interval of a mean of two or more. Source: Student 1908.

    >>> round(half_width(3, 1.0), 4)
    2.4841
    """
    return float(stats.t.ppf(1 - LEVEL / 2, n - 1)) * sd / math.sqrt(n)


def _tail(distance: float, se: float, n: int) -> float:
    """Chance of a t as large as distance / se; differences that do not vary leave none, or all."""
    if se == 0:
        return 0.5 if distance == 0 else float(distance < 0)
    return float(stats.t.sf(distance / se, n - 1))


def sign_flip_p(differences: Sequence[float] | Numbers) -> float:
    """Two-sided p that the mean of two or more is as far from 0 under random signs: exact up to 16 seeds, else drawn.

    Source: Fisher 1935; drawn patterns count the observed one (Phipson & Smyth 2010).
    """
    d = np.asarray(differences, dtype=float)
    # scipy takes values within 1e-14 for equal: in units of the largest difference that is rounding.
    d = d / (np.abs(d).max() or 1.0)
    drawn = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=MAX_PATTERNS, rng=0)
    return float(drawn.pvalue)


def smallest_sign_flip_p(n: int) -> float:
    """What `sign_flip_p` cannot fall below: all differences of one sign.

    >>> smallest_sign_flip_p(3), smallest_sign_flip_p(6)
    (0.25, 0.03125)
    """
    return 2 / (2**n if 2**n <= MAX_PATTERNS else MAX_PATTERNS + 1)


def adjust_holm(ps: Sequence[float]) -> list[float]:
    """p values such that calling those below a level significant errs at all with at most that chance.

    Source: Holm 1979.

    >>> adjust_holm([0.01, 0.04, 0.03, 0.005])
    [0.03, 0.06, 0.06, 0.02]
    """
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = largest
    return adjusted


def equivalence_p(found: Paired, margin: float) -> float:
    """p of a true difference of at least `margin` either way: the larger of two one-sided t tests.

    Below 0.05 just where the 90 % interval lies within the margin. Source: Schuirmann 1987.
    """
    return _tail(margin - abs(found.mean), found.se, found.n)


def power(n: int, effect: float, level: float = LEVEL) -> float:
    """Chance that a two-sided paired t test of n seeds calls a difference of `effect` standard deviations significant.

    Source: Cohen 1988, chapter 2, as a noncentral F, the square of the noncentral t: scipy's t is NaN here and there.
    """
    shift = n * min(abs(effect), MAX_EFFECT) ** 2
    if shift == 0:
        return level
    return float(stats.ncf.sf(stats.t.ppf(1 - level / 2, n - 1) ** 2, 1, n - 1, shift))


def seeds_needed(difference: float, sd: float, level: float = LEVEL) -> int | None:
    """Fewest seeds that see a difference with 80 % power; None for more than MAX_SEEDS.

    >>> seeds_needed(0.5, 1.0), seeds_needed(0.0, 1.0)
    (34, None)
    """
    if sd == 0:
        return 2 if difference else None
    effect = abs(difference) / sd
    found = 2 + bisect_left(range(2, MAX_SEEDS + 1), POWER, key=lambda n: power(n, effect, level))
    return found if found <= MAX_SEEDS else None


def smallest_effect(n: int, sd: float, level: float = LEVEL) -> float:
    """The difference that n seeds see with 80 % power."""
    largest = 1.0
    while power(n, largest, level) < POWER:
        largest *= 2
    return sd * float(optimize.brentq(lambda effect: power(n, effect, level) - POWER, 0.0, largest))
