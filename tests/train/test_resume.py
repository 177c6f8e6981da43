"""A continued run is the uninterrupted one bit for bit, and another experiment is refused."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save

from tietrain.errors import DataError, SettingsError
from tietrain.runs import record as runs
from tietrain.runs.durable import MANIFEST, write_directory
from tietrain.train.hardware import resolve_hardware
from tiny_run import RandomTask, final_bytes, reproducible, tiny_config, train


@pytest.mark.parametrize(
    ("tying", "task"), [("none", "lm"), ("pre_softmax", "lm"), ("three_way", "mt"), ("cross_layer", "mt")]
)
@pytest.mark.parametrize("optim", [{"name": "adamw"}, {"name": "sgd", "momentum": 0.5}], ids=["adamw", "sgd"])
def test_interrupted_and_continued_equals_uninterrupted_bit_for_bit(tmp_path, tying, task, optim):
    config = tiny_config(tying, task, optim={"lr": 0.01, **optim})
    whole, model = train(tmp_path / "whole", config)
    for stop_after in (1, 2, 3, 4):  # steps of each attempt: it stops after steps 1, 3, 6 (a row of the log) and 10
        interrupted, _ = train(tmp_path / "cut", config, stop_after=stop_after)
    assert interrupted.step == 10
    continued, other = train(tmp_path / "cut", config)
    assert replace(continued, seconds=0) == replace(whole, seconds=0)
    assert final_bytes(tmp_path / "whole", model) == final_bytes(tmp_path / "cut", other)
    assert reproducible(runs.read_metrics(tmp_path / "whole")) == reproducible(runs.read_metrics(tmp_path / "cut"))
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


def test_killed_between_checkpoints_equals_uninterrupted(tmp_path):
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
    assert reproducible(runs.read_metrics(tmp_path / "whole")) == reproducible(runs.read_metrics(tmp_path / "cut"))
    assert not list((tmp_path / "cut" / "checkpoints").glob("*.tmp"))


def test_a_finished_run_does_not_train_on(tmp_path):
    config = tiny_config()
    first, model = train(tmp_path, config)
    rows = runs.read_metrics(tmp_path)
    again, loaded = train(tmp_path, config)
    assert again == first
    assert runs.read_metrics(tmp_path) == rows
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), loaded.parameters(), strict=True))


def test_seconds_add_up_over_resumes(tmp_path):
    config = tiny_config(max_steps=None, max_seconds=0.5, slow_step_seconds=0.1, eval_every=None)
    interrupted, _ = train(tmp_path, config, stop_after=2)
    result, _ = train(tmp_path, config)
    assert interrupted.step == 2
    # Five steps of at least 0.1 s, fewer on a busy machine; were the seconds of the first two lost, seven.
    assert 2 <= result.step <= 5
    assert result.seconds >= 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optim": {"lr": 0.5}}, r"optim\.lr=0\.5: the checkpoint in .* was made with 0\.002"),
        ({"seed": 2}, "seed=2"),
        ({"dropout": 0.2}, r"model\.dropout=0\.2"),
        ({"tying": "pre_softmax"}, r"tying\.ties"),
        ({"max_steps": 13}, r"train\.max_steps=13"),
    ],
)
def test_another_experiment_is_refused_and_nothing_is_touched(tmp_path, change, message):
    train(tmp_path, tiny_config(), stop_after=5)
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    with pytest.raises(SettingsError, match=message) as refused:
        train(tmp_path, tiny_config(**change))
    assert refused.value.exit_code == 2
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before


def test_changed_data_is_refused(tmp_path):
    train(tmp_path, tiny_config(), stop_after=5, fingerprints={"corpus": "a"})
    with pytest.raises(SettingsError, match=r"fingerprint of corpus.*made with a, now it is b"):
        train(tmp_path, tiny_config(), fingerprints={"corpus": "b"})


def test_other_conditions_are_said_and_other_retention_is_accepted(tmp_path):
    train(tmp_path, tiny_config(), stop_after=5)
    lines = []
    train(tmp_path, tiny_config(checkpoint_every=3, hardware={"threads": 2}), log=lines.append)
    assert any(line.startswith("threads was 1 and is 2") for line in lines)
    resolve_hardware(tiny_config().hardware)


@pytest.mark.parametrize("task", ["lm", "mt"])
def test_other_micro_batches_are_said_and_end_in_the_same_weights_up_to_rounding(tmp_path, task):
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
def test_a_longer_budget_ends_as_if_it_had_been_asked_for_at_once(tmp_path, stop_after):
    longer = tiny_config(optim=CONSTANT, max_steps=30, log_every=2)
    _, model = train(tmp_path / "whole", longer)
    train(tmp_path / "cut", tiny_config(optim=CONSTANT, max_steps=10, log_every=2), stop_after=stop_after)
    _, other = train(tmp_path / "cut", longer)
    assert final_bytes(tmp_path / "whole", model) == final_bytes(tmp_path / "cut", other)
    assert reproducible(runs.read_metrics(tmp_path / "whole")) == reproducible(runs.read_metrics(tmp_path / "cut"))


def test_files_that_moved_are_known_by_their_content(tmp_path):
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
    steps = [(row["step"], row["split"]) for row in runs.read_metrics(tmp_path)]
    assert len(steps) == len(set(steps))
    return any("is not as the checkpoint left it: rows before step 7 may be missing" in line for line in lines)


def test_rows_that_were_lost_are_said_to_be_and_later_ones_are_no_loss(tmp_path):
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
def test_a_checkpoint_of_another_make_is_refused(tmp_path, key, value):
    """Its manifest is made to match: a hostile file, or one of another version."""
    train(tmp_path, tiny_config(), stop_after=5)
    folder = tmp_path / "checkpoints" / "step_00000005"
    body = runs.read_json(folder / "state.json")
    body["state"] = value if key is None else {**body["state"], key: value}
    rewrite(folder, "state.json", json.dumps(body).encode())
    with pytest.raises(DataError, match="of another make"):
        train(tmp_path, tiny_config())


def test_an_optimizer_of_another_shape_is_refused(tmp_path):
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
        with pytest.raises(DataError, match="fits no parameter"):
            train(tmp_path, tiny_config())


def rewrite(folder, name, content):
    """Other content of a file of a directory that stays whole."""
    others = {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in (name, MANIFEST)}

    def fill(beside):
        for file, old in {**others, name: content}.items():
            (beside / file).write_bytes(old)

    write_directory(folder, fill)
