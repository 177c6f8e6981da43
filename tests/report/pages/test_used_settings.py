"""Settings that a run used: not those of another task, corpus, optimizer or schedule."""

import json
from dataclasses import replace

import pytest

from fabricated import make_config
from tietrain.config import keys
from tietrain.config.identity import flat_settings
from tietrain.report.pages.method import used_settings
from tietrain.runs.view import Run

# The groups that the method paragraph lists.
GROUPS = ("task.", "data.", "model.", "optim.", "train.")
CASES = [
    {},
    {"data": {"format": "text", "splits": {"train": ["a"], "valid": ["b"]}}},
    {"optim": {"name": "sgd", "schedule": "constant"}},
    {"optim": {"schedule": "cosine"}},
    {"train": {"average": "last"}},
    {"model": {"positions": "learned"}},
]
THREE = {"format": "text", "columns": ["a", "b", "c"], "splits": {"train": ["a", "b", "c"], "valid": ["d", "e", "f"]}}
TRANSLATIONS = [
    {"task": {"name": "mt", "beam": 4}},
    {"task": {"name": "mt", "metrics": ["chrf"]}},
    {"task": {"name": "mt", "directions": ["a-b"]}},
    {"task": {"name": "mt", "directions": ["a-b", "b-a"]}},
    {"task": {"name": "mt", "directions": ["a+b-c", "b-c"]}, "data": THREE},
]


def flat_of(task, changes):
    """Changes are of sections: `{"optim": {"name": "sgd"}}`."""
    config = make_config(task, "none", 1)
    sections = {name: replace(getattr(config, name), **values) for name, values in changes.items()}
    return flat_settings(replace(config, **sections))


def used(task, flat):
    """As a run records its settings: a list or an empty mapping is its JSON text."""
    recorded = {key: json.dumps(v) if isinstance(v, list | dict) else v for key, v in flat.items()}
    return used_settings(Run("x", "done", task=task, settings=recorded))


@pytest.mark.parametrize("task", ["lm", "mlm", "mt"])
def test_used_settings_are_those_that_the_configuration_reads(task):
    """Settings without a value apart: the pages leave them out."""
    for changes in [*CASES, *(TRANSLATIONS if task == "mt" else [])]:
        flat = flat_of(task, changes)
        read = {key for key in keys.read_settings(flat) if key.startswith(GROUPS)}
        found = {key for key in used(task, flat) if key.startswith(GROUPS)}
        assert read <= found, changes
        assert [key for key in found - read if flat[key] not in (None, {}, [])] == [], changes


def test_used_settings_leave_hardware_to_the_machine():
    assert not [key for key in used("lm", flat_of("lm", {})) if key.startswith("hardware.")]
