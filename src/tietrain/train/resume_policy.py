"""What a run directory already holds, and what follows: it is finished, goes on, would fail again, or is another run's."""

from __future__ import annotations

import json
from pathlib import Path

from tietrain.config import RunConfig
from tietrain.config.identity import changed_settings, flat_settings, result_settings
from tietrain.config.layout import make_shape
from tietrain.config.stored import stored_record
from tietrain.data.sources.corpora import corpus_key
from tietrain.errors import DataError, SettingsError
from tietrain.plan.difference import Difference, first_of, record_of
from tietrain.plan.schemes import make_plan
from tietrain.runs import record as runs
from tietrain.runs.durable import is_whole
from tietrain.runs.record import RunRecord
from tietrain.train.schedule import OF_BUDGET

# What `same_code=true` compares, of the machine a run records.
SAME_CODE = ("tietrain", "torch", "device", "precision", "threads")
# Exit codes of failures that come again: settings, data, divergence, bugs. A full disk or memory may have room next time.
LASTING = (2, 3, 4, 70)


def previous_record(config: RunConfig, directory: Path) -> RunRecord | None:
    """What this directory already holds; SettingsError where work has been done there in another experiment."""
    if not (directory / runs.RUN).exists():
        return None
    previous = runs.read_record(directory)
    if previous.status != "done" and not has_work(directory):
        return previous
    requested = result_settings(config)
    changed = changed_settings(previous.settings, requested)
    for key in (key for key in changed if key not in OF_BUDGET):
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
    if changed:
        from tietrain.train.resume import check_longer

        check_longer(directory, previous.settings, requested)
        previous.status = "interrupted"  # until the longer budget is spent
    return previous


def is_finished(config: RunConfig, directory: Path) -> bool:
    """Whether the scores are there, and the last weights and those that were scored as they were written, or taken away."""
    scored = "best" if config.train.average == "none" else "average"
    weights = [directory / runs.CHECKPOINTS / name for name in (scored, "final")]
    try:
        has_scores = "splits" in runs.read_json(directory / runs.EVAL)
    except (DataError, TypeError):
        return False
    return has_scores and all(is_whole(folder) or not folder.exists() for folder in weights)


def other_code(previous: RunRecord, config: RunConfig) -> str:
    """In what a finished run was made otherwise than this process would make it; empty where in nothing."""
    from tietrain.train.hardware import resolve_hardware

    now = resolve_hardware(config.hardware).describe()
    changed = [key for key in SAME_CODE if previous.machine.get(key) != now[key]]
    return ", ".join(f"{key} {previous.machine.get(key)}, now {now[key]}" for key in changed)


def would_fail_again(previous: RunRecord, config: RunConfig, directory: Path) -> bool:
    """Whether the run failed for a reason that lies in its settings and text, and these are as they were."""
    # Once there are checkpoints, the text was good: one of them was damaged, and can be restored.
    is_damage = previous.exit_code == DataError.exit_code and (has_work(directory) or config.init_from)
    return (
        previous.exit_code in LASTING
        and not is_damage
        and previous.settings == json.loads(json.dumps(result_settings(config)))
        and "source" in previous.fingerprints
        and previous.fingerprints["source"] == corpus_key(config.data, config.task.name)
    )


def has_work(directory: Path) -> bool:
    """Whether a checkpoint was ever written there."""
    return any((directory / runs.CHECKPOINTS).glob("step_*"))


def _tie_difference(config: RunConfig, directory: Path) -> str:
    """How the ties of a run differ from those asked for, in words; empty where it has written no plan yet."""
    if not (directory / runs.PLAN).exists():
        return ""
    here = record_of(make_plan(make_shape(config), config.tying.ties))
    lines = Difference(stored_record(directory), here).tie_lines()
    return f": {first_of(lines)}" if lines else ""
