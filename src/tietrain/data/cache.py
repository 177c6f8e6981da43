"""Folders found again by content: made once, whole or not there, remade when damaged."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from tietrain.errors import StorageError

MANIFEST = "manifest.json"


def cached(root: Path, kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """The folder `root/kind/key`, which `build` fills when it is not there or not intact.

    It is filled beside its place and renamed. Processes that want the same folder wait for the one that builds it
    (flock, so a dead process blocks nobody).

    Raises:
        StorageError: the disk refuses.
    """
    folder = root / kind / key
    if _is_intact(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with open(folder.with_name(f".{key}.lock"), "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_intact(folder):
                _make(folder, build)
    except OSError as e:
        raise StorageError(
            f"data.cache={root}", f"the system says {e.strerror or e}", "make room, or set data.cache to another folder"
        ) from e
    return folder


def _make(folder: Path, build: Callable[[Path], None]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        build(beside)
        sums = {path.name: _sha256(path) for path in sorted(beside.iterdir())}
        (beside / MANIFEST).write_text(json.dumps(sums), encoding="utf-8")
        beside.chmod(0o777 & ~_umask())  # mkdtemp makes it private
        os.rename(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _is_intact(folder: Path) -> bool:
    try:
        sums = json.loads((folder / MANIFEST).read_bytes())
        return bool(sums) and all(_sha256(folder / name) == sha for name, sha in sums.items())
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return False


def _sha256(path: Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
