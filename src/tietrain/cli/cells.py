"""`grid.jsonl` of a study: the cells that its grids were told to run, and the runs these became.

A line is a cell, `{"cell": its words, "swept": those of them that differ between cells, "runs": how many it takes}`, or a
run of it that has begun, `{"cell": its words, "run": name of the directory}`. Lines are only added, so that commands and
processes share the file; nothing depends on it but what `tietrain status` shows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tietrain.config.keys import VOLATILE
from tietrain.errors import DataError
from tietrain.runs import record as runs

# No file of cells is larger than this; a larger one is neither written nor read.
MAX_BYTES = 4 * 1024 * 1024
MAX_RUNS = 100_000


@dataclass
class Cell:
    """A cell of a grid.

    words: the overrides that decide its result, sorted. swept: those that differ between the cells, in the order of the
    grid. n_runs: of a tuned arm several. runs: names of their directories, in the order in which they first began.
    """

    words: tuple[str, ...]
    swept: tuple[str, ...]
    n_runs: int = 1
    runs: list[str] = field(default_factory=list)


def cell_words(words: Iterable[str]) -> tuple[str, ...]:
    """What the overrides of a cell say about its result, in one order; of a key said twice the later word."""
    last = {word.partition("=")[0].lstrip("+"): word for word in words}
    return tuple(sorted(word for key, word in last.items() if key not in VOLATILE))


def add_cells(study: Path, cells: Iterable[Cell]) -> None:
    """Add what a grid is about to run and the file does not list yet; a disk that refuses is no reason to stop."""
    there = {cell.words: cell.n_runs for cell in read_cells(study)}
    new = (cell for cell in cells if there.get(cell.words) != cell.n_runs)
    _append(study, [{"cell": cell.words, "swept": cell.swept, "runs": cell.n_runs} for cell in new])


def add_run(study: Path, words: Iterable[str], name: str) -> None:
    """Add that the cell of these overrides, where it is listed, has begun a run."""
    wanted = cell_words(words)
    if any(cell.words == wanted and name not in cell.runs for cell in read_cells(study)):
        _append(study, [{"cell": wanted, "run": name}])


def read_cells(study: Path) -> list[Cell]:
    """The cells listed in a study, in the order of the grids; lines that are no such thing are left out."""
    cells: dict[tuple[str, ...], Cell] = {}
    with suppress(DataError):
        for line in _read(study / runs.GRID).split(b"\n"):
            with suppress(ValueError, RecursionError):
                _take(json.loads(line), cells)
    return list(cells.values())


def _take(body: Any, cells: dict[tuple[str, ...], Cell]) -> None:
    """Add what a line says; ValueError where it is none of ours."""
    if not isinstance(body, dict):
        raise ValueError("no line of a grid")
    words, run = _texts(body.get("cell")), body.get("run")
    if isinstance(run, str) and words in cells:
        cells[words].runs.append(run)
    elif isinstance(n := body.get("runs"), int) and 1 <= n <= MAX_RUNS:
        known = cells[words].runs if words in cells else []
        cells[words] = Cell(words, _texts(body.get("swept")), n, known)


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError("no list of words")
    return tuple(value)


def _read(path: Path) -> bytes:
    """DataError for a link, and for what is too large."""
    content = b"" if path.is_symlink() else runs.read_bytes(path)
    if not content or len(content) > MAX_BYTES:
        raise DataError(str(path), "it lists no cells of a grid", "delete it")
    return content


def _append(study: Path, lines: Sequence[dict[str, Any]]) -> None:
    """One write of whole lines, also behind a line that a crash cut off."""
    path = study / runs.GRID
    with suppress(OSError):
        size = path.lstat().st_size if path.exists() else 0
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        if content and size + len(content) <= MAX_BYTES:
            runs.append(path, (b"\n" if size else b"") + content)
