"""Gradients by use: they add up, the numbers are those of their definitions, and looking changes nothing."""

import math

import pytest
import torch

from every_scheme import CASES, COMBINED, VIEWED, build
from tietrain.runs.metrics import read_metrics
from tietrain.train.anatomy import Anatomy, _measures, gradients_by_slot, groups_of
from tietrain.train.check.reference import draw_batches
from tietrain.train.hardware import resolve_hardware
from tietrain.train.optim import build_optimizer, train_step, with_dropout
from tietrain.train.tasks.task import batch_loss
from tiny_run import WALL_CLOCK, RandomTask, build_model, reproducible, tiny_config, train


def loss(model, batch):
    return batch_loss(model, batch, 0.1)


QUICK = [*COMBINED, *VIEWED, ("lm", "universal"), ("mt", "encoder_decoder"), ("sources", "three_way")]


@pytest.mark.parametrize(
    ("kind", "tying"), [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in CASES if case not in QUICK)]
)
def test_gradients_of_uses_add_up_to_that_of_the_step(kind, tying):
    model, hardware = build(kind, tying), resolve_hardware(tiny_config().hardware)
    for batch in draw_batches(model, rows=3, src_len=5, tgt_len=4):
        by_slot = gradients_by_slot(model, batch, batch.n_tokens, loss, hardware)
        assert set(by_slot) == {slot for group in model.plan.groups.values() for slot in group}
        assert all(p.grad is None for p in model.parameters())
        (loss(model, batch).objective / batch.n_tokens).backward()
        for owner, slots in model.plan.groups.items():
            grad = model.parameter(owner).grad
            wanted = torch.zeros_like(model.parameter(owner)) if grad is None else grad
            torch.testing.assert_close(sum(by_slot[slot] for slot in slots), wanted, rtol=1e-4, atol=1e-7)
        model.zero_grad()


def test_groups_are_blocks_and_their_uses():
    universal = groups_of(build("lm", "[pre_softmax,universal]", "model.n_layers=3").plan)
    assert list(universal["decoder.embed"]) == ["decoder.embed", "decoder.output"]
    assert list(universal["decoder.0.ffn"]) == [f"decoder.{layer}.ffn" for layer in range(3)]
    assert universal["decoder.0.ffn"]["decoder.2.ffn"] == tuple(
        f"decoder.2.ffn.{leaf}" for leaf in ("in.weight", "in.bias", "out.weight", "out.bias")
    )
    within = groups_of(build("lm", "query_key", "model.n_layers=2").plan)
    assert list(within["decoder.0.self_attn.q"]) == ["decoder.0.self_attn.q", "decoder.0.self_attn.k"]
    assert groups_of(build("lm", "none").plan) == {}


def test_measures_by_hand():
    def gradients(*uses):
        return {name: [torch.tensor(x)] for name, x in zip("abc", uses, strict=False)}

    seen = _measures(gradients([3.0, 0.0], [0.0, 4.0]), [])
    assert seen == {"norm/a": 3.0, "norm/b": 4.0, "cancellation": 5 / 7, "cosine": 0.0}
    halves = [gradients([1.0, 0.0], [1.0, 0.0]), gradients([1.0, 0.0], [0.0, 1.0])]
    seen = _measures(gradients([2.0, 0.0], [-2.0, 0.0]), halves)
    assert (seen["cancellation"], seen["cosine"], seen["ceiling"]) == (0.0, -1.0, 0.5)
    assert _measures(gradients([0.0], [0.0]), []) == {"norm/a": 0.0, "norm/b": 0.0}
    three = _measures(gradients([1.0, 0.0], [1.0, 0.0], [0.0, 1.0]), [])
    assert three["cosine"] == pytest.approx(1 / 3)


def test_shares_of_adam_add_up_to_its_update():
    """Without momentum and decay; of a tied table the rows that are read are some of all."""
    config = tiny_config(
        "pre_softmax", dropout=0.5, optim={"betas": [0.0, 0.9], "weight_decay": 0.0, "clip_norm": 0.01}
    )
    model, task = build_model(config), RandomTask(config)
    optimizer = build_optimizer(model, config.optim)
    hardware = resolve_hardware(config.hardware)
    anatomy = Anatomy(model, optimizer, task.loss, hardware, config.optim)
    shares = {}
    anatomy._adam = lambda name, gradients, clip: shares.update({name: (gradients, clip)}) or {}
    for step in (1, 2):
        batch = task.batches.batch(0, step)
        before = model.parameter("decoder.embed.weight").detach().clone()
        anatomy.before_step(with_dropout(batch, 1, step), step - 1)
        options = {"hardware": hardware, "clip_norm": config.optim.clip_norm, "seed": 1, "step": step}
        sums = train_step(model, optimizer, batch, task.loss, **options)
        seen = anatomy.after_step(sums.grad_norm)
        moved = before - model.parameter("decoder.embed.weight").detach()
        gradients, clip = shares["decoder.embed"]
        assert seen["clip"] == clip == pytest.approx(0.01 / sums.grad_norm)
        v = optimizer.state[model.parameter("decoder.embed.weight")]["exp_avg_sq"] / (1 - 0.9**step)
        parts = {use: clip * found / (v.sqrt() + config.optim.eps) for use, (found,) in gradients.items()}
        torch.testing.assert_close(config.optim.lr * sum(parts.values()), moved, rtol=1e-3, atol=1e-6)
        found = Anatomy._adam(anatomy, "decoder.embed", gradients, clip)
        for use, part in parts.items():
            assert found[f"adam/{use}"] == pytest.approx(float(part.norm()), rel=1e-5)
            assert found[f"adam_read/{use}"] <= found[f"adam/{use}"] * (1 + 1e-9)
        assert found["adam_read/decoder.embed"] == pytest.approx(found["adam/decoder.embed"])
        size = float(before.double().norm())
        assert seen["decoder.embed/update"] == pytest.approx(float(moved.double().norm()) / size, rel=1e-4)


@pytest.mark.parametrize("device_batch_tokens", [None, 20])
def test_looks_are_rows_and_change_nothing_else(tmp_path, device_batch_tokens):
    """At steps 0, 5 and 10 of 12; a run that was stopped has the same."""
    hardware = {"device_batch_tokens": device_batch_tokens}
    looked_at = tiny_config("three_way", "mt", probe_every=5, hardware=hardware)
    _, model = train(tmp_path / "looked at", looked_at)
    _, same = train(tmp_path / "not looked at", tiny_config("three_way", "mt", hardware=hardware))
    assert all(map(torch.equal, model.state_dict().values(), same.state_dict().values()))
    rows = reproducible(read_metrics(tmp_path / "looked at"))
    looks = [row for row in rows if row["split"] == "anatomy"]
    assert [(row["of_step"], row["step"]) for row in looks] == [(0, 1), (5, 6), (10, 11)]
    assert [row for row in rows if row["split"] != "anatomy"] == reproducible(read_metrics(tmp_path / "not looked at"))
    for row in looks:
        assert not any(name.endswith(WALL_CLOCK) for name in row)
        uses = ("encoder.embed", "decoder.embed", "decoder.output")
        assert all(row[f"encoder.embed/{what}/{use}"] > 0 for what in ("norm", "adam", "adam_read") for use in uses)
        assert 0 < row["encoder.embed/cancellation"] <= 1 and 0 < row["clip"] <= 1
        assert all(math.isfinite(row[f"encoder.embed/{name}"]) for name in ("cosine", "ceiling", "update"))
    train(tmp_path / "stopped", looked_at, stop_after=15)
    train(tmp_path / "stopped", looked_at)
    assert reproducible(read_metrics(tmp_path / "stopped")) == rows


def test_nothing_is_looked_at_where_nothing_is_shared(tmp_path):
    train(tmp_path, tiny_config(probe_every=5, max_steps=2))
    (look,) = [row for row in read_metrics(tmp_path) if row["split"] == "anatomy"]
    assert set(look) - {"step", "tokens", "flops", "seconds"} == {"split", "of_step", "clip"}
