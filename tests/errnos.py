"""Calls of the system that fail: the n-th one about a file below some folders, with a number of choice."""

import builtins
import errno
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

READ_ERRORS = (errno.EACCES, errno.EMFILE, errno.EIO, errno.ESTALE, errno.ENOMEM)
WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG, errno.EIO)
# Calls by the name of their first argument, beside the two that open files.
LOOKS = ("stat", "lstat", "listdir", "scandir", "statvfs")
CHANGES = ("replace", "rename", "mkdir", "fsync")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Injection:
    """While it is `on`, calls about files below the folders are noted, and one of them fails.

    Args:
        at: the number of the call that fails, from 0; None for none.
        number: the errno it fails with. writes: whether calls that write are meant, not those that read.
    """

    def __init__(self, folders: Sequence[Path], at: int | None = None, number: int = errno.EIO, writes: bool = False):
        self.folders = tuple(folder.resolve() for folder in folders)
        self.at, self.number, self.writes = at, number, writes
        self.calls: list[str] = []

    def _note(self, name: str, what: object) -> None:
        """Note a call about a path or descriptor, or fail."""
        try:
            path = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else os.path.abspath(os.fsdecode(what))
        except (OSError, TypeError):
            return
        if not path.startswith(tuple(map(str, self.folders))):
            return
        self.calls.append(f"{name} {path}")
        if len(self.calls) - 1 == self.at:
            raise OSError(self.number, os.strerror(self.number), path)

    @contextmanager
    def on(self) -> Iterator["Injection"]:
        """Inside, calls fail."""
        places = [(os, name, _first) for name in (CHANGES if self.writes else LOOKS)]
        places += [(os, "open", self._os_open), (builtins, "open", self._open), (io, "open", self._open)]
        real = [(module, name, getattr(module, name)) for module, name, _ in places]
        for (module, name, wanted), (_, _, call) in zip(places, real, strict=True):
            setattr(module, name, self._failing(name, call, wanted))
        try:
            yield self
        finally:
            for module, name, call in real:
                setattr(module, name, call)

    def _failing(self, name, call, wanted):
        def failing(*args, **options):
            if options.get("dir_fd") is None and wanted(*args, **options):
                self._note(name, args[0] if args else ".")
            return call(*args, **options)

        return failing

    def _os_open(self, path, flags=0, *args, **options):
        return bool(flags & WRITING) == self.writes

    def _open(self, path, mode="r", *args, **options):
        return any(letter in mode for letter in "wax+") == self.writes


def _first(*args, **options):
    return True
