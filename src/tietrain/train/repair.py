"""What a finished run lost, made again from what it has: plan and ledger from its settings, scores from weights and text."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from tietrain.config.describe import ledger_json
from tietrain.config.stored import read_run_config
from tietrain.data.prepare import prepare
from tietrain.data.vocabularies import load_vocabularies
from tietrain.errors import DataError, SettingsError, StorageError, TietrainError
from tietrain.runs import record as runs
from tietrain.runs.ownership import held
from tietrain.runs.seal import TEXTS, is_as_sealed, make_seal, taken_away
from tietrain.runs.view import damages_of
from tietrain.train.averaging import load_scored
from tietrain.train.experiment import Experiment
from tietrain.train.final_scores import eval_json, score_all
from tietrain.train.hardware import resolve_hardware
from tietrain.train.stop import StopRequest
from tietrain.train.tasks import make_task


@dataclass
class Repaired:
    """File -> what was done. left: file -> why it stays damaged; then the seal stays as it was. seal: what became of it."""

    made: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    seal: str = ""


def repair_run(directory: Path, log: Callable[[str], None]) -> Repaired:
    """Make again what a finished run has lost, and seal it if nothing else is damaged.

    Raises:
        SettingsError: the run is not finished.
        DataError: its record, settings or vocabularies are damaged: everything else is made from them.
        StorageError: the system refuses.
    """
    config = read_run_config(directory)
    with held(directory):
        record = runs.read_record(directory)
        if record.status != "done":
            raise SettingsError(str(directory), f"the run is {record.status}", "start its command again")
        damages = taken_away(directory, record) | damages_of(directory, record)
        for name in damages.keys() & {runs.RUN, runs.CONFIG}:
            raise DataError(str(directory / name), damages[name], "restore it: everything else is made from it")
        experiment = Experiment(replace(config, run_dir=str(directory)))
        vocabularies = load_vocabularies(directory, experiment.layout.vocabularies, record.fingerprints)
        experiment = experiment.with_vocabularies(vocabularies)
        if experiment.plan.hash != record.plan_hash:
            problem = f"it makes the plan {experiment.plan.hash}, and the run had {record.plan_hash}"
            raise DataError(str(directory / runs.CONFIG), problem, "use the tietrain that wrote the run")
        repaired = Repaired()
        bodies = {runs.PLAN: experiment.plan.to_json(), runs.LEDGER: ledger_json(experiment.plan, config)}
        for name in damages:
            if name in bodies:
                runs.write_json(directory / name, bodies[name])
                repaired.made[name] = _made(directory, record, name)
            elif not _is_of_scores(name):
                repaired.left[name] = f"{damages[name]}, and nothing can make it again: restore it"
        _score_again(experiment, record, list(filter(_is_of_scores, damages)), repaired, log)
        if repaired.left:
            repaired.seal = "as it was: the run is not whole"
        elif damages or not record.seal:
            version = record.machine.get("tietrain", "an older version")
            repaired.seal = (
                "made again" if record.seal else f"made; the run was not sealed (made by tietrain {version})"
            )
            record.seal = make_seal(directory, record)
            runs.write_record(directory, record)
        return repaired


def _is_of_scores(name: str) -> bool:
    return name in (runs.EVAL, runs.DOCUMENTS) or bool(TEXTS.fullmatch(name))


def _made(directory: Path, record: runs.RunRecord, name: str) -> str:
    if name not in record.seal.get("files", {}):
        return "made again"
    return (
        "made again, as it was" if is_as_sealed(directory, record, name) else "made again, with other bytes than before"
    )


def _score_again(
    experiment: Experiment,
    record: runs.RunRecord,
    lost: list[str],
    repaired: Repaired,
    log: Callable[[str], None],
) -> None:
    """Make the files of the scores again, if one is lost, and note what came of it."""
    if not lost:
        return
    config, directory = experiment.config, experiment.directory
    try:
        prepared = prepare(config)
        for key, content in prepared.fingerprints.items():
            if record.fingerprints.get(key) != content:
                raise DataError(f"fingerprint of {key}", "the text is not what it was", "restore the text")
        hardware = resolve_hardware(config.hardware)
        model = experiment.build_model().to(hardware.device)
        scored = load_scored(directory, model, config.train)
        scores = score_all(experiment, make_task(config, prepared), model, prepared, log, StopRequest())
        runs.write_json(directory / runs.EVAL, eval_json(record.progress, scored, model, scores))
    except StorageError:
        raise
    except TietrainError as e:
        repaired.left |= dict.fromkeys(lost, f"it cannot be made again: {e}")
        return
    repaired.made |= {name: _made(directory, record, name) for name in lost}
