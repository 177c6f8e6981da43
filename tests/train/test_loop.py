"""Training: budgets, signals, evaluations, divergence, rows of metrics."""

import math
import os
import signal

import pytest
import torch

from tietrain.errors import DivergedError
from tietrain.model.loss import LossSum
from tietrain.plan.flops import count_flops, length_units
from tietrain.runs.metrics import read_metrics
from tietrain.train.averaging import load_scored
from tiny_run import RandomTask, build_model, final_bytes, tiny_config, train


def test_fit_ends_after_a_signal_with_a_checkpoint_of_that_step(tmp_path):
    config = tiny_config(checkpoint_every=100)
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
    assert result.step == 7
    assert "step_00000007" in {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN  # until the process ends


def test_fit_leaves_signals_as_they_were(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    train(tmp_path, tiny_config())
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.parametrize(("seed", "same"), [(1, True), (2, False)])
def test_fit_with_the_same_seed_is_the_same_run(tmp_path, seed, same):
    _, one = train(tmp_path / "a", tiny_config(seed=1))
    _, other = train(tmp_path / "b", tiny_config(seed=seed))
    assert (final_bytes(tmp_path / "a", one) == final_bytes(tmp_path / "b", other)) == same


def test_fit_is_not_changed_by_evaluation(tmp_path):
    _, often = train(tmp_path / "a", tiny_config(eval_every=1))
    _, seldom = train(tmp_path / "b", tiny_config(eval_every=100))
    assert final_bytes(tmp_path / "a", often) == final_bytes(tmp_path / "b", seldom)
    assert [row["step"] for row in read_metrics(tmp_path / "b") if row["split"] == "valid"] == [12]


def test_fit_ends_at_the_first_budget_spent(tmp_path):
    config = tiny_config(max_steps=1000, max_tokens=200)
    result, model = train(tmp_path / "tokens", config)
    assert 200 <= result.tokens < 200 + 48
    per_step = count_flops(model.shape).training(length_units(model.shape, {"decoder": [12] * 4}))
    result, _ = train(tmp_path / "flops", tiny_config(max_steps=None, max_flops=3.5 * per_step, eval_every=None))
    assert (result.step, result.flops) == (4, 4 * per_step)
    result, _ = train(
        tmp_path / "seconds", tiny_config(max_steps=None, max_seconds=0.3, slow_step_seconds=0.1, eval_every=None)
    )
    # A step takes at least its 0.1 s, and longer on a busy machine.
    assert 1 <= result.step <= 3
    assert result.seconds >= 0.3


@pytest.mark.parametrize(("max_steps", "n_rows"), [(20, 10), (10, 10), (7, 7), (25, 10), (3, 3)])
def test_fit_evaluates_ten_times_by_default(tmp_path, max_steps, n_rows):
    train(tmp_path, tiny_config(max_steps=max_steps, eval_every=None))
    steps = [row["step"] for row in read_metrics(tmp_path) if row["split"] == "valid"]
    assert len(steps) == n_rows
    assert steps[-1] == max_steps


def test_fit_writes_rows_of_metrics(tmp_path):
    result, _ = train(tmp_path, tiny_config(max_steps=10, log_every=4))
    rows = read_metrics(tmp_path)
    learned = [row for row in rows if row["split"] == "train"]
    assert [row["step"] for row in learned] == [4, 8, 10]
    assert learned[-1]["tokens"] == result.tokens
    assert learned[-1]["flops"] == result.flops == rows[-1]["flops"]
    columns = "step tokens flops seconds split nats_per_token ppl objective lr grad_norm tokens_per_second real_tokens padded_tokens"
    assert list(learned[0]) == columns.split()
    for row in (row for row in rows if row["split"] != "probe"):
        assert row["ppl"] == pytest.approx(math.exp(row["nats_per_token"]))
    first = learned[0]["nats_per_token"]
    assert first == pytest.approx(math.log(24), rel=0.2)


def test_fit_keeps_the_best_evaluation_beside_the_last(tmp_path):
    config = tiny_config(eval_every=2)
    task, scores = RandomTask(config), iter([3.0, 2.0, 2.5, 2.0, 9.0, 8.0])
    task.evaluate = lambda model: {"nats_per_token": next(scores)}
    result, last = train(tmp_path, config, task=task)
    assert result.best["step"] == 4
    best = build_model(config)
    how = "lowest nats_per_token on valid"
    assert load_scored(tmp_path, best, config.train) == {"step": 4, "nats_per_token": 2.0, "chosen_by": how}
    assert any(not torch.equal(p, q) for p, q in zip(best.parameters(), last.parameters(), strict=True))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_fit_refuses_a_loss_that_is_not_finite(tmp_path, value):
    config = tiny_config()
    task = RandomTask(config)
    learn, count = task.loss, []

    def diverging(model, batch):
        count.append(1)
        sums = learn(model, batch)
        return LossSum(sums.objective * value, sums.nll, sums.n_tokens) if len(count) == 7 else sums

    task.loss = diverging
    with pytest.raises(DivergedError) as diverged:
        train(tmp_path, config, task=task)
    assert (diverged.value.exit_code, diverged.value.setting) == (4, "step 7")
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["best", "step_00000004"]


def test_fit_refuses_a_gradient_that_is_not_finite(tmp_path):
    config = tiny_config()
    task = RandomTask(config)
    learn = task.loss

    def exploding(model, batch):
        sums = learn(model, batch)
        sums.objective.register_hook(lambda g: g * math.inf)
        return sums

    task.loss = exploding
    with pytest.raises(DivergedError, match="gradient norm") as diverged:
        train(tmp_path, config, task=task)
    assert diverged.value.setting == "step 1"


def test_fit_refuses_weights_that_are_not_finite(tmp_path):
    config = tiny_config(max_steps=1)
    task = RandomTask(config)
    scores = {"nats_per_token": 1.0}

    def poison(model):
        with torch.no_grad():
            next(model.parameters())[0, 0] = math.nan
        return scores

    task.evaluate = poison
    with pytest.raises(DivergedError, match=r"decoder\.embed") as diverged:
        train(tmp_path, config, task=task)
    assert diverged.value.setting == "step 1"
    assert not (tmp_path / "checkpoints").exists() or not list((tmp_path / "checkpoints").iterdir())


def test_fit_refuses_a_validation_loss_that_is_not_finite(tmp_path):
    config = tiny_config()
    task = RandomTask(config)
    task.evaluate = lambda model: {"nats_per_token": math.nan}
    with pytest.raises(DivergedError, match="valid") as diverged:
        train(tmp_path, config, task=task)
    assert diverged.value.setting == "step 5"
    assert not (tmp_path / "checkpoints" / "best").exists()


def test_fit_logs_one_line_per_interval_without_a_terminal(tmp_path):
    lines = []
    train(tmp_path, tiny_config(), log=lines.append)
    progress = [line for line in lines if "tokens/s" in line]
    assert len(progress) == 4
    assert progress[0].startswith("step 3: loss ") and "ETA 0:00:00" in progress[-1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")  # torch's own import
def test_fit_of_a_compiled_model_follows_eager(tmp_path):
    _, eager = train(tmp_path / "a", tiny_config("cross_layer", max_steps=4))
    _, compiled = train(tmp_path / "b", tiny_config("cross_layer", max_steps=4, hardware={"compile": True}))
    assert list(eager.state_dict()) == list(compiled.state_dict())
    for p, q in zip(eager.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=2e-4, rtol=1e-3)
