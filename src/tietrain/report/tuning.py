"""The trials of an arm, read from its tuning runs: which points were tried, what they scored, which one is reported."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from tietrain.report.trials import DIVERGED, choose_point, mean_score
from tietrain.runs.view import Run, Scalar

POINTS = "tune.points."
# What differs between the runs of one tuned arm, besides what its points set.
OWN = ("seed", "tune.role", "tune.point")


def is_trial(run: Run) -> bool:
    """Whether a run served to choose a point, and nothing else."""
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

    points: place in the list -> key -> value. scores: place -> nats a token on valid of each tuning seed that has ended.
    seeds: the tuning seeds, as the runs state them. chosen: the place that is reported; None where it is in no list.
    """

    name: str
    points: dict[int, dict[str, Scalar]]
    seeds: tuple[int, ...]
    scores: dict[int, tuple[float, ...]]
    chosen: int | None

    @cached_property
    def means(self) -> dict[int, float]:
        """Place -> mean over tuning seeds, of points that have one; infinite where a run diverged."""
        return {place: mean_score(scores) for place, scores in self.scores.items() if scores}

    @property
    def complete(self) -> bool:
        """Whether every point was tried with every tuning seed."""
        return bool(self.points) and all(len(self.scores[place]) == len(self.seeds) > 0 for place in self.points)

    @property
    def best(self) -> int | None:
        """The point to report; None before all have been tried."""
        return choose_point(self.scores) if self.complete else None

    @property
    def budget(self) -> str:
        """Equal for arms that were tuned alike."""
        return repr((self.name, self.points, self.seeds))


def read_tuning(run: Run, trials: Sequence[Run]) -> Tuning | None:
    """The trials behind a run that is reported; None where it was not tuned."""
    name = run.settings.get("tune.name")
    if not name or run.settings.get("tune.role") != "reporting":
        return None
    points, seeds = list_points(run), _seeds(run)
    found: dict[int, dict[int, float]] = {place: {} for place in points}
    for trial in trials:
        place, score = trial.settings.get("tune.point"), _score(trial)
        if isinstance(place, int) and place in found and trial.seed in seeds and score is not None:
            found[place].setdefault(trial.seed, score)
    scores = {place: tuple(of[seed] for seed in seeds if seed in of) for place, of in found.items()}
    chosen = run.settings.get("tune.point")
    return Tuning(str(name), points, seeds, scores, chosen if isinstance(chosen, int) and chosen in points else None)


def group_trials(runs: Iterable[Run]) -> dict[Hashable, tuple[Run, ...]]:
    """`group_of` -> the trials of it."""
    groups: dict[Hashable, list[Run]] = {}
    for run in runs:
        if is_trial(run):
            groups.setdefault(group_of(run), []).append(run)
    return {key: tuple(group) for key, group in groups.items()}


def _seeds(run: Run) -> tuple[int, ...]:
    """A list arrives here as its JSON text; empty where it is none."""
    try:
        seeds = json.loads(str(run.settings.get("tune.seeds")))
    except (ValueError, RecursionError):
        return ()
    is_list = isinstance(seeds, list) and all(isinstance(seed, int) for seed in seeds)
    return tuple(seeds) if is_list else ()


def _score(run: Run) -> float | None:
    if run.status == "diverged":
        return DIVERGED
    scores = run.scores.get("valid") or run.scores.get("valid.mean") or {}
    return scores.get("nats_per_token") if run.status == "done" else None
