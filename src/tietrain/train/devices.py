"""Which GPU a run has: a free one or a share of one, whatever started it. Loads torch when it is called."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import product
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
    """Let the cells of a grid know which GPUs it sees; nothing if it sees none."""
    os.environ.pop(REMEMBERED, None)
    if os.environ.get(VISIBLE) != "":
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
    """The hardware; of GPUs, with the first that it may use and no other run of this user on this host holds.

    With hardware.runs_per_gpu=n it is the first of which fewer than n have a place; none gets two runs before each has one.
    The lease is the kernel's lock on a folder in the system's folder for temporary files, so it ends with its process.

    Args:
        waits: whether a run that may use any GPU waits for a free one, as cells of a grid do; others share one.
    """
    import torch

    with ExitStack() as lease:
        if hardware.device.type == "cuda":
            named = hardware.device.index
            names = gpus()
            allowed = {i: name for i, name in enumerate(names) if named in (None, i)}
            index = _hold_free(lease, allowed, hardware.runs_per_gpu, log, waits and named is None)
            hardware = replace(hardware, device=torch.device("cuda", index))
            torch.cuda.set_device(hardware.device)
        yield hardware


def _hold_free(lease: ExitStack, names: Mapping[int, str], n_runs: int, log: Callable[[str], None], waits: bool) -> int:
    """Index of the first GPU with a free one of its n_runs places, which stays held as long as the lease is entered."""
    folder = Path(tempfile.gettempdir(), f"tietrain-gpus-{os.getuid()}")
    has_said = False
    while True:
        for place, index in product(range(n_runs), names):
            with suppress(LockedError):
                lease.enter_context(held(folder / (f"{names[index]}-{place}" if place else names[index])))
                return index
        if not waits:
            first = next(iter(names))
            log(f"other runs hold every GPU that this one may use: it shares cuda:{first}")
            return first
        if not has_said:
            log(f"waiting for a GPU: other runs hold all {len(names)}")
            has_said = True
        time.sleep(PAUSE)


def gpus() -> list[str]:
    """A name for each GPU that the process sees, which no other GPU has."""
    import torch

    return [str(torch.cuda.get_device_properties(i).uuid) for i in range(torch.cuda.device_count())]
