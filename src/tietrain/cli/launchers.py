"""Cells of a grid side by side on one machine: jobs x threads stay within its cores, and a signal to one stops all."""

import importlib
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
from tietrain.train.stop import heard

# Launchers that run several cells at once on this machine -> the key that limits how many.
JOBS_KEY = {"joblib": "hydra.launcher.n_jobs", "submitit_local": "hydra.sweeper.max_batch_size"}
# Held while this process runs a cell.
IN_CELL = threading.Lock()


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shared_cores(common: DictConfig) -> list[str]:
    """The override that limits the cells at once, if the user gave none; empty if cells run one after another.

    Args:
        common: the configuration that the cells share, with Hydra's own settings.

    Raises:
        SettingsError: cells at once x hardware.threads exceed the cores.
    """
    threads = (common.hardware.threads or 1) * tasks_of_cell(common.hydra)
    cores = n_cores()
    if is_on_ray(common.hydra) and has_own_cluster(common.hydra.launcher.address) and threads > cores:
        problem = f"a cell needs {threads} cores, and this machine has {cores}"
        raise SettingsError("hydra/launcher=ray", problem, "lower hardware.threads or hydra.launcher.tasks_per_node")
    key = _jobs_key(common.hydra)
    if key is None:
        return []
    jobs = OmegaConf.select(common, key)
    if jobs is None or jobs < 1:
        return [f"{key}={max(1, cores // threads)}"]
    if jobs * threads > cores:
        problem = f"with {threads} threads each they need {jobs * threads} cores, and this machine has {cores}"
        raise SettingsError(f"{key}={jobs}", problem, "lower one of them")
    return []


def threads_of_cell(settings: Any, requested: int | None) -> int | None:
    """Threads of one cell: the requested number, or its share of the cores if cells run side by side.

    Args:
        settings: Hydra's own.
    """
    if is_on_ray(settings):
        return requested or 1  # Ray counts the cores of its hosts
    key = _jobs_key(settings)
    if key is None or requested is not None:
        return requested
    jobs = int(OmegaConf.select(settings, key.removeprefix("hydra.")))
    return max(1, n_cores() // jobs // tasks_of_cell(settings))


def tasks_of_cell(settings: Any) -> int:
    """Processes that carry out one cell.

    Args:
        settings: Hydra's own.
    """
    return int(settings.launcher.get("tasks_per_node") or 1) * int(settings.launcher.get("nodes") or 1)


def join_tasks(settings: Any) -> None:
    """In a cell of several tasks: set the variables that torchrun would, so that they are the processes of one run."""
    if tasks_of_cell(settings) > 1 and "RANK" not in os.environ:
        helpers = importlib.import_module("submitit.helpers")  # it came with the launcher
        helpers.TorchDistributedEnvironment().export(set_cuda_visible_devices=False)


def leads() -> bool:
    """Whether this is the first process of its cell, which alone notes what becomes of it."""
    return int(os.environ.get("RANK", 0)) == 0


def _jobs_key(settings: Any) -> str | None:
    """The key that limits the cells at once; None if they run one after another, or on other machines."""
    launcher = settings.runtime.choices["hydra/launcher"]
    if launcher == "submitit_local" and settings.runtime.choices["hydra/sweeper"] == "optuna":
        return "hydra.sweeper.n_jobs"  # Optuna proposes this many cells at once
    return JOBS_KEY.get(str(launcher))


def is_on_ray(settings: Any) -> bool:
    """Whether the cells are tasks of Ray.

    Args:
        settings: Hydra's own.
    """
    return bool(settings.runtime.choices["hydra/launcher"] == "ray")


def has_own_cluster(address: str | None) -> bool:
    """Whether Ray, asked for this address, starts a cluster on this host for the grid alone."""
    return (address or os.environ.get("RAY_ADDRESS") or "local") == "local"


def stops_grid(settings: Any) -> bool:
    """Whether a signal that stops a cell stops its grid; a cell that is a job of its own stops alone.

    Args:
        settings: Hydra's own.
    """
    return not is_on_ray(settings) and "SUBMITIT_EXECUTOR" not in os.environ


@contextmanager
def requeued() -> Iterator[None]:
    """In a job of submitit: after a signal has let the cell inside save, submitit does what the signal means; one is a requeue."""
    handlers: dict[int, Any] = {number: signal.getsignal(number) for number in heard()}
    try:
        yield
    except KeyboardInterrupt as e:
        handler = handlers[e.args[0]] if e.args else None
        if "SUBMITIT_EXECUTOR" in os.environ and callable(handler):
            handler(e.args[0], None)
        raise


@contextmanager
def passing_on_signals(stopped: Path) -> Iterator[None]:
    """While workers run cells, write a signal to this process into `stopped`, for cells to come, and send it to the workers.

    It is sent again every second, because a worker between two cells ignores it; a second one changes nothing in a cell.
    """

    def send(number: int) -> None:
        while children := multiprocessing.active_children():
            for child in children:
                with suppress(ProcessLookupError):
                    os.kill(child.pid, number)  # type: ignore[arg-type]  # a started process has a pid
            time.sleep(1)

    def handle(number: int, frame: FrameType | None) -> None:
        if not multiprocessing.active_children():
            signal.signal(number, before[number])
            os.kill(os.getpid(), number)
        elif not stopped.exists():
            stopped.write_text(str(number))
            threading.Thread(target=send, args=(number,), daemon=True).start()

    before: dict[int, Any] = {number: signal.signal(number, handle) for number in heard()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if stopped.exists() else handler)
