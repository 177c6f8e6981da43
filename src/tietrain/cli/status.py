"""`tietrain status DIR`: where every run of a folder and of its grids stands, from files and locks. Loads no torch."""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tietrain.cli import cells
from tietrain.config import DEFAULT_STEPS
from tietrain.errors import DataError
from tietrain.runs import record as runs
from tietrain.runs.view import Run, clean_text, number, read_run

WATCH_SECONDS = 2.0
# Of a table that no terminal limits.
WIDTH = 180
STYLES = {"done": "green", "running": "cyan", "failed": "red", "diverged": "red", "unreadable": "red", "damaged": "red"}
REASONS = {"killed": "its process is gone; the same command continues it"}
# Of no longer time is said that it is left.
LONGEST = 1e9
# States in which a grid has still work to do on a run.
UNFINISHED = ("running", "waiting", "killed", "interrupted")
# Rows that a terminal without room for all leaves out, the last ones first.
EXPENDABLE = ("done", "not_applicable", "waiting")


@dataclass(frozen=True)
class Progress:
    """Where a run stands, or the runs of a grid's cell that have not begun.

    directory: of the run; of a waiting cell its study. state: a status of `report.collect.Run`; `killed`: it says it is
    running, and nobody holds its lock; `waiting`.
    cell: the words in which it differs from other cells of its grid; empty for a run of none. n_runs: of a waiting cell.
    fraction: of the budget. total_seconds: from its beginning, for a run at work of training alone.
    loss, valid_loss: nats a token of the last training interval and of the last evaluation.
    """

    directory: str
    label: str
    seed: int | None
    state: str
    cell: tuple[str, ...] = ()
    n_runs: int = 1
    step: float | None = None
    fraction: float | None = None
    tokens: float | None = None
    tokens_per_second: float | None = None
    total_seconds: float | None = None
    eta_seconds: float | None = None
    loss: float | None = None
    valid_loss: float | None = None
    reason: str = ""


def read_status(directory: Path) -> list[Progress]:
    """Where each run at or below a folder stands, by path, and then the cells of its grids that wait.

    Raises:
        DataError: there is no such folder.
    """
    if not directory.is_dir():
        raise DataError(str(directory), "there is no such folder", "give a folder of runs, for example outputs/default")
    rows = [_progress(path, str(path.relative_to(directory))) for path in runs.find_runs(directory)]
    return _with_cells(directory, rows)


def _with_cells(directory: Path, rows: list[Progress]) -> list[Progress]:
    """The rows, each with the cell it is a run of, and a row for each cell with runs that have not begun."""
    states = {row.directory: row.state for row in rows}
    cell_of: dict[str, tuple[str, ...]] = {}
    waiting = []
    for study in runs.find_grids(directory):
        shown = study.relative_to(directory)
        for cell in cells.read_cells(study):
            words = tuple(map(clean_text, cell.swept or cell.words))
            begun = [name for name in (clean_text(str(shown / run)) for run in cell.runs) if name in states]
            cell_of |= dict.fromkeys(begun, words)
            left = cell.n_runs - len(begun)
            if left > 0 and not (begun and _is_refused(begun[-1], states[begun[-1]])):
                said = f"{left:,} runs" if left > 1 else ""
                waiting.append(Progress(clean_text(str(shown)), "", None, "waiting", words, left, reason=said))
    return [*(replace(row, cell=cell_of.get(row.directory, ())) for row in rows), *waiting]


def _is_refused(directory: str, state: str) -> bool:
    """Whether the arm of a run is no model or no configuration, so that none of its other runs is run."""
    return state == "not_applicable" or Path(directory).name.startswith(runs.REFUSED)


def time_left(rows: list[Progress]) -> float | None:
    """Seconds until the cells of all grids have ended, if as many are run at once as now; None where nothing tells.

    A run that has not begun is expected to take as long as those of the cells before it in the grid: the mean over the
    cells that have most of its words, from the first on, in common.
    """
    of_grids = [row for row in rows if row.cell]
    at_work = [row for row in of_grids if row.state == "running"]
    known: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for row in of_grids:
        if (seconds := _whole_seconds(row)) is not None:
            for n in range(len(row.cell) + 1):
                known[row.cell[:n]].append(seconds)
    if not at_work or not known:
        return None
    means = {words: fmean(seconds) for words, seconds in known.items()}
    left = []
    for row in of_grids:
        expected = next(means[words] for n in range(len(row.cell), -1, -1) if (words := row.cell[:n]) in means)
        if row.state == "running" and row.eta_seconds is not None:
            left.append(row.eta_seconds)
        elif row.state in UNFINISHED:
            left.append(expected * (1 - (row.fraction or 0.0)) * row.n_runs)
    return max(sum(left) / len(at_work), *(row.eta_seconds or 0.0 for row in at_work))


def _whole_seconds(row: Progress) -> float | None:
    """What a run takes from its beginning to its end; None where that is not known."""
    if row.state == "not_applicable":
        return 0.0
    if row.state in ("done", "diverged"):
        return row.total_seconds
    return None if row.eta_seconds is None or row.total_seconds is None else row.total_seconds + row.eta_seconds


def _progress(directory: Path, shown: str) -> Progress:
    run = read_run(directory, shown)
    state = "killed" if run.status == "running" and not runs.is_locked(directory) else run.status
    row = _last_row(directory)
    fraction = 1.0 if state == "done" else _fraction(run, row)
    seconds = number(row.get("seconds"))
    left = None
    if state == "running" and fraction and seconds is not None:
        left = seconds / fraction * (1 - fraction)
    return Progress(
        directory=run.path,
        label=run.label,
        seed=run.seed,
        state=state,
        step=number(row.get("step")),
        fraction=fraction,
        tokens=number(row.get("tokens")),
        tokens_per_second=number(row.get("tokens_per_second")),
        # Of a run that was interrupted the record has the seconds since then, the scores those of all training.
        total_seconds=seconds if state == "running" else max(run.total_seconds or 0.0, run.seconds or 0.0),
        eta_seconds=left,
        loss=number(row.get("nats_per_token")),
        valid_loss=run.curve[-1].nats_per_token if run.curve else None,
        reason=run.reason or REASONS.get(state, ""),
    )


def _last_row(directory: Path) -> dict[str, Any]:
    """The last row about training of `metrics.jsonl`; empty where there is none that can be read."""
    try:
        rows = runs.read_metrics(directory)
    except (DataError, OSError):
        return {}
    return next((row for row in reversed(rows) if row.get("split") == "train"), {})


def _fraction(run: Run, row: dict[str, Any]) -> float | None:
    """Part of the budget that is spent; of several budgets the one that ends the run first."""
    used = {"steps": row.get("step"), **{unit: row.get(unit) for unit in ("tokens", "flops", "seconds")}}
    limits = {unit: number(run.settings.get(f"train.max_{unit}")) for unit in used}
    if not any(limits.values()):
        limits["steps"] = DEFAULT_STEPS
    parts = [spent / limit for unit, limit in limits.items() if limit and (spent := number(used[unit])) is not None]
    return min(1.0, max(parts)) if parts else None


def status_json(rows: list[Progress]) -> list[dict[str, Any]]:
    """The rows as plain values, None where a run has not come so far."""
    return [asdict(row) for row in rows]


def status_table(rows: list[Progress], shown: list[Progress] | None = None) -> Group:
    """The rows, or those that are to be shown, as a table, with a line below it that counts the states of all."""
    table = Table(box=None, pad_edge=False)
    table.add_column("run", overflow="fold")
    table.add_column("state")
    for name in ("done", "step", "tokens", "tokens/s", "ETA", "loss", "valid"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for row in rows if shown is None else shown:
        numbers = [
            _shown(row.fraction, ".0%"),
            _shown(row.step, ",.0f"),
            _shown(row.tokens, ",.0f"),
            _shown(row.tokens_per_second, ",.0f"),
            "" if row.eta_seconds is None else _clock(row.eta_seconds),
            _shown(row.loss, ".4f"),
            _shown(row.valid_loss, ".4f"),
        ]
        state = Text(row.state.replace("_", " "), STYLES.get(row.state, "yellow"))
        table.add_row(Text(_name(row)), state, *numbers, Text(row.reason))
    return Group(table, Text(_summary(rows)))


def _name(row: Progress) -> str:
    """The directory, or of a cell that waits its words."""
    if row.state != "waiting":
        return row.directory
    return ("" if row.directory == "." else f"{row.directory}: ") + " ".join(row.cell)


def _summary(rows: list[Progress]) -> str:
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row.state.replace("_", " ")] += row.n_runs
    said = ", ".join(f"{n:,} {state}" for state, n in counts.items()) or "none has begun"
    left = time_left(rows)
    return f"{counts.total():,} runs: {said}" + ("" if left is None else f"; about {_clock(left)} left")


def show_status(directory: Path, watch: bool) -> None:
    """Print the table once, or keep it up to date until Ctrl-C."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    if not watch:
        console.print(status_table(read_status(directory)))
        return
    try:
        with Live(_fitting(directory, console), console=console, auto_refresh=False) as live:
            while True:
                time.sleep(WATCH_SECONDS)
                live.update(_fitting(directory, console), refresh=True)
    except KeyboardInterrupt:
        return


def _fitting(directory: Path, console: Console) -> Group:
    """The table with as many rows as the terminal has room for, so that the line below it is in sight."""
    rows = read_status(directory)
    table = status_table(rows)
    too_many = len(console.render_lines(table)) - console.height
    if too_many <= 0:
        return table
    by_worth = sorted(rows, key=lambda row: EXPENDABLE.index(row.state) if row.state in EXPENDABLE else -1)
    kept = {id(row) for row in by_worth[: max(0, len(rows) - too_many)]}
    return status_table(rows, [row for row in rows if id(row) in kept])


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(min(seconds, LONGEST))))


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
