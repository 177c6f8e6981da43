"""Processes of one run, forked from the test's own, which has loaded torch already."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from multiprocessing.process import BaseProcess

FORK = multiprocessing.get_context("fork")


def variables(size: int) -> list[dict[str, str]]:
    """What torchrun would set, for each rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]


def start(size: int, work: Callable[[], int]) -> list[BaseProcess]:
    """Begin `work`, which returns an exit code, in some processes, in the order of their ranks."""

    def begin(environment: dict[str, str]) -> None:
        os.environ.update(environment)
        os._exit(work())

    processes = [FORK.Process(target=begin, args=(environment,)) for environment in variables(size)]
    for process in processes:
        process.start()
    return processes


def exit_codes(processes: list[BaseProcess], seconds: float = 120) -> list[int | None]:
    """How each ended; like torchrun it kills those that remain a while after one has failed."""
    for process in processes:
        process.join(5 if any(p.exitcode for p in processes) else seconds)
    for process in processes:
        process.kill()
        process.join()
    return [process.exitcode for process in processes]
