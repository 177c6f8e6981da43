"""The seal of a finished run, in its `run.json`: what its files and its record were when it ended.

`report`, `status`, `compare` and the finding of finished runs compare the two, by way of `view.read_run`. A file that was
taken away does not break the seal: what needs it reports it missing. Runs of older versions have no seal.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tietrain.errors import DataError
from tietrain.runs import record as runs
from tietrain.runs.durable import entry_of, fits, is_unchanged
from tietrain.runs.reading import is_there, names_in, reading

TEXTS = re.compile(r"(hypotheses|references|sources)\.[^/]+\.txt")
FILES = (runs.CONFIG, runs.PLAN, runs.LEDGER, runs.METRICS, runs.EVAL, runs.DOCUMENTS)
# Fields of the record that a verdict is read from.
FIELDS = ("task", "label", "seed", "arm", "plan_hash", "settings", "fingerprints", "machine", "declared")
# Weights that a finished run offers.
BEST, AVERAGE, FINAL = "best", "average", "final"


def make_seal(directory: Path, record: runs.RunRecord) -> dict[str, Any]:
    """Size and sha256 of every file that says something of the result, and a hash of every such field of the record."""
    names = filter(_is_sealed, names_in(directory))
    return {
        "files": {name: entry_of(directory / name) for name in names},
        "record": {name: _hash(getattr(record, name)) for name in FIELDS},
    }


def broken(directory: Path, record: runs.RunRecord) -> dict[str, str]:
    """File of a finished run -> why it is not as it was sealed; of weights older than the scores only sizes are looked at.

    Raises:
        StorageError: the system refuses to read one.
    """
    found: dict[str, str] = {}
    for name in filter(_is_sealed, _part(record.seal, "files")):
        if is_there(directory / name) and not is_as_sealed(directory, record, name):
            found[name] = "it is not as it was when the run ended"
    for name, content in _part(record.seal, "record").items():
        if name in FIELDS and content != _hash(getattr(record, name)):
            found[runs.RUN] = f"its {name} is not as it was when the run ended"
    scored_at = _changed_at(directory / runs.EVAL)
    for name in (scored_weights(directory), FINAL):
        weights = directory / runs.CHECKPOINTS / name
        if is_there(weights) and not is_unchanged(weights, scored_at):
            found[f"{runs.CHECKPOINTS}/{name}"] = "its files are not as they were written"
    return found


def taken_away(directory: Path, record: runs.RunRecord) -> dict[str, str]:
    """Sealed file of a run that is not there any more -> that it is missing."""
    sealed = filter(_is_sealed, _part(record.seal, "files"))
    return {name: "it is missing" for name in sealed if not is_there(directory / name)}


def is_as_sealed(directory: Path, record: runs.RunRecord, name: str) -> bool:
    """Whether a file is what the seal says of it."""
    with suppress(DataError, KeyError, TypeError):
        return fits(directory / name, record.seal["files"][name])
    return False


def scored_weights(directory: Path) -> str:
    """The folder in `checkpoints` whose weights a finished run was scored with."""
    with suppress(DataError, KeyError, TypeError):
        if "averaged_steps" in runs.read_json(directory / runs.EVAL)["checkpoint"]:
            return AVERAGE
    return BEST


def _changed_at(path: Path) -> float:
    """When a file was last changed, in seconds since 1970; 0 if there is none."""
    with suppress(DataError), reading(path) as file:
        return os.fstat(file.fileno()).st_mtime
    return 0.0


def _is_sealed(name: str) -> bool:
    return name in FILES or bool(TEXTS.fullmatch(name))


def _part(seal: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A part of a seal; empty if a run has none, or it is not a seal."""
    part = seal.get(name)
    return part if isinstance(part, dict) else {}


def _hash(value: Any) -> str:
    """Of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
