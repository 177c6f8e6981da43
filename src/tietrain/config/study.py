"""What a study compares: its primary score, what its arms are matched by, how each is tuned."""

from dataclasses import dataclass
from typing import Any, Optional

from tietrain.config.setting import NOTHING, check, check_section, setting, when_given

# What arms can be matched by -> what can be varied for it.
MATCHED = {
    "params": ("d_ff", "d_model", "n_layers"),
    "flops": ("d_ff", "d_model", "n_layers", "steps"),
    "depth": ("n_layers",),
    "seconds": ("steps",),
}

IS_MATCHED = when_given("match.by")
IS_TUNED = when_given("tune.role")


@dataclass
class ReportConfig:
    """What a study is to show, stated before its runs and recorded with them."""

    metric: Optional[str] = setting(None, identity=False)
    """Primary score, of task.metrics or one of nats; null is the first of task.metrics, or bits_per_byte of lm."""
    split: Optional[str] = setting(None, identity=False)
    """Split of the primary score; null is test, or the first besides train and valid; of several directions its
    mean."""
    baseline: str = setting("none", identity=False)
    """Label of the tying that every other arm is compared with."""
    margin: Optional[float] = setting(None, identity=False, gt=0)
    """Largest difference of the primary score that does not matter, in its unit; null tests no equivalence."""
    looks: list[int] = setting([], identity=False, ge=2, absent=[])
    """Numbers of seeds at which the report is to be read, ascending; the error of verdicts is spent over them. Empty for
    one reading, at any number."""

    def __post_init__(self) -> None:
        check_section(self, "report.")
        problem = "its unit is that of the primary score, which depends on the task"
        holds = self.margin is None or self.metric is not None
        check(holds, f"report.margin={self.margin}", problem, "set report.metric")
        ascending = self.looks == sorted(set(self.looks))
        check(ascending, f"report.looks={self.looks}", "they do not ascend", "give for example [3,6,10]")


@dataclass
class MatchConfig:
    """What every arm has as much of as a baseline; `match` solves it before a run is named."""

    by: Optional[str] = setting(None, IS_MATCHED, choices=tuple(MATCHED), unread=NOTHING)
    """Parameters stored, FLOPs of the whole training, layers run (shared or not), or seconds; null matches nothing."""
    vary: str = setting("d_ff", IS_MATCHED, choices=MATCHED["flops"], unread=NOTHING)
    """What is solved for: a width, n_layers (n_encoder_layers stays if it is set), or the stated budget in steps."""
    baseline: str = setting("none", IS_MATCHED, unread=NOTHING)
    """What follows `tying=` of the baseline, then what else differs there: `cycle model.n_layers=6`."""
    multiple_of: Optional[int] = setting(None, IS_MATCHED, ge=1, unread=NOTHING)
    """Divisor of the solved value; null is 8 for d_ff and d_model, else 1."""
    solved: dict[str, Any] = setting({}, IS_MATCHED, written=True, unread=NOTHING)
    """The baseline's ties and model settings, what was varied and what was matched."""

    def __post_init__(self) -> None:
        check_section(self, "match.")
        if self.by is not None:
            varied = MATCHED[self.by]
            problem = f"varying it cannot reach match.by={self.by}"
            check(self.vary in varied, f"match.vary={self.vary}", problem, f"choose {' or '.join(varied)}")


@dataclass
class TuneConfig:
    """A tuning budget, the same for every arm: a fixed list of points, tried before the runs that are reported."""

    name: Optional[str] = setting(None, IS_TUNED, unread=NOTHING)
    """Name of the list; null tunes nothing."""
    points: list[dict[str, Any]] = setting([], IS_TUNED, unread=NOTHING)
    """Points of the list, each a mapping of full keys to values."""
    seeds: list[int] = setting([], IS_TUNED, unread=NOTHING)
    """Seeds of the runs that choose a point, by lowest mean nats per token on valid."""
    reporting_seeds: list[int] = setting([], IS_TUNED, unread=NOTHING)
    """Seeds of the runs that are compared, at the chosen point."""
    role: Optional[str] = setting(None, IS_TUNED, written=True, unread=NOTHING)
    """What the run is for: tuning or reporting."""
    point: Optional[int] = setting(None, IS_TUNED, written=True, unread=NOTHING)
    """The run's place in the list, from 1."""

    def __post_init__(self) -> None:
        if self.name is None:
            stated = [key for key in ("points", "seeds", "reporting_seeds") if getattr(self, key)]
            check(not stated, f"tune.{''.join(stated[:1])}", "no list is chosen", "choose one: tune=NAME")
            return
        check(bool(self.points), f"tune={self.name}", "tune.points is empty", "list what is to be tried")
        for i, point in enumerate(self.points, start=1):
            requested = f"tune={self.name}, point {i}"
            check(bool(point), requested, "it sets nothing", "give a mapping of full keys to values")
            check(self.points.index(point) == i - 1, requested, "it is listed twice", "leave it out")
        for key in ("seeds", "reporting_seeds"):
            seeds = getattr(self, key)
            holds = bool(seeds) and min(seeds) >= 0 and len(set(seeds)) == len(seeds)
            check(holds, f"tune.{key}={seeds}", "it is not a list of different seeds", "give for example [1,2,3]")
        both = sorted(set(self.seeds) & set(self.reporting_seeds))
        problem = f"{both} chose the point too, and the chosen one is the luckiest"
        check(not both, f"tune.reporting_seeds={self.reporting_seeds}", problem, "report fresh seeds")

    @property
    def trials(self) -> str:
        """How many runs an arm takes; empty if nothing is tuned.

        >>> TuneConfig("rates", [{"optim.lr": 0.1}, {"optim.lr": 0.2}], [9], [1, 2, 3]).trials
        '2 trials x 1 seed, then 3 seeds'
        """
        if self.name is None:
            return ""
        counted = (("trial", self.points), ("seed", self.seeds), ("seed", self.reporting_seeds))
        trials, seeds, reported = (f"{len(of)} {noun}{'' if len(of) == 1 else 's'}" for noun, of in counted)
        return f"{trials} x {seeds}, then {reported}"
