"""`tietrain status DIR`: where every run of a folder and of its grids stands, from files and locks. Loads no torch."""

import sys
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, replace
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
from tietrain.runs.metrics import last_row
from tietrain.runs.reading import is_folder
from tietrain.runs.view import Run, clean_text, clock, number, read_run

WATCH_SECONDS = 2.0
# Columns of a table that is not printed on a terminal.
WIDTH = 180
# More rows take seconds to lay out, and nobody reads them.
MOST_ROWS = 200
STYLES = {"done": "green", "running": "cyan", "failed": "red", "diverged": "red", "unreadable": "red", "damaged": "red"}
# States in which a grid still has work to do on a run.
UNFINISHED = ("running", "waiting", "killed", "interrupted")
# States of the rows that a small terminal leaves out, first those with the highest place; all other states stay longest.
LEFT_OUT = {"done": 1, "not_applicable": 2, "waiting": 3}


@dataclass(frozen=True)
class Progress:
    """Where one run stands, or the runs of a grid's cell that have not begun.

    directory: of the run; its study if the cell waits. state: a status of `runs.view.Run`; `killed`: its record says
    running, but no process holds its lock; `waiting`. cell: the words that distinguish it from other cells of its grid;
    empty for a run outside a grid. n_runs: how many runs of a cell wait. fraction: spent part of the budget.
    total_seconds: since its beginning; of a running run, seconds of training. loss, valid_loss: nats per token of the last
    training interval and of the last evaluation.
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
    """Where each run in a folder stands, ordered by path, then the cells of its grids that wait.

    Raises:
        DataError: there is no such folder. StorageError: the system refuses to read a file or folder.
    """
    if not is_folder(directory):
        raise DataError(str(directory), "there is no such folder", "give a folder of runs, for example outputs/default")
    rows = [_progress(path, str(path.relative_to(directory))) for path in runs.find_runs(directory)]
    return _with_cells(directory, rows)


def _with_cells(directory: Path, rows: list[Progress]) -> list[Progress]:
    """The rows, each with its cell, and one more row for each cell with runs that have not begun."""
    states = {row.directory: row.state for row in rows}
    cell_of: dict[str, tuple[str, ...]] = {}
    waiting = []
    for study in runs.find_runs(directory, runs.GRID):
        shown = study.relative_to(directory)
        for cell in cells.read_cells(study):
            words = tuple(map(clean_text, cell.swept or cell.words))
            begun = [name for name in (clean_text(str(shown / run)) for run in cell.runs) if name in states]
            cell_of |= dict.fromkeys(begun, words)
            left = cell.n_runs - len(begun)
            last = begun[-1] if begun else ""
            # Then the arm is not a valid model or configuration, and its other runs never start.
            is_refused = states.get(last) == "not_applicable" or Path(last).name.startswith(runs.REFUSED)
            if left > 0 and not is_refused:
                reason = f"{left:,} runs" if left > 1 else ""
                waiting.append(Progress(clean_text(str(shown)), "", None, "waiting", words, left, reason=reason))
    return [*(replace(row, cell=cell_of.get(row.directory, ())) for row in rows), *waiting]


def time_left(rows: list[Progress]) -> float | None:
    """Seconds until all grids end, if as many runs go on at once as now; None if no run tells.

    A run that has not begun should take the mean time of the most similar cells: those that share most of its first words.
    """
    in_grids = [row for row in rows if row.cell]
    at_work = [row for row in in_grids if row.state == "running"]
    known: dict[tuple[str, ...], list[float]] = defaultdict(list)  # first words of a cell -> seconds of its runs
    for row in in_grids:
        seconds = _whole_seconds(row)
        if seconds is not None:
            for n in range(len(row.cell) + 1):
                known[row.cell[:n]].append(seconds)
    if not at_work or not known:
        return None
    left = 0.0
    for row in in_grids:
        if row.state == "running" and row.eta_seconds is not None:
            left += row.eta_seconds
        elif row.state in UNFINISHED:
            similar = next(n for n in range(len(row.cell), -1, -1) if row.cell[:n] in known)
            left += fmean(known[row.cell[:similar]]) * (1 - (row.fraction or 0.0)) * row.n_runs
    return max(left / len(at_work), *(row.eta_seconds or 0.0 for row in at_work))


def _whole_seconds(row: Progress) -> float | None:
    """Seconds from the beginning of a run to its end; None if that is not known."""
    if row.state == "not_applicable":
        return 0.0
    if row.state in ("done", "diverged"):
        return row.total_seconds
    return None if row.eta_seconds is None or row.total_seconds is None else row.total_seconds + row.eta_seconds


def _progress(directory: Path, shown: str) -> Progress:
    run = read_run(directory, shown)
    state, reason = run.status, run.reason
    if state == "running" and not runs.is_locked(directory):
        state, reason = "killed", f"its process is gone; `{runs.resume_command(directory)}` continues it"
    row: dict[str, Any] = {}
    with suppress(DataError):
        row = last_row(directory, "train")
    fraction = 1.0 if state == "done" else _fraction(run, row)
    seconds = number(row.get("seconds"))
    left = seconds / fraction * (1 - fraction) if state == "running" and fraction and seconds is not None else None
    # The record of an interrupted run counts from its last start, its scores count all training.
    total = seconds if state == "running" else max(run.total_seconds or 0.0, run.seconds or 0.0)
    return Progress(
        directory=run.path,
        label=run.label,
        seed=run.seed,
        state=state,
        step=number(row.get("step")),
        fraction=fraction,
        tokens=number(row.get("tokens")),
        tokens_per_second=number(row.get("tokens_per_second")),
        total_seconds=total,
        eta_seconds=left,
        loss=number(row.get("nats_per_token")),
        valid_loss=run.curve[-1].nats_per_token if run.curve else None,
        reason="; ".join(filter(None, (run.origin, reason))),
    )


def _fraction(run: Run, row: dict[str, Any]) -> float | None:
    """Spent part of the budget; of several budgets, the one that ends the run first."""
    limits = {unit: number(run.settings.get(f"train.max_{unit}")) for unit in ("steps", "tokens", "flops", "seconds")}
    if not any(limits.values()):
        limits["steps"] = DEFAULT_STEPS
    parts = []
    for unit, limit in limits.items():
        spent = number(row.get(unit if unit != "steps" else "step"))
        if limit and spent is not None:
            parts.append(spent / limit)
    return min(1.0, max(parts)) if parts else None


def status_table(rows: list[Progress], shown: list[Progress]) -> Group:
    """Those of the rows that are shown, as a table, and below it a line that counts the states of all."""
    table = Table(box=None, pad_edge=False)
    table.add_column("run", overflow="fold")
    table.add_column("state")
    for name in ("done", "step", "tokens", "tokens/s", "ETA", "loss", "valid"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for row in shown:
        counts = [_shown(value, ",.0f") for value in (row.step, row.tokens, row.tokens_per_second)]
        eta = "" if row.eta_seconds is None else clock(row.eta_seconds)
        losses = [_shown(value, ".4f") for value in (row.loss, row.valid_loss)]
        state = Text(row.state.replace("_", " "), STYLES.get(row.state, "yellow"))
        name = row.directory
        if row.state == "waiting":
            name = ("" if name == "." else f"{name}: ") + " ".join(row.cell)
        table.add_row(Text(name), state, _shown(row.fraction, ".0%"), *counts, eta, *losses, Text(row.reason))
    n_left_out = len(rows) - len(shown)
    left_out = f"; {n_left_out:,} rows are not shown (--json has all)" if n_left_out else ""
    return Group(table, Text(_summary(rows) + left_out))


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _summary(rows: list[Progress]) -> str:
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row.state.replace("_", " ")] += row.n_runs
    states = ", ".join(f"{n:,} {state}" for state, n in counts.items()) or "none has begun"
    left = time_left(rows)
    return f"{counts.total():,} runs: {states}" + ("" if left is None else f"; about {clock(left)} left")


def show_status(directory: Path, watch: bool) -> None:
    """Print the table once, or keep it up to date until Ctrl-C."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    if not watch:
        rows = read_status(directory)
        console.print(status_table(rows, _kept(rows, MOST_ROWS)))
        return
    with suppress(KeyboardInterrupt), Live(_fitting(directory, console), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(WATCH_SECONDS)
            live.update(_fitting(directory, console), refresh=True)


def _fitting(directory: Path, console: Console) -> Group:
    """The table with only as many rows as the terminal has room for, so that the line below it stays visible."""
    rows = read_status(directory)
    shown = _kept(rows, console.height)
    table = status_table(rows, shown)
    n_too_many = len(console.render_lines(table)) - console.height
    return table if n_too_many <= 0 else status_table(rows, _kept(shown, len(shown) - n_too_many))


def _kept(rows: list[Progress], most: int) -> list[Progress]:
    """The rows if they are few, else those with the states that matter most."""
    kept = {id(row) for row in sorted(rows, key=lambda row: LEFT_OUT.get(row.state, 0))[: max(0, most)]}
    return [row for row in rows if id(row) in kept]
