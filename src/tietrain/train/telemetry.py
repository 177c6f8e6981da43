"""What a run reports while it trains: rows of `metrics.jsonl`, TensorBoard, trackers, and progress on the screen."""

import math
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from tietrain.runs import record as runs
from tietrain.runs.metrics import MetricsFile, rows
from tietrain.runs.view import clock
from tietrain.train.experiment import Experiment
from tietrain.train.hardware import Hardware
from tietrain.train.state import TrainState
from tietrain.train.tensorboard import TensorBoard
from tietrain.train.trackers import Trackers

# exp of more nats per token than this is not a finite number.
MAX_EXPONENT = 700.0


class Telemetry:
    """Rows of a run directory, shown as they are written; entered for as long as training lasts."""

    def __init__(self, experiment: Experiment, hardware: Hardware, log: Callable[[str], None], trackers: Trackers):
        self._experiment = experiment
        self._directory = experiment.directory
        self._hardware = hardware
        self._log = log
        self._trackers = trackers
        self._bar: Progress | None = None  # over the fraction of the budget
        if sys.stderr.isatty():
            columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.add_task("", total=1.0)

    def __enter__(self) -> Self:
        self._board = TensorBoard(self._experiment, self._log)
        self._metrics = MetricsFile(self._directory)
        self._trackers.start(rows(self._directory))
        if self._bar:
            with suppress(OSError):  # the terminal can be closed
                self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar:
            with suppress(OSError):
                self._bar.stop()

    def add_train_row(self, state: TrainState, fraction: float) -> None:
        """Log the interval since the last training row, and progress."""
        sums = state.interval
        row: dict[str, Any] = {
            **_where(state, "train"),
            **_scores(sums.nll / sums.tokens),
            "objective": sums.objective / sums.tokens,
            "lr": state.lr,
            "grad_norm": state.grad_norm,
            "tokens_per_second": sums.tokens / sums.seconds,
            "real_tokens": state.real_tokens,
            "padded_tokens": state.padded_tokens,
        }
        self._add(row)
        left = state.seconds / fraction * max(0.0, 1 - fraction)
        loss, speed = row["nats_per_token"], row["tokens_per_second"]
        line = f"step {state.step}: loss {loss:.4f}, {speed:,.0f} tokens/s, ETA {clock(left)}"
        if self._hardware.peak_flops:
            line += f", {state.flops / state.seconds / self._hardware.peak_flops:.1%} of peak FLOP/s"
        if self._bar is None:
            self._log(line)
            return
        # The bar shows the line, so it goes to the log alone.
        self._bar.update(self._bar.task_ids[0], completed=min(fraction, 1.0), description=line)
        runs.append_log(self._directory, line + "\n")

    def add_valid_row(self, state: TrainState, scores: Mapping[str, Any]) -> None:
        """Log an evaluation."""
        row = {**_where(state, "valid"), **scores, **_scores(scores["nats_per_token"])}
        self._add(row)
        self._log(f"step {state.step}: valid {row['nats_per_token']:.4f} nats per token, ppl {row['ppl']:.4g}")

    def add_look(self, state: TrainState, name: str, seen: Mapping[str, float]) -> None:
        """Log a look at the model; name: its split, `probe` or `anatomy`."""
        self._add({**_where(state, name), **seen})

    def sync(self) -> dict[str, Any]:
        """Bring the rows to the disk, before a checkpoint that counts on them; returns their size and sha256."""
        return self._metrics.sync()

    def _add(self, row: dict[str, Any]) -> None:
        self._metrics.add(row)
        self._board.add_row(row)
        self._trackers.add_row(row)


def _where(state: TrainState, split: str) -> dict[str, Any]:
    return {"step": state.step, "tokens": state.tokens, "flops": state.flops, "seconds": state.seconds, "split": split}


def _scores(nats_per_token: float) -> dict[str, float]:
    return {"nats_per_token": nats_per_token, "ppl": math.exp(min(nats_per_token, MAX_EXPONENT))}
