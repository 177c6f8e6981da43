"""A tuned arm: every point of its list with the tuning seeds, then the chosen point with the reporting seeds."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tietrain.config import RunConfig
from tietrain.config.compose import first_line, known_keys, parse_overrides, suggestion, to_run_config
from tietrain.errors import SettingsError, eprint
from tietrain.report.trials import DIVERGED, choose_point, edge_keys, mean_score
from tietrain.train.outcome import Outcome


def is_tuned(cfg: DictConfig) -> bool:
    """Whether a composed configuration chooses a list of points."""
    return OmegaConf.select(cfg, "tune.name") is not None


def n_runs(cfg: DictConfig) -> int:
    """How many runs a cell takes: one, or those by which an arm is tuned and those that are reported."""
    tune = cfg.tune
    return len(tune.points) * len(tune.seeds) + len(tune.reporting_seeds) if is_tuned(cfg) else 1


def make_points(
    cfg: DictConfig, words: Sequence[str], swept: Iterable[str] = (), search: Sequence[str] = ()
) -> list[RunConfig]:
    """The arm at every point of its list, all checked before the first is trained.

    Args:
        cfg: of one cell, composed. words: its overrides. swept, search: as of `to_run_config`.
    Raises:
        SettingsError: the list holds a key or value that is none, or the cell sets what the list sets.
    """
    tune = to_run_config(copy.deepcopy(cfg), swept, search).tune
    _check_cell(cfg, words, {key for point in tune.points for key in point})
    points = []
    for i, point in enumerate(tune.points, start=1):
        own, requested = copy.deepcopy(cfg), f"tune={tune.name}, point {i}"
        for key, value in {**point, "tune.point": i}.items():
            try:
                OmegaConf.update(own, key, value)
            except OmegaConfBaseException as e:
                remedy = suggestion(key, known_keys())
                raise SettingsError(requested, f"{key}={value}: {first_line(e)}", remedy) from None
        try:
            points.append(to_run_config(own, swept, search))
        except SettingsError as e:
            raise type(e)(requested, f"{e.setting}: {e.problem}", e.remedy) from None
    return points


def _check_cell(cfg: DictConfig, words: Sequence[str], tuned: set[str]) -> None:
    """SettingsError where a cell says what its list says for every arm, or names one folder for all runs of an arm."""
    requested = f"tune={cfg.tune.name}"
    for override in parse_overrides(words):
        key = override.key_or_group
        if key in tuned | {"seed"}:
            remedy = f"leave it out, or change {'tune.reporting_seeds' if key == 'seed' else 'the list'}"
            raise SettingsError(f"{requested} {override.input_line}", "the list says it for every arm", remedy)
    if cfg.run_dir:
        raise SettingsError(f"{requested} run_dir={cfg.run_dir}", "an arm has several runs", "use study=NAME")


def tuning_runs(point: RunConfig) -> list[RunConfig]:
    """The runs by which a point is judged."""
    return [_run_of(point, "tuning", seed) for seed in point.tune.seeds]


def reporting_runs(point: RunConfig) -> list[RunConfig]:
    """The runs that are compared, where the point is the chosen one."""
    return [_run_of(point, "reporting", seed) for seed in point.tune.reporting_seeds]


def _run_of(point: RunConfig, role: str, seed: int) -> RunConfig:
    return replace(point, seed=seed, tune=replace(point.tune, role=role))


def run_arm(points: Sequence[RunConfig], run: Callable[[RunConfig], Outcome]) -> float | None:
    """Run what has not ended yet, in order; the mean nats a token on valid of the chosen point, where one is chosen.

    No point is chosen, and nothing is run to be reported, where the arm is no model, or a tuning run failed, or is at work
    in another process.
    """
    scores: dict[int, list[float]] = {}
    n_open = 0
    for i, point in enumerate(points, start=1):
        for config in tuning_runs(point):
            outcome = run(config)
            if outcome.status == "not_applicable":
                return None
            score = DIVERGED if outcome.status == "diverged" else outcome.valid
            if score is None:
                n_open += 1
            else:
                scores.setdefault(i, []).append(score)
    label, name = points[0].tying_label, points[0].tune.name
    if n_open:
        eprint(f"tune={name}: no point is chosen for {label} before its {n_open} other tuning runs have a score")
        return None
    best = choose_point(scores)
    eprint("\n".join([f"tune={name}, {label}, nats/token on valid:", *_table(points[0].tune.points, scores, best)]))
    for config in reporting_runs(points[best - 1]):
        run(config)
    return mean_score(scores[best])


def _table(listed: Sequence[Mapping[str, Any]], scores: Mapping[int, Sequence[float]], best: int) -> list[str]:
    """A line for each point: its values, its mean, and which is chosen."""
    points = dict(enumerate(listed, start=1))
    lines = []
    for i, point in points.items():
        mean = mean_score(scores[i])
        said = " ".join(f"{key}={value}" for key, value in point.items())
        shown = "diverged" if mean == DIVERGED else f"{mean:.4f}"
        lines.append(f"  {i}: {said}: {shown}{' (chosen)' if i == best else ''}")
    for key, side in edge_keys(points, best).items():
        lines.append(f"  the chosen {key} is the {side} of the list: a better one may lie beyond it")
    return lines
