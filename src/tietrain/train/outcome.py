"""How a run ended, for whoever started it."""

from dataclasses import dataclass
from pathlib import Path

from tietrain.config.describe import megabytes, memory_of
from tietrain.errors import AGAIN, StorageError, TietrainError, first_line, storage_error
from tietrain.runs import record as runs
from tietrain.train.experiment import Experiment
from tietrain.train.stop import Stopped

# What says so without a type of its own: torch's CPU allocator, CUDA beside torch's allocator, cuBLAS, and NCCL.
MEMORY_FULL = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "'out of memory'")


@dataclass
class Outcome:
    """How a run ended: its directory, a status, and the process's exit code.

    status: one of `runs.STATUSES`, `skipped` (it was finished before) or `running_elsewhere`.
    valid: nats per token on valid of a finished run.
    """

    directory: str
    status: str
    exit_code: int = 0
    message: str = ""
    valid: float | None = None


def valid_score(directory: Path) -> float | None:
    """Nats per token on valid of a finished run; None if it has no such score."""
    try:
        splits = runs.read_json(directory / runs.EVAL)["splits"]
        return float((splits.get("valid") or splits["valid.mean"])["nats_per_token"])
    except (KeyError, TypeError, ValueError):
        return None


def is_memory_full(error: BaseException) -> bool:
    """Whether there was too little memory, on the host or on the device."""
    is_typed = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return is_typed or (isinstance(error, RuntimeError) and any(words in str(error) for words in MEMORY_FULL))


def outcome_of_error(error: BaseException, experiment: Experiment) -> Outcome:
    """The outcome of a run that a signal or an error ended."""
    directory = experiment.directory
    resume = runs.resume_command(directory.absolute())
    if isinstance(error, Stopped):
        message = f"{error} after saving; `{resume}` continues it"
        return Outcome(str(directory), "interrupted", 128 + error.signal, message)
    if isinstance(error, OSError):
        error = storage_error(str(error.filename or directory), error)
    if isinstance(error, TietrainError):
        message = str(error).replace(AGAIN, f"`{resume}` continues it")
        return Outcome(str(directory), error.status, error.exit_code, message)
    if is_memory_full(error):
        hardware = experiment.config.hardware
        tokens = hardware.device_batch_tokens or experiment.config.train.batch_tokens
        state = megabytes(memory_of(experiment.plan, experiment.config).training)
        problem = f"{tokens} tokens at once do not fit beside parameters, gradients and optimizer state ({state})"
        remedy = f"`{resume} hardware.device_batch_tokens={max(1, tokens // 2)}` continues it with smaller parts"
        if hardware.runs_per_gpu > 1:
            problem += f"; up to {hardware.runs_per_gpu} runs share a GPU (hardware.runs_per_gpu)"
        message = f"out of memory: {problem}; {remedy}; if the state alone does not fit, choose a smaller model, or several processes with hardware.shard=true"
        return Outcome(str(directory), "failed", 7, message)
    if type(error).__name__ == "InductorError":
        problem = f"torch's compiler failed ({first_line(error)})"
        remedy = (
            f"a run that was killed while it compiled leaves a damaged file: remove the folder with it, then `{resume}`"
        )
        message = f"hardware.compile=true: {problem}; {remedy}, or continue with hardware.compile=false"
        return Outcome(str(directory), "failed", StorageError.exit_code, message)
    what = f"{type(error).__name__}: {error} (see {directory / runs.LOG})"
    return Outcome(str(directory), "failed", 70, f"internal error, a bug in tietrain: {what}")
