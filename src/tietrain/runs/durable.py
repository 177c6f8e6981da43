"""Directories that exist whole or not at all: written under another name, synced, listed in a manifest, renamed."""

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError

from tietrain.errors import DataError, StorageError
from tietrain.runs import record as runs

MANIFEST = "manifest.json"
# Left free on the disk for the small files of a run.
SPARE_BYTES = 1_000_000
# Folders above a directory that may be new too: of a first checkpoint `checkpoints`, the run and the study.
N_SYNCED = 3
# Names that tietrain gives to weights, and to what is written beside a file or folder of a run before it is renamed.
WEIGHTS = re.compile(r"(step|evaluated)_\d{8,}|best|best_before|average|final")
TEXTS = r"(hypotheses|references|sources(\..+)?)\..+\.txt"
FILES = (
    rf"(run|plan|ledger|audit|eval(_.+)?)\.json|config\.yaml|metrics\.jsonl|eval_documents\.jsonl|{TEXTS}|vocabulary"
)
LEFT = re.compile(rf"({WEIGHTS.pattern}|{FILES})(\.old)?\.tmp")


def write_directory(target: Path, fill: Callable[[Path], None], n_bytes: int = 0) -> None:
    """Make `target` hold what `fill` writes into a folder, and a manifest with the sha256 of every file.

    A crash at any moment leaves the old directory, the new one, or none under this name, but never a part of one.

    Args:
        fill: writes files, no folders, into the path it is given.
        n_bytes: about how much that is; if the disk has less, nothing is written.
    Raises:
        StorageError: naming the path; what was at `target` is untouched.
    """
    beside = target.with_name(target.name + ".tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target.parent).free
        if free < n_bytes + SPARE_BYTES:
            problem = f"{n_bytes:,} bytes are needed and {free:,} are free"
            raise StorageError(f"writing {target}", problem, runs.MAKE_ROOM)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        fill(beside)
        files = sorted(beside.iterdir())
        for path in files:
            _sync(path)
        manifest = {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in files}
        runs.write_json(beside / MANIFEST, {"files": manifest})
        _sync(beside)
        old = _set_aside(target) if target.exists() else None
        os.rename(beside, target)
        if old:
            shutil.rmtree(old, ignore_errors=True)
        for folder in target.absolute().parents[:N_SYNCED]:
            _sync(folder)
    except BaseException as e:
        shutil.rmtree(beside, ignore_errors=True)
        if not isinstance(e, OSError | SafetensorError):
            raise
        problem = f"the system says {getattr(e, 'strerror', None) or e}"
        raise StorageError(f"writing {target}", problem, runs.MAKE_ROOM) from e


def remove_directory(target: Path) -> None:
    """Delete a directory so that a crash leaves it whole or gone; if it cannot be deleted it stays."""
    with suppress(OSError):
        shutil.rmtree(_set_aside(target), ignore_errors=True)


def _set_aside(target: Path) -> Path:
    """Rename a directory to what `sweep` deletes."""
    old = target.with_name(target.name + ".old.tmp")
    shutil.rmtree(old, ignore_errors=True)
    os.rename(target, old)
    return old


def is_whole(directory: Path) -> bool:
    """Whether every file of the manifest is there with its size and sha256."""
    with suppress(DataError, OSError, ValueError, KeyError, TypeError, AttributeError):
        files = runs.read_json(directory / MANIFEST)["files"]
        names_files = all(name == os.path.basename(name) for name in files)
        return bool(files) and names_files and all(_matches(directory / name, entry) for name, entry in files.items())
    return False


def _matches(path: Path, entry: dict[str, object]) -> bool:
    info = os.lstat(path)
    # Only a regular file of the right size is opened: a pipe would block, a device would never end.
    return stat.S_ISREG(info.st_mode) and info.st_size == entry["bytes"] and _sha256(path) == entry["sha256"]


def sweep(*folders: Path) -> None:
    """Delete what writers left half-written in a run directory or its `checkpoints/`; files of other names stay."""
    for folder in folders:
        for path in folder.glob("*.tmp"):
            if LEFT.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif LEFT.fullmatch(path.name):
                path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _sha256(path: Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
