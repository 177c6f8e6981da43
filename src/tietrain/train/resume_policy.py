"""What a run directory already holds, and what follows: it is finished, continues, would fail again, or is another run's."""

import json
from pathlib import Path

from tietrain import __version__
from tietrain.config import RunConfig
from tietrain.config.identity import became_same, changed_settings, flat_settings
from tietrain.config.keys import BUDGET, as_meant
from tietrain.config.stored import stored_record
from tietrain.errors import DataError, SettingsError, eprint
from tietrain.plan.difference import Difference, first_of, record_of
from tietrain.runs import record as runs
from tietrain.runs.durable import is_whole
from tietrain.runs.ownership import clear_run
from tietrain.runs.reading import is_there, names_in
from tietrain.runs.record import RunRecord
from tietrain.runs.seal import FINAL, scored_weights
from tietrain.runs.view import read_run
from tietrain.train.experiment import Experiment
from tietrain.train.outcome import Outcome, valid_score

# What `same_code=true` compares, of the machine a run records.
SAME_CODE = ("tietrain", "torch", "device", "precision", "threads", "processes", "shard")
# Exit codes of failures that come again: settings, data, divergence, bugs. A full disk or memory may have room next time.
LASTING = (2, 3, 4, 70)
# A bug may be gone in another version.
BUG = 70


def previous_record(experiment: Experiment) -> RunRecord | None:
    """The record in the experiment's directory; None if there is none.

    Raises:
        SettingsError: another experiment was trained there.
    """
    config, directory = experiment.config, experiment.directory
    if is_there(directory / runs.RUN):
        previous = runs.read_record(directory)
        # A divergence is a result.
        if previous.status not in ("done", "diverged") and not has_work(directory):
            return previous
    elif names_in(directory / runs.CHECKPOINTS):
        previous = _lost_record(experiment)
    else:
        return None
    changed = changed_settings(previous.settings, experiment.settings)
    if any(key.startswith("hardware.") for key in changed):
        from tietrain.train.hardware import resolve_hardware

        machine = resolve_hardware(config.hardware, previous.machine.get("precision")).describe()
        changed = [key for key in changed if not became_same(key, previous.machine, machine)]
    for key in (key for key in changed if key not in BUDGET):
        setting, before = f"{key}={flat_settings(config).get(key)}", f"{key}={as_meant(previous.settings).get(key)}"
        ties = ""
        if key.startswith("tying."):
            ties = _tie_difference(experiment)
            if previous.label != config.tying_label:
                setting, before = f"tying={config.tying_label}", f"tying={previous.label}"
        raise SettingsError(setting, f"{directory} holds a run with {before}{ties}", "give another run_dir")
    if previous.fingerprints.get("source") != experiment.corpus_key:
        problem = f"{directory} holds a run on other text"
        raise SettingsError(f"data.root={config.data.root}", problem, "give another run_dir")
    if changed:
        from tietrain.train.resume import check_longer

        check_longer(directory, previous.settings, experiment.settings)
        previous.status = "interrupted"  # until the longer budget is spent
    return previous


def _refuse_to_begin(experiment: Experiment, *, anew: bool = False) -> None:
    """SettingsError if the run would begin, or begin `anew`, and needs converted weights, which its settings cannot make."""
    if experiment.config.converted and (anew or not has_work(experiment.directory)):
        problem = f"a run cannot begin in {experiment.directory} with these weights, which come from elsewhere"
        remedy = "make it again as it was made: `tietrain convert RUN` or `tietrain import DIR`"
        raise SettingsError(f"converted={experiment.config.converted}", problem, remedy)


def _lost_record(experiment: Experiment) -> RunRecord:
    """What the newest whole checkpoint says of a run whose record is gone; SettingsError if there is none."""
    from tietrain.train.resume import newest_body

    config, directory = experiment.config, experiment.directory
    body = newest_body(directory)
    if body is None:
        problem = f"it has weights and no {runs.RUN}, so nothing tells of which experiment"
        raise SettingsError(f"run_dir={directory}", problem, "restore the file, or give another run_dir")
    record = RunRecord(directory.name, config.study, config.tying_label, config.task.name, "interrupted")
    record.settings = body["settings"]
    record.fingerprints = body["fingerprints"]
    record.declared = config.declared
    return record


def earlier_outcome(experiment: Experiment, previous: RunRecord | None) -> Outcome | None:
    """The outcome of the run that is there already, if it need not be run; None if it must be run or continued."""
    config, directory = experiment.config, experiment.directory
    if previous is None:
        _refuse_to_begin(experiment)
        return None
    damage = damage_of(experiment) if previous.status == "done" else ""
    if previous.status == "done" and not damage:
        other = other_code(previous, config) if config.same_code else ""
        if not other:
            eprint(f"{directory} is finished; `tietrain report {directory.parent}` shows it")
            return Outcome(str(directory), "skipped", valid=valid_score(directory))
        _refuse_to_begin(experiment, anew=True)
        eprint(f"{directory} was finished with {other}: it is run again")
        clear_run(directory)
    if damage:
        if not has_work(directory):
            raise DataError(str(directory), f"it is finished, but {damage}", f"try `tietrain repair {directory}`")
        eprint(f"{directory} is finished, but {damage}: it is made again from its last checkpoint")
    if not config.retry_failed and would_fail_again(previous, experiment):
        message = f"{previous.reason} (as before; retry_failed=true runs it again)"
        return Outcome(str(directory), previous.status, previous.exit_code, message)
    _refuse_to_begin(experiment)
    return None


def damage_of(experiment: Experiment) -> str:
    """What is wrong with a finished run; empty if it is as it was, apart from weights that were taken away."""
    directory = experiment.directory
    found = read_run(directory, str(directory))
    if found.status != "done":
        return found.reason
    for name in (scored_weights(directory), FINAL):
        weights = directory / runs.CHECKPOINTS / name
        if is_there(weights) and not is_whole(weights):
            return f"{runs.CHECKPOINTS}/{name}: its files are not as they were written"
    return ""


def other_code(previous: RunRecord, config: RunConfig) -> str:
    """How the code or machine of a finished run differs from this process; empty if it does not."""
    from tietrain.train.hardware import resolve_hardware
    from tietrain.train.resume import UNRECORDED

    now = resolve_hardware(config.hardware, previous.machine.get("precision")).describe()
    before = UNRECORDED | previous.machine
    changed = [key for key in SAME_CODE if before.get(key) != now[key]]
    return ", ".join(f"{key} {before.get(key)}, now {now[key]}" for key in changed)


def would_fail_again(previous: RunRecord, experiment: Experiment) -> bool:
    """Whether the run failed for a reason that lies in its settings and text, and these are as they were."""
    # Once there are checkpoints, the text was good: one of them was damaged, and can be restored.
    may_be_restored = has_work(experiment.directory) or experiment.config.init_from
    is_damage = previous.exit_code == DataError.exit_code and may_be_restored
    is_repaired = previous.exit_code == BUG and previous.version != __version__
    return (
        previous.exit_code in LASTING
        and not is_damage
        and not is_repaired
        and previous.settings == json.loads(json.dumps(experiment.settings))
        and "source" in previous.fingerprints
        and previous.fingerprints["source"] == experiment.corpus_key
    )


def has_work(directory: Path) -> bool:
    """Whether a checkpoint was ever written there."""
    return any(name.startswith("step_") for name in names_in(directory / runs.CHECKPOINTS))


def _tie_difference(experiment: Experiment) -> str:
    """How the ties of a run differ from those that are requested, in words; empty if it has written no plan yet."""
    directory = experiment.directory
    if not is_there(directory / runs.PLAN):
        return ""
    lines = Difference(stored_record(directory), record_of(experiment.plan)).tie_lines()
    return f": {first_of(lines)}" if lines else ""
