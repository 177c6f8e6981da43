"""Training: budgets, resuming bit for bit, micro-batches, divergence, rows of metrics."""

import math
import os
import signal
from dataclasses import replace

import pytest
import torch
from tiny_run import RandomTask, build_model, reproducible, tiny_config, train

from tietrain import runs
from tietrain.errors import DivergedError, SettingsError
from tietrain.ledger.flops import count_flops, length_units
from tietrain.tasks.loss import LossSum
from tietrain.train.checkpoint import load_best, save_final
from tietrain.train.hardware import resolve_hardware
from tietrain.train.optim import build_optimizer
from tietrain.train.step import train_step


def final_bytes(directory, model):
    save_final(directory, model)
    return (directory / "checkpoints" / "final" / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("tying", "task"), [("none", "lm"), ("pre_softmax", "lm"), ("three_way", "mt"), ("cross_layer", "mt")]
)
@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_interrupted_and_continued_equals_uninterrupted_bit_for_bit(tmp_path, tying, task, name):
    config = tiny_config(tying, task, optim={"name": name, "lr": 0.01, "momentum": 0.5})
    whole, model = train(tmp_path / "whole", config)
    for stop_after in (1, 2, 3, 4):  # steps of each attempt: it stops after steps 1, 3, 6 (a row of the log) and 10
        interrupted, _ = train(tmp_path / "cut", config, stop_after=stop_after)
        assert interrupted.signal == signal.SIGTERM
    assert interrupted.steps == 10
    continued, other = train(tmp_path / "cut", config)
    assert replace(continued, seconds=0) == replace(whole, seconds=0)
    assert final_bytes(tmp_path / "whole", model) == final_bytes(tmp_path / "cut", other)
    assert reproducible(runs.read_metrics(tmp_path / "whole")) == reproducible(runs.read_metrics(tmp_path / "cut"))
    files = "step_00000012/model.safetensors step_00000012/optimizer.safetensors best/model.safetensors best/state.json"
    for name in files.split():
        both = [(tmp_path / which / "checkpoints" / name).read_bytes() for which in ("whole", "cut")]
        assert both[0] == both[1], name


def test_killed_between_checkpoints_equals_uninterrupted(tmp_path):
    """Like kill -9: no stop, no save, a half-written row and half-written files are left."""
    config = tiny_config("pre_softmax")
    _, model = train(tmp_path / "whole", config)

    class Killed(BaseException):
        pass

    for steps in (3, 6, 5):  # dies before any checkpoint, then two steps after one, then again
        task, learn, left = RandomTask(config), None, steps
        learn = task.loss

        def dying(model, batch, learn=learn, left=[left]):  # noqa: B006
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return learn(model, batch)

        task.loss = dying
        with pytest.raises(Killed):
            train(tmp_path / "cut", config, task=task)
        (tmp_path / "cut" / "checkpoints").mkdir(exist_ok=True)
        (tmp_path / "cut" / "checkpoints" / "step_00000099.tmp").mkdir()
        with open(tmp_path / "cut" / runs.METRICS, "a") as f:
            f.write('{"step": 7, "tok')
    result, other = train(tmp_path / "cut", config)
    assert result.steps == 12
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


def test_a_signal_ends_with_a_checkpoint_of_that_step_and_a_second_one_is_harmless(tmp_path):
    config, before = tiny_config(checkpoint_every=100), signal.getsignal(signal.SIGUSR1)
    task = RandomTask(config)
    learn, count = task.loss, []

    def signalled(model, batch):
        count.append(1)
        if len(count) == 7:
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGINT)
        return learn(model, batch)

    task.loss = signalled
    result, _ = train(tmp_path, config, task=task)
    assert (result.signal, result.steps) == (signal.SIGUSR1, 7)
    assert "step_00000007" in {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert signal.getsignal(signal.SIGUSR1) == before


@pytest.mark.parametrize(("seed", "same"), [(1, True), (2, False)])
def test_same_seed_same_run(tmp_path, seed, same):
    _, one = train(tmp_path / "a", tiny_config(seed=1))
    _, other = train(tmp_path / "b", tiny_config(seed=seed))
    assert (final_bytes(tmp_path / "a", one) == final_bytes(tmp_path / "b", other)) == same


def test_evaluation_does_not_change_training(tmp_path):
    _, often = train(tmp_path / "a", tiny_config(eval_every=1))
    _, seldom = train(tmp_path / "b", tiny_config(eval_every=100))
    assert final_bytes(tmp_path / "a", often) == final_bytes(tmp_path / "b", seldom)
    assert [row["step"] for row in runs.read_metrics(tmp_path / "b") if row["split"] == "valid"] == [12]


def test_another_dropout_draw_each_step_and_micro_batch():
    config = tiny_config(dropout=0.5)
    model, task = build_model(config).train(), RandomTask(config)
    batch = task.batches.batch(0, 0)

    def nats(step):
        optimizer = build_optimizer(model, config.optim)
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        hardware = resolve_hardware(config.hardware)
        return train_step(model, optimizer, batch, task.loss, hardware=hardware, clip_norm=None, seed=1, step=step).nll

    assert nats(1) == nats(1) != nats(2)


@pytest.mark.parametrize("task_name", ["lm", "mt"])
@pytest.mark.parametrize("tying", ["none", "cross_layer"])
def test_micro_batches_add_up_to_the_whole_batch(task_name, tying):
    config = tiny_config(tying, task_name, dropout=0.0)
    grads, sums = [], []
    for device_batch_tokens in (None, 20):
        model, task = build_model(config).train(), RandomTask(config)
        hardware = resolve_hardware(tiny_config(hardware={"device_batch_tokens": device_batch_tokens}).hardware)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        before = [p.detach().clone() for p in model.parameters()]
        batch = task.batches.batch(0, 0)
        sums.append(train_step(model, optimizer, batch, task.loss, hardware=hardware, clip_norm=None, seed=1, step=1))
        grads.append([b - p.detach() for b, p in zip(before, model.parameters(), strict=True)])
    assert sums[0].objective == pytest.approx(sums[1].objective, rel=1e-6)
    assert sums[0].grad_norm == pytest.approx(sums[1].grad_norm, rel=1e-5)
    assert sums[1].padded_tokens <= sums[0].padded_tokens
    for whole, parts in zip(*grads, strict=True):
        torch.testing.assert_close(whole, parts, atol=1e-6, rtol=1e-4)


def test_the_gradient_is_clipped_to_its_norm():
    config = tiny_config("pre_softmax", dropout=0.0)
    model, task = build_model(config).train(), RandomTask(config)
    hardware, optimizer = resolve_hardware(config.hardware), torch.optim.SGD(model.parameters(), lr=1.0)
    before = [p.detach().clone() for p in model.parameters()]
    batch = task.batches.batch(0, 0)
    sums = train_step(model, optimizer, batch, task.loss, hardware=hardware, clip_norm=0.01, seed=1, step=1)
    moved = math.sqrt(
        sum(float((b - p.detach()).square().sum()) for b, p in zip(before, model.parameters(), strict=True))
    )
    assert sums.grad_norm > 0.01
    assert moved == pytest.approx(0.01, rel=1e-3)


def test_budgets_end_at_the_first_one_spent(tmp_path):
    config = tiny_config(max_steps=1000, max_tokens=200)
    result, model = train(tmp_path / "tokens", config)
    assert 200 <= result.tokens < 200 + 48
    per_step = count_flops(model.shape).training(length_units(model.shape, {"decoder": [12] * 4}))
    result, _ = train(tmp_path / "flops", tiny_config(max_steps=None, max_flops=3.5 * per_step, eval_every=None))
    assert (result.steps, result.flops) == (4, 4 * per_step)
    result, _ = train(
        tmp_path / "seconds", tiny_config(max_steps=None, max_seconds=0.3, slow_step_seconds=0.1, eval_every=None)
    )
    assert result.steps == 3
    assert 0.3 <= result.seconds < 0.6


def test_seconds_add_up_over_resumes(tmp_path):
    config = tiny_config(max_steps=None, max_seconds=0.5, slow_step_seconds=0.1, eval_every=None)
    interrupted, _ = train(tmp_path, config, stop_after=2)
    result, _ = train(tmp_path, config)
    assert interrupted.steps == 2
    assert result.steps == 5


@pytest.mark.parametrize(("max_steps", "n_rows"), [(20, 10), (10, 10), (7, 7), (25, 10), (3, 3)])
def test_ten_evaluations_a_run_where_nothing_else_is_asked(tmp_path, max_steps, n_rows):
    train(tmp_path, tiny_config(max_steps=max_steps, eval_every=None))
    steps = [row["step"] for row in runs.read_metrics(tmp_path) if row["split"] == "valid"]
    assert len(steps) == n_rows
    assert steps[-1] == max_steps


def test_rows_of_metrics(tmp_path):
    result, _ = train(tmp_path, tiny_config(max_steps=10, log_every=4))
    rows = runs.read_metrics(tmp_path)
    learned = [row for row in rows if row["split"] == "train"]
    assert [row["step"] for row in learned] == [4, 8, 10]
    assert learned[-1]["tokens"] == result.tokens
    assert learned[-1]["flops"] == result.flops == rows[-1]["flops"]
    columns = "step tokens flops seconds split nats_per_token ppl lr grad_norm objective tokens_per_second real_tokens padded_tokens"
    assert list(learned[0]) == columns.replace(" lr grad_norm objective", " objective lr grad_norm").split()
    for row in rows:
        assert row["ppl"] == pytest.approx(math.exp(row["nats_per_token"]))
    first = learned[0]["nats_per_token"]
    assert first == pytest.approx(math.log(24), rel=0.2)


def test_the_best_evaluation_is_kept_beside_the_last(tmp_path):
    config = tiny_config(eval_every=2)
    task, scores = RandomTask(config), iter([3.0, 2.0, 2.5, 2.0, 9.0, 8.0])
    task.evaluate = lambda model: {"nats_per_token": next(scores)}
    result, last = train(tmp_path, config, task=task)
    assert result.best_step == 4
    best = build_model(config)
    assert load_best(tmp_path, best) == {"step": 4, "nats_per_token": 2.0}
    assert any(not torch.equal(p, q) for p, q in zip(best.parameters(), last.parameters(), strict=True))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_is_never_saved(tmp_path, value):
    config = tiny_config()
    task = RandomTask(config)
    learn, count = task.loss, []

    def diverging(model, batch):
        count.append(1)
        sums = learn(model, batch)
        return LossSum(sums.objective * value, sums.nll, sums.n_tokens) if len(count) == 7 else sums

    task.loss = diverging
    with pytest.raises(DivergedError, match=r"^step 7: the loss is (nan|inf)") as diverged:
        train(tmp_path, config, task=task)
    assert diverged.value.exit_code == 4
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["best", "step_00000004", "step_00000005"]


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path):
    config = tiny_config()
    task = RandomTask(config)
    learn = task.loss

    def exploding(model, batch):
        sums = learn(model, batch)
        sums.objective.register_hook(lambda g: g * math.inf)
        return sums

    task.loss = exploding
    with pytest.raises(DivergedError, match="step 1: the gradient norm"):
        train(tmp_path, config, task=task)


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    config = tiny_config(max_steps=1)
    task = RandomTask(config)
    scores = {"nats_per_token": 1.0}

    def poison(model):
        with torch.no_grad():
            next(model.parameters())[0, 0] = math.nan
        return scores

    task.evaluate = poison
    with pytest.raises(DivergedError, match=r"step 1: decoder\.embed\.weight is not finite"):
        train(tmp_path, config, task=task)
    assert not (tmp_path / "checkpoints").exists() or not list((tmp_path / "checkpoints").iterdir())


def test_a_validation_loss_that_is_not_finite_is_never_best(tmp_path):
    config = tiny_config()
    task = RandomTask(config)
    task.evaluate = lambda model: {"nats_per_token": math.nan}
    with pytest.raises(DivergedError, match="step 5: the loss on valid"):
        train(tmp_path, config, task=task)
    assert not (tmp_path / "checkpoints" / "best").exists()


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


def test_progress_without_a_terminal_is_a_line_an_interval(tmp_path):
    lines = []
    train(tmp_path, tiny_config(), say=lines.append)
    progress = [line for line in lines if "tokens/s" in line]
    assert len(progress) == 4
    assert progress[0].startswith("step 3: loss ") and "ETA 0:00:00" in progress[-1]


@pytest.mark.slow
def test_compiled_training_follows_eager(tmp_path):
    _, eager = train(tmp_path / "a", tiny_config("cross_layer", dropout=0.0, max_steps=4))
    _, compiled = train(
        tmp_path / "b", tiny_config("cross_layer", dropout=0.0, max_steps=4, hardware={"compile": True})
    )
    assert list(eager.state_dict()) == list(compiled.state_dict())
    for p, q in zip(eager.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=2e-4, rtol=1e-3)


@pytest.mark.gpu
def test_a_gpu_trains_in_bf16_and_resumes(tmp_path):
    config = tiny_config("pre_softmax", hardware={"device": "cuda", "precision": "auto"})
    whole, _ = train(tmp_path / "whole", config)
    train(tmp_path / "cut", config, stop_after=7)
    continued, _ = train(tmp_path / "cut", config)
    assert (continued.steps, continued.tokens) == (whole.steps, whole.tokens) == (12, whole.tokens)
    rows = [runs.read_metrics(tmp_path / which) for which in ("whole", "cut")]
    for one, other in zip(*rows, strict=True):
        assert one["nats_per_token"] == pytest.approx(other["nats_per_token"], rel=1e-2)
