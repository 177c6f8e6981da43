"""Cells of a grid side by side on one machine: jobs x threads stay within its cores."""

from __future__ import annotations

import os
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tietrain.errors import SettingsError

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
        is_so = f"with hardware.threads={threads} they take {jobs * threads} cores, and there are {cores}"
        raise SettingsError(f"{key}={jobs}", is_so, "lower one of them")
    return []


def threads_of_cell(hydra: Any, asked: int | None) -> int | None:
    """Threads of one cell: those asked for; else, where cells run side by side, its share of the cores."""
    key = _jobs_key(hydra)
    if key is None or asked is not None:
        return asked
    return max(1, n_cores() // OmegaConf.select(hydra, key.removeprefix("hydra.")))


def _jobs_key(hydra: Any) -> str | None:
    """The key that says how many cells run at once; None where they run one after another, or on other machines."""
    launcher = hydra.runtime.choices["hydra/launcher"]
    if launcher == "submitit_local" and hydra.runtime.choices["hydra/sweeper"] == "optuna":
        return "hydra.sweeper.n_jobs"  # it draws so many at once
    return JOBS_KEY.get(launcher)
