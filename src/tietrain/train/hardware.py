"""Where and how fast: device, precision, threads. Changes rounding and speed, never what is computed."""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from tietrain import __version__
from tietrain.config import HardwareConfig
from tietrain.errors import SettingsError

# What torch chose for this process before any run set another number.
DEFAULT_THREADS = torch.get_num_threads()
# Where Linux lists the GPUs of a host.
DRIVER = Path("/proc/driver/nvidia/gpus")
# Numbers of glibc's settings in malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
# CPU features that multiply bf16 matrices faster than fp32 ones.
FAST_BF16 = ("avx512_bf16", "amx_bf16", "bf16")


@dataclass(frozen=True)
class Hardware:
    """The resolved hardware of a run; `notes` are worth telling the user."""

    device: torch.device
    runs_per_gpu: int
    precision: str
    compile: bool
    threads: int
    processes: int
    shard: bool
    device_batch_tokens: int | None
    peak_flops: float | None
    peak_flops_source: str
    notes: tuple[str, ...] = ()

    def autocast(self) -> AbstractContextManager[Any]:
        """Matmuls in bf16 inside, if that is the precision; parameters stay fp32."""
        if self.precision != "bf16":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    @contextmanager
    def products(self) -> Iterator[None]:
        """Float32 matmuls, forward and backward, with TF32 factors inside, if that is the precision."""
        if self.precision != "tf32":
            yield
            return
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)

    def describe(self) -> dict[str, Any]:
        """What decides bits and speed, for `run.json`: equal descriptions give equal bits on a CPU."""
        cpu = torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine()
        return {
            "device": self.device.type,
            "device_name": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else str(cpu),
            "precision": self.precision,
            "compile": self.compile,
            "threads": self.threads,
            "processes": self.processes,
            "shard": self.shard,
            "device_batch_tokens": self.device_batch_tokens,
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "tietrain": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "peak_flops": self.peak_flops,
            "peak_flops_source": self.peak_flops_source,
        }


def _keep_freed_memory() -> None:
    """Let glibc keep what is freed for the next tensors; it would give large pieces back, and Linux clear every page anew."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:  # other C libraries have none
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_MMAP_MAX, 0)


def _set_determinism(strict: bool, *, compiled: bool) -> None:
    if compiled:  # tells the compiler too, and loads it: more than a second
        torch.use_deterministic_algorithms(strict)
    else:
        torch.set_deterministic_debug_mode("error" if strict else "default")


def resolve_hardware(config: HardwareConfig, settled: str | None = None) -> Hardware:
    """The hardware of this process as the settings ask; sets threads, determinism and memory of the process.

    Precision auto is bf16 if the device computes it faster than fp32: GPUs that have it, and CPUs with one of FAST_BF16.

    Args:
        settled: what auto became before, in this run or another one of its study; None if nothing did.
    Raises:
        SettingsError: there is no such GPU, or the device has no TF32.
    """
    processes = int(os.environ.get("WORLD_SIZE", 1))
    device = _device(config, processes)
    precision, notes = _precision(config.precision, device, settled)
    if config.device == "auto" and device.type == "cpu" and DRIVER.is_dir() and any(DRIVER.iterdir()):
        notes += ("hardware.device=auto is the CPU: this host has a GPU, and torch or CUDA_VISIBLE_DEVICES hides it",)
    if config.shard and processes == 1:
        notes += ("hardware.shard=true: one process has nobody to share with, and holds all of the model",)
    threads = config.threads or DEFAULT_THREADS
    torch.set_num_threads(threads)
    shard = config.shard and processes > 1
    # Slices are pieces of many sizes, and what is kept of them leaves gaps: 2.9 GB instead of 1.5 for 102 M parameters.
    if not shard:
        _keep_freed_memory()
    # On a CPU this costs nothing, and compiled embedding gradients are reproducible only with it. The filling of fresh
    # memory that comes with it is for debugging and not free.
    _set_determinism(device.type == "cpu", compiled=config.compile)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    resolved = {"device": device, "precision": precision, "threads": threads, "processes": processes, "notes": notes}
    resolved["shard"] = shard
    stated = {f.name: getattr(config, f.name) for f in fields(Hardware) if hasattr(config, f.name)}
    return Hardware(**{**stated, **resolved})


def _device(config: HardwareConfig, processes: int) -> torch.device:
    """The CPU, or a GPU, whose index is open if any would do; each process of a run has its own."""
    n_gpus = torch.cuda.device_count()
    if config.device == "cpu" or (config.device == "auto" and not n_gpus):
        return torch.device("cpu")
    if not n_gpus:
        raise SettingsError("hardware.device=cuda", "torch finds no GPU here", "use hardware=auto or hardware=cpu")
    index = config.gpu
    if processes > 1:
        if index is not None:  # NCCL refuses two processes on one GPU
            problem = "each process of a run takes the GPU that has its number on the host"
            raise SettingsError(f"hardware.gpu={index}", problem, "leave it out; CUDA_VISIBLE_DEVICES chooses GPUs")
        index = int(os.environ["LOCAL_RANK"])
    if index is None:
        return torch.device("cuda")
    if index >= n_gpus:
        remedy = "leave it out" if processes == 1 else "start at most one process per GPU"
        raise SettingsError(f"hardware.gpu={index}", f"torch finds {n_gpus} GPUs here, from 0", remedy)
    return torch.device("cuda", index)


def _precision(requested: str, device: torch.device, settled: str | None) -> tuple[str, tuple[str, ...]]:
    """fp32, tf32 or bf16, with a note if the choice is unlikely to pay off."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = any(torch.cpu.get_capabilities().get(name) for name in FAST_BF16)
    best = "bf16" if fast else "fp32"
    chosen = (settled or best) if requested == "auto" else requested
    if chosen == "tf32" and (device.type == "cpu" or not torch.cuda.is_tf32_supported()):
        problem = "this device has no TF32" + ", in which other runs of the study were computed" * (requested == "auto")
        raise SettingsError(f"hardware.precision={requested}", problem, "choose fp32 or bf16")
    notes = []
    if requested == "auto" and chosen != best:
        notes.append(
            f"hardware.precision=auto is {chosen}, as it was before in this study; this device alone would take {best}"
        )
    if chosen == "bf16" and not fast:
        notes.append("hardware.precision=bf16: this device has no fast bf16, fp32 is likely faster")
    return chosen, tuple(notes)
