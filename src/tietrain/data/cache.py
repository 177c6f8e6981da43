"""Folders found again by content: made once, whole or not there, remade when damaged."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

from tietrain.errors import StorageError
from tietrain.runs.durable import is_whole, write_directory


def cached(root: Path, kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """The folder `root/kind/key`, which `build` fills when it is not there or not intact.

    Processes that want the same folder wait for the one that builds it (flock, so a dead process blocks nobody).

    Raises:
        StorageError: the disk refuses.
    """
    folder = root / kind / key
    if is_whole(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with open(folder.with_name(f".{key}.lock"), "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not is_whole(folder):
                write_directory(folder, build)
    except OSError as e:
        raise StorageError(
            f"data.cache={root}", f"the system says {e.strerror or e}", "make room, or set data.cache to another folder"
        ) from e
    return folder
