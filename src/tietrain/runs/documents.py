"""What runs stored about each line they were scored on."""

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tietrain.errors import DataError
from tietrain.runs import record as runs
from tietrain.runs.view import Run

Numbers = NDArray[np.float64]
Documents = list[dict[str, Any]]


def read_lines(path: Path) -> list[str]:
    """The lines of a file; DataError if there is none or it is not UTF-8."""
    try:
        lines = runs.read_bytes(path).decode("utf-8").split("\n")
    except UnicodeDecodeError as e:
        raise DataError(str(path), f"it is not UTF-8 ({e.reason})", "restore the run as it was written") from None
    return lines[:-1] if lines[-1] == "" else lines


def read_documents(directory: Path, split: str, run: Run) -> Documents:
    """What a run stored about each line of a split, checked against its scores."""
    path = directory / runs.DOCUMENTS
    with suppress(ValueError, TypeError, KeyError, RecursionError, OverflowError):
        rows = [json.loads(line) for line in read_lines(path)]
        found = [row for row in rows if row["split"] == split]
        sums = {key: math.fsum(row[key] for row in found) for key in ("nats", "tokens", "bytes")}
        adds_up = all(sums[key] == run.scores[split].get(key) for key in sums)
        if adds_up and all(row["sha256"] for row in found):
            return found
    problem = f"its lines do not add up to the scores of {split}"
    raise DataError(str(path), problem, "restore the run as it was written")


def nats_and_bits(directory: Path, split: str, found: Sequence[Run]) -> tuple[Numbers, Numbers]:
    """Nats of every document [texts, runs, documents], and its bytes times ln 2 [texts, documents].

    A split is one text. A mean over directions has one text per direction; document i is the same line in all of them.
    Paths of runs are relative to `directory`.

    Raises:
        DataError: a run has no documents or was scored on different text than the first, or directions differ in number.
    """
    names = found[0].means.get(split, (split,))
    parts = [_nats_and_bits(directory, name, found) for name in names]
    if len({units.shape for _, units in parts}) > 1:
        raise DataError(split, "its directions have different numbers of documents", "report.split=SPLIT.DIRECTION")
    nats, units = zip(*parts, strict=True)
    return np.stack(nats), np.stack(units)


def _nats_and_bits(directory: Path, split: str, found: Sequence[Run]) -> tuple[Numbers, Numbers]:
    """The same for one text: [runs, documents], [documents]."""
    documents = [read_documents(directory / run.path, split, run) for run in found]
    texts = [[(row["sha256"], row["bytes"]) for row in rows] for rows in documents]
    for run, text in zip(found, texts, strict=True):
        if text != texts[0]:
            raise DataError(run.path, f"its {split} is not the text of {found[0].path}", "compare runs of one text")
    nats = np.array([[row["nats"] for row in rows] for rows in documents])
    return nats, np.array([n_bytes for _, n_bytes in texts[0]]) * math.log(2)
