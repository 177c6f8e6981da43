"""A full disk: a small file system of memory that no other process sees, where the user may mount one."""

import ctypes
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from cells import TIED, Cell, Place
from promises import Row, Table

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
DISK_BYTES = 6_000_000


def fill_a_small_disk(place: Place, n: int, draw: random.Random, table: Table) -> None:
    """Promise 4: with any amount of room left the run ends with 5 or finishes; with room it finishes, the same."""
    row, cells = (
        table.row("4 full disk (a small file system): exit 5 or done"),
        [TIED[i % len(TIED)] for i in range(n)],
    )
    for cell in cells:
        place.reference(cell)
    folder = place.fresh("disk")
    if not _in_child(lambda report: _fill(folder, cells, place.references, draw, report), row):
        row.promise = "4 full disk: no file system may be mounted here"


def _fill(
    folder: Path, cells: list[Cell], references: dict, draw: random.Random, report: Callable[[str], None]
) -> None:
    folder.mkdir()
    _mount_tmpfs(folder)
    for i, cell in enumerate(cells):
        (folder / str(i)).mkdir()
        place, filler = Place(folder / str(i), references), folder / "filler"
        directory = place.fresh()
        free = shutil.disk_usage(folder).free
        filler.write_bytes(b"\0" * max(0, free - draw.choice((0, 20_000, 200_000, 1_100_000, 1_400_000))))
        ended = place.run(cell, directory)
        problem = ""
        said = any(word in ended.err for word in ("No space", "are needed"))
        # A small run may find the room it needs; what it says goes to this disk too.
        if ended.code not in (0, 5) or (ended.code and ended.err and not said):
            problem = f"exit {ended.code}: {ended.err[-400:]}"
        filler.unlink()
        report(problem or place.ends_like_reference(cell, directory))
        shutil.rmtree(folder / str(i))


def _mount_tmpfs(folder: Path) -> None:
    """OSError where the system does not let this user have a file system of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    _ok(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    _ok(libc.mount(b"torture", str(folder).encode(), b"tmpfs", 0, f"size={DISK_BYTES}".encode()))


def _ok(code: int) -> None:
    if code:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _in_child(work: Callable[[Callable[[str], None]], None], row: Row) -> bool:
    """Run `work` in a process of its own, whose mounts end with it; False where it could not mount."""
    reading, writing = os.pipe()
    if not os.fork():
        os.close(reading)
        code = 1
        try:
            with open(writing, "w", encoding="utf-8") as out:
                work(lambda problem: print(problem.replace("\n", " "), file=out, flush=True))
            code = 0
        except OSError as e:
            print(f"no small disk: {e}", file=sys.stderr)
            code = 3
        finally:
            os._exit(code)
    os.close(writing)
    with open(reading, encoding="utf-8") as results:
        for line in results:
            row.check(not line.strip(), line.strip())
    code = os.waitstatus_to_exitcode(os.wait()[1])
    if code not in (0, 3):
        row.lost.append(f"the small disk ended with {code}")
    return code != 3 or row.tried > 0
