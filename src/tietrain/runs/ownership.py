"""What proves that a folder is tietrain's: looked at before the first write into it. Standard library only.

A folder may be written if it is absent or empty, or if what it holds proves that tietrain made it. If it is neither, the
command ends with 2 and has changed nothing. In a folder of tietrain only names that tietrain gives are deleted.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tietrain.errors import DataError, SettingsError, StorageError
from tietrain.runs import record as runs
from tietrain.runs.durable import WEIGHTS, is_whole, remove_directory, sync, write_directory

IGNORE, MARK = ".gitignore", "# tietrain made this folder\n*\n"
# The file of a report that shows what the folder is: a list of arms, each with these keys.
ARMS, ARM_KEYS = "arms.json", {"arm", "statuses", "runs"}


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Hold a run directory for writing, if it is a new one or one of tietrain.

    Raises:
        SettingsError: it holds files that tietrain did not make. LockedError: another process holds it.
        StorageError: it cannot be read or made.
    """
    check_run(directory)
    with runs.locked(directory):
        yield


def check_run(directory: Path) -> None:
    """SettingsError unless a folder is absent, empty or a run directory: it has the record of a run, or whole weights."""
    names = _names(directory)
    lock = directory / runs.LOCK
    # What a kill or a full disk leaves of a run that has just begun: its lock, which is empty, and its log.
    has_begun = names <= {runs.LOCK, runs.LOG, f"{runs.RUN}.tmp"} and lock.is_file() and not lock.stat().st_size
    if names and not has_begun and not _has_record(directory) and not any(map(is_whole, _folders(directory))):
        _refuse(f"run_dir={directory}", "it is not a run of tietrain", "give another run_dir")


def check_study(folder: Path) -> None:
    """SettingsError unless a folder is absent or empty, has the mark of `make_own_folder`, or holds a run."""
    names = _names(folder)
    if names and not is_marked(folder) and not any(_has_record(folder / name) for name in names):
        _refuse(f"study folder {folder}", "none of them is a run of tietrain", "give another study")


def check_free(folder: Path) -> None:
    """SettingsError unless a folder is absent or empty; a link, or a file, is not free."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()) or _names(folder):
        raise SettingsError(
            str(folder), "it is there and not an empty folder", "name another one, or empty it yourself"
        )


def check_report(folder: Path) -> None:
    """SettingsError unless a folder is absent or empty, or holds a report; StorageError if it is a link."""
    if folder.is_symlink():
        raise StorageError(f"writing {folder}", "it is a link, and leads out of the folder", "remove it")
    if not _names(folder):
        return
    try:
        arms = runs.read_json(folder / ARMS)
        if arms and all(arm.keys() >= ARM_KEYS for arm in arms):
            return
    except (DataError, AttributeError, TypeError):
        pass
    _refuse(f"report folder {folder}", "it is not a report of tietrain", "give your folder another name")


def _refuse(setting: str, finding: str, remedy: str) -> None:
    raise SettingsError(setting, f"it holds files, and {finding}", f"{remedy}, or empty it yourself")


def _names(folder: Path) -> set[str]:
    """Names in a folder; empty if there is no such folder."""
    if not folder.is_dir():
        return set()
    with runs.writing(folder):
        return {path.name for path in folder.iterdir()}


def _has_record(directory: Path) -> bool:
    try:
        runs.read_record(directory)
    except DataError:
        return False
    return True


def _folders(directory: Path) -> list[Path]:
    """Folders of a run that are written whole, each with a manifest."""
    return [directory / runs.VOCABULARY, directory / runs.INIT_TABLES, *(directory / runs.CHECKPOINTS).glob("*")]


def make_own_folder(folder: Path) -> bool:
    """Make a folder that git ignores, and its parents; True if it is new or was empty. One in use stays as it is.

    Raises:
        StorageError: it cannot be made.
    """
    with runs.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            return False
        (folder / IGNORE).write_text(MARK, encoding="utf-8")
    return True


def make_marked_folder(folder: Path) -> None:
    """Make a folder with the mark, or find it; SettingsError if it holds files and has no mark."""
    if not make_own_folder(folder) and not is_marked(folder):
        _refuse(str(folder), "tietrain did not make it", "give your folder another name")


def is_marked(folder: Path) -> bool:
    """Whether `make_own_folder` made a folder."""
    try:
        return runs.read_bytes(folder / IGNORE) == MARK.encode()
    except DataError:
        return False


@contextmanager
def scratch(parent: Path, kind: str) -> Iterator[Path]:
    """A folder `.KIND-*` that lasts as long as the context; those that killed processes left are deleted.

    Its lock is held meanwhile, so that others can tell whether this process lives.

    Raises:
        StorageError: it cannot be made.
    """
    with runs.writing(parent):
        for left in parent.glob(f".{kind}-*"):
            if os.path.exists(left / runs.LOCK) and not runs.is_locked(left):
                shutil.rmtree(left, ignore_errors=True)
        new = Path(tempfile.mkdtemp(prefix=f".new-{kind}-", dir=parent))
        folder = parent / new.name.replace(".new-", ".", 1)
    try:
        with runs.locked(new):
            os.rename(new, folder)  # a process that begins beside this one would take it for one that was left
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_free(folder: Path, fill: Callable[[Path], None], n_bytes: int) -> None:
    """Make a folder that is free hold what `fill` writes, and a manifest: whole or not at all, and nothing beside it changes.

    Args:
        fill, n_bytes: see `write_directory`.
    Raises:
        SettingsError: of `check_free`. StorageError: it cannot be made.
    """
    folder = folder.absolute()
    check_free(folder)
    with runs.writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with scratch(folder.parent, "export") as staged:
        write_directory(staged / folder.name, fill, n_bytes)
        with runs.writing(folder):
            os.rename(staged / folder.name, folder)
            sync(folder.parent)


def clear_run(directory: Path) -> None:
    """Remove what a finished run left and a new one would not replace.

    The scores go last: until then the directory is the finished run, without checkpoints that could be continued.
    """
    with runs.writing(directory):
        for folder in (directory / runs.CHECKPOINTS).glob("*"):
            if WEIGHTS.fullmatch(folder.name):
                remove_directory(folder)
        evaluations = [path for path in directory.glob("eval_*.json") if words_of_evaluation(path) is not None]
        for path in (directory / runs.METRICS, directory / runs.DOCUMENTS, *evaluations, directory / runs.EVAL):
            path.unlink(missing_ok=True)


def words_of_evaluation(path: Path) -> list[str] | None:
    """The words that made `eval_NAME.json`; None if it is not a file of `tietrain eval`."""
    try:
        words: list[str] = runs.read_json(path)["asked"]
        return words
    except (DataError, KeyError, TypeError):
        return None
