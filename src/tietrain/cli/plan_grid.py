"""`tietrain plan -m`: the cells of a grid before it is run, with what each would hold and compute, or why it cannot."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import open_dict
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from tietrain.cli.grid import only_swept, split_cells, sweeper_of, swept_of
from tietrain.cli.status import STYLES, WIDTH
from tietrain.cli.tune import is_tuned, make_points, tuning_runs
from tietrain.config import RunConfig
from tietrain.config.compose import check_labels, compose_grid, initialized, to_run_config
from tietrain.config.describe import megabytes
from tietrain.config.layout import make_shape
from tietrain.config.match import compare_match
from tietrain.errors import SettingsError, TietrainError
from tietrain.plan.conventions import columns
from tietrain.plan.params import count_memory, count_params
from tietrain.plan.schemes import make_plan
from tietrain.runs import record as runs
from tietrain.train.job import directory_of


@dataclass(frozen=True)
class Cell:
    """One cell of a grid, not run.

    overrides: its values of the keys that the grid sweeps.
    state: `new`, a status of `runs.STATUSES` where its directory has one, how many tuning runs of an arm have ended, or how
        it is refused: not_applicable, failed.
    flops_per_token: forward, a target token at typical length. training_bytes: parameters, gradients and optimizer.
    matched: what match.by made of it. trials: the runs of an arm that is tuned, whose counts are those at its first point.
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


def is_grid(words: Sequence[str], config_dirs: Sequence[str]) -> bool:
    """Whether a configuration carries its own grid."""
    return compose_grid(words, config_dirs).hydra.mode == RunMode.MULTIRUN


def preview(words: Sequence[str], config_dirs: Sequence[str]) -> list[Cell]:
    """The cells of a grid, in the order they would run.

    Raises:
        SettingsError: for what would end the grid before its first cell, or a sweeper that chooses cells as it goes.
    """
    common = compose_grid(words, config_dirs)
    if (sweeper := sweeper_of(common)) != "basic":
        raise SettingsError(f"hydra/sweeper={sweeper}", "it chooses its cells as it goes", "plan one of them")
    swept = swept_of(common.hydra.sweeper.get("params"), words)
    with initialized(words, config_dirs):
        return [_preview(cell, swept, list(common.hydra.overrides.hydra)) for cell in split_cells(common)]


def _preview(words: list[str], swept: set[str], of_hydra: list[str]) -> Cell:
    shown = only_swept(words, swept)
    loader = GlobalHydra.instance().config_loader()
    cfg = loader.load_configuration("config", [*of_hydra, *words], RunMode.RUN)
    with open_dict(cfg):
        hydra = cfg.pop("hydra")
    try:
        if "tying" not in hydra.runtime.choices:  # then it is a list of files
            check_labels(words, of_hydra)
        if is_tuned(cfg):
            return _tuned(shown, make_points(cfg, words, swept, of_hydra))
        config = to_run_config(cfg, swept, of_hydra)
        directory = directory_of(config)
        return _counted(Cell(shown, _state(directory), str(directory)), config)
    except TietrainError as e:
        return Cell(shown, e.status, reason=str(e))


def _tuned(shown: list[str], points: list[RunConfig]) -> Cell:
    """An arm with a list of points: new, or how many of its tuning runs have come to an end."""
    configs = [config for point in points for config in tuning_runs(point)]
    n = sum(_state(directory_of(config)) in ("done", "diverged") for config in configs)
    state = f"{n} of {len(configs)} tuning runs" if n else "new"
    cell = Cell(shown, state, str(directory_of(configs[0]).parent), trials=points[0].tune.trials)
    return _counted(cell, points[0])


def _state(directory: Path) -> str:
    return runs.read_record(directory).status if (directory / runs.RUN).exists() else "new"


def _counted(cell: Cell, config: RunConfig) -> Cell:
    plan = make_plan(make_shape(config), config.tying.ties)
    ledger = count_params(plan)
    match = compare_match(config) if config.match.by else None
    counts = {
        "matched": f"{match.change}: {match.percent:+.2f} %" if match else "",
        "params": ledger.params,
        "params_saved": ledger.params_saved,
        "flops_per_token": columns(plan.slots.shape, config.typical_length)["with attention"] // 3,
        "training_bytes": count_memory(plan, config.optim.name, config.optim.momentum).training,
    }
    return Cell(**(asdict(cell) | counts))


def cells_json(cells: list[Cell]) -> list[dict[str, Any]]:
    """The cells as plain values."""
    return [asdict(cell) for cell in cells]


def show_cells(cells: list[Cell]) -> None:
    """Print a line for each cell, and how many there are of which state."""
    table = Table(box=None, pad_edge=False)
    table.add_column("cell", overflow="fold")
    for name in ("parameters", "saved", "FLOPs/token", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    extra = [name for name in ("matched", "trials") if any(getattr(cell, name) for cell in cells)]
    for name in ("state", *extra, "reason"):
        table.add_column(name, overflow="fold")
    for cell in cells:
        counts = [_thousands(n) for n in (cell.params, cell.params_saved, cell.flops_per_token)]
        memory = "" if cell.training_bytes is None else megabytes(cell.training_bytes)
        state = Text(cell.state.replace("_", " "), STYLES.get(cell.state, ""))
        said = [Text(getattr(cell, name)) for name in (*extra, "reason")]
        table.add_row(Text(" ".join(cell.overrides)), *counts, memory, state, *said)
    states = Counter(cell.state.replace("_", " ") for cell in cells)
    line = f"{len(cells)} cells: {', '.join(f'{n} {state}' for state, n in states.items())}"
    note = "FLOPs forward a target token; memory of parameters, gradients and optimizer, activations not counted"
    Console(width=None if sys.stdout.isatty() else WIDTH).print(Group(table, Text(line), Text(note)))


def _thousands(n: int | None) -> str:
    return "" if n is None else f"{n:,}"
