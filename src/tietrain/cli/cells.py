"""`grid.jsonl` of a study: the cells that its grids will run, and the runs that these became.

A line is a cell, `{"cell": its words, "swept": those that differ between cells, "runs": how many it takes}`, or a run that
has begun, `{"cell": its words, "run": name of the directory}`. Lines are only added, so that commands and processes can
share the file. Only `tietrain status` reads it.
"""

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tietrain.config.hydra_parts import typed
from tietrain.config.keys import VOLATILE
from tietrain.errors import DataError, StorageError
from tietrain.runs import record as runs

# A larger file is neither written nor read.
MAX_BYTES = 4 * 1024 * 1024
MAX_RUNS = 100_000


@dataclass
class GridCell:
    """A cell of a grid.

    words: the overrides that decide its result, sorted. swept: those that differ between the cells, in the order of the
    grid. n_runs: how many runs it takes; a tuned arm takes several. runs: names of their directories, oldest first.
    """

    words: tuple[str, ...]
    swept: tuple[str, ...]
    n_runs: int = 1
    runs: list[str] = field(default_factory=list)


def cell_words(words: Iterable[str]) -> tuple[str, ...]:
    """The overrides that decide a cell's result, sorted; the last one counts if a key is given twice."""
    last = {word.partition("=")[0].lstrip("+"): typed(word) for word in words}
    return tuple(sorted(word for key, word in last.items() if key not in VOLATILE))


def add_cells(study: Path, cells: Iterable[GridCell]) -> None:
    """Add the cells that the file does not list yet. If the system refuses, the grid runs without the list."""
    with suppress(StorageError):
        known = {cell.words: cell.n_runs for cell in read_cells(study)}
        new = [cell for cell in cells if known.get(cell.words) != cell.n_runs]
        _append(study, [{"cell": cell.words, "swept": cell.swept, "runs": cell.n_runs} for cell in new])


def add_run(study: Path, words: Iterable[str], name: str) -> None:
    """Add that the cell with these overrides has begun a run, if the cell is listed."""
    wanted = cell_words(words)
    with suppress(StorageError):
        if any(cell.words == wanted and name not in cell.runs for cell in read_cells(study)):
            _append(study, [{"cell": wanted, "run": name}])


def read_cells(study: Path) -> list[GridCell]:
    """The cells listed in a study, in the order of the grids; damaged lines and files, and links, are left out."""
    path = study / runs.GRID
    cells: dict[tuple[str, ...], GridCell] = {}
    with suppress(DataError):
        content = b"" if os.path.islink(path) else runs.read_bytes(path)
        for line in content.split(b"\n") if len(content) <= MAX_BYTES else []:
            with suppress(ValueError, RecursionError):
                match json.loads(line):
                    case {"cell": words, "run": str(run)} if _texts(words) in cells:
                        cells[_texts(words)].runs.append(run)
                    case {"cell": words, "swept": swept, "runs": int(n_runs)} if 1 <= n_runs <= MAX_RUNS:
                        cell = GridCell(_texts(words), _texts(swept), n_runs)
                        cell.runs = cells[cell.words].runs if cell.words in cells else []
                        cells[cell.words] = cell
    return list(cells.values())


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError("not a list of words")
    return tuple(value)


def _append(study: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Write whole lines at once; the first newline ends a line that a crash cut off."""
    path = study / runs.GRID
    with suppress(OSError):
        size = path.lstat().st_size if path.exists() else 0
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        if content and size + len(content) <= MAX_BYTES:
            runs.append(path, (b"\n" if size else b"") + content)
