"""THE MAIN JOB: from a checked configuration to a finished run directory, read top to bottom."""

from __future__ import annotations

import datetime
import os
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tietrain import __version__
from tietrain.config import RunConfig
from tietrain.config.compose import config_yaml
from tietrain.config.describe import ledger_json
from tietrain.config.identity import config_hash
from tietrain.config.match import describe_match
from tietrain.data.cache import cache_root, check_cache
from tietrain.errors import DataError, SettingsError, TietrainError, eprint
from tietrain.plan.installed import METRIC, READER, RULE, is_foreign, origins
from tietrain.plan.slots import check_length
from tietrain.runs import record as runs
from tietrain.runs.ownership import held, make_own_folder
from tietrain.runs.reading import is_there
from tietrain.runs.record import RunRecord
from tietrain.runs.seal import make_seal
from tietrain.train.devices import leased
from tietrain.train.experiment import Experiment
from tietrain.train.final_scores import eval_json, score_all
from tietrain.train.foreign_metrics import find_metric
from tietrain.train.outcome import Outcome, outcome_of_error, valid_score
from tietrain.train.resume_policy import earlier_outcome, has_work, previous_record
from tietrain.train.stop import Stopped, StopRequest
from tietrain.train.trackers import Trackers, check_installed

if TYPE_CHECKING:
    from tietrain.data.prepared import Prepared
    from tietrain.model.transformer import Transformer
    from tietrain.train.hardware import Hardware
    from tietrain.train.processes import Team

Log = Callable[[str], None]


def run_job(config: RunConfig, words: Sequence[str] = ()) -> Outcome:
    """Run one experiment to its end, or find it finished; every ending is written to `run.json`, none is raised.

    If torchrun started several processes, each calls this, and the first alone has to do with the directory.

    Args:
        words: of the command line that asks for it; none if its directory does.
    """
    experiment = Experiment(config)
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return _lead(experiment, words, None)

    from tietrain.train.follower import follow
    from tietrain.train.processes import Team

    try:
        with Team(config.hardware.max_wait, in_slices=config.hardware.shard) as team:
            if team.rank:
                return follow(experiment, team)
            outcome = _lead(experiment, words, team)
            team.end(outcome)
            return outcome
    except TietrainError as e:
        return Outcome(str(experiment.directory), e.status, e.exit_code, str(e))


def _lead(experiment: Experiment, words: Sequence[str], team: Team | None) -> Outcome:
    """Run an experiment in its directory. team: None for a run of one process."""
    config = experiment.config
    try:
        check_installed(config.train.trackers)
        check_cache(cache_root(config.data.cache))
        if not config.run_dir:
            make_own_folder(experiment.directory.parent)
        with held(experiment.directory):
            previous = previous_record(experiment)
            ended = earlier_outcome(experiment, previous)
            return ended or _run(experiment, _new_record(experiment, previous, words), team)
    except TietrainError as e:
        return Outcome(str(experiment.directory), e.status, e.exit_code, str(e))


def _new_record(experiment: Experiment, previous: RunRecord | None, words: Sequence[str]) -> RunRecord:
    config, directory = experiment.config, experiment.directory
    machines = [*previous.earlier_machines, previous.machine] if previous and has_work(directory) else []
    return RunRecord(
        id=directory.name,
        study=config.study,
        label=config.tying_label,
        task=config.task.name,
        status="running",
        version=__version__,
        words=list(words) or (previous.words if previous else []),
        folder=str(Path.cwd()),
        seed=config.seed,
        settings=experiment.settings,
        earlier_machines=[machine for i, machine in enumerate(machines) if machine and machine not in machines[:i]],
        parent=previous.parent if previous else None,
        declared=previous.declared if previous and (previous.arm or has_work(directory)) else config.declared,
        corrections=previous.corrections if previous else [],
        started_at=(previous.started_at if previous else "") or _now(),
    )


def _run(experiment: Experiment, record: RunRecord, team: Team | None) -> Outcome:
    directory = experiment.directory

    def log(line: str) -> None:
        eprint(line)
        runs.append_log(directory, line + "\n")

    began = time.monotonic()
    try:
        with StopRequest() as stop, Trackers(experiment, log) as trackers, ExitStack() as to_the_end:
            experiment, prepared = _prepare(experiment, record, log, stop)

            # torch and everything above it is imported only now: settings and data errors come at once.
            from tietrain.train.hardware import resolve_hardware

            hardware = resolve_hardware(experiment.config.hardware, _settled_precision(experiment, record))
            with stop.interruptible():
                lease = leased(hardware, log, waits=bool(experiment.config.swept))
                hardware = to_the_end.enter_context(lease)
            _train_and_score(experiment, prepared, hardware, record, log, stop, trackers, team)
        outcome = Outcome(str(directory), "done", valid=valid_score(directory))
    except Stopped as e:
        outcome = outcome_of_error(e, experiment)
    except Exception as e:
        runs.append_log(directory, "".join(traceback.format_exception(e)))
        outcome = outcome_of_error(e, experiment)
    record.status = outcome.status
    record.exit_code = outcome.exit_code
    record.reason = outcome.message
    record.ended_at = _now()
    record.total_seconds = time.monotonic() - began
    runs.write_record(directory, record)
    return outcome


def _prepare(experiment: Experiment, record: RunRecord, log: Log, stop: StopRequest) -> tuple[Experiment, Prepared]:
    """Vocabularies, encoded text, plan and ledgers, in the directory too; fills the record as it goes."""
    config, directory = experiment.config, experiment.directory
    _ = experiment.started_tables  # what does not fit the ties, or the ties themselves, is refused before any work
    _check_before_preparing(config)
    record.fingerprints["source"] = experiment.corpus_key
    runs.write_record(directory, record)
    runs.write_text(directory / runs.CONFIG, config_yaml(config))

    from tietrain.data.prepare import prepare
    from tietrain.data.progress import reported
    from tietrain.data.vocabularies import save_vocabularies
    from tietrain.train.primary import settle_primary

    def tell(progress: str) -> None:
        eprint(progress)
        record.reason = progress  # `tietrain status` shows it
        runs.write_record(directory, record)

    with stop.interruptible(), reported(tell):
        prepared = prepare(config)
    record.reason = ""
    experiment = experiment.with_vocabularies(prepared.vocabularies)
    record.plan_hash = experiment.plan.hash
    metrics = config.task.metrics if config.task.name == "mt" else []
    rules = [tie["rule"] for tie in config.tying.ties.values()]
    record.notes = [*prepared.notes, *describe_match(config, experiment.vocab_sizes), *origins(RULE, rules)]
    record.notes += [*origins(METRIC, metrics), *origins(READER, [config.data.format])]
    record.fingerprints |= prepared.fingerprints
    if record.declared == config.declared:  # stated by this run, not by one that it continues
        record.declared, notes = settle_primary(config, prepared)
        record.notes += notes
    _check_positions(config, prepared)
    save_vocabularies(directory, prepared.vocabularies)
    runs.write_json(directory / runs.PLAN, experiment.plan.to_json())
    runs.write_json(directory / runs.LEDGER, ledger_json(experiment.plan, config))
    for line in [*record.notes, *experiment.describe()]:
        log(line)
    return experiment, prepared


def _train_and_score(
    experiment: Experiment,
    prepared: Prepared,
    hardware: Hardware,
    record: RunRecord,
    log: Log,
    stop: StopRequest,
    trackers: Trackers,
    team: Team | None,
) -> None:
    """The job itself; fills the record as it goes."""
    from tietrain.model.audit import audit_model
    from tietrain.train.averaging import load_scored, save_average
    from tietrain.train.checkpoint import save_final
    from tietrain.train.init_tables import start_tables
    from tietrain.train.loop import fit
    from tietrain.train.tasks import make_task
    from tietrain.train.tensorboard import add_results, final_scalars

    config, directory = experiment.config, experiment.directory
    record.machine = hardware.describe()
    task = make_task(config, prepared, team)
    record.fingerprints["batches"] = task.batches.fingerprint
    record.arm = experiment.arm(record.fingerprints)
    same = [config_hash(config), record.arm, hardware.shard]
    with task.team.order("begin", precision=hardware.precision, device=hardware.device.type, same=same):
        task.team.connect(hardware.device)
    model = experiment.build_model()
    if hardware.compile:
        model.compile_steps()
    if config.init_from:
        _start_from(config.init_from, config.data.root, model, record)
    for note in start_tables(experiment, model):
        record.notes.append(note)
        log(note)
    if not hardware.shard:
        model.to(hardware.device)
    audits: dict[str, Any] = {"start": audit_model(model)}
    runs.write_json(directory / runs.AUDIT, audits)
    runs.write_record(directory, record)

    state = fit(experiment, model, task, hardware, record.fingerprints, log=log, stop=stop, trackers=trackers)
    record.progress = state.used
    stop.check()
    audits["end"] = audit_model(model)
    save_final(directory, model)
    if config.train.average != "none":
        save_average(directory, model, state)
    scored = load_scored(directory, model, config.train)
    audits["loaded"] = audit_model(model)
    runs.write_json(directory / runs.AUDIT, audits)

    scores = score_all(experiment, task, model, prepared, log, stop)
    primary = scores["splits"].get(config.declared["split"], {})
    finals = final_scalars(experiment, state.flops, primary)
    add_results(directory, finals, scores["samples"], record.progress, log)
    trackers.add_results(finals, record.progress)
    runs.write_json(directory / runs.EVAL, eval_json(record.progress, scored, model, scores))
    record.seal = make_seal(directory, record)
    log(f"finished: {directory}")


def _check_before_preparing(config: RunConfig) -> None:
    """SettingsError if there is no such device, or none of its precision, no run to start from, or no such metric."""
    if config.task.name == "mt":
        for name in filter(is_foreign, config.task.metrics):
            find_metric(name)
    if config.hardware.device == "cuda" or config.hardware.precision == "tf32":
        from tietrain.train.hardware import resolve_hardware

        resolve_hardware(config.hardware)
    if config.init_from and not is_there(Path(config.init_from).expanduser() / runs.RUN):
        problem = f"it is not a run directory: it has no {runs.RUN}"
        raise SettingsError(f"init_from={config.init_from}", problem, "name a folder that tietrain wrote")


def _settled_precision(experiment: Experiment, record: RunRecord) -> str | None:
    """What hardware.precision=auto became when this run began, else in the first run of its study, so that arms agree."""
    machines = iter(record.earlier_machines[-1:])
    if not experiment.config.run_dir:
        others = (path for path in runs.find_runs(experiment.directory.parent) if path != experiment.directory)
        machines = chain(machines, map(_machine, others))
    return next((machine["precision"] for machine in machines if "precision" in machine), None)


def _machine(directory: Path) -> dict[str, Any]:
    """That of a run; empty if its record cannot be read."""
    try:
        return runs.read_record(directory).machine
    except DataError:
        return {}


def _start_from(init_from: str, root: str | None, model: Transformer, record: RunRecord) -> None:
    """Give a model the final weights of another run, which the record then names as its parent.

    Args:
        root: where the path of a vocabulary begins.
    Raises:
        SettingsError: the parent has another vocabulary or plan.
    """
    from tietrain.train.checkpoint import load_weights

    parent = Path(init_from).expanduser()
    before = runs.read_record(parent)
    for name, content in record.fingerprints.items():
        if name.startswith("vocabulary") and before.fingerprints.get(name) != content:
            problem = f"its {name} has other pieces than this run's"
            named = parent.absolute() if root else parent
            remedy = f"give data.vocabulary={named} and the task and directions of that run, or start from a run of the same text"
            raise SettingsError(f"init_from={parent}", problem, remedy)
    load_weights(parent, model)
    record.parent = before.id


def _check_positions(config: RunConfig, prepared: Prepared) -> None:
    """SettingsError if a sentence of any split, or a training window, is longer than a learned table of positions."""
    if config.model.positions != "learned":
        return
    if config.task.name != "mt":
        starts = prepared.token_starts  # windows of tokens are as long as task.window, which RunConfig has checked
        what, longest = "training window", 0 if starts is None else starts.most_tokens(config.task.window)
    else:
        what, longest = "sentence", prepared.most_tokens
    check_length(config.model, longest, f"a {what}")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
