"""The predicted initial loss, over ties, positions, norms and both scales of a table."""

import math

import pytest
import torch

from every_scheme import configure
from tietrain.config.model import PARAMETRISATIONS
from tietrain.train.check.initial import ACTIVATIONS, _activation, predicted_nats
from tietrain.train.check.matrix import check_start
from tietrain.train.check.reference import WIDE, build_reference, draw_batches

TIED = [
    ("lm", "pre_softmax"),
    ("lm", "[pre_softmax,universal]"),
    ("lm", "[pre_softmax,ffn_only,query_key]"),
    ("mt", "three_way"),
    ("mt", "[pre_softmax,cycle,query_key]"),
    ("mt", "[three_way,one_layer]"),
]
MODELS = [
    "model.positions=learned",
    "model.positions=sinusoidal model.norm_position=post model.activation=relu",
    "model.positions=rotary model.norm=rms model.activation=swiglu model.embed_scale='1'",
]


@pytest.mark.parametrize("std", [pytest.param("0.02", marks=pytest.mark.slow), "null"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("task", "tying"), TIED)
def test_check_start_predicts_within_a_fifth_of_a_nat(task, tying, model, std):
    check_start(configure(task, tying, *model.split(), f"model.table_init_std={std}"))


@pytest.mark.parametrize("tables", PARAMETRISATIONS)
@pytest.mark.parametrize(("task", "tying"), [("lm", "pre_softmax"), ("mt", "none"), ("mt", "three_way")])
def test_check_start_predicts_under_every_parametrisation_of_the_tables(task, tying, tables):
    check_start(configure(task, tying, f"model.tables={tables}"))


@pytest.mark.parametrize("std", ["0.02", "null"])
def test_predicted_nats_of_an_untied_table_are_ln_v_and_half_the_variance(std):
    config = configure("mt", "universal", f"model.table_init_std={std}")
    model = build_reference(config, WIDE)
    variance = 128 * 0.02**2 if std == "0.02" else 1.0
    predicted = predicted_nats(model, draw_batches(model, 2, 12, 16)[0])
    assert predicted == pytest.approx(math.log(1000) + variance / 2)
    check_start(config)


def test_check_start_flags_arms_that_start_apart():
    """A table of std d^-0.5 that is embedding and output knows the current piece, and says so with confidence."""
    _, flag = check_start(configure("lm", "pre_softmax", "model.table_init_std=null"))
    assert "untied at 7.4" in flag
    assert check_start(configure("lm", "pre_softmax"))[1] == ""


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_covariance(activation):
    """Source: Cho & Saul 2009, section 2 (arc-cosine kernel of degree 1), for relu; sampling for the others."""
    c = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    got = _activation(c, activation)
    if activation == "relu":
        angle = c.acos()
        wanted = (angle.sin() + (math.pi - angle) * c) / (2 * math.pi)
        assert got.tolist() == pytest.approx(wanted.tolist(), rel=0.02)
    x, z = torch.randn(2, 400_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for covariance, value in zip(c, got, strict=True):
        y = covariance * x + (1 - covariance**2).sqrt() * z
        f = ACTIVATIONS[activation]
        factor = covariance if activation == "swiglu" else 1.0
        assert value.item() == pytest.approx(((f(x) * f(y)).mean() * factor).item(), abs=6e-3)
