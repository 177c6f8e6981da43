"""What was checked and found: a table on a terminal, plain text elsewhere, or JSON."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table

from tietrain.train.check.matrix import CHECKS, Log, Row, passed

WORDS = {"pass": "pass", "fail": "FAIL", "seen": "seen", "n/a": "n/a"}
UNBOUNDED, KIND = 10_000, 9  # columns
STYLES = {"pass": "green", "fail": "bold red", "seen": "dim", "n/a": "dim"}


@contextmanager
def progress() -> Iterator[Log]:
    """A function that shows on stderr what is being done: one changing line on a terminal, a line each elsewhere."""
    if not sys.stderr.isatty():
        yield lambda line: print(line, file=sys.stderr, flush=True)
        return
    with Console(stderr=True).status("") as status:
        yield status.update


def show_rows(rows: Sequence[Row], heading: str) -> None:
    """Print the matrix, what each check means, and what is to be said of single cells."""
    console, table = Console(), _table(rows)
    if console.is_terminal and Console(width=UNBOUNDED).measure(table).maximum <= console.width:
        console.print(table)
    else:
        print("\n".join(_plain(rows)))
    print("\n".join([heading, *_legend(rows), *_remarks(rows), _summary(rows)]))


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("model", "scheme", *CHECKS):
        table.add_column(name, no_wrap=True)
    for row in rows:
        marks = [f"[{STYLES[cell.status]}]{WORDS[cell.status]}" for cell in row.cells.values()]
        table.add_row(row.model, row.scheme, *marks)
    return table


def _plain(rows: Sequence[Row]) -> list[str]:
    width = max(len(row.scheme) for row in rows)
    lines = [" ".join(["model".ljust(KIND), "scheme".ljust(width), *CHECKS])]
    for row in rows:
        marks = [WORDS[row.cells[name].status].ljust(len(name)) for name in CHECKS]
        lines.append(" ".join([row.model.ljust(KIND), row.scheme.ljust(width), *marks]).rstrip())
    return lines


def _legend(rows: Sequence[Row]) -> list[str]:
    """What each check is; of a single row, what it found."""
    lines = []
    for name, meaning in CHECKS.items():
        lines.append(f"  {name:<9}{meaning}")
        if len(rows) == 1 and rows[0].cells[name].note:
            lines.append(f"  {'':<9}{rows[0].cells[name].note}")
    return lines


def _remarks(rows: Sequence[Row]) -> list[str]:
    """One line a failure and a flag, and one for every reason why schemes do not apply."""
    lines = [
        f"FAIL {row.title}, {name}: {cell.note}"
        for row in rows
        for name, cell in row.cells.items()
        if cell.status == "fail"
    ]
    lines += [f"flag {row.title}: {cell.flag}" for row in rows for cell in row.cells.values() if cell.flag]
    absent: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.reason:
            absent.setdefault((row.model, row.reason), []).append(row.scheme)
    lines += [f"n/a  {model} {', '.join(schemes)}: {reason}" for (model, reason), schemes in absent.items()]
    if any(cell.status == "seen" for row in rows for cell in row.cells.values()):
        lines.append("seen: the same kind of tie was compiled in a row above")
    return lines


def _summary(rows: Sequence[Row]) -> str:
    count = Counter(cell.status for row in rows for cell in row.cells.values())
    verdict = "all checks passed" if passed(rows) else "NOT all checks passed"
    seconds = sum(row.seconds for row in rows)
    return f"{verdict}: {count['pass']} passed, {count['fail']} failed, {count['n/a']} do not apply, {seconds:.0f} s"


def to_json(rows: Sequence[Row], heading: str) -> dict[str, Any]:
    """What was checked and found, for programs."""
    body = [
        {
            "model": row.model,
            "scheme": row.scheme,
            "plan": row.plan,
            "reason": row.reason,
            "seconds": round(row.seconds, 2),
            "cells": {name: vars(cell) for name, cell in row.cells.items()},
        }
        for row in rows
    ]
    return {"passed": passed(rows), "reference": heading, "checks": CHECKS, "rows": body}
