"""Directories that exist whole or not at all: written under another name, synced, listed in a manifest, renamed."""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from tietrain.errors import AGAIN, DataError, StorageError, storage_error
from tietrain.runs import record as runs
from tietrain.runs.reading import reading

MANIFEST = "manifest.json"
# Left free on the disk for the small files of a run.
SPARE_BYTES = 1_000_000
# Folders above a directory that may be new too: of a first checkpoint `checkpoints`, the run and the study.
N_SYNCED = 3
# Names that tietrain gives to weights, and to what is written beside a file or folder of a run before it is renamed.
WEIGHTS = re.compile(r"(step|evaluated|tables)_\d{8,}|best|best_before|average|final")
TEXTS = r"(hypotheses|references|sources(\..+)?)\..+\.txt"
FILES = rf"(run|plan|ledger|audit|eval(_.+)?)\.json|config\.yaml|metrics\.jsonl|eval_documents\.jsonl|{TEXTS}|vocabulary|init_tables"
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
            raise StorageError(f"writing {target}", problem, f"make room on the disk, then {AGAIN}")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        fill(beside)
        files = sorted(beside.iterdir())
        for path in files:
            # What the user's umask leaves, as the folder has it: safetensors shuts out all other users.
            path.chmod(beside.stat().st_mode & 0o666)
            sync(path)
        manifest = {path.name: entry_of(path) for path in files}
        runs.write_json(beside / MANIFEST, {"files": manifest})
        sync(beside)
        old = _set_aside(target) if target.exists() else None
        os.rename(beside, target)
        if old:
            shutil.rmtree(old, ignore_errors=True)
        for folder in target.absolute().parents[:N_SYNCED]:
            sync(folder)
    except BaseException as e:
        shutil.rmtree(beside, ignore_errors=True)
        refusal = _refusal_in(e) if isinstance(e, SafetensorError) else e
        if isinstance(refusal, OSError):
            raise storage_error(f"writing {target}", refusal) from e
        raise


def _refusal_in(error: SafetensorError) -> OSError:
    """What the system said: safetensors hands it on as text."""
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error))


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
    """Whether every file of the manifest is there with its size and sha256.

    Raises:
        StorageError: the system refuses to read one; then nobody knows.
    """
    return _all_fit(directory, fits)


def is_unchanged(directory: Path, since: float) -> bool:
    """`is_whole`, but of files that have not changed since a time (seconds since 1970) only the size is looked at."""
    return _all_fit(directory, partial(_fits_since, since))


def _all_fit(directory: Path, fits: Callable[[Path, Mapping[str, Any]], bool]) -> bool:
    with suppress(DataError, ValueError, KeyError, TypeError, AttributeError):
        files = runs.read_json(directory / MANIFEST)["files"]
        names_files = all(name == os.path.basename(name) for name in files)
        return bool(files) and names_files and all(fits(directory / name, entry) for name, entry in files.items())
    return False


def _fits_since(since: float, path: Path, entry: Mapping[str, Any]) -> bool:
    with reading(path, follow_links=False) as file:
        info = os.fstat(file.fileno())
    return bool(info.st_size == entry["bytes"]) and (info.st_mtime <= since or fits(path, entry))


def entry_of(path: Path) -> dict[str, Any]:
    """What a manifest says of a file: its size and sha256."""
    with reading(path) as file:
        return {"bytes": os.fstat(file.fileno()).st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def fits(path: Path, entry: Mapping[str, Any]) -> bool:
    """Whether a file is what a manifest says of it; a link is not.

    Raises:
        DataError: there is no such file. StorageError: the system refuses to read it.
    """
    with reading(path, follow_links=False) as file:
        size = os.fstat(file.fileno()).st_size
        return bool(size == entry["bytes"] and hashlib.file_digest(file, "sha256").hexdigest() == entry["sha256"])


def sweep(*folders: Path) -> None:
    """Delete what writers left half-written in a run directory or its `checkpoints/`; files of other names stay."""
    for folder in folders:
        for path in folder.glob("*.tmp"):
            if LEFT.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif LEFT.fullmatch(path.name):
                path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
