"""Files that the reader of an installed package reads: a function from a path to the texts of its rows."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from tietrain.data.progress import stage
from tietrain.data.sources.validate import check_blank, open_regular, text_problem
from tietrain.errors import DataError
from tietrain.plan.installed import READER, guarded, load

# Rows that are counted at a time.
LOOK_ROWS = 2**12


def read_foreign_rows(
    name: str, path: Path, requested: str, columns: Sequence[str], one_line: bool
) -> Iterator[list[str]]:
    """A text of each column for every row of a file.

    Args:
        name: of the reader, `PACKAGE.NAME`. Of one column it gives a text per row, of several a list of texts.
        one_line: whether a text with a line break in it is refused: translations are scored line by line.
    Raises:
        SettingsError: no installed package brings the reader, or its code fails. DataError: naming file and row.
    """
    read = load(READER, name)
    open_regular(path, requested).close()
    n_texts = 0
    with stage(f"reading {path.name}") as now, guarded(READER, name):
        for row, given in enumerate(read(path), start=1):
            at = f"{path}, row {row}"
            texts = [given] if len(columns) == 1 else given
            if not isinstance(texts, list | tuple) or len(texts) != len(columns):
                problem = f"{name} gives {given!r:.100}, and the columns are {', '.join(columns)}"
                raise DataError(at, problem, "set data.columns to what the reader gives: a list of texts per row")
            for column, text in zip(columns, texts, strict=True):
                if refused := text_problem(column, text, one_line):
                    raise DataError(at, *refused)
            yield list(texts)
            n_texts += any(map(str.strip, texts))
            if not row % LOOK_ROWS:
                now.done = row
                check_blank(str(path), row, n_texts)


def foreign_sha256(name: str, path: Path, requested: str, columns: Sequence[str], one_line: bool) -> str:
    """sha256 over the rows of a file: they, and not its bytes, are known again if the reader changes."""
    digest = hashlib.sha256()
    for texts in read_foreign_rows(name, path, requested, columns, one_line):
        digest.update(json.dumps(texts).encode() + b"\n")
    return digest.hexdigest()
