"""The cells of a grid: each run and noted, none able to end the others, and a summary of how all of them ended."""

from __future__ import annotations

import hashlib
import json
import os
import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig

from tietrain.cli import cells, launchers, tune
from tietrain.config import RunConfig
from tietrain.config.compose import check_labels, compose_grid, initialized, parse_overrides, to_run_config
from tietrain.errors import SettingsError, TietrainError, eprint
from tietrain.runs import record as runs
from tietrain.train import job
from tietrain.train.experiment import Experiment
from tietrain.train.outcome import Outcome

# Where jobs, in this process or in a launcher's, note how they ended: one JSON line a run.
OUTCOMES = "TIETRAIN_OUTCOMES"


def prepare(words: Sequence[str], config_dirs: Sequence[str], multirun: bool) -> tuple[list[str], Path | None]:
    """Overrides that a grid needs besides the words of its command line, and its folder; none of both for a single run.

    Raises:
        SettingsError: run_dir names one folder for several cells, the study is no name of a folder, the cells would want more
            cores than there are, or tuned arms are searched for.
        StorageError: the folder cannot be made.
    """
    common = compose_grid(words, config_dirs)
    if not multirun and common.hydra.mode != RunMode.MULTIRUN:
        return [], None
    swept = swept_of(common.hydra.sweeper.get("params"), words)
    if common.run_dir and swept:
        problem = "a grid has several cells and this names one folder"
        raise SettingsError(f"run_dir={common.run_dir}", problem, "use study=NAME")
    if tune.is_tuned(common) and sweeper_of(common) != "basic":
        problem = f"tune={common.tune.name} gives every arm the same trials, and this searches for more"
        raise SettingsError(f"hydra/sweeper={sweeper_of(common)}", problem, "leave out one of the two")
    RunConfig(study=common.study)  # a name that is none is refused before a folder is made of it
    added, study = launchers.shared_cores(common), Path(common.hydra.sweep.dir)
    with runs.writing(study):
        study.mkdir(parents=True, exist_ok=True)
    is_ours = study == Path("outputs", common.study) and "study" not in swept and not common.run_dir
    if is_ours and sweeper_of(common) == "basic":
        with initialized(words, config_dirs):
            found, n_runs = split_cells(common), tune.n_runs(common)
        listed = (cells.Cell(cells.cell_words(cell), tuple(only_swept(cell, swept)), n_runs) for cell in found)
        cells.add_cells(study, listed)
    return added, study


def sweeper_of(common: DictConfig) -> str:
    """Name of the sweeper that a grid is run by; every other than basic chooses its cells as it goes."""
    return str(common.hydra.runtime.choices["hydra/sweeper"])


def split_cells(common: DictConfig) -> list[list[str]]:
    """The overrides of each cell of a basic sweep, in order, as Hydra's own sweeper makes them; Hydra is initialized."""
    params = [f"{key}={values}" for key, values in (common.hydra.sweeper.params or {}).items()]
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    (found,) = BasicSweeper.split_arguments(parser.parse_overrides([*params, *common.hydra.overrides.task]), None)
    return found


def only_swept(words: Iterable[str], swept: set[str]) -> list[str]:
    """Those overrides of a cell whose keys have several values in its grid."""
    return [word for word in words if word.partition("=")[0] in swept]


def run_cell(cfg: DictConfig, words: Sequence[str]) -> float | None:
    """One cell of Hydra's, a run or a tuned arm; its nats a token on valid, where it has them, for a sweeper that searches.

    Never raises a failure, because an exception would end the cells after it.

    Args:
        words: the overrides of the command line, which say what a grid sweeps.
    """
    if launchers.in_worker():
        launchers.ignore_signals()
    if stopped_of(Path(os.environ[OUTCOMES])).exists():
        return None
    try:
        if "tying" not in HydraConfig.get().runtime.choices:  # then it is a list of files
            check_labels(HydraConfig.get().overrides.task)
        swept = swept_keys(words)
        if tune.is_tuned(cfg):
            return tune.run_arm(tune.make_points(cfg, HydraConfig.get().overrides.task, swept), _run)
        return _run(to_run_config(cfg, swept)).valid
    except Exception as e:
        return _note(_refused(cfg, e)).valid
    except KeyboardInterrupt:
        if launchers.in_worker():
            return None  # joblib kills the other workers where one raises, and they are saving
        raise


def stopped_of(outcomes: Path) -> Path:
    """The file that holds the signal by which a grid was stopped, beside the outcomes of its cells."""
    return outcomes.with_name("stopped")


def _run(config: RunConfig) -> Outcome:
    """One run to its end, noted."""
    if _in_grid():
        config.hardware.threads = launchers.threads_of_cell(HydraConfig.get(), config.hardware.threads)
        _list_run(Experiment(config).directory)
    outcome = job.run_job(config)
    if outcome.status == "diverged" and config.tune.role == "tuning":
        outcome.exit_code = 0  # that a point diverges is what the search is to find out
    return _note(outcome)


def _note(outcome: Outcome) -> Outcome:
    """Say how a run ended, and write it down for the summary of the grid."""
    if outcome.message:
        eprint(f"tietrain: {outcome.message}")
    with open(os.environ[OUTCOMES], "a", encoding="utf-8") as f:
        f.write(json.dumps(outcome.__dict__) + "\n")
    if outcome.exit_code >= 128:
        # A stopped run stops its grid too; the same command finds finished cells again.
        stopped_of(Path(os.environ[OUTCOMES])).write_text(str(outcome.exit_code - 128))
        raise KeyboardInterrupt
    return outcome


def _list_run(directory: Path) -> None:
    """Say in the study which run its cell becomes."""
    if directory.parent == Path(HydraConfig.get().sweep.dir):
        cells.add_run(directory.parent, HydraConfig.get().overrides.task, directory.name)


def _in_grid() -> bool:
    return HydraConfig.get().mode == RunMode.MULTIRUN


def _refused(cfg: DictConfig, error: Exception) -> Outcome:
    """The outcome of a cell that is no configuration, recorded under the name of its overrides where it is one of a grid."""
    outcome = Outcome("", "failed", 70, f"internal error, a bug of tietrain: {type(error).__name__}: {error}")
    if isinstance(error, TietrainError):
        outcome = Outcome("", error.status, error.exit_code, str(error))
    if not _in_grid():
        if outcome.exit_code == 70:
            raise error
        return outcome
    requested = sorted(HydraConfig.get().overrides.task)
    name = f"{runs.REFUSED}{hashlib.sha256(json.dumps(requested).encode()).hexdigest()[:8]}"
    directory = Path("outputs") / str(cfg.study) / name
    settings = dict(word.partition("=")[::2] for word in requested)
    record = runs.RunRecord(name, str(cfg.study), "+".join(cfg.tying.ties), cfg.task.name, outcome.status, cfg.seed)
    record.reason, record.exit_code, record.settings = outcome.message, outcome.exit_code, settings
    _list_run(directory)
    try:
        with runs.locked(directory):
            runs.write_record(directory, record)
            runs.append_log(directory, "".join(traceback.format_exception(error)))
    except TietrainError as e:
        return Outcome("", e.status, e.exit_code, str(e))
    outcome.directory = str(directory)
    return outcome


def swept_keys(words: Sequence[str]) -> set[str]:
    """Keys with several values in the grid of this run, by hydra.sweeper.params or the command line's words."""
    return swept_of(HydraConfig.get().sweeper.get("params"), words) if _in_grid() else set()


def swept_of(params: Any, words: Sequence[str]) -> set[str]:
    """Keys with several values, of a grid with these hydra.sweeper.params and words."""
    given = [f"{key}={values}" for key, values in (params or {}).items()]
    last = {o.key_or_group: o for o in parse_overrides([*given, *words])}  # the sweeper, too, lets the later one win
    return {key for key, override in last.items() if override.is_sweep_override()}


def exit_code(outcomes: Path) -> int:
    """The single run's own code; for a grid 1 where a cell failed, with a summary of what ended how.

    6 says that none failed, and some are being written by another process.
    """
    ended = [json.loads(line) for line in outcomes.read_text(encoding="utf-8").splitlines()]
    stopped = stopped_of(outcomes)
    if len(ended) < 2 and not stopped.exists():
        return max((cell["exit_code"] for cell in ended), default=0)
    counts = Counter(cell["status"] for cell in ended)
    eprint(f"grid: {', '.join(f'{n} {_said(status)}' for status, n in counts.items())}")
    failed = [cell for cell in ended if cell["exit_code"] and cell["status"] != "not_applicable"]
    for cell in failed:
        eprint(f"  {_said(cell['status'])}: {cell['directory']} {cell['message']}")
    if stopped.exists():
        return 128 + int(stopped.read_text())
    return 1 if any(cell["exit_code"] != 6 for cell in failed) else 6 if failed else 0


def _said(status: str) -> str:
    return status.replace("_", " ")
