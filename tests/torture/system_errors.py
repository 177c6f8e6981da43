"""The promise about a system that refuses: every read and write of a start, its preparation and a resume fails once."""

import random
import shutil
import signal
import time
from pathlib import Path

from cells import TIED, Cell, Place
from damages import is_clear
from promises import Table
from results import whole_steps

from errnos import READ_ERRORS, WRITE_ERRORS, Injection
from tietrain.runs import record as runs

PROMISE = "16 errno at a read or write: 0 deleted, then done"


def refuse_reads_and_writes(place: Place, n: int, draw: random.Random, table: Table) -> None:
    """Promise 16: the run ends with 5 and says why, no weights are lost, and the same command finishes, the same."""
    row, cells = table.row(PROMISE), (TIED[1], TIED[2])
    for i in range(n):
        cell, stage, writes = cells[i // 4 % 2], ("start", "resume")[i // 2 % 2], bool(i % 2)
        own = Place(_fresh_folder(place), place.references)
        place.reference(cell)
        directory = own.fresh()
        if stage == "resume":
            _stop_half_way(own, cell, directory)
        folders = [directory, own.folder / "caches"]
        n_calls = _count(own, cell, directory, Injection(folders, writes=writes))
        before = whole_steps(directory)
        injection = Injection(
            folders, draw.randrange(n_calls), draw.choice(WRITE_ERRORS if writes else READ_ERRORS), writes
        )
        ended = own.start(cell, directory, injection=injection).wait()
        what = f"{cell.name} {stage}, errno {injection.number} at {'write' if writes else 'read'} {injection.at}"
        # 0: what is swept, logged or drawn may be left undone.
        row.check(is_clear(ended, (0, 5), 200), f"{what}: exit {ended.code}: {ended.err[-300:]}")
        row.check(max(whole_steps(directory), default="") >= max(before, default=""), f"{what}: checkpoints are gone")
        if not ended.code:
            # A checkpoint whose deletion was refused waits for the next start, which a finished run does not need.
            for left in (directory / runs.CHECKPOINTS).glob("*.old.tmp"):
                shutil.rmtree(left)
        problem = own.ends_like_reference(cell, directory)
        # A failure of TensorBoard stops no run, and is said.
        is_view = problem.endswith(": points of TensorBoard differ") and "TensorBoard" in ended.err
        row.check(not problem or is_view, f"{what}: then {problem}")
        shutil.rmtree(own.folder)


def _fresh_folder(place: Place) -> Path:
    folder = place.fresh("refusals")
    folder.mkdir()
    return folder


def _stop_half_way(own: Place, cell: Cell, directory: Path) -> None:
    attempt = own.start(cell, directory, "train.slow_step_seconds=0.2")
    while not attempt.poll() and len(whole_steps(directory)) < 2:
        time.sleep(0.01)
    attempt.signal(signal.SIGTERM)
    attempt.wait()


def _count(own: Place, cell: Cell, directory: Path, injection: Injection) -> int:
    """How many calls the command makes, tried on a copy of the folder."""
    copy = own.folder.with_name(own.folder.name + "-counted")
    shutil.copytree(own.folder, copy)
    other = Injection([copy / path.relative_to(own.folder) for path in injection.folders], writes=injection.writes)
    attempt = own.start(cell, copy / directory.name, injection=other).wait()
    n_calls = len(attempt.calls.read_text().splitlines())
    shutil.rmtree(copy)
    return n_calls
