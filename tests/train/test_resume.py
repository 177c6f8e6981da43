"""A continued run is the uninterrupted one bit for bit, and another experiment is refused."""

from dataclasses import replace

import pytest
import torch

from tietrain import runs
from tietrain.errors import SettingsError
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
    train(tmp_path, tiny_config(checkpoint_every=3, hardware={"threads": 2}), say=lines.append)
    assert any(line.startswith("threads was 1 and is 2") for line in lines)
    resolve_hardware(tiny_config().hardware)


@pytest.mark.parametrize("task", ["lm", "mt"])
def test_other_micro_batches_are_said_and_end_in_the_same_weights_up_to_rounding(tmp_path, task):
    config, lines = tiny_config("pre_softmax", task), []
    _, whole = train(tmp_path / "whole", config)
    train(tmp_path / "cut", config, stop_after=5)
    smaller = tiny_config("pre_softmax", task, hardware={"device_batch_tokens": 20})
    state, other = train(tmp_path / "cut", smaller, say=lines.append)
    assert state.step == 12
    assert any(line.startswith("device_batch_tokens was None and is 20") for line in lines)
    for p, q in zip(whole.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-4, rtol=1e-3)
