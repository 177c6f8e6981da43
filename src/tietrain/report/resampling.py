"""An interval for the difference of two arms over seeds and documents together, from the nats of every document."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Fewer seeds drawn again with replacement say little of the seeds that were not run: the interval is too short.
MIN_SEEDS = 8
N_SAMPLES = 2000
# Numbers held at once while drawing.
CHUNK = 2**22

Numbers = NDArray[np.float64]


def two_level_interval(differences: Numbers, units: Numbers, seed: int = 0) -> tuple[float, float]:
    """Where 95 % of the bootstrap samples of the mean difference a unit lie.

    Every seed scored the same documents, so a sample draws seeds and, for all of them alike, documents; drawing documents
    anew within each seed would treat their chance as the seeds' and average it away. Somewhat too wide rather than too
    narrow. Source: Owen 2007 (pigeonhole bootstrap).

    Args:
        differences: [seeds, documents] nats of the arm minus nats of the baseline. units: [documents], bytes times ln 2
            for bits a byte.
    """
    n_seeds, n_documents = differences.shape
    draw, step = np.random.default_rng(seed), max(1, CHUNK // n_documents)

    def sample(n: int) -> Numbers:
        seeds = draw.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=n) / n_seeds
        documents = draw.multinomial(n_documents, np.full(n_documents, 1 / n_documents), size=n)
        return ((seeds @ differences) * documents).sum(axis=1) / (documents @ units)

    drawn = np.concatenate([sample(min(step, N_SAMPLES - start)) for start in range(0, N_SAMPLES, step)])
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)
