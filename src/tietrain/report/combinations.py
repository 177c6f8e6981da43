"""Weighted sums of arm means, for questions that no single pair of arms answers, and ratios of two such sums.

Everything works on the last axes of an array, so that `scripts/calibrate.py` can try it on thousands of simulated studies.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tietrain.report.contrasts import ENOUGH_SEEDS, LEVEL, Numbers, noise, tail


@dataclass(frozen=True)
class Combined:
    """K weighted sums of the means of A arms; arrays [..., K].

    covariance: of the sums [..., K, K]. df: degrees of freedom of each. low, high: 95 % t interval. p: two-sided, of 0.
    """

    value: Numbers
    covariance: Numbers
    df: Numbers
    low: Numbers
    high: Numbers
    p: Numbers


def combine(scores: Numbers, weights: Numbers, luck: Numbers) -> Combined:
    """Sums of arm means with their intervals.

    From five seeds of every arm on, each arm has its own noise and a sum the degrees of freedom of Welch & Satterthwaite; with fewer,
    all arms estimate one noise together (as in `contrasts`).

    Args:
        scores: [..., A, N], NaN where a seed has none; of stable arms with at least two seeds each.
        weights: [K, A]. luck: [A], the variance that tuning adds to an arm's mean, in variances of one seed.
    """
    n, mean, own, pooled, df_pooled = noise(scores, np.zeros(scores.shape[:-1], dtype=bool))
    few = n.min(axis=-1, keepdims=True) < ENOUGH_SEEDS
    variance = np.where(few, pooled, own) * (1 / n + luck)  # of a mean, [..., A]
    value = (mean[..., None, :] * weights).sum(axis=-1)
    covariance = np.einsum("ka,...a,la->...kl", weights, variance, weights)
    parts = weights**2 * variance[..., None, :]  # [..., K, A]
    with np.errstate(divide="ignore", invalid="ignore"):
        welch = parts.sum(axis=-1) ** 2 / (parts**2 / (n - 1)[..., None, :]).sum(axis=-1)
    df = np.where(few, df_pooled, np.nan_to_num(welch, nan=1.0, posinf=1.0))
    se = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    half = stats.t.ppf(1 - LEVEL / 2, df) * se
    return Combined(value, covariance, df, value - half, value + half, np.minimum(1.0, 2 * tail(np.abs(value), se, df)))


def ratio(combined: Combined, top: int, bottom: int) -> tuple[Numbers, NDArray[np.bool_]]:
    """The 95 % interval [..., 2] of sum `top` over sum `bottom`, and whether there is one.

    There is none if the interval of the bottom holds 0: then the ratios that the scores do not contradict have no ends. A ratio is
    contradicted if top - ratio * bottom differs from 0; the degrees of freedom are the fewer of both sums.
    Source: Fieller 1954, section 2.
    """
    df = np.minimum(combined.df[..., top], combined.df[..., bottom])
    t2 = stats.t.ppf(1 - LEVEL / 2, df) ** 2
    x = combined.value[..., top]
    y = combined.value[..., bottom]
    square = y**2 - t2 * combined.covariance[..., bottom, bottom]
    middle = x * y - t2 * combined.covariance[..., top, bottom]
    constant = x**2 - t2 * combined.covariance[..., top, top]
    with np.errstate(divide="ignore", invalid="ignore"):
        half = np.sqrt(np.maximum(middle**2 - square * constant, 0))
        ends = np.stack([(middle - half) / square, (middle + half) / square], axis=-1)
    return np.where((square > 0)[..., None], ends, np.nan), square > 0
