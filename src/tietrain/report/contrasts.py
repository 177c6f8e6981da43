"""Arms against their baselines, over the seeds of a whole study: scores in, intervals, p values and verdicts out.

Everything works on the last axes of an array, so that `scripts/calibrate.py` judges thousands of simulated studies with
this code. What was tried, and how often each rule errs: docs/statistics.md.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

LEVEL = 0.05
POWER = 0.8
# With fewer seeds of some arm, the noise of a seed is taken to be one number for all arms.
ENOUGH_SEEDS = 5
# What choosing a point by one tuning seed adds to the variance of an arm, in variances of one seed: a little more than in
# any response curve of docs/examples.
TUNING_LUCK = 0.5
# Chance that some run of a study without bad seeds is taken for one.
BAD_SEED_LEVEL = 0.0005
# Fewer seeds cannot tell which of them is the bad one.
MIN_FOR_BAD = 3
# Beyond this, the number of seeds is not a plan.
MAX_SEEDS = 1000
# Standard deviations that two seeds show with certainty, and few enough for scipy's noncentral F.
MAX_EFFECT = 1e6
# Scores that differ by a smaller part than this are equal but for rounding.
SAME = 1e-12

BETTER, WORSE, EQUIVALENT, NOT_WORSE = "better", "worse", "equivalent", "not worse"
NO_DIFFERENCE, UNSTABLE, UNSTABLE_BASELINE = "no difference shown", "unstable", "unstable baseline"
NO_SPREAD, TOO_FEW = "seeds do not vary", "one seed"

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Contrasts:
    """Arms minus their baselines; arrays [..., K] for K contrasts, `bad` [..., A, N] as the scores.

    difference: of the means. se, df: its standard error and degrees of freedom. low, high: the 95 % t interval.
    p: two-sided, of no difference. p_equivalent: of a true difference of at least the margin. p_not_worse: of an arm that is
    worse by at least the margin. All three are adjusted over the contrasts (Holm 1979). sd: noise of one seed.
    equal_noise: whether the noise of a seed was taken to be the same in all arms.
    bad: which seeds ended far worse than the noise of the study explains. verdict: of each contrast.
    """

    difference: Numbers
    se: Numbers
    df: Numbers
    low: Numbers
    high: Numbers
    p: Numbers
    p_equivalent: Numbers
    p_not_worse: Numbers
    sd: Numbers
    equal_noise: NDArray[np.bool_]
    bad: NDArray[np.bool_]
    verdict: NDArray[np.str_]


def contrast(
    scores: Numbers,
    arms: Sequence[int],
    bases: Sequence[int],
    *,
    sign: int = 1,
    luck: float = 0.0,
    margin: float | None = None,
    level: float = LEVEL,
    diverged: NDArray[np.bool_] | None = None,
) -> Contrasts:
    """Judge the arms of one study, or of many at once.

    From five seeds per arm on, each arm has its own noise (Welch 1947). With fewer, the standard deviation of one arm is
    hardly known, and all stable arms of the study estimate one noise together. Seeds are not paired: between arms they
    correlate by about 0, so pairs would cost degrees of freedom and gain nothing.

    Args:
        scores: [..., A, N], one per arm and seed; NaN where there is none.
        arms, bases: for each of K contrasts the places of arm and baseline.
        sign: 1 if more is better, -1 if less is.
        luck: variance that tuning adds to the mean of an arm, in variances of one seed.
        margin: the difference that does not matter; None makes neither equivalence nor "not worse" possible.
        level: of every family of tests.
        diverged: [..., A], which arms have a seed without a score because it diverged.
    """
    bad = bad_seeds(scores, sign)
    unstable = bad.any(axis=-1) | (np.zeros_like(bad[..., 0]) if diverged is None else diverged)
    n, mean, variance, pooled, df_pooled = noise(scores, unstable)
    tested = n >= 2

    ours, theirs = list(arms), list(bases)
    weight = 1 / np.maximum(n, 1) + luck
    few = np.minimum(n[..., ours], n[..., theirs]) < ENOUGH_SEEDS
    equal_noise = few & (df_pooled > 0)
    a, b = (np.where(equal_noise, pooled, variance[..., side]) * weight[..., side] for side in (ours, theirs))
    se = np.sqrt(a + b)
    with np.errstate(divide="ignore", invalid="ignore"):
        welch = (a + b) ** 2 / (a**2 / (n[..., ours] - 1) + b**2 / (n[..., theirs] - 1))
    df = np.where(equal_noise, df_pooled, np.nan_to_num(welch, nan=1.0, posinf=1.0))
    difference = mean[..., ours] - mean[..., theirs]
    size = np.maximum(np.abs(mean[..., ours]), np.abs(mean[..., theirs]))
    difference = np.where(np.abs(difference) <= SAME * size, 0.0, difference)
    both = tested[..., ours] & tested[..., theirs]
    half = stats.t.ppf(1 - LEVEL / 2, df) * se

    def adjusted(p: Numbers) -> Numbers:
        return adjust_holm(np.where(both, p, np.nan))

    within = np.nan if margin is None else margin
    p = adjusted(2 * tail(np.abs(difference), se, df))
    p_equivalent = adjusted(tail(within - np.abs(difference), se, df))
    p_not_worse = adjusted(tail(within + sign * difference, se, df))
    # The first that holds.
    outcomes = (
        (UNSTABLE_BASELINE, unstable[..., theirs]),
        (UNSTABLE, unstable[..., ours]),
        (TOO_FEW, ~both),
        (NO_SPREAD, (difference != 0) & (se <= SAME * size)),
        (EQUIVALENT, p_equivalent < level),
        (BETTER, (p < level) & (sign * difference > 0)),
        (WORSE, p < level),
        (NOT_WORSE, p_not_worse < level),
    )
    verdicts, conditions = zip(*outcomes, strict=True)
    return Contrasts(
        difference=difference,
        se=np.where(both, se, np.nan),
        df=df,
        low=np.where(both, difference - half, np.nan),
        high=np.where(both, difference + half, np.nan),
        p=p,
        p_equivalent=p_equivalent,
        p_not_worse=p_not_worse,
        sd=se / np.sqrt(weight[..., ours] + weight[..., theirs]),
        equal_noise=equal_noise,
        bad=bad,
        verdict=np.select(conditions, verdicts, NO_DIFFERENCE),
    )


class Noise(NamedTuple):
    """n, mean, variance: of each arm [..., A]. pooled: variance of one seed in all stable arms together, with df_pooled degrees of
    freedom, both [..., 1].
    """

    n: NDArray[np.int64]
    mean: Numbers
    variance: Numbers
    pooled: Numbers
    df_pooled: Numbers


def noise(scores: Numbers, unstable: NDArray[np.bool_]) -> Noise:
    """What seeds say of the arms [..., A] that scores [..., A, N] are of."""
    n = np.isfinite(scores).sum(axis=-1)
    mean = _mean(scores)
    squares = _sum(np.square(scores - mean[..., None]))
    pools = (n >= 2) & ~unstable
    df_pooled = np.where(pools, n - 1, 0).sum(axis=-1, keepdims=True)
    pooled = np.where(pools, squares, 0.0).sum(axis=-1, keepdims=True) / np.maximum(df_pooled, 1)
    return Noise(n, mean, squares / np.maximum(n - 1, 1), pooled, df_pooled)


def bad_seeds(scores: Numbers, sign: int) -> NDArray[np.bool_]:
    """Which runs ended far worse than the other seeds of their arm, [..., A, N].

    A studentized deleted residual on the worse side, at BAD_SEED_LEVEL over all runs of a study. The noise of a seed is that
    of all other runs of the study, or that of the arm's other runs if it is larger: an arm may be noisier than others.
    Source: Cook & Weisberg 1982, section 2.2.2.
    """
    n = np.isfinite(scores).sum(axis=-1, keepdims=True)  # [..., A, 1]
    others = (_sum(scores)[..., None] - scores) / np.maximum(n - 1, 1)
    residual = np.where(n >= MIN_FOR_BAD, scores - others, np.nan)
    # Squares of the arm's other runs, and of all other runs of the study.
    own = _sum(np.square(scores - _mean(scores)[..., None]))[..., None] - np.square(residual) * (n - 1) / np.maximum(
        n, 1
    )
    arms = _sum(np.square(scores - _mean(scores)[..., None]))
    study = arms.sum(axis=-1)[..., None, None] - arms[..., None] + own
    df = np.maximum(n - 1, 0).sum(axis=-2, keepdims=True) - 1
    variance = np.maximum(study / np.maximum(df, 1), own / np.maximum(n - 2, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = sign * residual / np.sqrt(np.maximum(variance, 0) * n / (n - 1))
    p = stats.t.cdf(t, np.maximum(df, 1))
    seen = np.isfinite(residual)
    return np.asarray(seen & (p < BAD_SEED_LEVEL / np.maximum(seen.sum(axis=(-2, -1), keepdims=True), 1)))


def _sum(scores: Numbers) -> Numbers:
    return np.asarray(np.where(np.isfinite(scores), scores, 0.0).sum(axis=-1))


def _mean(scores: Numbers) -> Numbers:
    n = np.isfinite(scores).sum(axis=-1)
    return np.where(n > 0, _sum(scores) / np.maximum(n, 1), np.nan)


def tail(distance: Numbers, se: Numbers, df: Numbers) -> Numbers:
    """Chance of a t as large as distance / se; scores that do not vary leave none, or all."""
    with np.errstate(divide="ignore", invalid="ignore"):
        p = stats.t.sf(distance / se, df)
    certain = np.where(distance == 0, 0.5, (distance < 0).astype(float))
    return np.where(np.isnan(distance), np.nan, np.where(se == 0, certain, p))


def adjust_holm(ps: Numbers) -> Numbers:
    """p values such that calling those below a level significant errs at all with at most that chance; NaN stands for a test that was not made.

    Source: Holm 1979.

    >>> adjust_holm(np.array([0.01, 0.04, np.nan, 0.03, 0.005])).tolist()
    [0.03, 0.06, nan, 0.06, 0.02]
    """
    order = np.argsort(ps, axis=-1)  # NaN comes last
    ranked = np.take_along_axis(ps, order, -1)
    left = np.isfinite(ps).sum(axis=-1, keepdims=True) - np.arange(ps.shape[-1])
    adjusted = np.empty_like(ps)
    np.put_along_axis(adjusted, order, np.minimum(1.0, np.maximum.accumulate(left * ranked, axis=-1)), -1)
    return np.where(np.isfinite(ps), adjusted, np.nan)


def level_at(looks: Sequence[int], n: int, level: float = LEVEL) -> float:
    """The part of the level that a declared look may spend: as much as it adds to the seeds of the last one.

    All looks together err with at most the level, whatever was seen between them. Source: Lan & DeMets 1983, the uniform
    spending function, by Bonferroni's inequality.

    >>> [round(level_at([3, 6, 10], n), 4) for n in (3, 6, 10)]
    [0.015, 0.015, 0.02]
    """
    before = max((look for look in looks if look < n), default=0)
    return level * (n - before) / max(looks)


def unseen_share(n: int) -> float:
    """The largest share of bad runs that n seeds without one are compatible with, at 95 %.

    >>> round(unseen_share(3), 2), round(unseen_share(10), 2)
    (0.63, 0.26)
    """
    return float(1 - LEVEL ** (1 / n))


@dataclass(frozen=True)
class Design:
    """A study in which every arm has as many seeds: how many arms estimate the noise, the level, the luck of tuning."""

    n_arms: int = 2
    level: float = LEVEL
    luck: float = 0.0

    def power(self, n: int, effect: float) -> float:
        """Chance that a two-sided test of n seeds per arm calls a difference of `effect` standard deviations significant.

        Source: Cohen 1988, chapter 2, as a noncentral F, the square of the noncentral t: scipy's t is NaN here and there.
        """
        shift = min(abs(effect), MAX_EFFECT) ** 2 / (2 * (1 / n + self.luck))
        if shift == 0:
            return self.level
        df = (self.n_arms if n < ENOUGH_SEEDS else 2) * (n - 1)
        return float(stats.ncf.sf(stats.t.ppf(1 - self.level / 2, df) ** 2, 1, df, shift))

    def seeds_needed(self, difference: float, sd: float) -> int | None:
        """Fewest seeds per arm that show a difference with 80 % power; None if more than MAX_SEEDS.

        >>> Design().seeds_needed(0.5, 1.0), Design().seeds_needed(0.0, 1.0)
        (64, None)
        """
        if sd == 0:
            return 2 if difference else None
        effect = abs(difference) / sd
        for n in range(2, ENOUGH_SEEDS):
            if self.power(n, effect) >= POWER:
                return n
        more = range(ENOUGH_SEEDS, MAX_SEEDS + 1)
        found = ENOUGH_SEEDS + bisect_left(more, POWER, key=lambda n: self.power(n, effect))
        return found if found <= MAX_SEEDS else None

    def smallest_effect(self, n: int, sd: float) -> float:
        """The difference that n seeds per arm show with 80 % power."""
        largest = 1.0
        while self.power(n, largest) < POWER:
            largest *= 2
        return sd * float(optimize.brentq(lambda effect: self.power(n, effect) - POWER, 0.0, largest))


def half_width(n: int, sd: float) -> float:
    """Half of the 95 % t interval of a mean of two or more. Source: Student 1908.

    >>> round(half_width(3, 1.0), 4)
    2.4841
    """
    return float(stats.t.ppf(1 - LEVEL / 2, n - 1)) * sd / math.sqrt(n)
