"""THE MAIN JOB: from a checked configuration to a finished run directory, read top to bottom."""

from __future__ import annotations

import datetime
import hashlib
import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tietrain.config import RunConfig
from tietrain.config.compose import config_yaml
from tietrain.config.describe import describe_plan, ledger_json
from tietrain.config.identity import result_settings, run_name
from tietrain.config.layout import make_shape
from tietrain.config.match import describe_match
from tietrain.data.characters import most_tokens
from tietrain.data.sources.corpora import corpus_key
from tietrain.errors import SettingsError, TietrainError, eprint
from tietrain.plan.params import count_params
from tietrain.plan.plan import TyingPlan
from tietrain.plan.schemes import make_plan
from tietrain.plan.slots import check_length
from tietrain.runs import record as runs
from tietrain.runs.record import RunRecord
from tietrain.train.final_scores import score_all
from tietrain.train.resume_policy import has_work, is_finished, other_code, previous_record, would_fail_again
from tietrain.train.stop import Stopped, StopRequest
from tietrain.train.trackers import Trackers, check_installed

if TYPE_CHECKING:
    from tietrain.data.prepared import Prepared
    from tietrain.model.transformer import Transformer
    from tietrain.train.tasks.task import Task

Log = Callable[[str], None]


@dataclass
class Outcome:
    """How a run ended: its directory, a status, and the process's exit code.

    status: one of `runs.STATUSES`, `skipped` (it was finished before) or `running_elsewhere`.
    valid: nats a token on valid of a finished run.
    """

    directory: str
    status: str
    exit_code: int = 0
    message: str = ""
    valid: float | None = None


def directory_of(config: RunConfig) -> Path:
    """Where a configuration is run."""
    return Path(config.run_dir or Path("outputs") / config.study / run_name(config))


def run_job(config: RunConfig) -> Outcome:
    """Run one experiment to its end, or find it finished; every ending is written to `run.json`, none is raised."""
    directory = directory_of(config)
    try:
        check_installed(config.train.trackers)
        with runs.locked(directory):
            return _run_locked(config, directory)
    except TietrainError as e:
        return Outcome(str(directory), e.status, e.exit_code, str(e))


def _run_locked(config: RunConfig, directory: Path) -> Outcome:
    previous = previous_record(config, directory)
    if previous is not None and previous.status == "done" and is_finished(config, directory):
        other = other_code(previous, config) if config.same_code else ""
        if not other:
            eprint(f"{directory} is finished; `tietrain report {directory.parent}` shows it")
            return Outcome(str(directory), "skipped", valid=_valid_score(directory))
        eprint(f"{directory} was finished with {other}: it is run again")
        runs.clear(directory)
    if previous is not None and not config.retry_failed and would_fail_again(previous, config, directory):
        message = f"{previous.reason} (as before; retry_failed=true runs it again)"
        return Outcome(str(directory), previous.status, previous.exit_code, message)
    record = RunRecord(
        id=directory.name,
        study=config.study,
        label=config.tying_label,
        task=config.task.name,
        status="running",
        seed=config.seed,
        settings=result_settings(config),
        declared=previous.declared if previous and (previous.arm or has_work(directory)) else config.declared,
        started_at=previous.started_at if previous else _now(),
    )

    def log(line: str) -> None:
        eprint(line)
        runs.append_log(directory, line + "\n")

    began, valid = time.monotonic(), None
    try:
        with StopRequest() as stop, Trackers(directory, config, log) as trackers:
            _train_and_score(config, directory, record, log, stop, trackers)
        status, code, message, valid = "done", 0, "", _valid_score(directory)
    except Stopped as e:
        message = f"stopped by a signal after saving; the same command continues {directory}"
        status, code = "interrupted", 128 + e.signal
    except TietrainError as e:
        runs.append_log(directory, traceback.format_exc())
        status, code, message = e.status, e.exit_code, str(e)
    except Exception as e:
        runs.append_log(directory, traceback.format_exc())
        status, code, message = "failed", *_explain(e, config, directory)
    record.status, record.exit_code, record.reason, record.ended_at = status, code, message, _now()
    record.total_seconds = time.monotonic() - began
    runs.write_record(directory, record)
    return Outcome(str(directory), status, code, message, valid)


def _train_and_score(
    config: RunConfig, directory: Path, record: RunRecord, log: Log, stop: StopRequest, trackers: Trackers
) -> None:
    """The job itself; fills the record as it goes."""
    make_plan(make_shape(config), config.tying.ties)  # a scheme that does not fit is refused before any work
    record.fingerprints["source"] = corpus_key(config.data, config.task.name)
    runs.write_record(directory, record)
    runs.write_text(directory / runs.CONFIG, config_yaml(config))

    from tietrain.data.prepare import prepare
    from tietrain.data.vocabularies import real_shape, save_vocabularies

    with stop.at_once():
        prepared = prepare(config)
    plan = make_plan(real_shape(config, prepared.vocabularies), config.tying.ties)
    matched = describe_match(config, {stack: v.size for stack, v in prepared.vocabularies.items()})
    record.plan_hash, record.notes = plan.hash, [*prepared.notes, *matched]
    record.fingerprints |= prepared.fingerprints
    _check_positions(config, prepared)
    save_vocabularies(directory, prepared.vocabularies)
    runs.write_json(directory / runs.PLAN, plan.to_json())
    runs.write_json(directory / runs.LEDGER, ledger_json(plan, config))
    for line in [*record.notes, *describe_plan(plan, config)]:
        log(line)

    # torch and everything above it is imported only now: settings and data errors come at once.
    from tietrain.model.audit import audit_model
    from tietrain.train.averaging import load_scored, save_average
    from tietrain.train.checkpoint import save_final
    from tietrain.train.hardware import resolve_hardware
    from tietrain.train.loop import fit
    from tietrain.train.tensorboard import add_results, final_scores

    hardware = resolve_hardware(config.hardware)
    record.machine = hardware.describe()
    task = make_task(config, prepared)
    record.fingerprints["batches"] = task.batches.fingerprint
    record.arm = _arm(record)
    model = _build_model(config, plan, record).to(hardware.device)
    audits: dict[str, Any] = {"start": audit_model(model)}
    runs.write_json(directory / runs.AUDIT, audits)
    runs.write_record(directory, record)

    state = fit(
        model,
        task,
        config=config,
        hardware=hardware,
        directory=directory,
        fingerprints=record.fingerprints,
        log=log,
        stop=stop,
        trackers=trackers,
    )
    record.progress = state.used
    stop.check()
    audits["end"] = audit_model(model)
    save_final(directory, model)
    if config.train.average != "none":
        save_average(directory, model, state)
    scored = load_scored(directory, model, config.train)
    audits["loaded"] = audit_model(model)
    runs.write_json(directory / runs.AUDIT, audits)
    totals = {**record.progress, "checkpoint": scored}
    scores = score_all(config, task, model, prepared, directory, log, stop)
    primary = scores["splits"].get(config.declared["split"], {})
    finals = final_scores(config, count_params(plan).params, state.flops, primary)
    add_results(directory, finals, record.progress, log)
    trackers.add_results(finals, record.progress)
    runs.write_json(directory / runs.EVAL, {**totals, **scores})
    log(f"finished: {directory}")


def _build_model(config: RunConfig, plan: TyingPlan, record: RunRecord) -> Transformer:
    from tietrain.model.transformer import Transformer
    from tietrain.train.checkpoint import load_weights

    model = Transformer(plan, dropout=config.model.dropout, embed_scale=config.model.embed_factor)
    model.initialize(config.seed, config.model.table_init_std)
    if config.init_from:
        parent = runs.read_record(Path(config.init_from))
        for name, content in record.fingerprints.items():
            if name.startswith("vocabulary") and parent.fingerprints.get(name) != content:
                problem = f"its {name} has other pieces than this run's"
                raise SettingsError(
                    f"init_from={config.init_from}",
                    problem,
                    "start from a run with the same text and vocabulary settings",
                )
        load_weights(Path(config.init_from), model)
        record.parent = parent.id
    return model


def _check_positions(config: RunConfig, prepared: Prepared) -> None:
    """SettingsError where a sentence of any split, or a training window, is longer than a learned table of positions."""
    if config.model.positions != "learned":
        return
    if config.task.name != "mt":
        starts = prepared.token_starts  # windows of tokens are as long as task.window, which RunConfig has checked
        what, longest = "training window", 0 if starts is None else most_tokens(starts, config.task.window)
    else:
        what, longest = "sentence", prepared.most_tokens
    check_length(config.model, longest, f"a {what}")


def make_task(config: RunConfig, prepared: Prepared) -> Task:
    """The task a configuration names."""
    if config.task.name == "lm":
        from tietrain.train.tasks.lm import LanguageModelling

        return LanguageModelling(config, prepared)
    if config.task.name == "mlm":
        from tietrain.train.tasks.mlm import MaskedLanguageModelling

        return MaskedLanguageModelling(config, prepared)
    from tietrain.train.tasks.mt import Translation

    return Translation(config, prepared)


def _arm(record: RunRecord) -> str:
    """Everything but the seed: the plan with its shapes, the content of corpus and vocabularies, and every setting."""
    settings = {k: v for k, v in record.settings.items() if k != "seed" and not k.startswith("tying.")}
    contents = {k: v for k, v in record.fingerprints.items() if k != "batches"}
    body = json.dumps([record.plan_hash, settings, contents], sort_keys=True)
    return hashlib.sha256(body.encode()).hexdigest()[:12]


def _valid_score(directory: Path) -> float | None:
    try:
        splits = runs.read_json(directory / runs.EVAL)["splits"]
        return float((splits.get("valid") or splits["valid.mean"])["nats_per_token"])
    except (KeyError, TypeError, ValueError):
        return None


def _explain(error: Exception, config: RunConfig, directory: Path) -> tuple[int, str]:
    """Exit code and message of an error that is none of ours: no memory left, the system refuses a file, or a bug."""
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)  # torch's CPU allocator has no type of its own
    ):
        tokens = config.hardware.device_batch_tokens or config.train.batch_tokens
        remedy = f"set hardware.device_batch_tokens below {tokens}, and the same run goes on"
        return 7, f"out of memory: {tokens} tokens at once do not fit; {remedy}"
    if isinstance(error, OSError):
        return 5, f"{error.filename or directory}: the system says {error.strerror or error}; the same command goes on"
    what = f"{type(error).__name__}: {error} (see {directory / runs.LOG})"
    return 70, f"internal error, a bug of tietrain: {what}"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
