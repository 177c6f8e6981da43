"""`hydra/launcher=ray`: the cells of a grid as tasks of a Ray cluster, which alone deals out its cores and GPUs.

Ray puts a task where its cores and GPUs are free, and shows it no other GPU. A cell of several processes is as many tasks
on one node, which begin together.
"""

import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from tietrain.cli.grid import VARIABLE, Outcomes
from tietrain.cli.launchers import IN_CELL, tasks_of_cell, threads_of_cell
from tietrain.cli.ray_cluster import connected, free_port
from tietrain.config.hydra_parts import (
    GridLauncher,
    HydraContext,
    JobReturn,
    JobStatus,
    Singleton,
    TaskFunction,
    compose_cell_of_grid,
    register_launcher,
    run_job,
    setup_globals,
)
from tietrain.train.devices import REMEMBERED
from tietrain.train.stop import heard


@dataclass
class RayConf:
    """What can be set of the launcher.

    address: of a running cluster; null is what RAY_ADDRESS names, else a cluster on this host alone, for this grid.
    tasks_per_node: processes of a cell. gpus_per_task: of each; null is 1 / hardware.runs_per_gpu if the cluster
        has any and the cell may use it.
    """

    _target_: str
    address: str | None = None
    tasks_per_node: int = 1
    gpus_per_task: int | None = None


def register() -> None:
    """Let Hydra know the launcher if Ray is installed."""
    if find_spec("ray"):
        conf = RayConf(register_launcher(RayLauncher))
        ConfigStore.instance().store(group="hydra/launcher", name="ray", node=conf, provider="tietrain")


class RayLauncher(GridLauncher):
    """Gives Ray every cell at once, and waits for all.

    Args: see `RayConf`.
    """

    def __init__(self, address: str | None, tasks_per_node: int, gpus_per_task: int | None) -> None:
        self._address = address
        self._gpus = gpus_per_task

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run cells; returns what the first process of each does.

        Raises:
            ray.exceptions.RayError: Ray lost a process for good. PeerError: see `connected`.
        """
        cells = []
        for number, overrides in enumerate(job_overrides, start=initial_job_idx):
            cells.append(compose_cell_of_grid(self._context, self._config, overrides, number))
        with _saving_on_signals():
            ray = connected(self._address, Outcomes().path.parent)
            tasks = [self._begin(ray, cell) for cell in cells]
            group_of = dict(chain.from_iterable(tasks))
            left = list(group_of)
            while left:
                (ended,), left = ray.wait(left)
                if group_of[ended] not in map(group_of.get, left):
                    ray.util.remove_placement_group(group_of[ended])
            found: list[JobReturn] = ray.get([first for (first, _), *_ in tasks])
        return found

    def _begin(self, ray: Any, cell: DictConfig) -> list[tuple[Any, Any]]:
        """Ask Ray for the processes of a cell: each as a task and the group whose cores and GPU it will use."""
        size = tasks_of_cell(cell.hydra)
        gpus: float | None = self._gpus
        if gpus is None:
            has_any = cell.hardware.device != "cpu" and ray.cluster_resources().get("GPU", 0) > 0
            gpus = has_any / cell.hardware.runs_per_gpu
        needed = {"num_cpus": threads_of_cell(cell.hydra, cell.hardware.threads), "num_gpus": gpus}
        bundle = {"CPU": needed["num_cpus"], **({"GPU": gpus} if gpus else {})}
        group = ray.util.placement_group([bundle] * size, strategy="STRICT_PACK")

        def on(process: int, function: Callable[..., Any], **options: Any) -> Any:
            place = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(group, process)
            return ray.remote(scheduling_strategy=place, **options)(function)

        port = on(0, free_port, num_cpus=0).remote() if size > 1 else None
        # A process that is lost is begun again and continues its run; one of several would wait for the others.
        options = {**needed, "max_retries": 3 if size == 1 else 0}
        sent = (Path.cwd(), os.environ[VARIABLE], self._context, self._task, cell, Singleton.get_state(), port)
        return [(on(rank, _run, **options).remote(rank, *sent), group) for rank in range(size)]


@contextmanager
def _saving_on_signals() -> Iterator[None]:
    """Inside, a signal lets the cells that run save, and the others not begin; Ray would end them at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        Outcomes().stopped.write_text(str(number))

    before: dict[int, Any] = {number: signal.signal(number, stop) for number in heard()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(
    rank: int,
    folder: Path,
    outcomes: str,
    context: HydraContext,
    task: TaskFunction,
    cell: DictConfig,
    singletons: Any,
    port: int | None,
) -> JobReturn:
    """One process of a cell, in a process of Ray, which may have run others.

    Args:
        folder: that of the command. outcomes: file of the grid. port: of the first process; None if it is alone.
    """
    os.chdir(folder)
    os.environ[VARIABLE] = outcomes
    os.environ.pop(REMEMBERED, None)  # GPUs that Ray hides are not this cell's
    if port is not None:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        # Ray shows each process its own GPU alone: it is the first.
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": str(tasks_of_cell(cell.hydra))}
    _stop_with_grid(Outcomes().stopped)
    setup_globals()
    Singleton.set_state(singletons)
    HydraConfig.instance().set_config(cell)
    try:
        return run_job(task, cell, "hydra.sweep.dir", "hydra.sweep.subdir", context)
    except KeyboardInterrupt:  # it was stopped, and has saved
        return JobReturn(status=JobStatus.COMPLETED)


@functools.cache
def _stop_with_grid(stopped: Path) -> None:
    """Send the signal that came to the grid to this process too, once it runs a cell."""

    def watch() -> None:
        while not (IN_CELL.locked() and stopped.exists() and stopped.stat().st_size):
            time.sleep(1)
        os.kill(os.getpid(), int(stopped.read_text()))

    threading.Thread(target=watch, daemon=True).start()
