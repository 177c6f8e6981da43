"""TensorBoard: a view of `metrics.jsonl`, never read back, and never a reason to stop training."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import hparams, scalar

from tietrain import runs

# Step axes hold one 64-bit integer; FLOPs are counted in millions.
FLOPS_A_STEP = 1_000_000
AXES = ("step", "split", "tokens", "flops", "seconds")


class TensorBoard:
    """The event file of a run directory: scalars by tokens under `split/name`, by MFLOPs under `by_flops/split/name`.

    It starts anew from the rows there are, so a resumed run has no point twice; a page that is open is told to forget
    what it had. Records are written by the caller's thread: SummaryWriter's own thread prints a traceback where the
    disk is full. After the first failure it says so once and stays silent.
    """

    def __init__(self, directory: Path, rows: Sequence[Mapping[str, Any]], say: Callable[[str], None]):
        self._say, self._failed = say, False
        self._file: IO[bytes] | None = None
        # Events are dated so that the page's relative time axis reads seconds of training.
        self._origin = time.time() - (rows[-1]["seconds"] if rows else 0.0)
        self._guarded(lambda: self._open(directory / runs.TENSORBOARD))
        for row in rows:
            self.add_row(row)

    def add_row(self, row: Mapping[str, Any]) -> None:
        """Add every score of a row of metrics."""
        self._guarded(lambda: self._write_row(row))

    def add_hparams(self, settings: Mapping[str, Any], scores: Mapping[str, float], row: Mapping[str, Any]) -> None:
        """Add the run's line of the HParams table, in this same file: one run, one line.

        Args:
            row: the last row of metrics, for the place on the axes.
        """
        self._guarded(lambda: self._write_hparams(settings, scores, row))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()

    def _guarded(self, action: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            action()
            self._records.flush()
        except Exception as e:
            self._failed = True
            self._say(f"TensorBoard is off for this run: {e}")

    def _open(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._file = open(folder / f"events.out.tfevents.{int(time.time())}.tietrain", "wb")  # noqa: SIM115
        self._records = RecordWriter(self._file)
        self._write(0.0, file_version="brain.Event:2")
        self._write(0.0, step=0, session_log=SessionLog(status=SessionLog.START))

    def _write_row(self, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            if name not in AXES and isinstance(value, int | float):
                self._add(scalar(f"{row['split']}/{name}", value), row["seconds"], row["tokens"])
                summary = scalar(f"by_flops/{row['split']}/{name}", value)
                self._add(summary, row["seconds"], row["flops"] // FLOPS_A_STEP)

    def _write_hparams(self, settings: Mapping[str, Any], scores: Mapping[str, float], row: Mapping[str, Any]) -> None:
        # Integers as strings: the table shows numbers as floats, and a seed 1.0000 reads badly.
        shown = {k: v if isinstance(v, bool | float) else str(v) for k, v in settings.items()}
        for summary in hparams(shown, dict(scores)):
            self._add(summary, row["seconds"], 0)
        for name, value in scores.items():
            self._add(scalar(name, value), row["seconds"], row["tokens"])

    def _add(self, summary: Summary, seconds: float, step: int) -> None:
        self._write(seconds, step=step, summary=summary)

    def _write(self, seconds: float, **content: Any) -> None:
        self._records.write(Event(wall_time=self._origin + seconds, **content).SerializeToString())
