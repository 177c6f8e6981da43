"""Two runs of one experiment compared: weights bit for bit, logged rows, scores; and why they may differ."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tietrain.runs import record as runs
from tietrain.runs.durable import MANIFEST
from tietrain.runs.metrics import read_metrics
from tietrain.train.checkpoint import MODEL
from tietrain.train.resume import BIT_CONDITIONS, UNRECORDED

# What a clock measured is different in each run.
SECONDS = ("seconds", "tokens_per_second")
WEIGHTS = ("best", "average", "final")


def differences(there: Path, here: Path) -> list[str]:
    """In what two finished runs of one experiment differ, a line each; empty if they are the same, bit for bit.

    Raises:
        DataError: a run is not finished, or a file of it is damaged.
    """
    return [*_weights(there, here), *_rows(there, here), *_scores(there, here)]


def conditions(there: runs.RunRecord, here: runs.RunRecord) -> list[str]:
    """The conditions of equal bits that two runs do not share: contents, hardware, versions."""
    now = {**here.fingerprints, **_bit_conditions(here.machine)}
    lines = []
    for machine in [*there.earlier_machines, there.machine]:
        before = {**there.fingerprints, **_bit_conditions(machine)}
        lines += [f"{key} {value} there, {now.get(key)} here" for key, value in before.items() if value != now.get(key)]
    return list(dict.fromkeys(lines))


def _bit_conditions(machine: Mapping[str, Any]) -> dict[str, Any]:
    return {key: {**UNRECORDED, **machine}.get(key) for key in BIT_CONDITIONS}


def _weights(there: Path, here: Path) -> Iterator[str]:
    # Equal weights have equal bytes (see `checkpoint`), and the manifest holds the hash of the bytes.
    for name in WEIGHTS:
        files = [run / runs.CHECKPOINTS / name / MANIFEST for run in (there, here)]
        if not all(path.exists() for path in files):
            continue
        first, second = (runs.read_json(path)["files"][MODEL] for path in files)
        if first != second:
            yield f"weights `{name}` differ"


def _rows(there: Path, here: Path) -> Iterator[str]:
    first, second = ([_timeless(row) for row in read_metrics(run)] for run in (there, here))
    for a, b in zip(first, second, strict=False):
        if a != b:
            key = next(key for key in {**a, **b} if a.get(key) != b.get(key))
            at = f"step {a.get('step')}, {a.get('split')}"
            yield f"logged rows differ from {at} on: {key} {a.get(key)} there, {b.get(key)} here"
            return
    if len(first) != len(second):
        yield f"there are {len(first)} logged rows there, {len(second)} here"


def _scores(there: Path, here: Path) -> Iterator[str]:
    first, second = (runs.read_json(run / runs.EVAL)["splits"] for run in (there, here))
    for split in {**first, **second}:
        a, b = (_timeless(scores.get(split, {})) for scores in (first, second))
        for name in {**a, **b}:
            if a.get(name) != b.get(name):
                yield f"{name} on {split} is {a.get(name)} there, {b.get(name)} here"


def _timeless(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in SECONDS}
