"""wandb and trackio, if train.trackers names them: a view of the run's own files, and never a reason to stop training."""

import hashlib
import importlib
import io
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, redirect_stdout
from importlib.util import find_spec
from typing import Any

from tietrain.errors import SettingsError
from tietrain.train.experiment import Experiment

# What a score can be drawn against, besides the step.
AXES = ("tokens", "flops", "seconds")
# wandb collects only what it is given. The two timeouts, in seconds, bound its request for a key and the end of a run.
WANDB_SETTINGS = {
    **dict.fromkeys(("disable_code", "disable_git", "disable_job_creation", "silent"), True),
    **dict.fromkeys(("x_disable_meta", "x_disable_stats", "x_disable_machine_info"), True),
    **dict.fromkeys(("save_code", "x_save_requirements"), False),
    "console": "off",
    "login_timeout": 30.0,
    "finish_timeout": 60.0,
}


def succeeds(name: str, action: Callable[[], None], log: Callable[[str], None]) -> bool:
    """Whether an action of a view of the run succeeds; logs why if it does not, and nothing stops."""
    try:
        action()
    except Exception as e:
        log(f"{name} is off for this run: {e}")
        return False
    return True


def check_installed(names: Iterable[str]) -> None:
    """SettingsError for a tracker that is requested and not installed."""
    for name in names:
        if getattr(find_spec(name), "origin", None) is None:  # a folder of that name, as wandb makes, is not a module
            requested, remedy = f"train.trackers=[{','.join(names)}]", f"pip install 'tietrain[{name}]'"
            raise SettingsError(requested, f"{name} is not installed", remedy)


class Trackers(AbstractContextManager["Trackers"]):
    """Those of `train.trackers`, each with one run per run directory; entered for as long as the run takes.

    Each gets the scalars that TensorBoard has, those of one step together, beside target tokens, FLOPs and seconds. A
    continued run continues its run in the tracker; steps that the tracker already has are not sent again. If a tracker
    fails, tietrain logs it once and stops using it.
    """

    def __init__(self, experiment: Experiment, log: Callable[[str], None]):
        self._experiment = experiment
        self._log = log
        self._runs: dict[str, tuple[Any, int]] = {}  # name -> the tracker's run, and the first step it has not got
        self._step = 0
        self._values: dict[str, float] = {}

    def __exit__(self, *error: object) -> None:
        self._send()
        for name, (run, _) in list(self._runs.items()):
            self._guarded(name, run.finish)

    def start(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Open the trackers' runs, and add the rows of metrics there are."""
        for name in self._experiment.config.train.trackers:
            self._guarded(name, lambda name=name: self._open(name))  # type: ignore[misc]
        for row in rows:
            self.add_row(row)

    def add_row(self, row: Mapping[str, Any]) -> None:
        """Add every score of a row of metrics."""
        scores = {f"{row['split']}/{name}": value for name, value in row.items() if name not in (*AXES, "step")}
        self._add(row["step"], row, {k: value for k, value in scores.items() if isinstance(value, int | float)})

    def add_results(self, scores: Mapping[str, float], totals: Mapping[str, float]) -> None:
        """Add the final scores of a run, one step after its last; totals: steps, tokens, flops and seconds of training."""
        self._add(int(totals["steps"]) + 1, totals, scores)

    def _add(self, step: int, where: Mapping[str, float], scores: Mapping[str, float]) -> None:
        if step != self._step:
            self._send()
        self._step = step
        # As floats: the FLOPs of a long run do not fit a 64-bit integer.
        self._values |= {k: float(value) for k, value in {**{axis: where[axis] for axis in AXES}, **scores}.items()}

    def _send(self) -> None:
        """Send what has come in of a step, complete: a run that is killed before sends it when it is continued."""
        values, self._values = self._values, {}
        for name, (run, first) in list(self._runs.items()):
            if values and self._step >= first:
                self._guarded(name, lambda run=run: run.log(values, step=self._step))  # type: ignore[misc]

    def _open(self, name: str) -> None:
        self._runs[name] = OPEN[name](importlib.import_module(name), self._experiment)

    def _guarded(self, name: str, action: Callable[[], None]) -> None:
        with redirect_stdout(io.StringIO()):  # what trackio prints about itself
            if not succeeds(name, action, self._log):
                self._runs.pop(name, None)


def _about(experiment: Experiment) -> dict[str, Any]:
    """What every tracker is told of a run."""
    config = experiment.config
    names = {"project": config.study, "group": config.tying_label, "name": experiment.directory.name}
    return {**names, "resume": "allow", "config": experiment.settings}


def _open_wandb(wandb: Any, experiment: Experiment) -> tuple[Any, int]:
    """The run of wandb; if it is offline, every part is complete in itself, so that any can be synchronized."""
    study, directory = experiment.config.study, experiment.directory
    run = wandb.init(
        **_about(experiment),
        id=hashlib.sha256(f"{study}/{directory.name}".encode()).hexdigest()[:16],
        dir=str(directory),
        settings=wandb.Settings(**WANDB_SETTINGS),
    )
    run.define_metric("*", step_metric="tokens")
    return run, run.step


def _open_trackio(trackio: Any, experiment: Experiment) -> tuple[Any, int]:
    run = trackio.init(**_about(experiment), embed=False, auto_log_cpu=False, auto_log_gpu=False)
    return run, run._next_step  # only this tells which steps it has; it would store them twice


OPEN: dict[str, Callable[[Any, Experiment], tuple[Any, int]]] = {"wandb": _open_wandb, "trackio": _open_trackio}
