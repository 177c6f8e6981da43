"""Decay is for matrices, every owner is held once, and a step is the textbook's."""

import pytest
import torch
from torch import nn

from tietrain.config import OptimConfig
from tietrain.train.optim import build_optimizer


class Twice(nn.Module):
    """One matrix under two names, and a vector."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.ones(3, 2))
        self.output = self.table
        self.norm = nn.Parameter(torch.ones(2))


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_a_tied_matrix_is_held_once_and_only_matrices_decay(name):
    model = Twice()
    optimizer = build_optimizer(model, OptimConfig(name=name, weight_decay=0.3))
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == 2
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay == {id(model.table): 0.3, id(model.norm): 0.0}


def test_decay_is_applied_once():
    model = Twice()
    optimizer = build_optimizer(model, OptimConfig(lr=0.1, weight_decay=0.5))
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert torch.allclose(model.table, torch.full((3, 2), 1 - 0.1 * 0.5))
    assert torch.equal(model.norm, torch.ones(2))


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_one_step_is_the_textbook_step(name):
    """Fused kernels against the formulas of Kingma & Ba 2015, algorithm 1."""
    model = Twice()
    optimizer = build_optimizer(model, OptimConfig(name=name, lr=0.1, weight_decay=0.0))
    for p in model.parameters():
        p.grad = torch.full_like(p, 0.2)
    optimizer.step()
    moved = 0.1 * 0.2 if name == "sgd" else 0.1
    assert torch.allclose(model.table, torch.full((3, 2), 1 - moved), atol=1e-6)
