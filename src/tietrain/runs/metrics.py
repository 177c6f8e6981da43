"""`metrics.jsonl`: one row per log point of a run, as many as it likes; read line by line and hashed as it grows."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tietrain.errors import DataError
from tietrain.runs.reading import OTHER_RUN, is_there, reading
from tietrain.runs.record import METRICS, append, write_chunks, writing

Row = dict[str, Any]

# tietrain writes no longer line; a file of one line would fill the memory.
MAX_LINE = 16 * 1024 * 1024
# The last row of a kind lies in this much of the end of a file.
TAIL = 1024 * 1024
BLOCK = 1024 * 1024


def rows(directory: Path) -> Iterator[Row]:
    """The rows, one at a time; lines that a crash cut off are left out, and there are none without a file.

    Raises:
        DataError: a line is longer than tietrain writes. StorageError: the system refuses to read.
    """
    return (row for _, row in _lines(directory))


def read_metrics(directory: Path) -> list[Row]:
    """All rows at once."""
    return list(rows(directory))


def last_row(directory: Path, split: str) -> Row:
    """The last row of a split; empty if the end of the file has none."""
    path = directory / METRICS
    if not is_there(path):
        return {}
    with reading(path) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
        ending = file.read(TAIL).split(b"\n")
    found = (_row(line) for line in reversed(ending))
    return next((row for row in found if row and row.get("split") == split), {})


def append_metrics(directory: Path, added: Sequence[Row]) -> bytes:
    """Append rows, whole lines in one write; returns what was written."""
    path = directory / METRICS
    content = "".join(json.dumps(row) + "\n" for row in added).encode()
    with writing(path):
        append(path, content)
    return content


def cut_metrics(directory: Path, step: int) -> None:
    """Keep the rows up to a step: a resumed run writes the later ones again."""
    kept = (line.rstrip(b"\n") + b"\n" for line, row in _lines(directory) if row["step"] <= step)
    write_chunks(directory / METRICS, kept)


def seal_of_metrics(directory: Path, n_bytes: int) -> dict[str, Any]:
    """What `MetricsFile.seal` said when the file had this size, if its beginning is still the same."""
    path = directory / METRICS
    digest, n_read = hashlib.sha256(), 0
    if is_there(path):
        with reading(path) as file:
            while block := file.read(min(BLOCK, n_bytes - n_read)):
                digest.update(block)
                n_read += len(block)
    return {"bytes": n_read, "sha256": digest.hexdigest()}


class MetricsFile:
    """The rows of a run that is being written. Their hash grows with them, so that a checkpoint need not read them."""

    def __init__(self, directory: Path):
        self._directory = directory
        self._digest, self._n_bytes = hashlib.sha256(), 0
        path = directory / METRICS
        if is_there(path):
            with reading(path) as file:
                while block := file.read(BLOCK):
                    self._count(block)

    def add(self, row: Row) -> None:
        self._count(append_metrics(self._directory, [row]))

    def sync(self) -> dict[str, Any]:
        """Bring the rows to the disk, before a checkpoint that counts on them; returns their size and sha256."""
        path = self._directory / METRICS
        with writing(path), open(path, "ab") as f:
            os.fsync(f.fileno())
        return {"bytes": self._n_bytes, "sha256": self._digest.hexdigest()}

    def _count(self, content: bytes) -> None:
        self._digest.update(content)
        self._n_bytes += len(content)


def _lines(directory: Path) -> Iterator[tuple[bytes, Row]]:
    path = directory / METRICS
    if not is_there(path):
        return
    with reading(path) as file:
        while line := file.readline(MAX_LINE):
            if len(line) == MAX_LINE:
                raise DataError(str(path), f"it has a line of {MAX_LINE >> 20} MB or more", OTHER_RUN)
            if row := _row(line):
                yield line, row


def _row(line: bytes) -> Row:
    """The row that a line holds; empty if it holds none."""
    with suppress(ValueError, RecursionError):
        row = json.loads(line)
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            return row
    return {}
