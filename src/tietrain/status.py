"""`tietrain status DIR`: where every run of a folder stands, from its files and its lock alone. Loads no torch."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tietrain import runs
from tietrain.config import DEFAULT_STEPS
from tietrain.errors import DataError
from tietrain.report.collect import Run, number, read_run

WATCH_SECONDS = 2.0
# Of a table that no terminal limits.
WIDTH = 180
STYLES = {"done": "green", "running": "cyan", "failed": "red", "diverged": "red", "unreadable": "red", "damaged": "red"}
REASONS = {"killed": "its process is gone; the same command continues it"}


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    state: a status of `report.collect.Run`, or `killed`: it says it is running, and nobody holds its lock.
    fraction: of the budget. loss, valid_loss: nats a token of the last training interval and of the last evaluation.
    """

    directory: str
    label: str
    seed: int
    state: str
    step: float | None = None
    fraction: float | None = None
    tokens: float | None = None
    tokens_per_second: float | None = None
    eta_seconds: float | None = None
    loss: float | None = None
    valid_loss: float | None = None
    reason: str = ""


def read_status(directory: Path) -> list[Progress]:
    """Where each run at or below a folder stands, by path.

    Raises:
        DataError: there is no such folder.
    """
    if not directory.is_dir():
        raise DataError(str(directory), "there is no such folder", "give a folder of runs, for example outputs/default")
    return [_progress(path, str(path.relative_to(directory))) for path in runs.find_runs(directory)]


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


def status_table(rows: list[Progress]) -> Group:
    """The rows as a table, with a line that counts states below it."""
    table = Table(box=None, pad_edge=False)
    table.add_column("run", overflow="fold")
    table.add_column("state")
    for name in ("done", "step", "tokens", "tokens/s", "ETA", "loss", "valid"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for row in rows:
        numbers = [
            _shown(row.fraction, ".0%"),
            _shown(row.step, ",.0f"),
            _shown(row.tokens, ",.0f"),
            _shown(row.tokens_per_second, ",.0f"),
            "" if row.eta_seconds is None else str(timedelta(seconds=round(row.eta_seconds))),
            _shown(row.loss, ".4f"),
            _shown(row.valid_loss, ".4f"),
        ]
        state = Text(row.state.replace("_", " "), STYLES.get(row.state, "yellow"))
        table.add_row(Text(row.directory), state, *numbers, Text(row.reason))
    counts = Counter(row.state.replace("_", " ") for row in rows)
    said = ", ".join(f"{n} {state}" for state, n in counts.items()) or "none has begun"
    return Group(table, Text(f"{len(rows)} runs: {said}"))


def show_status(directory: Path, watch: bool) -> None:
    """Print the table once, or keep it up to date until Ctrl-C."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    if not watch:
        console.print(status_table(read_status(directory)))
        return
    try:
        with Live(status_table(read_status(directory)), console=console, auto_refresh=False) as live:
            while True:
                time.sleep(WATCH_SECONDS)
                live.update(status_table(read_status(directory)), refresh=True)
    except KeyboardInterrupt:
        return


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
