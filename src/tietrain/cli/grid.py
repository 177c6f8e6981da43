"""The cells of a grid: each is run and noted, and none can end the others; the exit code that they give."""

import hashlib
import json
import logging
import os
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from tietrain.cli import cells, launchers, tune
from tietrain.cli.registry import say_unread
from tietrain.config import RunConfig
from tietrain.config.compose import check_labels, compose_grid, initialized, only_swept, parse_overrides, to_run_config
from tietrain.config.hydra_errors import hydra_error
from tietrain.config.hydra_parts import RunMode, split_sweep, typed
from tietrain.errors import SettingsError, TietrainError, eprint, system_refusal
from tietrain.runs import record as runs
from tietrain.runs.ownership import check_study, held, make_own_folder, scratch
from tietrain.train import devices, job
from tietrain.train.experiment import Experiment
from tietrain.train.outcome import Outcome
from tietrain.train.place import known_places, new_place

# The variable that names the file to processes which a launcher starts.
VARIABLE = "TIETRAIN_OUTCOMES"
# What Optuna raises, in a sweeper that then has nothing to write, if every trial failed.
NO_VALUE = "No trials are completed yet"


class Outcomes:
    """The outcomes of the command that this process works for, one JSON line per run.

    Args:
        folder: where to begin an empty file; None to use the one that the command began.
    """

    def __init__(self, folder: Path | None = None) -> None:
        if folder is not None:
            path = folder.absolute() / "outcomes.jsonl"
            path.touch()
            os.environ[VARIABLE] = str(path)
        self.path = Path(os.environ[VARIABLE])
        # Appears when a signal stops the grid, and holds its number.
        self.stopped = self.path.with_name("stopped")

    def add(self, outcome: Outcome) -> None:
        """Print why a run failed, and note how it ended, unless its grid is gone.

        Raises:
            KeyboardInterrupt: a signal, its argument, stopped the run; it stops the grid too, unless each cell is a job.
        """
        if outcome.message:
            eprint(f"tietrain: {outcome.message}")
        if launchers.leads() or not _in_grid():  # the processes of a cell share the file of its grid
            with suppress(FileNotFoundError), open(self.path, "a", encoding="utf-8") as f:
                f.write(json.dumps(vars(outcome)) + "\n")
        if outcome.exit_code >= 128:
            number = outcome.exit_code - 128
            if launchers.stops_grid(HydraConfig.get()):
                self.stopped.write_text(str(number))
            raise KeyboardInterrupt(number)

    def exit_code(self, *, is_grid: bool, note: str = "") -> int:
        """The code of a single run. For a grid, print a summary; 1 if a cell failed, else 6 if one runs elsewhere."""
        noted = [Outcome(**json.loads(line)) for line in self.path.read_text(encoding="utf-8").splitlines()]
        # A job that was stopped and began again has noted both.
        last = {outcome.directory: outcome for outcome in noted}
        ended = [outcome for outcome in noted if outcome.status != "interrupted" or outcome is last[outcome.directory]]
        if len(ended) < 2 and not (is_grid and self.stopped.exists()):
            return max((outcome.exit_code for outcome in ended), default=0)
        counts = Counter(outcome.status.replace("_", " ") for outcome in ended)
        eprint(f"grid: {', '.join(f'{n} {status}' for status, n in counts.items())}{note}")
        failed = [outcome for outcome in ended if outcome.exit_code and outcome.status != "not_applicable"]
        for outcome in failed:
            eprint(f"  {outcome.status.replace('_', ' ')}: {outcome.directory} {outcome.message}")
        if self.stopped.exists():
            return 128 + int(self.stopped.read_text())
        return 1 if any(outcome.exit_code != 6 for outcome in failed) else 6 if failed else 0


def prepare(
    words: Sequence[str], config_dirs: Sequence[str], multirun: bool, name: str = "config"
) -> tuple[list[str], Path | None]:
    """Overrides that a grid needs besides the words of its command line, and its folder; `[], None` for a single run.

    Raises:
        SettingsError: run_dir names one folder for several cells, the study is not the name of a folder, the cells would
            need more cores than there are, or a search would choose tuned arms.
        StorageError: the folder cannot be made.
    """
    common = compose_grid(words, config_dirs, name)
    swept = swept_keys(common.hydra, words)
    sweeper = sweeper_of(common)
    if common.hydra.output_subdir is not None:
        problem = f"a run writes its own {runs.CONFIG}, and Hydra would write over another one"
        raise SettingsError(f"hydra.output_subdir={common.hydra.output_subdir}", problem, "leave it out")
    is_grid = multirun or common.hydra.mode == RunMode.MULTIRUN
    is_tuned = tune.is_tuned(common)
    by_torchrun = int(os.environ.get("WORLD_SIZE", 1)) > 1 and (is_grid or is_tuned)
    if by_torchrun or (is_tuned and launchers.tasks_of_cell(common.hydra) > 1):
        problem = "each process would carry out all its runs"
        remedy = "start each run by itself, or all of them with one process each"
        raise SettingsError("several processes with a grid or tune", problem, remedy)
    if not is_grid:
        return [], None
    if common.run_dir and swept:
        problem = "a grid has several cells, and this names one folder"
        raise SettingsError(f"run_dir={common.run_dir}", problem, "use study=NAME")
    if is_tuned and sweeper != "basic":
        problem = f"tune={common.tune.name} gives every arm the same trials, and this sweeper chooses more"
        raise SettingsError(f"hydra/sweeper={sweeper}", problem, "leave out one of the two")
    RunConfig(study=common.study)  # refuses a bad name before it becomes a folder
    added = launchers.shared_cores(common)
    study = Path(common.hydra.sweep.dir)
    check_study(study)
    make_own_folder(study)
    is_ours = study == Path("outputs", common.study) and "study" not in swept and not common.run_dir
    if is_ours and sweeper == "basic":
        with initialized(words, config_dirs):
            found = split_cells(common)
            n_runs = tune.n_runs(common)
        listed = [cells.GridCell(cells.cell_words(cell), tuple(only_swept(cell, swept)), n_runs) for cell in found]
        cells.add_cells(study, listed)
    return added, study


def sweeper_of(common: DictConfig) -> str:
    """Name of the sweeper that runs a grid; all but `basic` choose their cells as they go."""
    return str(common.hydra.runtime.choices["hydra/sweeper"])


def split_cells(common: DictConfig) -> list[list[str]]:
    """The overrides of each cell of a basic sweep, in order; Hydra must be initialized."""
    return split_sweep([*_sweeper_params(common.hydra), *common.hydra.overrides.task])


def swept_keys(settings: Any, words: Sequence[str]) -> set[str]:
    """Keys with several values in a grid.

    Args:
        settings: Hydra's own. words: the overrides of the command line, which win over hydra.sweeper.params.
    """
    last = {override.key_or_group: override for override in parse_overrides([*_sweeper_params(settings), *words])}
    return {key for key, override in last.items() if override.is_sweep_override()}


def _sweeper_params(settings: Any) -> list[str]:
    return [f"{key}={values}" for key, values in (settings.sweeper.get("params") or {}).items()]


def run_app(argv: Sequence[str], words: Sequence[str], study: Path | None) -> int:
    """Let Hydra carry out a command line; returns the exit code.

    Args:
        argv: all of it. words: its overrides. study: folder of the grid; None for a single run, or if Hydra only prints.
    """

    @hydra.main(version_base="1.3", config_path="pkg://tietrain.conf", config_name="config")
    def app(cfg: DictConfig) -> float | None:
        return run_cell(cfg, words)

    sys.argv = ["tietrain", *argv]
    # Hydra then raises its refusals instead of printing them and leaving with 1.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    logging.getLogger("hydra_plugins").setLevel(logging.CRITICAL)  # each cell says itself why it has no value
    # Cells of a grid can run on other machines, which share its folder but not /tmp.
    devices.remember_visible()
    with scratch(study or Path(tempfile.gettempdir()), "grid") as folder:
        outcomes = Outcomes(folder)
        try:
            with launchers.passing_on_signals(outcomes.stopped) if study else nullcontext():
                app()
        except (HydraException, OmegaConfBaseException, YAMLError) as e:
            raise hydra_error(e, words) from None
        except SystemExit as e:  # Hydra's parser of flags
            return e.code if isinstance(e.code, int) else 2
        except KeyboardInterrupt:
            if not outcomes.path.stat().st_size:
                raise
        except Exception as e:  # from a launcher or sweeper: no cell raises
            if study is None or isinstance(e, TietrainError):
                raise
            if NO_VALUE in str(e):
                return outcomes.exit_code(is_grid=True, note="; no trial has a value") or 1
            eprint(f"tietrain: the grid ended early, {type(e).__name__}: {e}")
            return outcomes.exit_code(is_grid=True) or 1
        return outcomes.exit_code(is_grid=study is not None)


def run_cell(cfg: DictConfig, words: Sequence[str]) -> float | None:
    """Run one cell, a run or a tuned arm; returns its nats per token on valid, for a sweeper that searches.

    Never raises a failure, because an exception would end the cells after it.

    Args:
        words: the overrides of the command line, which tell what a grid sweeps.
    """
    outcomes = Outcomes()
    devices.show_hidden()
    launchers.join_tasks(HydraConfig.get())
    if outcomes.stopped.exists():
        return None
    with launchers.IN_CELL, launchers.requeued():
        return _run_cell(cfg, words)


def _run_cell(cfg: DictConfig, words: Sequence[str]) -> float | None:
    settings = HydraConfig.get()
    try:
        check_labels(settings, settings.overrides.task, settings.job.config_name or "config")
        swept = swept_keys(settings, words) if _in_grid() else set()
        if shown := only_swept(settings.overrides.task, swept):
            eprint(f"cell {settings.job.num + 1}: {' '.join(shown)}")
        if tune.is_tuned(cfg):
            return tune.run_arm(tune.make_points(cfg, settings.overrides.task, swept), _run)
        config = to_run_config(cfg, swept, settings.overrides.task)
        if not _in_grid():
            say_unread(words, config)
        return _run(config).valid
    except Exception as e:
        Outcomes().add(_refused(cfg, e, words))
        return None


def _run(config: RunConfig) -> Outcome:
    """Carry out one run and note its outcome."""
    if _in_grid():
        config.hardware.threads = launchers.threads_of_cell(HydraConfig.get(), config.hardware.threads)
        _list_run(Experiment(config).directory)
    outcome = job.run_job(config, list(HydraConfig.get().overrides.task))
    if outcome.status == "diverged" and config.tune.role == "tuning":
        outcome.exit_code = 0  # the search is there to find out which points diverge
    Outcomes().add(outcome)
    return outcome


def _list_run(directory: Path) -> None:
    """Write to the study's list of cells which run this cell becomes."""
    if directory.parent == Path(HydraConfig.get().sweep.dir) and launchers.leads():
        cells.add_run(directory.parent, HydraConfig.get().overrides.task, directory.name)


def _in_grid() -> bool:
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def _refused(cfg: DictConfig, error: Exception, words: Sequence[str]) -> Outcome:
    """The outcome of a cell whose configuration is refused; in a grid a directory named after its overrides records it."""
    outcome = Outcome("", "failed", 70, f"internal error, a bug in tietrain: {type(error).__name__}: {error}")
    if isinstance(error, OSError):
        error = system_refusal(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        error = hydra_error(error, words)
    if isinstance(error, TietrainError):
        outcome = Outcome("", error.status, error.exit_code, str(error))
    if not _in_grid():
        if outcome.exit_code == 70:
            raise error
        return outcome
    if not launchers.leads():
        return outcome
    settings = HydraConfig.get()
    requested = sorted(settings.overrides.task)
    digest = hashlib.sha256(json.dumps(requested).encode()).hexdigest()[:8]
    study = Path("outputs", str(cfg.study))
    swept = only_swept(settings.overrides.task, swept_keys(settings, words))
    directory = known_places(study, runs.REFUSED).get(digest) or new_place(study, runs.REFUSED, swept, digest)
    label = "+".join(cfg.tying.ties)
    record = runs.RunRecord(directory.name, study.name, label, cfg.task.name, outcome.status, cfg.seed)
    record.reason = outcome.message
    record.exit_code = outcome.exit_code
    record.settings = dict(typed(word).partition("=")[::2] for word in requested)
    _list_run(directory)
    try:
        with held(directory):
            runs.write_record(directory, record)
            runs.append_log(directory, "".join(traceback.format_exception(error)))
    except TietrainError as e:
        return Outcome("", e.status, e.exit_code, str(e))
    outcome.directory = str(directory)
    return outcome
