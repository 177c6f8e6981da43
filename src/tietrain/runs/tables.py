"""Token tables that a run kept while it trained: `checkpoints/tables_00000100/tables.safetensors`, with a manifest.

For each stack that predicts, `STACK.input` is the table that its tokens are read from and `STACK.output` the one that scores them,
each number times the gain of the norm before it. Of a tied table both are there. `STACK.contexts` is the covariance [D, D] of what
the output table multiplies, over one batch.
"""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from tietrain.errors import DataError
from tietrain.runs import record as runs
from tietrain.runs.durable import is_whole
from tietrain.runs.reading import is_folder, names_in

FILE = "tables.safetensors"
NAME = re.compile(r"tables_(\d{8,})")

Table = NDArray[np.floating]


def folder_of(directory: Path, step: int) -> Path:
    """Where a run keeps the tables of a step."""
    return directory / runs.CHECKPOINTS / f"tables_{step:08d}"


def kept_tables(directory: Path) -> dict[int, Path]:
    """Step -> folder of the tables that a run kept, by step."""
    folder = directory / runs.CHECKPOINTS
    names = names_in(folder) if is_folder(folder) else []
    found = {int(match[1]): folder / name for name in names if (match := NAME.fullmatch(name))}
    return dict(sorted(found.items()))


def read_tables(folder: Path) -> dict[str, Table]:
    """`STACK.input` and `STACK.output` -> table [V, D], `STACK.contexts` -> covariance [D, D].

    Raises:
        DataError: the folder is not as it was written.
    """
    if not is_whole(folder):
        raise DataError(str(folder), "it is damaged", "run the arm again, with train.keep_tables=true")
    try:
        return load_file(folder / FILE)
    except SafetensorError as e:
        raise DataError(str(folder), f"its tables cannot be read ({e})", "run the arm again") from e
