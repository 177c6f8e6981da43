"""An interval for the difference of two arms over seeds and documents together, from the nats of every document."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tietrain.report.statistics import LEVEL

# Fewer seeds drawn again with replacement say little of the seeds that were not run.
MIN_SEEDS = 8
N_SAMPLES = 4000
# Numbers held at once while drawing.
CHUNK = 2**22

Numbers = NDArray[np.float64]


def two_level_interval(differences: Numbers, units: Numbers, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the mean difference a unit; of several texts the mean of theirs.

    Every seed scored the same documents, so a sample draws seeds and, for all of them alike, documents; drawing documents
    anew within each seed would treat their chance as the seeds' and average it away. Document i of every text is drawn
    together: they are translations of one another. Somewhat too wide rather than too narrow.
    Source: Owen 2007 (pigeonhole bootstrap).

    Args:
        differences: [texts, seeds, documents] nats of the arm minus nats of the baseline. units: [texts, documents],
            bytes times ln 2 for bits a byte.
    """
    _, n_seeds, n_documents = differences.shape
    draw, step = np.random.default_rng(seed), max(1, CHUNK // n_documents)

    def sample(n: int) -> Numbers:
        seeds = draw.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=n) / n_seeds
        documents = draw.multinomial(n_documents, np.full(n_documents, 1 / n_documents), size=n)
        of_texts = zip(differences, units, strict=True)
        return np.mean(
            [((seeds @ nats) * documents).sum(axis=1) / (documents @ size) for nats, size in of_texts], axis=0
        )

    drawn = np.concatenate([sample(min(step, N_SAMPLES - start)) for start in range(0, N_SAMPLES, step)])
    outside = left_out(n_seeds)
    low, high = np.quantile(drawn, [outside, 1 - outside])
    return float(low), float(high)


def left_out(n: int) -> float:
    """Share of the samples of n that lies outside on either side, so that a mean has the width of its 95 % t interval.

    2.5 % would be too many: samples vary by sqrt((n - 1) / n) too little, and know nothing of Student's t.
    Source: Hesterberg 2014, expanded percentile interval.

    >>> round(left_out(8), 4), round(left_out(1000), 4)
    (0.0057, 0.0249)
    """
    t = stats.t.ppf(1 - LEVEL / 2, n - 1)
    return float(stats.norm.cdf(-t * math.sqrt(n / (n - 1))))
