"""Which rows of train are pairs of which direction, the same in every arm and for every seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tietrain.config import RunConfig
from tietrain.config.directions import Direction
from tietrain.data.characters import CHARS_PER_TOKEN
from tietrain.data.encoded import Counts
from tietrain.data.ordering import draws, shuffle
from tietrain.errors import DataError


def training_rows(
    config: RunConfig, lengths: Mapping[str, Counts], blank: Mapping[str, Counts], notes: list[str]
) -> dict[str, Counts]:
    """Trained direction -> its rows: with text on all sides, none of them above task.max_len.

    With task.disjoint a row is of one direction alone, drawn by its number; of task.train_pairs those come first whose
    numbers are drawn first. What is left out is counted in the notes; nothing is ever cut.

    Args:
        lengths: column -> reference length of each row. blank: column -> rows without text.
    Raises:
        DataError: a direction has no pairs.
    """
    n_rows, task = len(next(iter(lengths.values()))), config.task
    owners = draws(n_rows, "disjoint") % np.uint64(len(config.directions))
    chosen = {}
    for number, direction in enumerate(config.directions):
        where = label("train", direction, config.directions)
        rows = np.flatnonzero(owners == number) if task.disjoint else np.arange(n_rows)
        rows = _with_text(rows, direction, blank, where, notes)
        rows = _short(rows, direction, lengths, config, where, notes)
        most = task.train_pairs.get(direction.name, len(rows))
        if len(rows) > most:
            notes.append(f"{where}: {most} of {len(rows)} pairs are learned, as task.train_pairs asks")
            order = shuffle(n_rows, "train_pairs", direction.name)
            rows = np.sort(order[np.isin(order, rows)][:most])
        chosen[direction.name] = rows
    return chosen


def label(split: str, direction: Direction, directions: Sequence[Direction]) -> str:
    """A split and, where there are several directions, which of them."""
    return split if len(directions) == 1 else f"{split} {direction.name}"


def empty_rows(direction: Direction, blank: Mapping[str, Counts]) -> Counts:
    """Rows with an empty side."""
    return np.unique(np.concatenate([blank[column] for column in direction.columns if column in blank]))


def note_empty(direction: Direction, blank: Mapping[str, Counts], where: str, notes: list[str]) -> None:
    """Count the pairs of a scored split with an empty side."""
    if n := len(empty_rows(direction, blank)):
        notes.append(f"{where}: {n} pairs with an empty side are kept and scored")


def _with_text(rows: Counts, direction: Direction, blank: Mapping[str, Counts], where: str, notes: list[str]) -> Counts:
    kept = np.setdiff1d(rows, empty_rows(direction, blank))
    if len(kept) < len(rows):
        notes.append(f"{where}: {len(rows) - len(kept)} pairs with an empty side are left out")
    if not len(kept):
        problem = f"no row of train is a pair of {direction.name} with text on all sides"
        raise DataError("data.splits.train", problem, "give more text, or ask for fewer directions")
    return kept


def _short(
    rows: Counts, direction: Direction, lengths: Mapping[str, Counts], config: RunConfig, where: str, notes: list[str]
) -> Counts:
    """The rows of which no side is longer than task.max_len."""
    max_len, longest = config.task.max_len, np.maximum.reduce([lengths[c] for c in direction.columns])[rows]
    unit = f"times {CHARS_PER_TOKEN} characters" if config.train.batch_by == "chars" else "pieces"
    kept = rows[longest <= max_len]
    if not len(kept):
        remedy = f"give at least {longest.min()} {unit}"
        raise DataError(f"task.max_len={max_len}", "every training pair is longer", remedy)
    if len(kept) < len(rows):
        said = f"{len(rows) - len(kept)} pairs with a side of more than task.max_len={max_len} {unit} are left out"
        notes.append(f"{where}: {said}")
    return kept
