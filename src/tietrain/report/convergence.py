"""How fast arms learn: their loss at equal FLOPs, and what they need to reach the loss that their baseline ends with.

Each seed of an arm is compared with the same seed of its baseline, which saw the text in the same order. Runs of other
vocabularies have no place here: their nats per token cannot be compared.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np

from tietrain.report.arms import Arm
from tietrain.report.contrasts import Numbers, half_width
from tietrain.report.verdicts import ArmVerdict, Verdicts
from tietrain.runs.view import Point

# Parts of the training FLOPs at which losses are compared.
FRACTIONS = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Paired:
    """A mean over pairs of seeds and its 95 % t interval, which one pair does not have."""

    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Convergence:
    """An arm against its baseline; None where evaluations are too few.

    at: fraction of the FLOPs that both runs of a seed spent -> difference of their nats per token on valid.
    area: difference of the mean loss over these FLOPs.
    updates, flops: needed until the loss that the baseline's run ends with, over what that run itself needed until then;
        geometric means, None if some seed never gets there.
    never, n: seeds that never get there, of how many.
    """

    arm: Arm
    base: Arm
    at: dict[float, Paired | None]
    area: Paired | None
    updates: Paired | None
    flops: Paired | None
    never: int
    n: int


def convergence(verdicts: Verdicts) -> list[Convergence]:
    """Of every arm that has a baseline of its vocabulary and a seed in common with it."""
    compared = [_compare(one) for one in verdicts.arms]
    return [found for found in compared if found]


def _compare(one: ArmVerdict) -> Convergence | None:
    if one.base is None or one.arm.target_vocabulary != one.base.arm.target_vocabulary:
        return None
    ours, theirs = (_curves(arm) for arm in (one.arm, one.base.arm))
    pairs = [(ours[seed], theirs[seed]) for seed in ours if seed in theirs]
    if not pairs:
        return None
    reached = [(ours.first_at(base.nats[-1]), base.first_at(base.nats[-1])) for ours, base in pairs]
    whole = [(ours, base) for ours, base in reached if ours and base]
    never = len(reached) - len(whole)
    updates = [math.log(ours[0] / base[0]) for ours, base in whole]
    flops = [math.log(ours[1] / base[1]) for ours, base in whole]
    return Convergence(
        arm=one.arm,
        base=one.base.arm,
        at={part: _paired([_loss_apart(*pair, part) for pair in pairs]) for part in FRACTIONS},
        area=_paired([_mean_apart(*pair) for pair in pairs]),
        updates=None if never else _as_ratio(_paired(updates)),
        flops=None if never else _as_ratio(_paired(flops)),
        never=never,
        n=len(reached),
    )


def _curves(arm: Arm) -> dict[int, "_Curve"]:
    """Seed -> the curve of its finished run, if it has one."""
    points = {run.seed: [p for p in run.curve if p.step > 0 and p.flops > 0] for run in arm.done}
    return {seed: _Curve(found) for seed, found in points.items() if found}


class _Curve:
    """Validation losses of a run: steps, FLOPs and nats per token, each [evaluations]."""

    def __init__(self, points: Sequence[Point]):
        self.steps = np.array([point.step for point in points], dtype=float)
        self.flops = np.array([point.flops for point in points])
        self.nats = np.array([point.nats_per_token for point in points])

    def first_at(self, target: float) -> tuple[float, float] | None:
        """Steps and FLOPs at which the loss is first as low as a target, between evaluations on a straight line."""
        low_enough = np.flatnonzero(self.nats <= target)
        if not len(low_enough):
            return None
        i = low_enough[0]
        if i == 0:
            return float(self.steps[0]), float(self.flops[0])
        part = (self.nats[i - 1] - target) / (self.nats[i - 1] - self.nats[i])
        steps, flops = (x[i - 1] + part * (x[i] - x[i - 1]) for x in (self.steps, self.flops))
        return float(steps), float(flops)

    def at(self, flops: Numbers) -> Numbers:
        """Loss after this many FLOPs, of which the curve has fewer and more."""
        return np.asarray(np.interp(flops, self.flops, self.nats))


def _loss_apart(ours: _Curve, base: _Curve, part: float) -> float | None:
    first, last = _common(ours, base)
    where = np.array([part * last])
    return float((ours.at(where) - base.at(where))[0]) if first <= where[0] else None


def _mean_apart(ours: _Curve, base: _Curve) -> float | None:
    first, last = _common(ours, base)
    if first >= last:
        return None
    every = np.union1d(ours.flops, base.flops)
    where = np.union1d(every[(every > first) & (every < last)], [first, last])
    return float(np.trapezoid(ours.at(where) - base.at(where), where) / (last - first))


def _common(ours: _Curve, base: _Curve) -> tuple[float, float]:
    """The FLOPs from which on both have a loss, and those up to which both have one."""
    return max(ours.flops[0], base.flops[0]), min(ours.flops[-1], base.flops[-1])


def _paired(values: Sequence[float | None]) -> Paired | None:
    """None if a pair of seeds has no value."""
    found = [value for value in values if value is not None]
    if not found or len(found) < len(values):
        return None
    mean = fmean(found)
    if len(found) == 1:
        return Paired(mean, None, None, 1)
    half = half_width(len(found), stdev(found))
    return Paired(mean, mean - half, mean + half, len(found))


def _as_ratio(logs: Paired | None) -> Paired | None:
    if logs is None:
        return None
    with np.errstate(over="ignore"):
        low, high = (None if bound is None else float(np.exp(bound)) for bound in (logs.low, logs.high))
    return Paired(math.exp(logs.mean), low, high, logs.n)
