"""The optimizer's state under other ties: the closed forms of untying and tying, and what begins anew."""

from dataclasses import replace

import pytest
import torch

from tietrain.config import OptimConfig
from tietrain.model.transformer import Transformer
from tietrain.plan.schemes import make_plan
from tietrain.train.convert import convert_moments
from tietrain.train.optim import Optimizer, build_optimizer
from tiny_models import make_shape

UNIVERSAL = {"universal": {"rule": "cross_layer"}}
TIED = UNIVERSAL | {"tables": {"rule": "three_way"}}
ADAM, SGD = OptimConfig(eps=1e-30, weight_decay=0.0), OptimConfig(name="sgd", momentum=0.9)


def tie(rule: str, **options) -> dict:
    return {rule: {"rule": rule, **options}}


def made(ties: dict, config: OptimConfig = ADAM, seed: int = 0) -> tuple[Transformer, Optimizer]:
    """A model in float64 and its optimizer; with a seed also a state as after 7 steps."""
    model = Transformer(make_plan(make_shape("mt"), ties)).double()
    model.initialize(1)
    optimizer = build_optimizer(model, config)
    torch.manual_seed(seed)
    for p in model.parameters() if seed else ():
        optimizer.state[p] = {"momentum_buffer": torch.randn_like(p)}
        if config.name != "sgd":
            optimizer.state[p] = {
                "step": torch.tensor(7.0),
                "exp_avg": torch.randn_like(p),
                "exp_avg_sq": torch.rand_like(p),
            }
    return model, optimizer


def state_of(model: Transformer, optimizer: Optimizer, name: str) -> dict[str, torch.Tensor]:
    return optimizer.state[model.get_parameter(name)]


def test_convert_moments_of_untied_uses_are_their_share_of_the_owners():
    old, before = made(TIED, seed=1)
    new, after = made({})
    assert convert_moments(old, before, new, after) == []
    for use, owner in old.plan.owner.items():
        n, was, now = len(old.plan.uses[owner]), state_of(old, before, owner), state_of(new, after, use)
        torch.testing.assert_close(now["exp_avg"], was["exp_avg"] / n, rtol=1e-15, atol=0.0)
        torch.testing.assert_close(now["exp_avg_sq"], was["exp_avg_sq"] / n**2, rtol=1e-14, atol=0.0)
        assert now["step"] == was["step"] == 7


def test_convert_moments_of_tied_uses_add_up_and_of_second_moments_the_roots():
    old, before = made({}, seed=1)
    new, after = made(TIED)
    convert_moments(old, before, new, after)
    for owner, uses in new.plan.uses.items():
        found = [state_of(old, before, use) for use in uses]
        now = state_of(new, after, owner)
        torch.testing.assert_close(now["exp_avg"], sum(held["exp_avg"] for held in found), rtol=1e-12, atol=1e-14)
        roots = sum(held["exp_avg_sq"].sqrt() for held in found)
        torch.testing.assert_close(now["exp_avg_sq"], roots.square(), rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("shared_gradient", ["sum", "mean", "root"])
def test_convert_moments_to_and_fro_is_the_identity(shared_gradient):
    config = replace(ADAM, shared_gradient=shared_gradient)
    old, before = made(TIED, config, seed=1)
    untied, between = made({}, config)
    convert_moments(old, before, untied, between)
    owner = "decoder.0.ffn.in.weight"  # of four uses
    share = {"sum": 4, "mean": 1, "root": 2}[shared_gradient]
    moment = state_of(old, before, owner)["exp_avg"] / share
    torch.testing.assert_close(state_of(untied, between, "decoder.1.ffn.in.weight")["exp_avg"], moment)
    again, after = made(TIED, config)
    convert_moments(untied, between, again, after)
    for name, p in old.named_parameters():
        for field, value in before.state[p].items():
            torch.testing.assert_close(state_of(again, after, name)[field], value, rtol=1e-14, atol=0.0)


def test_convert_moments_lets_adam_step_untied_copies_as_it_steps_the_owner():
    """A gradient of n uses is the sum of theirs: with 1/n of it each, every copy takes the owner's step."""
    old, before = made(TIED, seed=1)
    new, after = made({})
    convert_moments(old, before, new, after)
    moved = {}
    for model, optimizer in ((old, before), (new, after)):
        for store, readers in model.plan.uses.items():
            torch.manual_seed(len(old.plan.owner[store]))
            p = model.get_parameter(store)
            n = len(old.plan.uses[old.plan.owner[store]]) // len(readers)
            p.grad = torch.randn_like(p) / n
        values = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimizer.step()
        moved[model] = {name: p.detach() - values[name] for name, p in model.named_parameters()}
    for use, owner in old.plan.owner.items():
        torch.testing.assert_close(moved[new][use], moved[old][owner], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("ties", "same", "anew"),
    [
        (UNIVERSAL | tie("relaxed", rank=2), "decoder.0.ffn.in.weight", "decoder.0.ffn.in.weight_left"),
        (UNIVERSAL | tie("scaled"), "decoder.0.ffn.in.weight", "decoder.0.ffn.in.weight_gain"),
        (UNIVERSAL | tie("step_signal"), "decoder.0.ffn.in.weight", "decoder.0.step.input_signal"),
        (UNIVERSAL | tie("factorised", rank=3), "decoder.0.ffn.in.weight", "decoder.embed.weight"),
    ],
)
@pytest.mark.parametrize("config", [ADAM, SGD], ids=["adam", "sgd"])
def test_convert_moments_begins_anew_with_what_was_not_stored_before(ties, same, anew, config):
    old, before = made(UNIVERSAL, config, seed=1)
    new, after = made(ties, config)
    fresh = convert_moments(old, before, new, after)
    assert anew in fresh and same not in fresh
    assert not any(value.any() for value in state_of(new, after, anew).values())
    torch.testing.assert_close(state_of(new, after, same), state_of(old, before, same))
    for p in new.parameters():
        p.grad = torch.ones_like(p)
    after.step()  # each tensor has the state that the kernel wants


def test_convert_moments_of_a_transposed_use_are_transposed():
    old, before = made({}, seed=1)
    new, after = made(tie("transposed"))
    assert convert_moments(old, before, new, after) == []
    inner, outer = (state_of(old, before, f"decoder.0.ffn.{leaf}.weight")["exp_avg"] for leaf in ("in", "out"))
    found = state_of(new, after, "decoder.0.ffn.in.weight")["exp_avg"]
    torch.testing.assert_close(found, inner + outer.t())
    back, restored = made({})
    convert_moments(new, after, back, restored)
    torch.testing.assert_close(state_of(back, restored, "decoder.0.ffn.out.weight")["exp_avg"], found.t() / 2)


def test_convert_moments_takes_over_what_views_hold_if_they_stay():
    views = tie("relaxed", rank=2) | tie("factorised", rank=3, up="shared")
    old, before = made(TIED | views, seed=1)
    new, after = made(TIED | views | tie("step_signal"))
    fresh = convert_moments(old, before, new, after)
    assert fresh == [name for name in new.plan.extras if name.endswith("signal")]
    for name in old.plan.extras:
        torch.testing.assert_close(state_of(new, after, name), state_of(old, before, name))
