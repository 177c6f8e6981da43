"""The one error a user sees: the setting, the problem, the remedy; and the exit code."""

import os
import sys
from collections.abc import Collection
from difflib import get_close_matches


class TietrainError(Exception):
    """A refusal that names its cause.

    Args:
        setting: the full key and value, or the file and line.
        problem: what is wrong with it.
        remedy: what to do.
    """

    exit_code = 70
    # Of the run it ends, one of `runs.STATUSES`; or of one it does not begin.
    status = "failed"

    def __init__(self, setting: str, problem: str, remedy: str):
        super().__init__(f"{setting}: {problem}; {remedy}")
        self.setting = setting
        self.problem = problem
        self.remedy = remedy


class SettingsError(TietrainError):
    """Usage or configuration cannot be carried out, or a resumed run is not the same experiment."""

    exit_code = 2


class TyingError(SettingsError):
    """A tying scheme does not fit the model it was asked for."""

    status = "not_applicable"


class DataError(TietrainError):
    """A corpus, vocabulary or checkpoint cannot be used."""

    exit_code = 3


class DivergedError(TietrainError):
    """A loss, gradient or weight is not finite."""

    exit_code = 4
    status = "diverged"


class StorageError(TietrainError):
    """The disk refused a write."""

    exit_code = 5


class LockedError(TietrainError):
    """Another process writes to this run directory."""

    exit_code = 6
    status = "running_elsewhere"


class MemoryFullError(TietrainError):
    """The memory is full."""

    exit_code = 7


# Choices that a reader takes in at once.
FEW = 8


def check_choice(
    setting: str, value: object, choices: Collection[str], error: type[TietrainError] = SettingsError
) -> None:
    """Raise an error if a value is not one of the choices; the remedy lists them, or names the nearest of many."""
    if isinstance(value, str) and value in choices:
        return
    remedy = f"choose from {', '.join(choices)}"
    if len(choices) > FEW and isinstance(value, str):
        near = get_close_matches(value, choices, n=1)
        remedy = f"did you mean {near[0]}?" if near else remedy
    raise error(f"{setting}={value}", "there is no such choice", remedy)


def eprint(line: str) -> None:
    """Print a line on stderr.

    If stderr is not writable (for example a full disk), later messages are dropped and the run continues.
    """
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (stays open: Python flushes it at its end)


def first_line(error: BaseException) -> str:
    """The first line of an error's text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
