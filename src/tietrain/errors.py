"""The one error a user sees: what was asked, what is so, what to do; and the exit code it ends with."""

import os
import sys


class TietrainError(Exception):
    """A refusal that names its cause.

    Args:
        asked: what was asked, as the full key and value, or the file and line.
        is_so: what is the case.
        to_do: what to do about it.
    """

    exit_code = 70
    # Of the run it ends, one of `runs.STATUSES`; or of one it does not begin.
    status = "failed"

    def __init__(self, asked: str, is_so: str, to_do: str):
        super().__init__(f"{asked}: {is_so}; {to_do}")
        self.asked, self.is_so, self.to_do = asked, is_so, to_do


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


def tell(line: str) -> None:
    """Print a line on stderr. Where nothing can be written there, as on a full disk, the rest goes unsaid and nothing stops."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (stays open: Python flushes it at its end)
