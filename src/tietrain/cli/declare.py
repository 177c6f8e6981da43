"""Correct what runs declared: `tietrain report DIR --declare key=value`, written beside what was declared before."""

import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from tietrain.config import ReportConfig
from tietrain.errors import DataError, SettingsError, check_choice
from tietrain.runs import record as runs
from tietrain.runs.ownership import held
from tietrain.runs.scores import FOREIGN, SCORES
from tietrain.runs.seal import broken, make_seal
from tietrain.runs.view import collect


def declare_anew(directory: Path, words: Sequence[str]) -> list[str]:
    """Change what all runs of a folder declared, all or none of them; returns what was done, in words.

    Raises:
        SettingsError: a word is not KEY=VALUE of report.*, or no run has that score on that split.
        LockedError: a run is being written. DataError: the folder holds no run, or one is damaged.
    """
    changes = dict(_parsed(word) for word in words)
    # A margin alone has no unit; here the score it is of is that of the runs.
    ReportConfig(**{"metric": next(iter(SCORES)), **changes})
    folders = runs.find_runs(directory)
    if not folders:
        raise DataError(str(directory), "there is no run in it", "name the folder of a study or of a run")
    _check_scored(directory, changes)
    with ExitStack() as locks:
        for folder in folders:
            locks.enter_context(held(folder))
        records = {folder: runs.read_record(folder) for folder in folders}
        for folder, record in records.items():
            is_as_sealed = not broken(folder, record)
            _correct(record, changes)
            if record.seal and is_as_sealed:
                record.seal = make_seal(folder, record)
            runs.write_record(folder, record)
    return [f"{key}={value}: declared anew for {len(folders)} runs in {directory}" for key, value in changes.items()]


def _parsed(word: str) -> tuple[str, Any]:
    key, equals, value = word.partition("=")
    key = key.removeprefix("report.")
    requested = f"--declare {word}"
    if not equals:
        raise SettingsError(requested, "it is not KEY=VALUE", "write for example --declare metric=ppl_token")
    check_choice("--declare", key, [field.name for field in dataclasses.fields(ReportConfig)])
    try:
        found = yaml.safe_load(value)
    except yaml.YAMLError:
        raise SettingsError(requested, "its value cannot be read", "quote it") from None
    if key == "metric" and not FOREIGN.fullmatch(str(found)):
        check_choice("--declare metric", found, SCORES)
    is_right = isinstance(found, {"looks": list, "margin": int | float | None}.get(key, str))
    if not is_right or isinstance(found, bool) or (key == "looks" and not all(type(look) is int for look in found)):
        raise SettingsError(requested, f"{key} cannot be {found!r}", "see `tietrain settings report." + key + "`")
    return key, float(found) if isinstance(found, int) else found


def _check_scored(directory: Path, changes: dict[str, Any]) -> None:
    """SettingsError if no finished run has the score that is declared."""
    done = [run for run in collect(directory) if run.status == "done"]
    if not done or not {"metric", "split"} & changes.keys():
        return
    split, metric = (str(changes.get(key) or done[0].declared.get(key)) for key in ("split", "metric"))
    if not any(metric in run.scores.get(split, {}) for run in done):
        splits = sorted(set().union(*(run.scores for run in done)))
        known = SCORES.keys() | set().union(*(run.signatures for run in done))
        scores = sorted(set().union(*(run.scores.get(split, {}) for run in done)) & known)
        requested = " ".join(f"--declare {key}={value}" for key, value in changes.items())
        remedy = f"scored splits are {', '.join(splits)}" + (
            f"; scores there are {', '.join(scores)}" if scores else ""
        )
        raise SettingsError(requested, f"no finished run has {metric} on {split}", remedy)


def _correct(record: runs.RunRecord, changes: dict[str, Any]) -> None:
    date = datetime.now(UTC).isoformat(timespec="seconds")
    for key, value in changes.items():
        was = record.declared.get(key)
        record.corrections.append({"date": date, "key": key, "was": was, "value": value})
        record.declared[key] = value
