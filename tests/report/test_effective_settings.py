"""Settings that a run used: not those of another task, optimizer or schedule; all are names of the configuration."""

from dataclasses import replace

import pytest

from fabricated import make_config
from tietrain.config.identity import flat_settings
from tietrain.report.effective_settings import DIRECTED, READ_WITH, TASK, TASK_KEYS, used_settings
from tietrain.runs.view import Run


def used(name, **changes):
    """Changes are of sections: `optim={"name": "sgd"}`."""
    config = make_config(name, "none", 1)
    config = replace(config, **{key: replace(getattr(config, key), **values) for key, values in changes.items()})
    return used_settings(Run("x", "done", task=config.task.name, settings=flat_settings(config)))


def test_names_are_settings():
    names = {TASK + key for keys in TASK_KEYS.values() for key in keys} | {*DIRECTED}
    names |= {name for switch, _, keys in READ_WITH for name in (switch, *keys)}
    assert names <= flat_settings(make_config("lm", "none", 1)).keys()


@pytest.mark.parametrize(
    "task, has, has_not",
    [
        ("lm", {"window", "eval_stride", "label_smoothing"}, {"mask_rate", "beam", "max_len", "metrics"}),
        ("mlm", {"window", "mask_rate", "label_smoothing"}, {"eval_stride", "beam"}),
        ("mt", {"beam", "max_len", "metrics"}, {"window", "eval_stride", "mask_rate", "length_penalty", "temperature"}),
    ],
)
def test_used_settings_of_a_task(task, has, has_not):
    found = {key.removeprefix(TASK) for key in used(task) if key.startswith(TASK)}
    assert has <= found and not has_not & found


def test_used_settings_that_depend_on_another():
    assert {"optim.betas", "optim.decay"} <= used("lm").keys() and "optim.momentum" not in used("lm")
    sgd = used("lm", optim={"name": "sgd", "schedule": "constant"})
    assert (
        "optim.momentum" in sgd and not {"optim.betas", "optim.eps", "optim.decay", "optim.min_lr_ratio"} & sgd.keys()
    )
    assert "task.length_penalty" in used("lm", task={"name": "mt", "beam": 4})
    assert "task.temperature" in used("lm", task={"name": "mt", "directions": ["a-b", "b-a"]})


def test_used_settings_leave_hardware_to_the_machine():
    assert not [key for key in used("lm") if key.startswith("hardware.")]
