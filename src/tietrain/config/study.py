"""What a study compares: its primary score, what its arms are matched by, how each is tuned."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Optional

from tietrain.config.checks import check, check_choice, check_range

# OmegaConf reads these annotations: Optional[...] is spelled out because it accepts no `X | None` of nested types.
# ruff: noqa: UP045

# What arms can be matched by -> what can be varied for it.
MATCHED = {
    "params": ("d_ff", "d_model", "n_layers"),
    "flops": ("d_ff", "d_model", "n_layers", "steps"),
    "depth": ("n_layers",),
    "seconds": ("steps",),
}
# What the points of a tuning list may set besides optim.*: nothing that makes another arm, nothing a match depends on.
TUNABLE = ("model.dropout", "model.table_init_std", "task.label_smoothing", "train.ema", "train.average")


@dataclass
class ReportConfig:
    """What a study is to show, stated before its runs and recorded with them; no part of a run's identity.

    metric: the primary score, of NATS_SCORES or task.metrics; None is the first of task.metrics, bits_per_byte of lm.
    split: where it is measured; None is test, or the first split besides train and valid; of several directions its mean.
    baseline: label of the tying that every other arm is compared with.
    margin: a difference of the primary score that would not matter, in its unit; None for no test of equivalence.
    """

    metric: Optional[str] = None
    split: Optional[str] = None
    baseline: str = "none"
    margin: Optional[float] = None

    def __post_init__(self) -> None:
        check(
            self.margin is None or 0 < self.margin < math.inf,
            f"report.margin={self.margin}",
            "it is not positive",
            "give the largest difference that does not matter, or null",
        )
        problem = "it has the unit of the primary score, which is another for each task"
        check(
            self.margin is None or self.metric is not None, f"report.margin={self.margin}", problem, "set report.metric"
        )


@dataclass
class MatchConfig:
    """What every arm is to have as much of as a baseline has; solved before a run is named, see `match`.

    by: params (stored), flops (training, of the whole run), depth (layers run, shared or not), seconds (of training);
        None matches nothing.
    vary: what is solved for: d_ff, d_model, n_layers (n_encoder_layers stays, where it is set), or steps: the stated budget.
    baseline: what follows `tying=`, of the configured shape; after it what else differs there: `cycle model.n_layers=6`.
    multiple_of: of the solved value; None is 8 for d_ff and d_model, 1 for others.
    solved: the baseline's ties and model settings, what was varied and what was matched; written by tietrain.
    """

    by: Optional[str] = None
    vary: str = "d_ff"
    baseline: str = "none"
    multiple_of: Optional[int] = None
    solved: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_choice("match.vary", self.vary, MATCHED["flops"])
        check_range("match.multiple_of", self.multiple_of, 1, optional=True)
        if self.by is not None:
            check_choice("match.by", self.by, tuple(MATCHED))
            varied = MATCHED[self.by]
            problem = f"match.by={self.by} is not reached by it"
            check(self.vary in varied, f"match.vary={self.vary}", problem, f"choose {' or '.join(varied)}")


@dataclass
class TuneConfig:
    """A tuning budget, the same for every arm: a fixed list of points, tried before the runs that are reported, see `tune`.

    name: of the list; None tunes nothing. points: full key -> value of each, of optim.* and TUNABLE.
    seeds: of the runs by which a point is chosen, lowest mean nats a token on valid. reporting_seeds: of the runs that are
        compared, at the chosen point.
    role, point: of one run: tuning or reporting, and its place in the list, from 1; written by tietrain.
    """

    name: Optional[str] = None
    points: list[dict[str, Any]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    reporting_seeds: list[int] = field(default_factory=list)
    role: Optional[str] = None
    point: Optional[int] = None

    def __post_init__(self) -> None:
        if self.name is None:
            stated = [key for key in ("points", "seeds", "reporting_seeds") if getattr(self, key)]
            check(not stated, f"tune.{''.join(stated[:1])}", "no list is chosen", "choose one: tune=NAME")
            return
        check(bool(self.points), f"tune={self.name}", "tune.points is empty", "list what is to be tried")
        for i, point in enumerate(self.points, start=1):
            requested = f"tune={self.name}, point {i}"
            check(bool(point), requested, "it sets nothing", "give a mapping of full keys to values")
            check(self.points.index(point) == i - 1, requested, "it stands there twice", "leave it out")
            for key in point:
                remedy = f"tune keys of optim, or {', '.join(TUNABLE)}"
                check(
                    key.startswith("optim.") or key in TUNABLE, requested, f"{key} is nothing a list may tune", remedy
                )
        for key in ("seeds", "reporting_seeds"):
            seeds = getattr(self, key)
            holds = bool(seeds) and min(seeds) >= 0 and len(set(seeds)) == len(seeds)
            check(holds, f"tune.{key}={seeds}", "they are no list of different seeds", "give for example [1,2,3]")
        both = sorted(set(self.seeds) & set(self.reporting_seeds))
        problem = f"{both} chose the point too, and the chosen one is the luckiest"
        check(not both, f"tune.reporting_seeds={self.reporting_seeds}", problem, "report fresh seeds")

    @property
    def trials(self) -> str:
        """How many runs an arm takes; empty where nothing is tuned.

        >>> TuneConfig("rates", [{"optim.lr": 0.1}, {"optim.lr": 0.2}], [9], [1, 2, 3]).trials
        '2 trials x 1 seed, then 3 seeds'
        """
        if self.name is None:
            return ""
        counted = (("trial", self.points), ("seed", self.seeds), ("seed", self.reporting_seeds))
        trials, seeds, reported = (f"{len(of)} {noun}{'' if len(of) == 1 else 's'}" for noun, of in counted)
        return f"{trials} x {seeds}, then {reported}"
