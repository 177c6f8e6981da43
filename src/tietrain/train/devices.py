"""Which GPU a run has: one of its own while there is a free one, whatever started it. Loads torch when it is called."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tietrain.errors import LockedError
from tietrain.runs.ownership import held

if TYPE_CHECKING:
    from tietrain.train.hardware import Hardware

VISIBLE = "CUDA_VISIBLE_DEVICES"
# What it was when a grid began; empty if it was not set.
REMEMBERED = "TIETRAIN_VISIBLE_DEVICES"
# Between two looks for a free GPU, in seconds.
PAUSE = 1.0


def remember_visible() -> None:
    """Let the cells of a grid know which GPUs it sees."""
    os.environ[REMEMBERED] = os.environ.get(VISIBLE, "")


def show_hidden() -> None:
    """In a cell: see the GPUs that its grid sees, if its launcher hid all of them, as submitit_local does."""
    if os.environ.get(VISIBLE) != "" or REMEMBERED not in os.environ:
        return
    del os.environ[VISIBLE]
    if os.environ[REMEMBERED]:
        os.environ[VISIBLE] = os.environ[REMEMBERED]


@contextmanager
def leased(hardware: "Hardware", log: Callable[[str], None], *, waits: bool) -> Iterator["Hardware"]:
    """The hardware; if any GPU would do, with the first that no other run of this user holds on this host.

    The lease is the kernel's lock on a folder in the system's folder for temporary files, so it ends with its process.

    Args:
        waits: whether a run waits until one is free, as cells of a grid do; others share the first.
    """
    import torch

    with ExitStack() as lease:
        if hardware.device.type == "cuda":
            index = hardware.device.index
            if index is None:
                index = _hold_free(lease, log, waits)
            hardware = replace(hardware, device=torch.device("cuda", index))
            torch.cuda.set_device(hardware.device)
        yield hardware


def _hold_free(lease: ExitStack, log: Callable[[str], None], waits: bool) -> int:
    """Index of the first GPU that is free; it stays held as long as the lease is entered."""
    folders = [Path(tempfile.gettempdir(), f"tietrain-gpus-{os.getuid()}", name) for name in gpus()]
    has_said = False
    while True:
        for index, folder in enumerate(folders):
            try:
                lease.enter_context(held(folder))
            except LockedError:
                continue
            return index
        if not waits:
            log(f"all {len(folders)} GPUs are held by other runs: this one shares the first")
            return 0
        if not has_said:
            log(f"waiting for one of {len(folders)} GPUs, which other runs hold")
            has_said = True
        time.sleep(PAUSE)


def gpus() -> list[str]:
    """A name for each GPU that the process sees, which no other GPU has."""
    import torch

    return [str(torch.cuda.get_device_properties(i).uuid) for i in range(torch.cuda.device_count())]
