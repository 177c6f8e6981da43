"""The cache: where it is, and folders in it that are found again by content, whole or not there, remade when damaged."""

import fcntl
import functools
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from tietrain.data.progress import stage
from tietrain.errors import LockedError, SettingsError, StorageError, eprint, storage_error
from tietrain.runs import record as runs
from tietrain.runs.durable import is_whole, write_directory
from tietrain.runs.ownership import IGNORE, make_own_folder

# Says that backups may leave the folder out: https://bford.info/cachedir
TAG, SIGNATURE = "CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55"
TAG_TEXT = f"{SIGNATURE}\n# This folder is a cache of tietrain"
# Held by every process that builds or reads an entry, and alone by the one that clears the cache.
LOCK = ".lock"
FALLBACK = Path("outputs/.cache")
# Entries of the folders `corpus` and `vocabulary`, their locks, and what a killed writer left; folders of `datasets`.
_ENTRY = re.compile(r"\.?[0-9a-f]{16}([0-9a-f]{16})?(\.lock|(\.old)?\.tmp)?")
_KINDS = ("corpus", "vocabulary", "datasets")
_MARKS = (TAG, LOCK, IGNORE)


def cache_root(setting: str | None) -> Path:
    """The folder that data.cache names; for None the user's cache folder, or `outputs/.cache` if that cannot be written.

    It is looked up at every use and recorded nowhere, so that a run is the same on every machine.
    """
    if setting is not None:
        return Path(setting).expanduser()
    caches = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not caches.is_absolute():  # then it is to be ignored, says the XDG Base Directory Specification
        caches = Path(os.path.expanduser("~/.cache"))
    user = caches / "tietrain"
    if not caches.is_absolute():
        return _fall_back("there is no home folder")
    try:
        _make(user)
        with tempfile.TemporaryFile(dir=user):
            return user
    except (OSError, StorageError):
        return _fall_back(f"{user} cannot be written")


@functools.cache
def _fall_back(problem: str) -> Path:
    eprint(f"tietrain: {problem}; the cache is {FALLBACK} (data.cache=DIR chooses another folder)")
    return FALLBACK


def check_cache(root: Path) -> None:
    """SettingsError unless a folder is absent or empty, has the tag of tietrain, or holds nothing but entries."""
    with suppress(OSError):
        if root.is_dir() and not _has_tag(root):
            _entries(root)


def _has_tag(root: Path) -> bool:
    """Other programs tag their caches too, so the tag must name tietrain."""
    with suppress(OSError), open(root / TAG, "rb") as file:
        return file.read(len(TAG_TEXT)).startswith(TAG_TEXT.encode())
    return False


def _make(root: Path) -> None:
    check_cache(root)
    if make_own_folder(root):
        (root / TAG).write_text(f"{TAG_TEXT}; `tietrain data --clear-cache` empties it.\n", encoding="utf-8")


@contextmanager
def in_use(root: Path) -> Iterator[None]:
    """Keep the cache from being cleared meanwhile. One that cannot be written can still be read."""
    with ExitStack() as stack:
        with suppress(OSError, StorageError):
            _make(root)
            fcntl.flock(stack.enter_context(open(root / LOCK, "a", encoding="utf-8")), fcntl.LOCK_SH)
        yield


@contextmanager
def cached(root: Path, kind: str, key: str, build: Callable[[Path], None]) -> Iterator[Path]:
    """The folder `root/kind/key`, which `build` fills if it is missing or damaged; it stays while the context is open.

    Processes that want the same folder wait for the one that builds it (flock, so a dead process blocks nobody).

    Raises:
        StorageError: the disk refuses.
    """
    folder = root / kind / key
    with in_use(root):
        try:
            _sweep(folder.parent)
            if not is_whole(folder):
                folder.parent.mkdir(parents=True, exist_ok=True)
                with open(_lock_of(folder), "a", encoding="utf-8") as lock:
                    with stage("waiting for another process that prepares the same"):
                        fcntl.flock(lock, fcntl.LOCK_EX)
                    if not is_whole(folder):
                        write_directory(folder, build)
            yield folder
        except OSError as e:
            raise storage_error(f"data.cache={root}", e) from e


def _lock_of(entry: Path) -> Path:
    return entry.with_name(f".{entry.name}.lock")


def _sweep(folder: Path) -> None:
    """Remove what killed processes left half-made: it bears a name of ours beside its lock, which no process holds."""
    for path in folder.glob("*.tmp"):
        with suppress(OSError), open(_lock_of(path.with_name(path.name.partition(".")[0])), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _ENTRY.fullmatch(path.name) and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)


def clear_cache(root: Path) -> int:
    """Remove all entries of a cache; returns the bytes of their files.

    Raises:
        SettingsError: the folder is not a cache of tietrain, or holds something that tietrain did not make.
        LockedError: another process uses the cache.
        StorageError: an entry cannot be removed.
    """
    if not root.exists():
        return 0
    if not _has_tag(root):
        _refuse(root, f"it has no {TAG}, so it is not a cache that tietrain made")
    with runs.writing(root), open(root / LOCK, "a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(f"data.cache={root}", "another process uses the cache", "wait for it to end") from None
        entries = _entries(root)
        paths = itertools.chain(entries, *(entry.rglob("*") for entry in entries))
        n_bytes = sum(path.lstat().st_size for path in paths if not path.is_dir())
        for entry in entries:
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    return n_bytes


def _entries(root: Path) -> list[Path]:
    """Everything in a cache but its marks; SettingsError if tietrain did not make all of it."""
    entries = []
    for path in sorted(root.iterdir()):
        if path.name in _MARKS:
            continue
        if path.name not in _KINDS or path.is_symlink() or not path.is_dir():
            _refuse(root, f"tietrain did not make {path.name}")
        entries += sorted(path.iterdir())
    for path in entries:
        if path.is_symlink() or not _ENTRY.fullmatch(path.name):
            _refuse(root, f"tietrain did not make {path.relative_to(root)}")
    return entries


def _refuse(root: Path, problem: str) -> NoReturn:
    raise SettingsError(f"data.cache={root}", problem, "give a new folder, or remove by hand what you do not need")
