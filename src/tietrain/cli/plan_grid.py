"""`tietrain plan -m`: the cells of a grid before it runs, with what each stores and computes, or why it cannot run."""

import itertools
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from tietrain.cli.grid import split_cells, sweeper_of, swept_keys
from tietrain.cli.status import STYLES, WIDTH
from tietrain.cli.tune import is_tuned, make_points, tuning_runs
from tietrain.config.compose import check_labels, compose_cell, compose_grid, initialized, only_swept, to_run_config
from tietrain.config.describe import megabytes
from tietrain.config.hydra_parts import RunMode, composed_once
from tietrain.config.match import compare_match
from tietrain.errors import SettingsError, TietrainError
from tietrain.plan.conventions import columns
from tietrain.plan.params import count_memory
from tietrain.runs import record as runs
from tietrain.runs.reading import is_there
from tietrain.runs.view import read_run
from tietrain.train.experiment import Experiment

NOTE = "FLOPs: forward, per target token. Memory: parameters, gradients, optimizer state; no activations."


@dataclass(frozen=True)
class CellPreview:
    """One cell of a grid that has not run.

    overrides: its values of the swept keys.
    state: `new`; the status of its directory; how many tuning runs of an arm have ended; `not_applicable` or `failed` if it
        is refused.
    flops_per_token: forward, per target token at typical length. training_bytes: parameters, gradients and optimizer state.
    matched: how match.by changed it. trials: the runs of a tuned arm, whose counts are those at its first point.
    """

    overrides: list[str]
    state: str
    directory: str = ""
    params: int | None = None
    params_saved: int | None = None
    flops_per_token: int | None = None
    training_bytes: int | None = None
    matched: str = ""
    trials: str = ""
    reason: str = ""


@composed_once()
def preview(
    words: Sequence[str], config_dirs: Sequence[str], multirun: bool, name: str = "config"
) -> list[CellPreview] | None:
    """The cells of a grid, in the order in which they would run; None if neither -m nor the configuration asks for one.

    Raises:
        SettingsError: something would end the grid before its first cell, or its sweeper chooses cells as it goes.
    """
    common = compose_grid(words, config_dirs, name)
    if not multirun and common.hydra.mode != RunMode.MULTIRUN:
        return None
    sweeper = sweeper_of(common)
    if sweeper != "basic":
        raise SettingsError(f"hydra/sweeper={sweeper}", "it chooses its cells as it goes", "plan one of them")
    swept = swept_keys(common.hydra, words)
    with initialized(words, config_dirs):
        return [_preview(cell, swept, list(common.hydra.overrides.hydra), name) for cell in split_cells(common)]


def _preview(words: list[str], swept: set[str], of_hydra: list[str], name: str) -> CellPreview:
    shown = only_swept(words, swept)
    cfg, settings = compose_cell([*of_hydra, *words], name)
    try:
        check_labels(settings, words, name)
        if is_tuned(cfg):
            points = make_points(cfg, words, swept)
            tuning = itertools.chain.from_iterable(map(tuning_runs, points))
            directories = [Experiment(config).directory for config in tuning]
            n_ended = sum(_state(directory) in ("done", "diverged") for directory in directories)
            state = f"{n_ended} of {len(directories)} tuning runs" if n_ended else "new"
            return _counted(shown, Experiment(points[0]), state, directories[0].parent)
        experiment = Experiment(to_run_config(cfg, swept, words))
        return _counted(shown, experiment, _state(experiment.directory), experiment.directory)
    except TietrainError as e:
        return CellPreview(shown, e.status, reason=str(e))


def _state(directory: Path) -> str:
    return read_run(directory, str(directory)).status if is_there(directory / runs.RUN) else "new"


def _counted(shown: list[str], experiment: Experiment, state: str, directory: Path) -> CellPreview:
    config = experiment.config
    plan = experiment.plan
    match = compare_match(config) if config.match.by else None
    return CellPreview(
        shown,
        state,
        str(directory),
        params=experiment.params.params,
        params_saved=experiment.params.params_saved,
        flops_per_token=columns(plan, config.typical_length)["with attention"] // 3,
        training_bytes=count_memory(plan, config.optim.name, config.optim.momentum).training,
        matched=f"{match.change}: {match.percent:+.2f} %" if match else "",
        trials=config.tune.trials,
    )


def show_cells(cells: list[CellPreview]) -> None:
    """Print one line per cell, and how many cells are in which state."""
    table = Table(box=None, pad_edge=False)
    table.add_column("cell", overflow="fold")
    for name in ("parameters", "saved", "FLOPs/token", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    extra = [name for name in ("matched", "trials") if any(getattr(cell, name) for cell in cells)]
    for name in ("state", *extra, "reason"):
        table.add_column(name, overflow="fold")
    for cell in cells:
        counts = ["" if n is None else f"{n:,}" for n in (cell.params, cell.params_saved, cell.flops_per_token)]
        memory = "" if cell.training_bytes is None else megabytes(cell.training_bytes)
        state = Text(cell.state.replace("_", " "), STYLES.get(cell.state, ""))
        texts = [Text(getattr(cell, name)) for name in (*extra, "reason")]
        table.add_row(Text(" ".join(cell.overrides)), *counts, memory, state, *texts)
    states = Counter(cell.state.replace("_", " ") for cell in cells)
    summary = f"{len(cells)} cells: {', '.join(f'{n} {state}' for state, n in states.items())}"
    Console(width=None if sys.stdout.isatty() else WIDTH).print(Group(table, Text(summary), Text(NOTE)))
