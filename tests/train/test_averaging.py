"""Means of weights: each owner once, the ones that were asked for, and the same bits however often a run was stopped."""

import itertools
import shutil
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors import safe_open

from tietrain.errors import DataError, SettingsError
from tietrain.model.audit import AuditError
from tietrain.runs.metrics import read_metrics
from tietrain.train import learner, loop
from tietrain.train.averaging import load_scored, make_smoothed, mean_weights, save_average, smooth
from tietrain.train.checkpoint import save_weights
from tietrain.train.state import TrainState
from tiny_run import TIES, RandomTask, build_model, reproducible, tiny_config, train

SCORES = [3.0, 2.0, 2.5, 2.0, 9.0, 8.0]
SINKING = [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]


def weights_of(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def scripted(config, scores=SCORES):
    """A task whose evaluations score what they are told; `seen` are the weights each was shown."""
    task, left, task_seen = RandomTask(config), iter(scores), []

    def evaluate(model):
        task_seen.append(weights_of(model))
        return {"nats_per_token": next(left)}

    task.evaluate, task.seen = evaluate, task_seen
    return task


def average_of(directory, config, state):
    model = build_model(replace(config, seed=77))
    save_average(directory, model, state)
    return load_scored(directory, model, config.train), weights_of(model)


def folders(directory, prefix="evaluated_"):
    return sorted(int(path.name.removeprefix(prefix)) for path in (directory / "checkpoints").glob(prefix + "*"))


def chosen_files(directory, state):
    """Name -> bytes of the last checkpoint's tensors and of all weights that the state chooses from."""
    folder = directory / "checkpoints"
    names = ["best", "average", "step_00000012", *(f"evaluated_{e['step']:08d}" for e in state.averaged)]
    found = [path for name in names for path in (folder / name).glob("*") if not name.startswith("step")]
    found += (folder / "step_00000012").glob("*.safetensors")  # its state.json holds wall-clock seconds
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.parametrize("tying", TIES)
def test_mean_weights_of_equal_weights_are_those_weights_bit_for_bit(tying):
    model = build_model(tiny_config(tying, "mt"))
    for k in (1, 2, 3, 5, 7, 10, 11):
        found = mean_weights([partial(weights_of, model)] * k)
        assert set(found) == {slot.name for slot in model.plan.owners}  # tied parameters stand there once
        assert all(torch.equal(found[name], p) and found[name].dtype == p.dtype for name, p in model.named_parameters())


def test_mean_weights_rounds_once():
    thirds = [{"w": torch.tensor([1.0, 1e8])}, {"w": torch.tensor([1.0, 1.0])}, {"w": torch.tensor([2.0, 1.0])}]
    found = mean_weights([partial(dict, w) for w in thirds])
    assert found["w"].tolist() == torch.tensor([4 / 3, (1e8 + 2) / 3], dtype=torch.float64).float().tolist()


@pytest.mark.parametrize(
    ("average", "n", "steps"),
    [("last", 3, [8, 10, 12]), ("best", 3, [4, 6, 8]), ("best", 1, [4]), ("last", 9, [2, 4, 6, 8, 10, 12])],
)
def test_save_average_takes_the_last_or_best_evaluations(tmp_path, average, n, steps):
    config = tiny_config("three_way", "mt", eval_every=2, average=average, n_averaged=n)
    task = scripted(config)
    state, model = train(tmp_path, config, task=task)
    assert [e["step"] for e in state.averaged] == steps
    assert set(steps) <= set(folders(tmp_path)) and len(folders(tmp_path)) <= n + 2
    scored, found = average_of(tmp_path, config, state)
    assert (scored["averaged_steps"], scored["step"]) == (steps, steps[-1])
    assert f"{len(steps)} evaluations" in scored["chosen_by"]
    expected = mean_weights([partial(dict, task.seen[step // 2 - 1]) for step in steps])
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
    with safe_open(tmp_path / "checkpoints" / "average" / "model.safetensors", framework="pt") as f:
        assert set(f.keys()) == {slot.name for slot in model.plan.owners}
        assert model.plan.hash in f.metadata()["plan"]


def test_ema_follows_marians_formula_and_leaves_training_alone(tmp_path, monkeypatch):
    config, after = tiny_config("pre_softmax", eval_every=4, ema=0.6), []
    take = learner.train_step

    def watched(model, *args, **options):
        sums = take(model, *args, **options)
        after.append(weights_of(model))
        return sums

    monkeypatch.setattr(learner, "train_step", watched)
    task = scripted(config, [3.0, 2.0, 2.5])
    _, model = train(tmp_path / "ema", config, task=task)
    expected = {name: p.double() for name, p in weights_of(build_model(config)).items()}
    for step, weights in enumerate(after, start=1):
        decay = min(0.6, (1 + step) / (10 + step))
        expected = {name: decay * mean + (1 - decay) * weights[name] for name, mean in expected.items()}
        if step % 4 == 0:
            for name, values in task.seen[step // 4 - 1].items():  # evaluations see the average
                torch.testing.assert_close(values.double(), expected[name], atol=1e-6, rtol=1e-5)
    _, plain = train(tmp_path / "plain", tiny_config("pre_softmax", eval_every=4))
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), plain.parameters(), strict=True))
    best = build_model(config)
    assert load_scored(tmp_path / "ema", best, config.train)["chosen_by"].endswith("moving average (decay 0.6)")
    assert all(torch.equal(p, task.seen[1][name]) for name, p in best.named_parameters())


@pytest.mark.parametrize("tying", TIES)
def test_smooth_moves_every_owner_once(tying):
    config = tiny_config(tying, "mt", ema=0.5)
    model = build_model(config)
    smoothed = make_smoothed(model, config.train)
    assert {p.data_ptr() for p in smoothed.parameters()}.isdisjoint(p.data_ptr() for p in model.parameters())
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1.0)
    before = weights_of(smoothed)
    smooth(smoothed, model, 0.5, step=1000)
    for name, p in smoothed.named_parameters():
        torch.testing.assert_close(p, before[name] + 0.5)
    assert len(list(smoothed.parameters())) == len(smoothed.plan.owners)


AVERAGES = [{"average": "last", "n_averaged": 2}, {"average": "best", "n_averaged": 3}, {"ema": 0.8}]
AVERAGES.append({"average": "last", "n_averaged": 3, "ema": 0.8})


def averaging_config(average, tying="three_way", **settings):
    return tiny_config(tying, "mt", eval_every=3, **{**average, **settings})


# Averages are over owners, whatever the ties: one row for each kind of average, and one for each kind of tie.
@pytest.mark.parametrize(
    ("tying", "average"),
    [*(("three_way", average) for average in AVERAGES), ("none", AVERAGES[3]), ("cross_layer", AVERAGES[3])],
    ids=str,
)
def test_resume_with_averages_equals_uninterrupted_bit_for_bit(tmp_path, tying, average):
    config = averaging_config(average, tying)
    whole, _ = train(tmp_path / "whole", config)
    for stop_after in (1, 2, 3, 4):  # it stops after steps 1, 3 (an evaluation), 6 (another) and 10
        train(tmp_path / "cut", config, stop_after=stop_after)
    cut, _ = train(tmp_path / "cut", config)
    assert_same_ending(tmp_path, config, whole, cut)


def assert_same_ending(tmp_path, config, whole, cut):
    assert replace(cut, seconds=0) == replace(whole, seconds=0)
    if config.train.average != "none":
        for name in ("whole", "cut"):
            average_of(tmp_path / name, config, whole)
    files = [chosen_files(tmp_path / name, whole) for name in ("whole", "cut")]
    assert files[0] == files[1]
    assert ("step_00000012/average.safetensors" in files[0]) == (config.train.ema is not None)
    assert ("average/model.safetensors" in files[0]) == (config.train.average != "none")
    rows = [reproducible(read_metrics(tmp_path / name)) for name in ("whole", "cut")]
    assert rows[0] == rows[1]


class Killed(BaseException):
    pass


@contextmanager
def dying(monkeypatch, name, n_calls):
    """Inside, training ends as by kill -9 before the n-th call of a function."""
    module = learner if name == "train_step" else loop
    call, left = getattr(module, name), itertools.count(1)

    def counted(*args, **options):
        if next(left) == n_calls:
            raise Killed
        return call(*args, **options)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(module, name, counted)
        yield


@pytest.mark.parametrize(
    "average", [pytest.param(a, marks=pytest.mark.slow) for a in AVERAGES[::2]] + AVERAGES[1::2], ids=str
)
@pytest.mark.parametrize(
    ("name", "calls"), [("train_step", (5, 3, 4)), ("save_checkpoint", (1, 2)), ("keep_weights", (1, 2))]
)
def test_resume_with_averages_after_a_kill_anywhere_equals_uninterrupted(tmp_path, average, name, calls, monkeypatch):
    """Like kill -9: before a step or a checkpoint, or between it and the weights of its evaluation."""
    config = averaging_config(average)
    whole, _ = train(tmp_path / "whole", config)
    for n_calls in calls:
        with dying(monkeypatch, name, n_calls):
            train(tmp_path / "cut", config)
    cut, _ = train(tmp_path / "cut", config)
    assert_same_ending(tmp_path, config, whole, cut)


@pytest.mark.parametrize("name", ["train_step", "keep_weights"])
def test_restore_kept_finds_the_best_of_its_checkpoint(tmp_path, name, monkeypatch):
    """The checkpoint of step 6 names the evaluation of step 6; better ones follow before the kill, at 8 or at 10."""
    config = tiny_config(eval_every=2, checkpoint_every=6)
    whole, _ = train(tmp_path / "whole", config, task=scripted(config, SINKING))
    with dying(monkeypatch, name, {"train_step": 9, "keep_weights": 5}[name]):
        train(tmp_path / "cut", config, task=scripted(config, SINKING))
    assert (tmp_path / "cut" / "checkpoints" / "best_before").is_dir()
    lines = []
    cut, _ = train(tmp_path / "cut", config, task=scripted(config, SINKING[3:]), log=lines.append)
    assert not [line for line in lines if "gone" in line]
    assert replace(cut, seconds=0) == replace(whole, seconds=0)
    files = [
        {path.name: path.read_bytes() for path in (tmp_path / run / "checkpoints" / "best").iterdir()}
        for run in ("whole", "cut")
    ]
    assert files[0] == files[1]
    assert not (tmp_path / "cut" / "checkpoints" / "best_before").exists()


@pytest.mark.parametrize("average", AVERAGES, ids=str)
def test_resume_from_the_checkpoint_before_finds_all_it_averages(tmp_path, average):
    config = averaging_config(average)
    whole, _ = train(tmp_path / "whole", config)
    for stop_after in (9, 1, 2):
        # Steps 9, then 10, then 12: the newest is of an evaluation that drops the weights of another.
        train(tmp_path / "cut", config, stop_after=stop_after)
    damaged = tmp_path / "cut" / "checkpoints" / "step_00000012" / "optimizer.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    lines = []
    cut, _ = train(tmp_path / "cut", config, log=lines.append)
    assert "is damaged" in lines[0] and not any("the average will be without" in line for line in lines)
    assert_same_ending(tmp_path, config, whole, cut)


def test_restore_kept_logs_lost_weights_and_leaves_them_out(tmp_path):
    config = averaging_config({"average": "last", "n_averaged": 4})
    train(tmp_path, config, stop_after=8)
    shutil.rmtree(tmp_path / "checkpoints" / "evaluated_00000003")
    lines = []
    state, _ = train(tmp_path, config, log=lines.append)
    assert "the weights of step 3 are gone; the average will be without them" in lines
    scored, _ = average_of(tmp_path, config, state)
    assert scored["averaged_steps"] == [6, 9, 12]


def test_save_average_refuses_damaged_or_foreign_weights(tmp_path):
    config = averaging_config({"average": "last", "n_averaged": 2})
    state, model = train(tmp_path, config)
    average = str(tmp_path / "checkpoints" / "average")
    with pytest.raises(DataError) as refused:
        load_scored(tmp_path, model, config.train)  # not written yet
    assert refused.value.setting == average
    with pytest.raises(DataError) as refused:
        save_average(tmp_path, model, TrainState())
    assert refused.value.setting == average
    with pytest.raises(SettingsError, match="another plan"):
        save_average(tmp_path, build_model(averaging_config({}, "none")), state)
    weights = tmp_path / "checkpoints" / "evaluated_00000009" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(DataError) as refused:
        save_average(tmp_path, model, state)
    assert refused.value.setting == str(weights.parent)
    assert not (tmp_path / "checkpoints" / "average").exists()


def test_save_average_audits(tmp_path):
    config = averaging_config({"average": "last", "n_averaged": 2})
    state, _ = train(tmp_path, config)
    broken = build_model(config)
    broken.forget = broken.parameter  # a slot that reads a parameter of its own
    own = torch.nn.Parameter(torch.zeros(1))
    broken.parameter = lambda slot: own if slot == "decoder.output.weight" else broken.forget(slot)
    with pytest.raises(AuditError, match=r"decoder\.output\.weight"):
        save_average(tmp_path, broken, state)
    assert not (tmp_path / "checkpoints" / "average").exists()


def test_remove_unnamed_leaves_other_folders_alone(tmp_path):
    for name in ("evaluated_mine", "evaluated_1"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    train(tmp_path, averaging_config({"average": "last", "n_averaged": 1}))
    assert (tmp_path / "checkpoints" / "evaluated_mine").is_dir() and (
        tmp_path / "checkpoints" / "evaluated_1"
    ).is_dir()


def test_save_average_replaces_an_average_of_other_weights(tmp_path):
    """It may be of the same steps of an experiment whose checkpoints were deleted."""
    config = averaging_config({"average": "last", "n_averaged": 2})
    state, _ = train(tmp_path, config)
    first = average_of(tmp_path, config, state)[1]
    shutil.rmtree(tmp_path / "checkpoints" / "average")
    save_weights(tmp_path / "checkpoints" / "average", build_model(config), {"step": 12, "averaged_steps": [9, 12]})
    again = average_of(tmp_path, config, state)[1]
    assert all(torch.equal(first[name], again[name]) for name in first)
