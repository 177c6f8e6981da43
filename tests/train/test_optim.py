"""Decay is for matrices, every owner is held once, a step is the textbook's, and learning rates stay within bounds."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tietrain.config import OptimConfig
from tietrain.errors import SettingsError
from tietrain.train.optim import build_optimizer, fraction_spent, learning_rate


class Twice(nn.Module):
    """One matrix under two names, and a vector."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.ones(3, 2))
        self.output = self.table
        self.norm = nn.Parameter(torch.ones(2))


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_build_optimizer_holds_a_tied_matrix_once_and_decays_matrices_alone(name):
    model = Twice()
    optimizer = build_optimizer(model, OptimConfig(name=name, weight_decay=0.3))
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == 2
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay == {id(model.table): 0.3, id(model.norm): 0.0}


def test_optimizer_decays_once():
    model = Twice()
    optimizer = build_optimizer(model, OptimConfig(lr=0.1, weight_decay=0.5))
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert torch.allclose(model.table, torch.full((3, 2), 1 - 0.1 * 0.5))
    assert torch.equal(model.norm, torch.ones(2))


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_optimizer_takes_the_textbook_step(name):
    """Fused kernels against the formulas of Kingma & Ba 2015, algorithm 1."""
    model = Twice()
    optimizer = build_optimizer(model, OptimConfig(name=name, lr=0.1, weight_decay=0.0))
    for p in model.parameters():
        p.grad = torch.full_like(p, 0.2)
    optimizer.step()
    moved = 0.1 * 0.2 if name == "sgd" else 0.1
    assert torch.allclose(model.table, torch.full((3, 2), 1 - moved), atol=1e-6)


SCHEDULES = ("inverse_sqrt", "cosine", "wsd", "constant")


def optim(schedule, **options):
    return OptimConfig(schedule=schedule, **{"lr": 2.0, "warmup": 0.1, "decay": 0.4, "min_lr_ratio": 0.25, **options})


@given(
    st.sampled_from(SCHEDULES),
    st.floats(0.01, 0.5),
    st.floats(0, 0.5),
    st.floats(0, 1),
    st.floats(0, 1, allow_nan=False),
)
def test_learning_rate_is_positive_and_never_above_the_peak(schedule, warmup, decay, lowest, fraction):
    rate = learning_rate(optim(schedule, warmup=warmup, decay=decay, min_lr_ratio=lowest), fraction)
    assert 0 <= rate <= 2.0 * (1 + 1e-12)
    if fraction < 1:
        assert rate > 0


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_learning_rate_warms_up_linearly_to_the_peak(schedule):
    config = optim(schedule)
    assert learning_rate(config, 0.05) == pytest.approx(1.0)
    assert learning_rate(config, 0.1) == pytest.approx(2.0)
    assert learning_rate(config, 0.0) > 0


@pytest.mark.parametrize(
    ("schedule", "half", "end"),
    [
        ("constant", 2.0, 2.0),
        ("wsd", 2.0, 0.5),
        ("cosine", 0.5 + 1.5 * 0.5868240888334652, 0.5),
        ("inverse_sqrt", 2 / 5**0.5, 2 / 10**0.5),
    ],
)
def test_learning_rate_after_warm_up(schedule, half, end):
    assert learning_rate(optim(schedule), 0.5) == pytest.approx(half)
    assert learning_rate(optim(schedule), 1.0) == pytest.approx(end)
    assert learning_rate(optim(schedule), 1.5) == pytest.approx(end)


def test_learning_rate_of_wsd_half_way_through_its_decay():
    assert learning_rate(optim("wsd", min_lr_ratio=0.0), 0.8) == pytest.approx(1.0)


def test_fraction_spent_is_that_of_the_budget_spent_most():
    used = {"steps": 10, "tokens": 900, "flops": 5, "seconds": 1.0}
    assert fraction_spent(used, {"steps": 100, "tokens": 1000}) == 0.9
    assert fraction_spent(used, {"steps": 100}) == 0.1


def test_inverse_sqrt_needs_a_warm_up():
    with pytest.raises(SettingsError, match=r"^optim\.warmup=0"):
        OptimConfig(schedule="inverse_sqrt", warmup=0.0)
