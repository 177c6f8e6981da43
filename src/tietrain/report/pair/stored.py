"""What runs stored of their test lines, read back and compared with their scores and with one another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tietrain.errors import DataError
from tietrain.runs import record as runs
from tietrain.runs.documents import Documents
from tietrain.runs.view import Run


def check_references(paths: Sequence[Path], lines: Sequence[Sequence[str]]) -> None:
    """DataError where two files of references differ, naming the first line that does."""
    remedy = "compare runs that were scored on the same text"
    for i, (here, there) in enumerate(zip(*lines, strict=False), start=1):
        if here != there:
            raise DataError(f"{paths[0]}:{i}", f"it is {_short(here)}, and in {paths[1]} {_short(there)}", remedy)
    if len(lines[0]) != len(lines[1]):
        problem = f"it has {len(lines[0])} lines, and {paths[1]} has {len(lines[1])}"
        raise DataError(str(paths[0]), problem, remedy)


def _short(line: str) -> str:
    return repr(line if len(line) <= 60 else line[:60] + "…")


def check_documents(directories: Sequence[Path], split: str, documents: Sequence[Documents]) -> None:
    """DataError where two runs were scored on other lines, naming the first."""
    remedy = "compare runs that were scored on the same text"
    for i, (here, there) in enumerate(zip(*documents, strict=False), start=1):
        if (here["sha256"], here["bytes"]) != (there["sha256"], there["bytes"]):
            requested = f"{split}, line {i}, of {directories[0]} and {directories[1]}"
            raise DataError(requested, "they were scored on other text there", remedy)
    if len(documents[0]) != len(documents[1]):
        counts = [f"{directory} has {len(rows)} lines" for directory, rows in zip(directories, documents, strict=True)]
        raise DataError(split, " and ".join(counts), remedy)


def check_recorded(run: Run, path: Path, split: str, name: str, score: float, signature: str) -> None:
    """DataError where the stored hypotheses are not those the recorded score is of."""
    recorded = run.scores[split].get(name)
    if recorded is not None and run.signatures.get(name) == signature and abs(recorded - score) > 1e-6:
        problem = f"its {name} is {score:.4f}, and {runs.EVAL} says {recorded:.4f}"
        raise DataError(str(path), problem, "restore the run as it was written")
