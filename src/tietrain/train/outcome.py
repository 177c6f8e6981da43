"""How a run ended, for whoever started it."""

import traceback
from dataclasses import dataclass
from pathlib import Path

from tietrain.errors import TietrainError, storage_error
from tietrain.runs import record as runs
from tietrain.train.experiment import Experiment
from tietrain.train.stop import Stopped


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


def outcome_of_error(error: BaseException, experiment: Experiment) -> Outcome:
    """The outcome of a run that a signal or an error ended; the log of the run gets the traceback of an error."""
    directory = experiment.directory
    if isinstance(error, Stopped):
        message = f"{error} after saving; `{runs.resume_command(directory.absolute())}` continues it"
        return Outcome(str(directory), "interrupted", 128 + error.signal, message)
    runs.append_log(directory, "".join(traceback.format_exception(error)))
    if isinstance(error, TietrainError):
        return Outcome(str(directory), error.status, error.exit_code, str(error))
    return Outcome(str(directory), "failed", *_explain(error, experiment))


def _explain(error: BaseException, experiment: Experiment) -> tuple[int, str]:
    """Exit code and message of an error that tietrain did not raise: memory is full, the system refuses a file, or a bug."""
    config, directory = experiment.config, experiment.directory
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)  # torch's CPU allocator has no type of its own
    ):
        tokens = config.hardware.device_batch_tokens or config.train.batch_tokens
        command = f"{runs.resume_command(directory.absolute())} hardware.device_batch_tokens={max(1, tokens // 2)}"
        remedy = f"`{command}` continues it with smaller parts"
        return 7, f"out of memory: {tokens} tokens at once do not fit; {remedy}"
    if isinstance(error, OSError):
        refusal = storage_error(str(error.filename or directory), error)
        return refusal.exit_code, str(refusal)
    what = f"{type(error).__name__}: {error} (see {directory / runs.LOG})"
    return 70, f"internal error, a bug in tietrain: {what}"
