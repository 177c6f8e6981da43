"""`hydra/launcher=joblib`: the cells of a grid side by side on this machine, each in a process forked from the command's.

The command has loaded all that cells need, once for all of them, and computes nothing itself: threads that compute do not
come along into a forked process, which would wait for them.
"""

import math
import multiprocessing
from collections.abc import Sequence
from ctypes import Array, c_double
from importlib import import_module
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from omegaconf import DictConfig

from tietrain.cli.grid import Outcomes
from tietrain.config.hydra_parts import (
    GridLauncher,
    JobReturn,
    JobStatus,
    compose_cell_of_grid,
    register_launcher,
    run_job,
)
from tietrain.train.outcome import Outcome

# What a run imports late.
LOADED = ("tietrain.data.prepare", "tietrain.train.loop", "tietrain.train.tasks.lm", "tietrain.train.tasks.mt")
FORK = multiprocessing.get_context("fork")


def register() -> None:
    """Let Hydra find the launcher."""
    register_launcher(SideBySide)


class SideBySide(GridLauncher):
    """Runs at most `n_jobs` cells at once. A process that is lost costs its cell alone."""

    def __init__(self, n_jobs: int) -> None:
        self._n_jobs = n_jobs

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run cells; returns what each does, None for those that a signal stopped or that were not begun."""
        for name in LOADED:
            import_module(name)
        values = FORK.RawArray("d", [math.nan] * len(job_overrides))
        running: list[BaseProcess] = []
        for i, overrides in enumerate(job_overrides):
            while len(running) == self._n_jobs:
                running = _wait_for_one(running)
            if Outcomes().stopped.exists():
                break
            number = initial_job_idx + i
            cell = compose_cell_of_grid(self._context, self._config, overrides, number)
            running.append(FORK.Process(target=self._run, args=(cell, values, i), name=f"cell {number + 1}"))
            running[-1].start()
        while running:
            running = _wait_for_one(running)
        returned = [None if math.isnan(value) else value for value in values]
        return [JobReturn(status=JobStatus.COMPLETED, _return_value=value) for value in returned]

    def _run(self, cell: DictConfig, values: "Array[c_double]", i: int) -> None:
        """In a process of its own: run a cell, and leave what it returns as value `i`."""
        try:
            value = run_job(self._task, cell, "hydra.sweep.dir", "hydra.sweep.subdir", self._context).return_value
        except KeyboardInterrupt:  # it was stopped, and has saved
            return
        if value is not None:
            values[i] = value


def _wait_for_one(running: list[BaseProcess]) -> list[BaseProcess]:
    """Wait until a process ends; returns the others. One that was lost is noted, unless a signal stopped the grid."""
    wait([process.sentinel for process in running])
    outcomes = Outcomes()
    for process in running:
        if process.exitcode and not outcomes.stopped.exists():
            problem = f"{process.name}: its process was lost ({process.exitcode}); the same command continues it"
            outcomes.add(Outcome("", "failed", 1, problem))
    return [process for process in running if process.exitcode is None]
