"""THE MAIN JOB: from a checked configuration to a finished run directory, read top to bottom."""

from __future__ import annotations

import datetime
import hashlib
import json
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tietrain import runs
from tietrain.compose import config_yaml
from tietrain.config import RunConfig, make_shape
from tietrain.data.characters import most_tokens
from tietrain.data.corpora import corpus_key
from tietrain.errors import SettingsError, TietrainError
from tietrain.identity import flat_settings, result_settings, run_name
from tietrain.ledger.describe import describe_plan, ledger_json
from tietrain.ledger.difference import Difference, first_of, record_of, stored_record
from tietrain.metrics import METRICS
from tietrain.runs import RunRecord
from tietrain.train.stop import StopRequest
from tietrain.tying.plan import TyingPlan
from tietrain.tying.schemes import make_plan

if TYPE_CHECKING:
    from tietrain.data.prepare import Prepared
    from tietrain.model.transformer import Transformer
    from tietrain.tasks.scoring import SplitScores
    from tietrain.tasks.task import Task

Say = Callable[[str], None]


@dataclass
class Outcome:
    """How a run ended: its directory, a status of `runs.STATUSES` or `skipped`, and the process's exit code."""

    directory: str
    status: str
    exit_code: int = 0
    message: str = ""


def run_job(config: RunConfig) -> Outcome:
    """Run one experiment to its end, or find it finished; every ending is written to `run.json`, none is raised."""
    directory = Path(config.run_dir or Path("outputs") / config.study / run_name(config))
    try:
        with runs.locked(directory):
            return _run_locked(config, directory)
    except TietrainError as e:
        return Outcome(str(directory), "failed", e.exit_code, str(e))


def _run_locked(config: RunConfig, directory: Path) -> Outcome:
    previous = _previous_record(config, directory)
    if previous is not None and previous.status == "done" and (directory / runs.EVAL).exists():
        _say(f"{directory} is finished; `tietrain report {directory.parent}` shows it")
        return Outcome(str(directory), "skipped")
    record = RunRecord(
        id=directory.name,
        study=config.study,
        label=config.tying_label,
        task=config.task.name,
        status="running",
        seed=config.seed,
        settings=result_settings(config),
        started_at=previous.started_at if previous else _now(),
    )

    def say(line: str) -> None:
        _say(line)
        runs.append_log(directory, line + "\n")

    began = time.monotonic()
    try:
        with StopRequest() as stop:
            _train_and_score(config, directory, record, say, stop)
        status, code, message = "done", 0, ""
    except _Stopped as e:
        message = f"stopped by a signal after saving; the same command continues {directory}"
        status, code = "interrupted", 128 + e.signal
    except TietrainError as e:
        status, code, message = e.status, e.exit_code, str(e)
    except Exception as e:
        runs.append_log(directory, traceback.format_exc())
        status, code, message = "failed", *_explain(e, config, directory)
    record.status, record.reason, record.ended_at = status, message, _now()
    record.total_seconds = time.monotonic() - began
    runs.write_record(directory, record)
    return Outcome(str(directory), status, code, message)


def _train_and_score(config: RunConfig, directory: Path, record: RunRecord, say: Say, stop: StopRequest) -> None:
    """The job itself; fills the record as it goes."""
    make_plan(make_shape(config), config.tying.ties)  # a scheme that does not fit is refused before any work
    record.fingerprints["source"] = corpus_key(config.data, config.task.name)
    runs.write_record(directory, record)
    runs.write_text(directory / runs.CONFIG, config_yaml(config))

    from tietrain.data.prepare import prepare
    from tietrain.data.vocabularies import real_shape, save_vocabularies

    prepared = prepare(config)
    plan = make_plan(real_shape(config, prepared.vocabularies), config.tying.ties)
    record.plan_hash, record.notes = plan.hash, list(prepared.notes)
    record.fingerprints |= prepared.fingerprints
    _check_positions(config, prepared)
    save_vocabularies(directory, prepared.vocabularies)
    runs.write_json(directory / runs.PLAN, plan.to_json())
    runs.write_json(directory / runs.LEDGER, ledger_json(plan, config))
    for line in [*prepared.notes, *describe_plan(plan, config)]:
        say(line)

    # torch and everything above it is imported only now: settings and data errors come at once.
    from tietrain.model.audit import audit_model
    from tietrain.train.averaging import load_scored, save_average
    from tietrain.train.checkpoint import save_final
    from tietrain.train.hardware import resolve_hardware
    from tietrain.train.loop import fit

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
        say=say,
        stop=stop,
    )
    record.progress = state.used
    _check_stop(stop)
    audits["end"] = audit_model(model)
    save_final(directory, model)
    if config.train.average != "none":
        save_average(directory, model, state)
    scored = load_scored(directory, model, config.train)
    audits["loaded"] = audit_model(model)
    runs.write_json(directory / runs.AUDIT, audits)
    totals = {**record.progress, "checkpoint": scored}
    runs.write_json(directory / runs.EVAL, {**totals, **_score(config, task, model, prepared, directory, say, stop)})
    say(f"finished: {directory}")


def _score(
    config: RunConfig, task: Task, model: Transformer, prepared: Prepared, directory: Path, say: Say, stop: StopRequest
) -> dict[str, Any]:
    """Final scores of every split but train, each scored once with the weights chosen on valid."""
    scores = no_scores(config)
    documents: list[dict[str, Any]] = []
    for split in prepared.corpus.splits:
        if split == "train":
            continue
        result = task.score(model, split)
        add_scores(scores, split, result)
        documents += [{"split": split, **document} for document in result.documents]
        for name, lines in result.texts.items():
            runs.write_text(directory / f"{name}.{split}.txt", "".join(line + "\n" for line in lines))
        say(f"{split}: {brief(result.scores)}")
        _check_stop(stop)
    runs.write_text(directory / runs.DOCUMENTS, "".join(json.dumps(document) + "\n" for document in documents))
    return scores


def no_scores(config: RunConfig) -> dict[str, Any]:
    """What `eval.json` says before a split is scored."""
    task = config.task
    windows = {"window": task.window, "stride": task.eval_stride or task.window} if task.name == "lm" else {}
    return {"splits": {}, "signatures": {}, "reasons": {}, "windows": windows}


def add_scores(scores: dict[str, Any], split: str, result: SplitScores) -> None:
    """Add those of one split to what `eval.json` says."""
    scores["splits"][split] = result.scores
    scores["signatures"] |= result.signatures
    scores["reasons"] |= {f"{split}.{name}": why for name, why in result.reasons.items()}


def brief(scores: dict[str, Any]) -> str:
    """The scores people look at first, in one line."""
    shown = [
        (name, scores[name])
        for name in ("ppl_token", "ppl_word", "bits_per_byte", "excess_nats", *METRICS, "legal")
        if scores.get(name) is not None
    ]
    return ", ".join(f"{name} {value:.4g}" for name, value in shown)


def _build_model(config: RunConfig, plan: TyingPlan, record: RunRecord) -> Transformer:
    from tietrain.model.transformer import Transformer
    from tietrain.train.checkpoint import load_weights

    model = Transformer(plan, dropout=config.model.dropout, embed_scale=config.model.embed_factor)
    model.initialize(config.seed, config.model.table_init_std)
    if config.init_from:
        parent = runs.read_record(Path(config.init_from))
        for name, content in record.fingerprints.items():
            if name.startswith("vocabulary") and parent.fingerprints.get(name) != content:
                is_so = f"its {name} has other pieces than this run's"
                raise SettingsError(
                    f"init_from={config.init_from}",
                    is_so,
                    "start from a run with the same text and vocabulary settings",
                )
        load_weights(Path(config.init_from), model)
        record.parent = parent.id
    return model


def _check_positions(config: RunConfig, prepared: Prepared) -> None:
    """SettingsError where a sentence of any split, or a training window, is longer than a learned table of positions."""
    if config.model.positions != "learned":
        return
    if config.task.name == "lm":
        starts = prepared.token_starts  # windows of tokens are as long as task.window, which RunConfig has checked
        what, longest = "training window", 0 if starts is None else most_tokens(starts, config.task.window)
    else:
        lengths = [int(lines.lengths.max(initial=0)) for split in prepared.encoded.values() for lines in split.values()]
        what, longest = "sentence", max(lengths) + 1
    if longest > config.model.max_len:
        raise SettingsError(
            f"model.max_len={config.model.max_len}", f"a {what} has {longest} tokens", f"give at least {longest}"
        )


def make_task(config: RunConfig, prepared: Prepared) -> Task:
    """The task a configuration names."""
    if config.task.name == "lm":
        from tietrain.tasks.lm import LanguageModelling

        return LanguageModelling(config, prepared)
    from tietrain.tasks.mt import Translation

    return Translation(config, prepared)


def _arm(record: RunRecord) -> str:
    """Everything but the seed: the plan with its shapes, the content of corpus and vocabularies, and every setting."""
    settings = {k: v for k, v in record.settings.items() if k != "seed" and not k.startswith("tying.")}
    contents = {k: v for k, v in record.fingerprints.items() if k != "batches"}
    body = json.dumps([record.plan_hash, settings, contents], sort_keys=True)
    return hashlib.sha256(body.encode()).hexdigest()[:12]


def _previous_record(config: RunConfig, directory: Path) -> RunRecord | None:
    """What this directory already holds; SettingsError where work has been done there in another experiment."""
    if not (directory / runs.RUN).exists():
        return None
    previous = runs.read_record(directory)
    if previous.status != "done" and not any((directory / runs.CHECKPOINTS).glob("step_*")):
        return previous
    asked = result_settings(config)
    changed = [k for k in sorted(asked.keys() | previous.settings.keys()) if asked.get(k) != previous.settings.get(k)]
    if changed:
        key = changed[0]
        ties = _tie_difference(config, directory) if key.startswith("tying.") else ""
        raise SettingsError(
            f"{key}={flat_settings(config).get(key)}",
            f"{directory} holds a run with {key}={previous.settings.get(key)}{ties}",
            "give another run_dir",
        )
    if previous.fingerprints.get("source") != corpus_key(config.data, config.task.name):
        raise SettingsError(
            f"data.root={config.data.root}", f"{directory} holds a run on other text", "give another run_dir"
        )
    return previous


def _tie_difference(config: RunConfig, directory: Path) -> str:
    """How the ties of a run differ from those asked for, in words; empty where it has written no plan yet."""
    if not (directory / runs.PLAN).exists():
        return ""
    here = record_of(make_plan(make_shape(config), config.tying.ties))
    lines = Difference(stored_record(directory), here).tie_lines()
    return f": {first_of(lines)}" if lines else ""


class _Stopped(Exception):
    """A signal asked the run to stop, and what it has done is saved."""

    def __init__(self, number: int):
        super().__init__(number)
        self.signal = number


def _check_stop(stop: StopRequest) -> None:
    if stop.signal is not None:
        raise _Stopped(stop.signal)


def _explain(error: Exception, config: RunConfig, directory: Path) -> tuple[int, str]:
    """Exit code and message of an error that is none of ours: no memory left, or a bug."""
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)  # torch's CPU allocator has no type of its own
    ):
        tokens = config.hardware.device_batch_tokens or config.train.batch_tokens
        to_do = f"set hardware.device_batch_tokens below {tokens}, and the same run goes on"
        return 7, f"out of memory: {tokens} tokens at once do not fit; {to_do}"
    what = f"{type(error).__name__}: {error} (see {directory / runs.LOG})"
    return 70, f"internal error, a bug of tietrain: {what}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
