"""A tuned arm: run every point of its list with the tuning seeds, then the chosen point with the reporting seeds."""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tietrain.config import RunConfig
from tietrain.config.compose import parse_overrides, to_run_config
from tietrain.config.keys import ALL, suggestion
from tietrain.errors import SettingsError, eprint, first_line
from tietrain.report.tuning import DIVERGED, choose_point, edge_keys, mean_score
from tietrain.train.outcome import Outcome


def is_tuned(cfg: DictConfig) -> bool:
    """Whether a composed configuration chooses a tuning list."""
    return OmegaConf.select(cfg, "tune.name") is not None


def n_runs(cfg: DictConfig) -> int:
    """How many runs a cell takes: one, or the tuning and reporting runs of a tuned arm."""
    tune = cfg.tune
    return len(tune.points) * len(tune.seeds) + len(tune.reporting_seeds) if is_tuned(cfg) else 1


def make_points(cfg: DictConfig, words: Sequence[str], swept: Iterable[str] = ()) -> list[RunConfig]:
    """The arm at every point of its list, all checked before the first one is trained.

    Args:
        cfg: the composed configuration of one cell. words: its overrides. swept: see `to_run_config`.
    Raises:
        SettingsError: a key or value of the list is not valid, or the cell sets what the list sets.
    """
    tune = to_run_config(copy.deepcopy(cfg), swept, words).tune
    setting = f"tune={tune.name}"
    for override in parse_overrides(words):
        key = override.key_or_group
        if key in {"seed"}.union(*tune.points):
            remedy = f"leave it out, or change {'tune.reporting_seeds' if key == 'seed' else 'the list'}"
            raise SettingsError(f"{setting} {override.input_line}", "the list sets it for every arm", remedy)
    if cfg.run_dir:
        raise SettingsError(f"{setting} run_dir={cfg.run_dir}", "an arm has several runs", "use study=NAME")
    points = []
    for i, point in enumerate(tune.points, start=1):
        own = copy.deepcopy(cfg)
        setting = f"tune={tune.name}, point {i}"
        for key, value in {**point, "tune.point": i}.items():
            try:
                OmegaConf.update(own, key, value)
            except OmegaConfBaseException as e:
                raise SettingsError(setting, f"{key}={value}: {first_line(e)}", suggestion(key, ALL)) from None
        try:
            points.append(to_run_config(own, swept, words))
        except SettingsError as e:
            raise type(e)(setting, f"{e.setting}: {e.problem}", e.remedy) from None
    return points


def tuning_runs(point: RunConfig) -> list[RunConfig]:
    """The runs that give a point its score."""
    return [replace(point, seed=seed, tune=replace(point.tune, role="tuning")) for seed in point.tune.seeds]


def reporting_runs(point: RunConfig) -> list[RunConfig]:
    """The runs that are compared if this point is chosen."""
    tune = replace(point.tune, role="reporting")
    return [replace(point, seed=seed, tune=tune) for seed in point.tune.reporting_seeds]


def run_arm(points: Sequence[RunConfig], run: Callable[[RunConfig], Outcome]) -> float | None:
    """Run what has not ended yet, in order; returns the mean nats per token on valid of the chosen point.

    Returns None and runs no reporting seeds if the scheme does not apply, a tuning run failed, or another process is still
    running one.
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
    label = points[0].tying_label
    name = points[0].tune.name
    if n_open:
        eprint(f"tune={name}: no point is chosen for {label} until {n_open} more tuning runs have a score")
        return None
    best = choose_point(scores)
    lines = [f"tune={name}, {label}, nats/token on valid:"]
    listed = dict(enumerate(points[0].tune.points, start=1))
    for i, values in listed.items():
        mean = mean_score(scores[i])
        shown = "diverged" if mean == DIVERGED else f"{mean:.4f}"
        stated = " ".join(f"{key}={value}" for key, value in values.items())
        lines.append(f"  {i}: {stated}: {shown}{' (chosen)' if i == best else ''}")
    for key, side in edge_keys(listed, best).items():
        lines.append(f"  the chosen {key} is the {side} in the list; a better value may lie beyond it")
    eprint("\n".join(lines))
    for config in reporting_runs(points[best - 1]):
        run(config)
    return mean_score(scores[best])
