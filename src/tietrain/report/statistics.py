"""Paired comparison of two arms or two models over seeds, documents and lines: numbers in, numbers out.

A difference over seeds is arm minus baseline at one training seed. Only reports and `tietrain compare` load this module:
scipy takes most of a second.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

LEVEL = 0.05
POWER = 0.8
# Sign patterns counted one by one, up to 16 seeds; of more, as many are drawn.
MAX_PATTERNS = 2**16
# Beyond this, the number of seeds is not a plan.
MAX_SEEDS = 1000
# Standard deviations that two seeds show with certainty, and few enough for scipy's noncentral F.
MAX_EFFECT = 1e6
# With fewer seeds, drawing them again says little about the seeds that were not run.
MIN_SEEDS = 8
# Bootstrap samples of seeds and documents together.
N_SAMPLES = 4000
# Numbers held at once while drawing.
CHUNK = 2**22

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class PairedSeeds:
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


def compare_seeds(differences: Sequence[float]) -> PairedSeeds:
    """The paired t test and the sign-flip test of two or more differences.

    Source: Student 1908 (t); Fisher 1935 (sign flips).

    >>> found = compare_seeds([1.0, 2.0, 3.0])
    >>> [round(x, 4) for x in (found.mean, found.low, found.high, found.p, found.p_sign_flip)]
    [2.0, -0.4841, 4.4841, 0.0742, 0.25]
    """
    d = np.asarray(differences, dtype=float)
    n = len(d)
    mean = float(d.mean())
    sd = float(d.std(ddof=1))
    half = half_width(n, sd)
    p = 2 * _tail(abs(mean), sd / math.sqrt(n), n)
    return PairedSeeds(n, mean, sd, low=mean - half, high=mean + half, p=p, p_sign_flip=sign_flip_p(d))


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
    adjusted = [0.0] * len(ps)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = largest
    return adjusted


def equivalence_p(found: PairedSeeds, margin: float) -> float:
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
    """Fewest seeds that show a difference with 80 % power; None if more than MAX_SEEDS.

    >>> seeds_needed(0.5, 1.0), seeds_needed(0.0, 1.0)
    (34, None)
    """
    if sd == 0:
        return 2 if difference else None
    effect = abs(difference) / sd
    found = 2 + bisect_left(range(2, MAX_SEEDS + 1), POWER, key=lambda n: power(n, effect, level))
    return found if found <= MAX_SEEDS else None


def smallest_effect(n: int, sd: float, level: float = LEVEL) -> float:
    """The difference that n seeds show with 80 % power."""
    largest = 1.0
    while power(n, largest, level) < POWER:
        largest *= 2
    return sd * float(optimize.brentq(lambda effect: power(n, effect, level) - POWER, 0.0, largest))


def two_level_interval(differences: Numbers, units: Numbers, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the mean difference per unit, over seeds and documents; of several texts, of their mean.

    Every seed scored the same documents, so a sample draws seeds and, for all of them alike, documents. Drawing documents
    anew within each seed would treat their chance as the seeds' and average it away. Document i of every text is drawn
    together: the texts are translations of one another. The interval is somewhat too wide rather than too narrow.
    Source: Owen 2007 (pigeonhole bootstrap).

    Args:
        differences: [texts, seeds, documents] nats of the arm minus nats of the baseline.
        units: [texts, documents], bytes times ln 2 for bits per byte.
    """
    _, n_seeds, n_documents = differences.shape
    rng = np.random.default_rng(seed)

    def sample(n: int) -> Numbers:
        seeds = _draw_counts(rng, n_seeds, n) / n_seeds  # [n, seeds]
        documents = _draw_counts(rng, n_documents, n)  # [n, documents]
        texts = zip(differences, units, strict=True)
        means = [((seeds @ nats) * documents).sum(axis=1) / (documents @ size) for nats, size in texts]
        return np.asarray(np.mean(means, axis=0))  # [n]

    drawn = _in_chunks(sample, N_SAMPLES, n_documents)
    outside = left_out(n_seeds)
    low, high = np.quantile(drawn, [outside, 1 - outside])
    return float(low), float(high)


def left_out(n: int) -> float:
    """Share of the bootstrap samples of n outside the interval at either end, for the width of a 95 % t interval.

    2.5 % would be too many: samples vary by sqrt((n - 1) / n) too little, and know nothing of Student's t.
    Source: Hesterberg 2014, expanded percentile interval.

    >>> round(left_out(8), 4), round(left_out(1000), 4)
    (0.0057, 0.0248)
    """
    t = stats.t.ppf(1 - LEVEL / 2, n - 1)
    return float(stats.norm.cdf(-t * math.sqrt(n / (n - 1))))


@dataclass(frozen=True)
class Draws:
    """How many bootstrap samples and exchanges of outputs are drawn, and with which seed; defaults are sacrebleu's."""

    n_bootstrap: int = 1000
    n_exchanged: int = 10_000
    seed: int = 12345


@dataclass(frozen=True)
class PairedLines:
    """One metric of two models on the same lines.

    a, b: the scores. a_ci, b_ci: half of the interval that holds 95 % of the bootstrap samples.
    p_bootstrap, p_randomisation: two-sided p of no difference; for translations p_bootstrap is sacrebleu's.
    signature: sacrebleu's, of the score.
    """

    a: float
    b: float
    a_ci: float
    b_ci: float
    p_bootstrap: float
    p_randomisation: float
    signature: str = ""


def compare_lines(a: Numbers, b: Numbers, units: Numbers, draws: Draws) -> PairedLines:
    """Bootstrap and approximate randomisation of two models' nats per unit, sum(nats) / sum(units).

    The bootstrap's p is the share of samples whose difference lies as far from the measured one as that lies from 0.
    Source: Efron & Tibshirani 1993 (bootstrap); Riezler & Maxwell 2005 (randomisation).

    Args:
        a, b: [lines], nats of each. units: [lines], the tokens of each, or its bytes times ln 2.
    """
    rng = np.random.default_rng(draws.seed)
    n = len(a)
    total = units.sum()
    nats = np.stack([a, b], axis=1)  # [lines, 2]
    difference = (b.sum() - a.sum()) / total

    def bootstrap(n_draws: int) -> Numbers:
        counts = _draw_counts(rng, n, n_draws).astype(float)
        return np.asarray((counts @ nats) / (counts @ units)[:, None])  # [n_draws, 2]

    def exchange(n_draws: int) -> Numbers:
        return np.asarray(rng.choice([-1.0, 1.0], size=(n_draws, n)) @ (b - a) / total)  # [n_draws]

    resampled = _in_chunks(bootstrap, draws.n_bootstrap, n)
    exchanged = _in_chunks(exchange, draws.n_exchanged, n)
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    a_ci, b_ci = ((high - low) / 2).tolist()
    return PairedLines(
        a=float(a.sum() / total),
        b=float(b.sum() / total),
        a_ci=a_ci,
        b_ci=b_ci,
        p_bootstrap=_share_as_large(resampled[:, 1] - resampled[:, 0] - difference, difference),
        p_randomisation=_share_as_large(exchanged, difference),
    )


def _draw_counts(rng: np.random.Generator, n: int, n_draws: int) -> NDArray[np.int64]:
    """How often each of n is drawn when n are drawn with replacement: [n_draws, n]."""
    return rng.multinomial(n, np.full(n, 1 / n), size=n_draws)


def _in_chunks(draw: Callable[[int], Numbers], n_draws: int, n: int) -> Numbers:
    """`n_draws` samples of n numbers each, drawn in pieces that fit into memory."""
    step = max(1, CHUNK // n)
    return np.concatenate([draw(min(step, n_draws - start)) for start in range(0, n_draws, step)])


def _share_as_large(drawn: Numbers, difference: float) -> float:
    """Share of the draws that lie at least as far from 0, the measured difference counted as one of them."""
    # Rounding must not make an equally large draw count as smaller.
    n_as_large = int((np.abs(drawn) >= abs(difference) * (1 - 1e-9)).sum())
    return (n_as_large + 1) / (len(drawn) + 1)
