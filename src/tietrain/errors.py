"""The one error a user sees: the setting, the problem, the remedy; and the exit code."""

import errno
import os
import re
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


class MemoryFullError(TietrainError):
    """There is not enough memory."""

    exit_code = 7


class DataError(TietrainError):
    """A corpus, vocabulary or checkpoint cannot be used."""

    exit_code = 3


class DivergedError(TietrainError):
    """A loss, gradient or weight is not finite."""

    exit_code = 4
    status = "diverged"


class StorageError(TietrainError):
    """The system refused to read or write a file."""

    exit_code = 5


class LockedError(TietrainError):
    """Another process writes to this run directory."""

    exit_code = 6
    status = "running_elsewhere"


class PeerError(TietrainError):
    """Another process of the run failed, ended, or did not answer in time."""

    exit_code = 8
    status = "interrupted"


# What to do about a refusal of the system, by its number.
REMEDIES = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "delete files of yours, or ask for a larger quota",
    errno.EFBIG: "raise the limit on the size of a file (`ulimit -f`), or use another file system",
    errno.EROFS: "mount the file system for writing, or give a folder on another one",
    errno.EACCES: "ask the owner for permission, or give a folder of your own",
    errno.EPERM: "ask the owner for permission, or give a folder of your own",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
    errno.ENFILE: "wait until other programs have closed files",
    errno.ENOMEM: "end other programs that use memory",
    errno.EIO: "check the disk or the network",
    errno.ESTALE: "check that the network file system is still mounted",
}

# How a remedy ends; of a run, its outcome names the command.
AGAIN = "start the command again"

# Choices that a reader takes in at once.
FEW = 8


def storage_error(requested: str, error: OSError) -> StorageError:
    """What a user is told if the system refuses: its own reason, and what can be done about it.

    Args:
        requested: what was refused, for example `writing PATH`.
    """
    remedy = REMEDIES.get(error.errno or 0, "remove the cause")
    problem = f"the system says {error.strerror or error}"
    return StorageError(requested, problem, f"{remedy}, then {AGAIN}")


def system_refusal(error: OSError) -> StorageError:
    """What an OSError says that reaches the top: it is never a bug of tietrain."""
    return storage_error(str(error.filename or "standard output or a file"), error)


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


# Control characters but for line feed and tab, and those that turn the direction of writing.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Text that cannot command a terminal: control characters are written as JSON writes them.

    >>> visible("\x1b[31mred")
    '\\u001b[31mred'
    """
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def eprint(line: str) -> None:
    """Print a line on stderr, with control characters made visible.

    If stderr is not writable (for example a full disk), later messages are dropped and the run continues.
    """
    try:
        print(visible(line), file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (stays open: Python flushes it at its end)


def first_line(error: BaseException) -> str:
    """The first line of an error's text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
