"""Decay is for matrices, every owner is held once, a step is the textbook's, and learning rates stay within bounds."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import every_scheme
from tietrain.config import OptimConfig
from tietrain.config.training import RoleFactors
from tietrain.errors import SettingsError
from tietrain.train.optim import build_optimizer, fraction_spent, learning_rate, set_learning_rate
from tiny_models import build


@pytest.fixture
def tied():
    """Table and output projection are one matrix; biases and norms are vectors."""
    return build("lm", "pre_softmax", n_layers=1, ffn_bias=True)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("decay_tables", [False, True])
def test_build_optimizer_holds_a_tied_matrix_once_and_decays_matrices_alone(tied, name, decay_tables):
    optimizer = build_optimizer(tied, OptimConfig(name=name, weight_decay=0.3, decay_tables=decay_tables))
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in tied.parameters())
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for owner in tied.plan.owners:
        decays = len(owner.shape) > 1 and (decay_tables or owner.kind != "table")
        assert decay[id(tied.parameter(owner.name))] == (0.3 if decays else 0.0), owner.name


def test_rates_by_role(tied):
    """A tied table has the role `tied` alone, whatever its uses have."""
    factors = RoleFactors(input=9.0, output=9.0, tied=3.0, vectors=0.5)
    optimizer = build_optimizer(tied, OptimConfig(lr=0.1, lr_factor=factors))
    set_learning_rate(optimizer, 0.2)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for owner in tied.plan.owners:
        factor = 3.0 if owner.kind == "table" else 0.5 if len(owner.shape) < 2 else 1.0
        assert rates[id(tied.parameter(owner.name))] == pytest.approx(0.2 * factor), owner.name


def test_weight_decay_by_role(tied):
    config = OptimConfig(weight_decay=0.3, decay_tables=True, weight_decay_factor=RoleFactors(tied=2.0, input=9.0))
    optimizer = build_optimizer(tied, config)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for owner in tied.plan.owners:
        expected = 0.0 if len(owner.shape) < 2 else 0.6 if owner.kind == "table" else 0.3
        assert decay[id(tied.parameter(owner.name))] == expected, owner.name


@pytest.mark.parametrize("role", ["tied", "vectors"])
def test_weight_decay_of_what_does_not_decay_is_refused(role):
    with pytest.raises(SettingsError, match=rf"optim\.weight_decay_factor\.{role}=2\.0"):
        OptimConfig(weight_decay_factor=RoleFactors(**{role: 2.0}))


def test_shared_gradient_is_for_layers_and_adam_is_indifferent_to_it():
    """Without clipping and eps Adam divides any factor out again; SGD moves by it. Tables and what is not shared keep theirs."""
    moved = {}
    for name, rule in itertools.product(("adam", "sgd"), ("sum", "mean", "root")):
        model = every_scheme.build("lm", "[pre_softmax,universal]", "model.n_layers=4")
        config = OptimConfig(name=name, lr=0.1, eps=1e-30, weight_decay=0.0, shared_gradient=rule)
        optimizer = build_optimizer(model, config)
        before = {key: p.detach().clone() for key, p in model.named_parameters()}
        for p in model.parameters():
            p.grad = torch.full_like(p, 0.2)
        optimizer.scale_gradients()
        optimizer.step()
        moved[name, rule] = {key: float((before[key] - p.detach()).mean()) for key, p in model.named_parameters()}
    for key in moved["sgd", "sum"]:
        shared = key.startswith("decoder.0.")
        assert moved["sgd", "mean"][key] == pytest.approx(moved["sgd", "sum"][key] / (4 if shared else 1), rel=1e-3), (
            key
        )
        assert moved["sgd", "root"][key] == pytest.approx(moved["sgd", "sum"][key] / (2 if shared else 1), rel=1e-3), (
            key
        )
        assert moved["adam", "mean"][key] == pytest.approx(moved["adam", "sum"][key], rel=1e-3), key


def test_optimizer_decays_once(tied):
    before = {name: p.detach().clone() for name, p in tied.named_parameters()}
    optimizer = build_optimizer(tied, OptimConfig(lr=0.1, weight_decay=0.5, decay_tables=True))
    for p in tied.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for name, p in tied.named_parameters():
        assert torch.allclose(p, before[name] * (1 - 0.1 * 0.5 if p.ndim > 1 else 1)), name


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_optimizer_takes_the_textbook_step(tied, name):
    """Fused kernels against the formulas of Kingma & Ba 2015, algorithm 1."""
    before = {key: p.detach().clone() for key, p in tied.named_parameters()}
    optimizer = build_optimizer(tied, OptimConfig(name=name, lr=0.1, weight_decay=0.0))
    for p in tied.parameters():
        p.grad = torch.full_like(p, 0.2)
    optimizer.step()
    moved = 0.1 * 0.2 if name == "sgd" else 0.1
    for key, p in tied.named_parameters():
        assert torch.allclose(p, before[key] - moved, atol=1e-6), key


@pytest.mark.parametrize(
    ("config", "theirs"),
    [
        (OptimConfig(name="adamw", weight_decay=0.1), torch.optim.AdamW),
        (OptimConfig(name="adam", weight_decay=0.1), torch.optim.Adam),
        (OptimConfig(name="sgd", weight_decay=0.1), torch.optim.SGD),
        (OptimConfig(name="sgd", weight_decay=0.1, momentum=0.9), torch.optim.SGD),
    ],
    ids=["adamw", "adam", "sgd", "momentum"],
)
def test_optimizer_has_the_bits_of_torchs_own(config, theirs):
    model, twin = (build("lm", "pre_softmax", n_layers=1, ffn_bias=True) for _ in range(2))
    ours = build_optimizer(model, config)
    twin_of = dict(zip(model.parameters(), twin.parameters(), strict=True))
    groups = [{**group, "params": [twin_of[p] for p in group["params"]]} for group in ours.param_groups]
    own = {"momentum": config.momentum} if config.name == "sgd" else {"betas": tuple(config.betas), "eps": config.eps}
    of_torch = theirs(groups, fused=True, **own)
    for _ in range(3):
        for p, q in twin_of.items():
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        for optimizer in (ours, of_torch):
            optimizer.step()
            optimizer.zero_grad()
    for p, q in twin_of.items():
        assert torch.equal(p, q)
        state = ours.state.get(p, {})
        assert state.keys() == of_torch.state[q].keys()
        assert all(torch.equal(value, of_torch.state[q][name]) for name, value in state.items())


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
