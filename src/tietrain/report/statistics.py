"""Bootstrap and randomisation over documents and lines: numbers in, numbers out.

Only reports and `tietrain compare` load this module: scipy takes most of a second.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tietrain.report.contrasts import LEVEL, Numbers

# With fewer seeds, drawing them again says little about the seeds that were not run.
MIN_SEEDS = 8
# Bootstrap samples of seeds and documents together.
N_SAMPLES = 4000
# Numbers held at once while drawing.
CHUNK = 2**22


def two_level_interval(
    ours: Numbers, theirs: Numbers, units: Numbers, luck: float = 0.0, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of the mean difference per unit, over seeds and documents; of several texts, of their mean.

    Every seed scored the same documents, so a sample draws seeds of each arm and, for all of them alike, documents. Drawing
    documents anew within each seed would treat their chance as the seeds' and average it away. Document i of every text is drawn
    together: the texts are translations of one another. The interval is somewhat too wide rather than too narrow.
    Source: Owen 2007 (pigeonhole bootstrap).

    Args:
        ours, theirs: [texts, seeds, documents] nats of the arm and of its baseline, which may have other seeds.
        units: [texts, documents], bytes times ln 2 for bits per byte.
        luck: variance that tuning adds to the mean of an arm, in variances of one seed.
    """
    n_documents = units.shape[1]
    n_seeds = min(ours.shape[1], theirs.shape[1])
    of_seeds = [(x.sum(axis=2) / units.sum(axis=1)[:, None]).mean(axis=0).var(ddof=1) for x in (ours, theirs)]
    rng = np.random.default_rng(seed)

    def sample(n: int) -> Numbers:
        arm, base = (_draw_counts(rng, x.shape[1], n) / x.shape[1] for x in (ours, theirs))  # [n, seeds]
        documents = _draw_counts(rng, n_documents, n)  # [n, documents]
        texts = zip(ours, theirs, units, strict=True)
        means = [((arm @ a - base @ b) * documents).sum(axis=1) / (documents @ size) for a, b, size in texts]
        return np.asarray(np.mean(means, axis=0)) + rng.normal(0.0, math.sqrt(luck * sum(of_seeds)), n)  # [n]

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
