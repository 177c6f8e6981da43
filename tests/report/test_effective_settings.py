"""Settings that a run used: not those of another task, optimizer or schedule."""

from dataclasses import replace

import pytest

from fabricated import make_config
from tietrain.config import keys
from tietrain.config.identity import flat_settings
from tietrain.report.effective_settings import DIRECTED, READ_WITH, TASK, TASK_KEYS, used_settings
from tietrain.runs.view import Run

# The groups that the method paragraph lists.
GROUPS = ("task.", "data.", "model.", "optim.", "train.")
CASES = [
    {},
    {"optim": {"name": "sgd", "schedule": "constant"}},
    {"optim": {"schedule": "cosine"}},
    {"train": {"average": "last"}},
    {"model": {"positions": "learned"}},
]
TRANSLATIONS = [
    {"task": {"beam": 4}},
    {"task": {"directions": ["a-b", "b-a"]}},
    {"task": {"directions": ["a+b-c", "b-c"]}},
]


def settings_of(task, **changes):
    """Changes are of sections: `optim={"name": "sgd"}`."""
    config = make_config(task, "none", 1)
    return flat_settings(replace(config, **{key: replace(getattr(config, key), **v) for key, v in changes.items()}))


def test_names_are_settings():
    names = {TASK + key for keys in TASK_KEYS.values() for key in keys} | {*DIRECTED}
    for switch, _, others in READ_WITH:
        names |= {switch, *others}
    assert names <= keys.ALL.keys()


@pytest.mark.parametrize("task", ["lm", "mlm", "mt"])
def test_used_settings_are_those_that_the_configuration_reads(task):
    """Settings without a value apart: pages leave them out."""
    for changes in [*CASES, *(TRANSLATIONS if task == "mt" else [])]:
        flat = settings_of(task, **changes)
        read = {key for key in keys.read_settings(flat) if key.startswith(GROUPS)}
        used = {key for key in used_settings(Run("x", "done", task=task, settings=flat)) if key.startswith(GROUPS)}
        assert read <= used
        assert [key for key in used - read if flat[key] not in (None, {}, [])] == [], changes


def test_used_settings_leave_hardware_to_the_machine():
    flat = settings_of("lm")
    assert not [key for key in used_settings(Run("x", "done", task="lm", settings=flat)) if key.startswith("hardware.")]
