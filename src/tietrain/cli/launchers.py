"""Cells of a grid side by side on one machine: jobs x threads stay within its cores, a signal to one stops all."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tietrain.errors import SettingsError
from tietrain.train.stop import SIGNALS

# Launchers of this machine that run several cells at once -> the key that says how many.
JOBS_KEY = {"joblib": "hydra.launcher.n_jobs", "submitit_local": "hydra.sweeper.max_batch_size"}


def n_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shared_cores(common: DictConfig) -> list[str]:
    """The override that says how many cells run at once, where the user has not; none for one after another.

    Args:
        common: what the cells have in common, with the settings of Hydra itself.

    Raises:
        SettingsError: cells at once x hardware.threads exceed the cores.
    """
    key, threads = _jobs_key(common.hydra), common.hardware.threads or 1
    if key is None:
        return []
    jobs, cores = OmegaConf.select(common, key), n_cores()
    if jobs is None or jobs < 1:
        return [f"{key}={max(1, cores // threads)}"]
    if jobs * threads > cores:
        problem = f"with hardware.threads={threads} they take {jobs * threads} cores, and there are {cores}"
        raise SettingsError(f"{key}={jobs}", problem, "lower one of them")
    return []


def threads_of_cell(hydra: Any, requested: int | None) -> int | None:
    """Threads of one cell: those asked for; else, where cells run side by side, its share of the cores."""
    key = _jobs_key(hydra)
    if key is None or requested is not None:
        return requested
    return max(1, n_cores() // OmegaConf.select(hydra, key.removeprefix("hydra.")))


def _jobs_key(hydra: Any) -> str | None:
    """The key that says how many cells run at once; None where they run one after another, or on other machines."""
    launcher = hydra.runtime.choices["hydra/launcher"]
    if launcher == "submitit_local" and hydra.runtime.choices["hydra/sweeper"] == "optuna":
        return "hydra.sweeper.n_jobs"  # it draws so many at once
    return JOBS_KEY.get(launcher)


def in_worker() -> bool:
    """Whether this process runs cells of a grid that another process of joblib's leads."""
    return multiprocessing.current_process().name != "MainProcess"


def ignore_signals() -> None:
    """Let a worker outlive what stops its cell: joblib kills those that are saving where one has died."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def passing_on_signals(stopped: Path) -> Iterator[None]:
    """While workers run cells, a signal to this process is noted in `stopped`, for cells to come, and is theirs too.

    It is sent again each second, because a worker between two cells ignores it; in a cell a second one changes nothing.
    """

    def send(number: int) -> None:
        while children := multiprocessing.active_children():
            for child in children:
                with suppress(ProcessLookupError):
                    os.kill(child.pid, number)  # type: ignore[arg-type]
            time.sleep(1)

    def handle(number: int, frame: FrameType | None) -> None:
        if not multiprocessing.active_children():
            signal.signal(number, before[number])
            os.kill(os.getpid(), number)
        elif not stopped.exists():
            stopped.write_text(str(number))
            threading.Thread(target=send, args=(number,), daemon=True).start()

    before: dict[int, Any] = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if stopped.exists() else handler)
