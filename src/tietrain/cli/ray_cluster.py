"""Ray, connected: to a cluster that runs, or to one that it starts on this host for a grid, however busy the host is."""

import importlib
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import chdir, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from tietrain.cli.launchers import has_own_cluster, n_cores
from tietrain.errors import AGAIN, PeerError, first_line

# Variables of Ray -> what they are if the user sets none.
VARIABLES = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}  # it would send statistics
# The same for a cluster of a grid's own. A busy host needs longer than Ray's 30 to 60 seconds to start one.
OF_OWN_CLUSTER = {
    "RAY_gcs_server_port_wait_time_s": "120",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300",
    "RAY_raylet_start_wait_time_s": "120",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_worker_niceness": "0",  # as cells of other launchers: with Ray's 15 they would wait for all other programs
}
# And for one to be joined: 80 seconds for one that does not answer, instead of 13 minutes.
OF_OTHERS = {"RAY_NUM_REDIS_GET_RETRIES": "2"}
LOGS = "*.err in ray/session_latest/logs of the folder for temporary files"
# Versions of which it is known what `_told_ports` changes.
KNOWN = "2.60."


def connected(address: str | None, folder: Path) -> Any:
    """Ray, connected to the cluster at an address, or to one of this host alone that ends with this process.

    Args:
        address: None is what RAY_ADDRESS names, else a cluster of this host alone.
        folder: where processes that Ray starts look for modules: it must hold no data.

    Raises:
        PeerError: no cluster answers there, or none started here.
    """
    is_own = has_own_cluster(address)
    for name, value in (VARIABLES | (OF_OWN_CLUSTER if is_own else OF_OTHERS)).items():
        os.environ.setdefault(name, value)
    ray = importlib.import_module("ray")  # an extra, which reads these when it is loaded
    if ray.is_initialized():
        return ray
    handler = signal.getsignal(signal.SIGTERM)
    with chdir(folder):  # Ray tells its processes the current one
        if is_own:
            _start(ray)
        else:
            _join(ray, address)
    signal.signal(signal.SIGTERM, handler)  # Ray has its own
    return ray


def _join(ray: Any, address: str | None) -> None:
    try:
        ray.init(address, logging_level="warning")
    except Exception as e:  # Ray has no type for it
        setting = f"hydra.launcher.address={address}" if address else f"RAY_ADDRESS={os.environ['RAY_ADDRESS']}"
        problem = f"no cluster could be joined there; Ray says: {first_line(e)}"
        raise PeerError(setting, problem, "start one with `ray start --head`, or leave the address out") from e


def _start(ray: Any) -> None:
    try:
        with _told_ports() if ray.__version__.startswith(KNOWN) else nullcontext():
            # Without an address Ray would look for a cluster that `ray start` began here.
            ray.init("local", num_cpus=n_cores(), include_dashboard=False, logging_level="warning")
    except Exception as e:  # Ray has no type for it
        problem = f"Ray started no cluster on this host; it says: {first_line(e)}"
        remedy = f"end other programs if the host is busy, else read {LOGS}; then {AGAIN}"
        raise PeerError("hydra/launcher=ray", problem, remedy) from e


@contextmanager
def _told_ports() -> Iterator[None]:
    """Inside, the raylet, Ray's process for a node, is told the ports of its two helpers when it starts.

    Else it waits for each to choose some, 15 seconds at most, a limit that nothing can set, and then dies. One helper sends
    metrics, which nobody reads here: its ports are -1, as those of a Ray without a dashboard. The other one makes environments.
    """
    services: Any = importlib.import_module("ray._private.services")
    start = services.start_ray_process

    def start_told(command: list[str], process_type: str, **options: Any) -> Any:
        if process_type == "raylet":
            port = f"--runtime-env-agent-port={free_port()}"
            helper = "--runtime_env_agent_command="
            command = [f"{word} {port}" if word.startswith(helper) else word for word in command]
            command += [port, "--metrics-agent-port=-1", "--metrics-export-port=-1", "--dashboard-agent-listen-port=-1"]
        return start(command, process_type, **options)

    services.start_ray_process = start_told
    try:
        yield
    finally:
        services.start_ray_process = start


def free_port() -> int:
    """A port of this host that nobody listens on."""
    with socket.socket() as free:
        free.bind(("", 0))
        return int(free.getsockname()[1])
