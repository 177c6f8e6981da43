"""The one place that opens files of a run for reading, and looks whether they are there.

There are three answers, and only the first two are about the run: the content, read whole; DataError, because there is
no file of that name; StorageError, because the system refuses (no permission, too many open files, a fault of the disk or
network). A refusal says nothing about the content: nothing may be deleted or made anew because of it.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from tietrain.errors import DataError, storage_error

OTHER_RUN = "give another run directory"
# What the system says if a name stands for no file, or for none that can be read: a circle of links, a socket.
NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO)


@contextmanager
def reading(path: Path, *, follow_links: bool = True) -> Iterator[BufferedReader]:
    """A regular file, open for reading.

    Raises:
        DataError: there is none of that name.
        StorageError: the system refuses to open it, or to read it inside.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW))
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise DataError(str(path), "it is not a regular file", OTHER_RUN)
            with open(fd, "rb", closefd=False) as file:
                yield file
        finally:
            os.close(fd)
    except OSError as e:
        if e.errno in NO_FILE:
            raise DataError(str(path), f"it cannot be read ({e.strerror})", OTHER_RUN) from e
        raise storage_error(f"reading {path}", e) from e


def is_there(path: Path) -> bool:
    """Whether a name leads to something; StorageError if the system does not tell."""
    return _mode(path) is not None


def is_folder(path: Path) -> bool:
    """Whether a name leads to a folder; StorageError if the system does not tell."""
    return stat.S_ISDIR(_mode(path) or 0)


def _mode(path: Path) -> int | None:
    try:
        return os.stat(path).st_mode
    except OSError as e:
        if e.errno in NO_FILE:
            return None
        raise storage_error(f"reading {path}", e) from e


def names_in(folder: Path) -> list[str]:
    """Names in a folder, sorted; none if there is no such folder. StorageError if the system does not tell."""
    try:
        return sorted(os.listdir(folder))
    except OSError as e:
        if e.errno in NO_FILE:
            return []
        raise storage_error(f"reading {folder}", e) from e
