"""One step: micro-batches add up, gradients are clipped, dropout is a function of seed, step and row."""

import math
from dataclasses import replace
from itertools import chain

import pytest
import torch

from tietrain.config import OptimConfig
from tietrain.train.hardware import resolve_hardware
from tietrain.train.optim import build_optimizer, train_step, with_dropout
from tiny_run import RandomTask, build_model, tiny_config

SGD = OptimConfig(name="sgd", lr=1.0, weight_decay=0.0)


def test_train_step_draws_dropout_from_seed_and_step():
    config = tiny_config(dropout=0.5)
    model, task = build_model(config), RandomTask(config)
    batch = task.batches.batch(0, 0)

    def nats(seed, step):
        optimizer = build_optimizer(model, config.optim)
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        hardware = resolve_hardware(config.hardware)
        torch.rand(1)  # no generator has a part in it
        sums = train_step(model, optimizer, batch, task.loss, hardware=hardware, clip_norm=None, seed=seed, step=step)
        return sums.nll

    assert nats(1, 1) == nats(1, 1)
    assert len({nats(seed, step) for seed in (1, 2) for step in (1, 2, 3)}) == 6


def test_row_seeds_differ_in_every_row_of_every_step():
    batch = RandomTask(tiny_config()).batches.batch(0, 0)
    n = len(batch.tgt_in_ids)
    rows = torch.cat([with_dropout(batch, seed, step).row_seeds for seed in range(20) for step in (1, 2, 12)])
    assert rows.dtype == torch.int32 and len(rows.unique()) == len(rows) == 60 * n
    assert torch.equal(with_dropout(batch, 19, 12).row_seeds, rows[-n:])
    assert 0.37 < (rows < 0).float().mean() < 0.63


@pytest.mark.parametrize("task_name", ["lm", "mt"])
@pytest.mark.parametrize("tying", ["none", "cross_layer"])
def test_train_step_of_micro_batches_adds_up_with_dropout(task_name, tying):
    config = tiny_config(tying, task_name, dropout=0.1)
    grads, sums = [], []
    for device_batch_tokens in (None, 20):
        model, task = build_model(config), RandomTask(config)
        hardware = resolve_hardware(tiny_config(hardware={"device_batch_tokens": device_batch_tokens}).hardware)
        optimizer = build_optimizer(model, SGD)
        before = [p.detach().clone() for p in model.parameters()]
        batch = task.batches.batch(0, 0)
        sums.append(train_step(model, optimizer, batch, task.loss, hardware=hardware, clip_norm=None, seed=1, step=1))
        grads.append([b - p.detach() for b, p in zip(before, model.parameters(), strict=True)])
    assert sums[0].objective == pytest.approx(sums[1].objective, rel=1e-6)
    assert sums[0].grad_norm == pytest.approx(sums[1].grad_norm, rel=1e-5)
    assert sums[1].padded_tokens <= sums[0].padded_tokens
    for whole, parts in zip(*grads, strict=True):
        torch.testing.assert_close(whole, parts, atol=1e-6, rtol=1e-4)


def test_train_step_clips_the_gradient_to_its_norm():
    config = tiny_config("pre_softmax", dropout=0.0)
    model, task = build_model(config), RandomTask(config)
    hardware, optimizer = resolve_hardware(config.hardware), build_optimizer(model, SGD)
    before = [p.detach().clone() for p in model.parameters()]
    batch = task.batches.batch(0, 0)
    sums = train_step(model, optimizer, batch, task.loss, hardware=hardware, clip_norm=0.01, seed=1, step=1)
    moved = math.sqrt(
        sum(float((b - p.detach()).square().sum()) for b, p in zip(before, model.parameters(), strict=True))
    )
    assert sums.grad_norm > 0.01
    assert moved == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("optim", [{"name": "adamw"}, {"name": "sgd", "momentum": 0.9}])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_train_step_that_is_not_finite_changes_no_weight_and_none_after_it_does(optim, bad):
    config = tiny_config("pre_softmax", optim=optim)
    model, task = build_model(config), RandomTask(config)
    hardware, optimizer = resolve_hardware(config.hardware), build_optimizer(model, config.optim)
    weights, found = [], []
    for step, factor in enumerate((1.0, bad, 1.0), start=1):

        def loss(model, batch, factor=factor):
            summed = task.loss(model, batch)
            return replace(summed, objective=summed.objective * factor)

        options = {"hardware": hardware, "clip_norm": 1.0, "seed": 1, "step": step}
        found.append(train_step(model, optimizer, task.batches.batch(0, step), loss, **options))
        kept = [*model.parameters(), *chain.from_iterable(state.values() for state in optimizer.state.values())]
        weights.append([tensor.detach().clone() for tensor in kept])
    assert [math.isfinite(sums.objective) for sums in found] == [True, False, True]
    for after in weights[1:]:
        assert all(map(torch.equal, weights[0], after))
