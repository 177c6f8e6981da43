"""A continued run is the uninterrupted one bit for bit, and another experiment is refused."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save

from tietrain.config import OptimConfig, RunConfig, TrainConfig
from tietrain.config.identity import result_settings
from tietrain.errors import DataError, SettingsError
from tietrain.runs import record as runs
from tietrain.runs.durable import MANIFEST, write_directory
from tietrain.runs.metrics import read_metrics
from tietrain.train.hardware import resolve_hardware
from tietrain.train.resume import check_longer_budget
from tiny_run import RandomTask, final_bytes, reproducible, tiny_config, train

ADAMW, SGD = {"lr": 0.01, "name": "adamw"}, {"lr": 0.01, "name": "sgd", "momentum": 0.5}


@pytest.mark.parametrize(
    ("tying", "task", "optim"),
    [
        ("none", "lm", ADAMW),
        ("pre_softmax", "lm", ADAMW),
        ("three_way", "mt", ADAMW),
        ("cross_layer", "mt", ADAMW),
        ("cross_layer", "mt", SGD),
    ],
)
def test_resume_equals_uninterrupted_bit_for_bit(tmp_path, tying, task, optim):
    config = tiny_config(tying, task, optim=optim)
    whole, model = train(tmp_path / "whole", config)
    for stop_after in (1, 2, 3, 4):  # steps of each attempt: it stops after steps 1, 3, 6 (a row of the log) and 10
        interrupted, _ = train(tmp_path / "cut", config, stop_after=stop_after)
    assert interrupted.step == 10
    continued, other = train(tmp_path / "cut", config)
    assert replace(continued, seconds=0) == replace(whole, seconds=0)
    assert final_bytes(tmp_path / "whole", model) == final_bytes(tmp_path / "cut", other)
    assert reproducible(read_metrics(tmp_path / "whole")) == reproducible(read_metrics(tmp_path / "cut"))
    files = "step_00000012/model.safetensors step_00000012/optimizer.safetensors best/model.safetensors best/state.json"
    for name in files.split():
        both = [(tmp_path / which / "checkpoints" / name).read_bytes() for which in ("whole", "cut")]
        assert both[0] == both[1], name


class Killed(BaseException):
    pass


class DyingTask(RandomTask):
    """Dies in the step after `steps` whole ones."""

    def __init__(self, config, steps):
        super().__init__(config)
        self.left = steps

    def loss(self, model, batch):
        self.left -= 1
        if self.left < 0:
            raise Killed
        return super().loss(model, batch)


def test_resume_after_a_kill_between_checkpoints_equals_uninterrupted(tmp_path):
    """Like kill -9: no stop, no save, a half-written row and half-written files are left."""
    config = tiny_config("pre_softmax")
    _, model = train(tmp_path / "whole", config)

    for steps in (3, 6, 5):  # dies before any checkpoint, then two steps after one, then again
        task = DyingTask(config, steps)
        with pytest.raises(Killed):
            train(tmp_path / "cut", config, task=task)
        (tmp_path / "cut" / "checkpoints").mkdir(exist_ok=True)
        (tmp_path / "cut" / "checkpoints" / "step_00000099.tmp").mkdir()
        with open(tmp_path / "cut" / runs.METRICS, "a") as f:
            f.write('{"step": 7, "tok')
    result, other = train(tmp_path / "cut", config)
    assert result.step == 12
    assert final_bytes(tmp_path / "whole", model) == final_bytes(tmp_path / "cut", other)
    assert reproducible(read_metrics(tmp_path / "whole")) == reproducible(read_metrics(tmp_path / "cut"))
    assert not list((tmp_path / "cut" / "checkpoints").glob("*.tmp"))


def test_resume_of_a_finished_run_trains_nothing(tmp_path):
    config = tiny_config()
    first, model = train(tmp_path, config)
    rows = read_metrics(tmp_path)
    again, loaded = train(tmp_path, config)
    assert again == first
    assert read_metrics(tmp_path) == rows
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), loaded.parameters(), strict=True))


def test_resume_adds_up_seconds(tmp_path):
    config = tiny_config(max_steps=None, max_seconds=0.5, slow_step_seconds=0.1, eval_every=None)
    interrupted, _ = train(tmp_path, config, stop_after=2)
    result, _ = train(tmp_path, config)
    assert interrupted.step == 2
    # Five steps of at least 0.1 s, fewer on a busy machine; were the seconds of the first two lost, seven.
    assert 2 <= result.step <= 5
    assert result.seconds >= 0.5


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"optim": {"lr": 0.5}}, "optim.lr=0.5"),
        ({"seed": 2}, "seed=2"),
        ({"dropout": 0.2}, "model.dropout=0.2"),
        ({"tying": "pre_softmax"}, "tying.ties"),
        ({"max_steps": 13}, "train.max_steps=13"),
    ],
)
def test_resume_refuses_another_experiment_and_touches_nothing(tmp_path, change, setting):
    train(tmp_path, tiny_config(), stop_after=5)
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    with pytest.raises(SettingsError) as refused:
        train(tmp_path, tiny_config(**change))
    assert refused.value.setting.startswith(setting)
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before


def test_resume_refuses_changed_data(tmp_path):
    train(tmp_path, tiny_config(), stop_after=5, fingerprints={"corpus": "a"})
    with pytest.raises(SettingsError) as refused:
        train(tmp_path, tiny_config(), fingerprints={"corpus": "b"})
    assert refused.value.setting == "fingerprint of corpus"


def test_resume_logs_other_conditions_and_accepts_other_retention(tmp_path):
    train(tmp_path, tiny_config(), stop_after=5)
    lines = []
    train(tmp_path, tiny_config(checkpoint_every=3, hardware={"threads": 2}), log=lines.append)
    assert any(line.startswith("threads was 1 and is 2") for line in lines)
    resolve_hardware(tiny_config().hardware)


@pytest.mark.parametrize("task", ["lm", "mt"])
def test_resume_with_other_micro_batches_ends_in_the_same_weights_up_to_rounding(tmp_path, task):
    config, lines = tiny_config("pre_softmax", task), []
    _, whole = train(tmp_path / "whole", config)
    train(tmp_path / "cut", config, stop_after=5)
    smaller = tiny_config("pre_softmax", task, hardware={"device_batch_tokens": 20})
    state, other = train(tmp_path / "cut", smaller, log=lines.append)
    assert state.step == 12
    assert any(line.startswith("device_batch_tokens was None and is 20") for line in lines)
    for p, q in zip(whole.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-4, rtol=1e-3)


CONSTANT = {"schedule": "constant", "warmup": 0.0}


@pytest.mark.parametrize("stop_after", [None, 5])
def test_resume_with_a_longer_budget_equals_one_that_had_it_from_the_start(tmp_path, stop_after):
    longer = tiny_config(optim=CONSTANT, max_steps=30, log_every=2)
    _, model = train(tmp_path / "whole", longer)
    train(tmp_path / "cut", tiny_config(optim=CONSTANT, max_steps=10, log_every=2), stop_after=stop_after)
    _, other = train(tmp_path / "cut", longer)
    assert final_bytes(tmp_path / "whole", model) == final_bytes(tmp_path / "cut", other)
    assert reproducible(read_metrics(tmp_path / "whole")) == reproducible(read_metrics(tmp_path / "cut"))


def test_resume_knows_moved_files_by_their_content(tmp_path):
    config, moved = tiny_config(), tiny_config()
    for name, one in (("here", config), ("there", moved)):
        one.data.format, one.data.splits = "text", {"train": [f"{name}/train"], "valid": [f"{name}/valid"]}
    train(tmp_path, config, stop_after=5)
    assert train(tmp_path, moved)[0].step == 12
    moved.data.format = "hub"
    with pytest.raises(SettingsError, match=r"data\.format=hub"):
        train(tmp_path, moved)


def damaged_rows(tmp_path, change):
    train(tmp_path, tiny_config(), stop_after=7)
    path, lines = tmp_path / runs.METRICS, []
    path.write_bytes(change(path.read_bytes()))
    assert train(tmp_path, tiny_config(), log=lines.append)[0].step == 12
    steps = [(row["step"], row["split"]) for row in read_metrics(tmp_path)]
    assert len(steps) == len(set(steps))
    return any(runs.METRICS in line and "before step 7" in line for line in lines)


def test_resume_logs_lost_rows_but_not_later_ones(tmp_path):
    assert damaged_rows(tmp_path / "cut", lambda content: content[:50])
    assert damaged_rows(tmp_path / "flipped", lambda content: content.replace(b'"lr": 0.00', b'"lr": 0.10', 1))
    assert not damaged_rows(tmp_path / "whole", lambda content: content)
    assert not damaged_rows(tmp_path / "more", lambda content: content + b'{"step": 8, "split": "train"}\n{"st')


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("step", -1),
        ("step", "1"),
        ("interval", {"x": 1}),
        ("seconds", float("nan")),
        ("tokens", None),
        (None, []),
        (None, {}),
    ],
)
def test_resume_refuses_a_checkpoint_of_another_make(tmp_path, key, value):
    """Its manifest is made to match: a hostile file, or one of another version."""
    train(tmp_path, tiny_config(), stop_after=5)
    folder = tmp_path / "checkpoints" / "step_00000005"
    body = runs.read_json(folder / "state.json")
    body["state"] = value if key is None else {**body["state"], key: value}
    rewrite(folder, "state.json", json.dumps(body).encode())
    with pytest.raises(DataError) as refused:
        train(tmp_path, tiny_config())
    assert refused.value.setting == str(tmp_path)


def test_resume_refuses_an_optimizer_of_another_shape(tmp_path):
    train(tmp_path, tiny_config(), stop_after=5)
    folder = tmp_path / "checkpoints" / "step_00000005"
    tensors = load_file(folder / "optimizer.safetensors")
    name = next(name for name in tensors if name.startswith("exp_avg/"))
    for changed in (
        {name: tensors[name][:1].clone()},
        {"exp_avg": tensors[name].clone()},
        {"exp_avg/nobody": tensors[name].clone()},
    ):
        rewrite(folder, "optimizer.safetensors", save({**tensors, **changed}))
        with pytest.raises(DataError) as refused:
            train(tmp_path, tiny_config())
        assert refused.value.setting == str(folder / "optimizer.safetensors")


def rewrite(folder, name, content):
    """Other content of a file of a directory that stays whole."""
    others = {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in (name, MANIFEST)}

    def fill(beside):
        for file, old in {**others, name: content}.items():
            (beside / file).write_bytes(old)

    write_directory(folder, fill)


def settings_of(schedule="constant", warmup=0.0, decay=0.4, **train):
    config = RunConfig(
        optim=OptimConfig(schedule=schedule, warmup=warmup, decay=decay, min_lr_ratio=0.25),
        train=TrainConfig(**train),
    )
    return result_settings(config)


@pytest.mark.parametrize(
    ("before", "now", "used"),
    [
        ({"max_steps": 100}, {"max_steps": 101}, 100),
        ({"max_steps": 100, "warmup": 0.1}, {"max_steps": 200, "warmup": 0.05}, 100),
        ({}, {"max_steps": 800}, 400),  # what is not stated is 400 steps
        ({"schedule": "inverse_sqrt", "max_steps": 100, "warmup": 0.1}, {"max_steps": 150, "warmup": 10 / 150}, 100),
        ({"schedule": "wsd", "max_steps": 100, "warmup": 0.1}, {"max_steps": 200, "warmup": 0.05}, 60),
        ({"schedule": "wsd", "max_steps": 100, "decay": 0.1}, {"max_steps": 200, "decay": 0.5}, 90),
        ({"schedule": "cosine", "max_steps": 100}, {"max_steps": 200}, 0),
    ],
)
def test_check_longer_budget_accepts_rates_used_so_far(before, now, used):
    check_longer_budget(settings_of(**before), settings_of(**{**before, **now}), {"steps": used})


@pytest.mark.parametrize(
    ("before", "now", "used", "setting"),
    [
        ({"max_steps": 100}, {"max_steps": 99}, 50, "train.max_steps=99"),
        ({"max_steps": 100}, {"max_steps": None, "max_tokens": 1e6}, 50, "train.max_tokens=1000000.0"),
        ({"max_steps": 100}, {"max_steps": 200, "max_tokens": 1e6}, 50, "train.max_steps=200"),
        ({"max_steps": 100}, {"warmup": 0.1}, 50, "optim.warmup=0.1"),
        ({"max_steps": 100, "warmup": 0.1}, {"max_steps": 200}, 50, "train.max_steps=200"),
        ({"schedule": "cosine", "max_steps": 100}, {"max_steps": 200}, 50, "train.max_steps=200"),
        ({"schedule": "wsd", "max_steps": 100}, {"max_steps": 200}, 61, "train.max_steps=200"),
        ({"schedule": "wsd", "max_steps": 100}, {"max_steps": 110, "decay": 0.9}, 60, "train.max_steps=110"),
    ],
)
def test_check_longer_budget_refuses(before, now, used, setting):
    with pytest.raises(SettingsError) as refused:
        check_longer_budget(settings_of(**before), settings_of(**{**before, **now}), {"steps": used})
    assert refused.value.setting == setting
