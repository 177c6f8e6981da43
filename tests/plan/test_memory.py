"""The memory ledger against a model and an optimizer that exist, after a step in either precision."""

import pytest
import torch

from tietrain.config import HardwareConfig, OptimConfig
from tietrain.plan.params import count_memory
from tietrain.train.hardware import resolve_hardware
from tietrain.train.optim import build_optimizer, train_step
from tiny_models import SCHEMES, plan_of
from tiny_run import RandomTask, build_model, tiny_config

CASES = [
    (OptimConfig("adamw"), "fp32", "three_way"),
    (OptimConfig("adamw"), "bf16", "none"),
    (OptimConfig("adam"), "fp32", "none"),
    (OptimConfig("sgd"), "bf16", "three_way"),
    (OptimConfig("sgd", momentum=0.9), "fp32", "three_way"),
]


def n_bytes(tensors) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


@pytest.mark.parametrize(("optim", "precision", "tying"), CASES, ids=lambda x: getattr(x, "name", x))
def test_count_memory_is_what_a_training_step_holds(optim, precision, tying, monkeypatch):
    config = tiny_config(tying, task="mt")
    model, task = build_model(config), RandomTask(config)
    optimizer = build_optimizer(model, optim)
    gradients = []
    monkeypatch.setattr(optimizer, "zero_grad", lambda: gradients.extend(p.grad for p in model.parameters()))
    train_step(
        model,
        optimizer,
        task.batches.batch(0, 0),
        task.loss,
        hardware=resolve_hardware(HardwareConfig(device="cpu", precision=precision, threads=1)),
        clip_norm=None,
        seed=1,
        step=1,
    )
    ledger = count_memory(model.plan, optim.name, optim.momentum)
    state = [t for entry in optimizer.state.values() for t in entry.values() if isinstance(t, torch.Tensor)]
    found = n_bytes(model.parameters()), n_bytes(gradients), n_bytes(state)
    assert found == (ledger.parameters, ledger.gradients, ledger.optimizer)
    assert ledger.training == sum(found)


def test_count_memory_saves_parameters_gradients_and_moments_alike():
    for task, schemes in SCHEMES.items():
        none = count_memory(plan_of(task, "none"), "sgd", 0.9)
        for scheme in schemes:
            tied = count_memory(plan_of(task, scheme), "sgd", 0.9)
            n_saved = none.parameters - tied.parameters
            assert none.gradients - tied.gradients == none.optimizer - tied.optimizer == n_saved, (task, scheme)
            assert tied.kv_per_token == none.kv_per_token, (task, scheme)
