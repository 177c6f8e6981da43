"""The memory ledger against a model and an optimizer that exist, after a step in either precision."""

import pytest
import torch
from tietrain.plan.memory import count_memory

from tietrain.config import HardwareConfig, OptimConfig
from tietrain.train.hardware import resolve_hardware
from tietrain.train.optim import build_optimizer
from tietrain.train.step import train_step
from tiny_models import SCHEMES, plan_of
from tiny_run import RandomTask, build_model, tiny_config

OPTIMIZERS = [OptimConfig("adamw"), OptimConfig("adam"), OptimConfig("sgd"), OptimConfig("sgd", momentum=0.9)]


def n_bytes(tensors) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


@pytest.mark.parametrize("optim", OPTIMIZERS, ids=lambda o: f"{o.name}-{o.momentum}")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("tying", ["none", "three_way"])
def test_bytes_of_a_training_step(optim, precision, tying):
    config = tiny_config(tying, task="mt")
    model, task = build_model(config), RandomTask(config)
    optimizer = build_optimizer(model, optim)
    gradients = []
    optimizer.register_step_pre_hook(lambda *_: gradients.extend(p.grad for p in model.parameters()))
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


@pytest.mark.parametrize("task", SCHEMES)
def test_a_tie_saves_parameters_gradients_and_moments_alike(task):
    none = count_memory(plan_of(task, "none"), "sgd", 0.9)
    for scheme in SCHEMES[task]:
        tied = count_memory(plan_of(task, scheme), "sgd", 0.9)
        saved = {none.parameters - tied.parameters, none.gradients - tied.gradients, none.optimizer - tied.optimizer}
        assert len(saved) == 1
        assert tied.kv_per_token == none.kv_per_token
