"""A run that begins with weights of another kind: its directory, whole or not there, as that of a run that a signal stopped
after its step. It is made under another name and renamed.
"""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tietrain import __version__
from tietrain.config.compose import config_yaml
from tietrain.config.describe import ledger_json
from tietrain.data.vocabularies import save_vocabularies
from tietrain.errors import SettingsError
from tietrain.model.transformer import Transformer
from tietrain.runs import record as runs
from tietrain.runs.durable import sync
from tietrain.runs.metrics import seal_of_metrics
from tietrain.runs.ownership import make_own_folder, scratch
from tietrain.runs.reading import names_in
from tietrain.runs.record import RunRecord
from tietrain.train.averaging import make_smoothed
from tietrain.train.checkpoint import save_checkpoint, save_final
from tietrain.train.experiment import Experiment
from tietrain.train.hardware import resolve_hardware
from tietrain.train.optim import Optimizer
from tietrain.train.resume import make_identity
from tietrain.train.state import TrainState


def check_begin(directory: Path) -> None:
    """SettingsError unless a run directory is absent or empty."""
    if names := names_in(directory):
        found = f", or continue the run that is there: `{runs.resume_command(directory)}`" if runs.RUN in names else ""
        raise SettingsError(f"run_dir={directory}", "it is not empty", f"give another run_dir{found}")


def begun_record(experiment: Experiment, fingerprints: Mapping[str, str], words: Sequence[str]) -> RunRecord:
    """The record of a run that is to be trained on.

    Args:
        words: of the command line.
    """
    config, directory = experiment.config, experiment.directory
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return RunRecord(
        id=directory.name,
        study=config.study,
        label=config.tying_label,
        task=config.task.name,
        status="interrupted",
        seed=config.seed,
        arm=experiment.arm(fingerprints),
        plan_hash=experiment.plan.hash,
        reason=f"`{runs.resume_command(directory.absolute())}` trains on",
        version=__version__,
        words=list(words),
        folder=str(Path.cwd()),
        settings=experiment.settings,
        fingerprints=dict(fingerprints),
        declared=config.declared,
        started_at=now,
        ended_at=now,
    )


def write_begun(
    experiment: Experiment,
    model: Transformer,
    optimizer: Optimizer,
    state: TrainState,
    record: RunRecord,
    log: str,
    *,
    is_start: bool = False,
) -> None:
    """Write the directory elsewhere, then rename it: a kill leaves none, or a whole one.

    Args:
        log: the first line of its log.
        is_start: whether other runs may start from these weights too (init_from), as from the last ones of a run.
    """
    config, directory = experiment.config, experiment.directory.absolute()
    assert experiment.vocabularies is not None, "they are written beside the weights"
    hardware = resolve_hardware(config.hardware)
    record.machine = hardware.describe()
    record.progress = state.used
    if not config.run_dir:
        make_own_folder(directory.parent)
    with runs.writing(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
    with scratch(directory.parent, "begun") as staged:
        made = staged / directory.name
        save_vocabularies(made, experiment.vocabularies)
        runs.write_text(made / runs.CONFIG, config_yaml(config))
        runs.write_json(made / runs.PLAN, experiment.plan.to_json())
        runs.write_json(made / runs.LEDGER, ledger_json(experiment.plan, config))
        identity = make_identity(experiment, hardware, record.fingerprints)
        body = {"state": state.to_json(), "metrics": seal_of_metrics(made, 0), **identity}
        save_checkpoint(made, state.step, model, optimizer, body, make_smoothed(model, config.train))
        if is_start:
            save_final(made, model)
        runs.append_log(made, log)
        runs.write_record(made, record)
        with runs.writing(directory):
            os.rename(made, directory)
            sync(directory.parent)
