"""The trials of an arm, from its tuning runs: the points tried, their scores, the point reported, what a list is worth.

A score is in nats per token on the validation split: lower is better.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeGuard

from tietrain.runs.view import Run, Scalar, configured

POINTS = "tune.points."
# What differs between the runs of one tuned arm, besides what its points set.
OWN = ("seed", "tune.role", "tune.point")
# The score of a run that diverged: worse than any other.
DIVERGED = math.inf
# A key with fewer values has no interior point.
MIN_VALUES = 3


def is_trial(run: Run) -> bool:
    """Whether a run served only to choose a point."""
    return bool(run.arm) and run.settings.get("tune.role") == "tuning"


def list_points(run: Run) -> dict[int, dict[str, Scalar]]:
    """Place in the list, from 1 -> full key -> value."""
    points: dict[int, dict[str, Scalar]] = {}
    for key, value in run.settings.items():
        place, _, name = key.removeprefix(POINTS).partition(".")
        if key.startswith(POINTS) and place.isdecimal():
            points.setdefault(int(place), {})[name] = value
    return dict(sorted(points.items()))


def group_of(run: Run) -> Hashable:
    """Equal for all runs of one tuned arm, whatever their role, point and seed."""
    tuned = {key for point in list_points(run).values() for key in point} | {*OWN}
    settings = [(k, repr(v)) for k, v in run.settings.items() if k not in tuned and not k.startswith("tying.")]
    contents = [(k, repr(v)) for k, v in run.fingerprints.items() if k != "batches"]
    return run.task, run.plan_hash, tuple(sorted(settings)), tuple(sorted(contents))


@dataclass(frozen=True)
class Tuning:
    """The trials of one arm.

    points: place in the list -> key -> value. scores: place -> score of each tuning seed that has ended.
    seeds: the tuning seeds, as the runs state them. chosen: the place that is reported; None if the list does not have it.
    """

    name: str
    points: dict[int, dict[str, Scalar]]
    seeds: tuple[int, ...]
    scores: dict[int, tuple[float, ...]]
    chosen: int | None

    @cached_property
    def means(self) -> dict[int, float]:
        """Place -> mean over tuning seeds, of points that have one; infinite if a run diverged."""
        return {place: mean_score(scores) for place, scores in self.scores.items() if scores}

    @property
    def best(self) -> int | None:
        """The point to report; None before every point was tried with every tuning seed."""
        tried = all(len(self.scores[place]) == len(self.seeds) > 0 for place in self.points)
        return choose_point(self.scores) if self.points and tried else None

    @property
    def budget(self) -> str:
        """Equal for arms that were tuned alike."""
        return repr((self.name, self.points, self.seeds))


def read_tuning(run: Run, trials: Sequence[Run]) -> Tuning | None:
    """The trials behind a run that is reported; None if it was not tuned."""
    name = run.settings.get("tune.name")
    if not name or run.settings.get("tune.role") != "reporting":
        return None
    points = list_points(run)
    stated = configured(run.settings.get("tune.seeds"))
    is_list = isinstance(stated, list) and all(isinstance(seed, int) for seed in stated)
    seeds = tuple(stated) if is_list else ()
    found: dict[int, dict[int, float]] = {place: {} for place in points}
    for trial in trials:
        place = trial.settings.get("tune.point")
        score = _score(trial)
        if isinstance(place, int) and place in found and trial.seed in seeds and score is not None:
            found[place].setdefault(trial.seed, score)
    scores = {place: tuple(of[seed] for seed in seeds if seed in of) for place, of in found.items()}
    chosen = run.settings.get("tune.point")
    return Tuning(str(name), points, seeds, scores, chosen if isinstance(chosen, int) and chosen in points else None)


def _score(run: Run) -> float | None:
    if run.status == "diverged":
        return DIVERGED
    scores = run.scores.get("valid") or run.scores.get("valid.mean") or {}
    return scores.get("nats_per_token") if run.status == "done" else None


def mean_score(scores: Sequence[float]) -> float:
    """The mean over tuning seeds; if one run of a point diverged, the point did.

    >>> mean_score([2.0, 3.0]), mean_score([2.0, DIVERGED])
    (2.5, inf)
    """
    return math.fsum(scores) / len(scores)


def choose_point(scores: Mapping[int, Sequence[float]]) -> int:
    """The point with the lowest mean; of several the first in the list, also if all diverged.

    >>> choose_point({1: [2.0], 2: [1.0, 1.5], 3: [1.25]}), choose_point({1: [DIVERGED], 2: [DIVERGED]})
    (2, 1)
    """
    return min(sorted(scores), key=lambda point: mean_score(scores[point]))


def expected_best(scores: Sequence[float], n: int) -> float | None:
    """Expected score of the best of n trials, drawn with replacement from those that were made; None if all diverged.

    With N scores sorted from best to worst, the best of n is at place i or later with chance ((N - i + 1) / N) ** n.
    Draws in which all n trials diverged have no score and are left out.

    Source: Dodge et al. 2019.

    >>> expected_best([1.0, 2.0], 1), expected_best([2.0, 1.0], 2), expected_best([1.0, DIVERGED], 1)
    (1.5, 1.25, 1.0)
    """
    size = len(scores)
    finite = sorted(score for score in scores if math.isfinite(score))
    if not finite:
        return None
    behind = [((size - i) / size) ** n for i in range(len(finite) + 1)]
    parts = [score * (behind[i] - behind[i + 1]) for i, score in enumerate(finite)]
    return math.fsum(parts) / (behind[0] - behind[-1])


def edge_keys(points: Mapping[int, Mapping[str, object]], best: int) -> dict[str, str]:
    """Key -> `lowest` or `highest`, if the best point has that one of at least MIN_VALUES numbers in the list.

    >>> edge_keys({1: {"lr": 1, "w": 0}, 2: {"lr": 2, "w": 0}, 3: {"lr": 3, "w": 1}}, 3)
    {'lr': 'highest'}
    """
    found = {}
    for key, value in points[best].items():
        column = [point.get(key) for point in points.values()]
        values = {v for v in column if is_number(v)}
        if is_number(value) and len(values) >= MIN_VALUES and value in (min(values), max(values)):
            found[key] = "lowest" if value == min(values) else "highest"
    return found


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value lies on a scale."""
    return isinstance(value, int | float) and not isinstance(value, bool)
