"""Do layers that share parameters win because the model is deeper, or because it converges better?

Read from a comparison that has layers shared and not shared, M and 2M of them, each as the recipe has it and tuned by one list
(docs/convergence_or_complexity.md). The question is that of Lin et al. 2023 (arXiv 2306.09380, abstract); the estimates are ours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import log
from statistics import fmean

import numpy as np
from scipy import stats

from tietrain.report import contrasts
from tietrain.report.arms import UNTIED, Arm
from tietrain.report.combinations import Combined, combine, ratio
from tietrain.report.contrasts import LEVEL
from tietrain.report.tuning import edge_keys
from tietrain.report.verdicts import ArmVerdict, Declared, Verdicts
from tietrain.runs.view import Scalar

# Which layers a cell has: M with a set of parameters each; 2M that run M sets twice; 2M with a set each.
UNSHARED, SHARED, DEEP = "unshared, M layers", "shared, 2M layers", "unshared, 2M layers"
# Letter -> its layers, and whether they are tuned by the list or have the recipe's settings.
CELLS = {
    "A": (UNSHARED, False),
    "B": (SHARED, False),
    "C": (UNSHARED, True),
    "D": (SHARED, True),
    "E": (DEEP, False),
    "E tuned": (DEEP, True),
}
NEEDED = frozenset("ABCD")
LEFT, REMOVED, HALF, GAIN = "D - C", "(B - A) - (D - C)", "C - B", "B - A"
# Estimate -> weights of cells.
SUMS = {
    LEFT: {"D": 1, "C": -1},
    REMOVED: {"B": 1, "A": -1, "D": -1, "C": 1},
    HALF: {"C": 1, "B": -1},
    GAIN: {"B": 1, "A": -1},
    "C - A": {"C": 1, "A": -1},
    "D - A": {"D": 1, "A": -1},
}
# What the answer rests on.
DECIDING = (LEFT, REMOVED, GAIN)
RATIOS = (("C - A", GAIN), (LEFT, "D - A"))


@dataclass(frozen=True)
class Estimate:
    """A sum of mean scores with its standard error, degrees of freedom and 95 % interval.

    p: two-sided, of 0. p_not_worse: of a sum that is worse than 0 by the margin or more; None without a margin. In a `Factorial` both
    are adjusted (Holm 1979): p over DECIDING at all numbers of tokens and the slopes, the other over the numbers of tokens.
    """

    value: float
    se: float
    df: float
    low: float
    high: float
    p: float
    p_not_worse: float | None = None

    @property
    def differs(self) -> bool:
        return self.p < LEVEL


@dataclass(frozen=True)
class Ratio:
    """low, high: the ends of its 95 % interval; None if the interval of the bottom holds 0."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Budget:
    """The cells that were trained on as many tokens.

    cells: letter -> the arm and its scores. sums: of SUMS, and of each cell alone; ratios: of RATIOS; both empty if some cell has
    fewer than two seeds.
    doubts: why the numbers give no answer.
    """

    tokens: float
    cells: dict[str, ArmVerdict]
    sums: dict[str, Estimate]
    ratios: dict[tuple[str, str], Ratio]
    doubts: tuple[str, ...]


@dataclass(frozen=True)
class Factorial:
    """A way of sharing layers, at every number of tokens, fewest first. slopes: of estimates, per unit of log tokens."""

    label: str
    budgets: tuple[Budget, ...]
    slopes: dict[str, Estimate]


def factorials(verdicts: Verdicts) -> list[Factorial]:
    """Of every way of sharing layers for which a comparison has the four cells."""
    tuned = [one for one in verdicts.arms if one.arm.tuning]
    labels = dict.fromkeys(one.arm.label for one in tuned if one.arm.label != UNTIED)
    return [found for label in labels if (found := _read(label, tuned, verdicts))]


def _read(label: str, tuned: Sequence[ArmVerdict], verdicts: Verdicts) -> Factorial | None:
    groups: dict[tuple[Scalar, ...], list[ArmVerdict]] = {}
    for one in tuned:
        if one.arm.label in (label, UNTIED):
            settings = one.arm.first.settings
            lengths = (settings[key] for key in sorted(settings) if key.startswith("train.max_"))
            groups.setdefault(tuple(lengths), []).append(one)
    whole = [cells for group in groups.values() if (cells := _cells(group)).keys() >= NEEDED]
    budgets = sorted((_estimate(cells, verdicts.declared) for cells in whole), key=lambda budget: budget.tokens)
    certain = [budget for budget in budgets if budget.sums]
    slopes = {name: _slope(name, certain, verdicts.declared) for name in (LEFT, GAIN)} if len(certain) > 1 else {}
    if certain:
        _adjust([*(budget.sums for budget in certain), slopes])
    return Factorial(label, tuple(budgets), slopes) if budgets else None


def _adjust(estimates: Sequence[dict[str, Estimate]]) -> None:
    """Put adjusted p values in the place of the others, see `Estimate`."""
    deciding = [(of, name) for of in estimates for name in DECIDING if name in of]
    for (of, name), p in zip(deciding, contrasts.adjust_holm(np.array([of[k].p for of, k in deciding])), strict=True):
        of[name] = replace(of[name], p=float(p))
    halves = [of for of in estimates if HALF in of]
    ps = np.array([np.nan if of[HALF].p_not_worse is None else of[HALF].p_not_worse for of in halves])
    for of, p in zip(halves, contrasts.adjust_holm(ps), strict=True):
        of[HALF] = replace(of[HALF], p_not_worse=None if np.isnan(p) else float(p))


def _cells(group: Sequence[ArmVerdict]) -> dict[str, ArmVerdict]:
    """Letter -> cell. M sets of parameters are recognised by the size of the model; of several ways to be a cell the first counts."""
    shared = [one for one in group if one.arm.label != UNTIED]
    unshared = [one for one in group if one.arm.label == UNTIED]
    for deeper in shared:
        same_size = [one for one in unshared if one.arm.first.params == deeper.arm.first.params]
        as_deep = [one for one in unshared if _depth(one.arm) == _depth(deeper.arm)]
        alike = [one for one in shared if one.arm.first.plan_hash == deeper.arm.first.plan_hash]
        if same_size and same_size[0] not in as_deep:
            by_layers = {UNSHARED: same_size, SHARED: alike, DEEP: as_deep}
            return {
                letter: ones[0]
                for letter, (layers, is_tuned) in CELLS.items()
                if (ones := [one for one in by_layers[layers] if _is_tuned(one.arm) == is_tuned])
            }
    return {}


def _depth(arm: Arm) -> Scalar:
    return arm.first.settings.get("model.n_layers")


def _is_tuned(arm: Arm) -> bool:
    """A list of one point is the recipe as it is."""
    return bool(arm.tuning and len(arm.tuning.points) > 1)


def _luck(arm: Arm) -> float:
    return contrasts.TUNING_LUCK / max(1, len(arm.tuning.seeds)) if arm.tuning and _is_tuned(arm) else 0.0


def _doubts(cells: dict[str, ArmVerdict]) -> Iterator[str]:
    for letter, cell in cells.items():
        tuning = cell.arm.tuning
        if cell.n_diverged or cell.bad:
            yield f"{letter} has seeds that diverged or ended far worse than the others"
        if len(cell.values) < 2:
            yield f"{letter} has fewer than two seeds"
        if tuning is None or tuning.chosen is None or tuning.best != tuning.chosen:
            yield f"{letter} does not report the best point of its list"
        elif letter in NEEDED and _is_tuned(cell.arm):
            for key, side in edge_keys(tuning.points, tuning.chosen).items():
                yield f"the best point of {letter} has the {side} `{key}` of the list"


def _estimate(cells: dict[str, ArmVerdict], declared: Declared) -> Budget:
    """All cells of a budget estimate the noise of a seed together, and none of another budget: longer runs vary less."""
    runs = [run for cell in cells.values() for run in cell.arm.done]
    tokens = fmean([run.tokens or 0.0 for run in runs] or [0.0])
    doubts = tuple(_doubts(cells))
    if min(len(cell.values) for cell in cells.values()) < 2:
        return Budget(tokens, cells, {}, {}, doubts)
    scores = np.full((len(cells), max(len(cell.values) for cell in cells.values())), np.nan)
    for row, cell in zip(scores, cells.values(), strict=True):
        row[: len(cell.values)] = [*cell.values.values()]
    named = SUMS | {letter: {letter: 1.0} for letter in cells}
    weights = np.array([[weight.get(letter, 0.0) for letter in cells] for weight in named.values()])
    found = combine(scores, weights, np.array([_luck(cell.arm) for cell in cells.values()]))
    sums = {}
    for k, name in enumerate(named):
        se = float(np.sqrt(found.covariance[k, k]))
        sums[name] = _judge(float(found.value[k]), se, float(found.df[k]), declared)
    names = [*SUMS]
    ratios = {(top, bottom): _ratio(found, names.index(top), names.index(bottom)) for top, bottom in RATIOS}
    return Budget(tokens, cells, sums, ratios, doubts)


def _judge(value: float, se: float, df: float, declared: Declared) -> Estimate:
    half = float(stats.t.ppf(1 - LEVEL / 2, df)) * se
    at = np.array
    p = 2 * contrasts.tail(at(abs(value)), at(se), at(df))
    beyond = None if declared.margin is None else declared.margin + declared.score.sign * value
    p_not_worse = None if beyond is None else float(contrasts.tail(at(beyond), at(se), at(df)))
    return Estimate(value, se, df, value - half, value + half, min(1.0, float(p)), p_not_worse)


def _ratio(found: Combined, top: int, bottom: int) -> Ratio:
    ends, bounded = ratio(found, top, bottom)
    value = float(found.value[top] / found.value[bottom]) if found.value[bottom] else float("nan")
    return Ratio(value, float(ends[0]), float(ends[1])) if bounded else Ratio(value, None, None)


def _slope(name: str, budgets: Sequence[Budget], declared: Declared) -> Estimate:
    """By least squares over the logarithms of the tokens; the budgets have no runs in common."""
    logs = np.array([log(budget.tokens) for budget in budgets])
    apart = logs - logs.mean()
    weights = apart / np.square(apart).sum()
    found = [budget.sums[name] for budget in budgets]
    parts = np.square(weights * [one.se for one in found])
    df = parts.sum() ** 2 / (np.square(parts) / [one.df for one in found]).sum() if parts.any() else 1.0
    return _judge(float(weights @ [one.value for one in found]), float(np.sqrt(parts.sum())), float(df), declared)
