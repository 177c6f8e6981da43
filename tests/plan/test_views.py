"""Closed forms of what views store and compute, their laws on real tensors, and what a plan with them says of itself."""

import json

import pytest
import torch

from tietrain.errors import SettingsError, TyingError
from tietrain.model.transformer import Transformer
from tietrain.plan.difference import Difference, record_of
from tietrain.plan.flops import count_flops
from tietrain.plan.params import count_params
from tietrain.plan.plan import TyingPlan
from tietrain.plan.schemes import make_plan
from tietrain.plan.slots import place_of
from tietrain.plan.views import VIEWS
from tietrain.train.check.reference import draw_batches, summed_loss
from tietrain.train.checkpoint import MODEL, load_model, save_weights
from tiny_models import make_shape

TIED = {"lm": {"pre_softmax": {"rule": "pre_softmax"}}, "mt": {"three_way": {"rule": "three_way"}}}
UNIVERSAL = {"universal": {"rule": "cross_layer"}}
# What each view is called with in these tests.
OPTIONS = {
    "factorised": {"rank": 3, "up": "own"},
    "relaxed": {"rank": 2},
    "scaled": {"of": "in"},
    "transposed": {},
    "input_gradient": {"by": 0.25},
    "step_signal": {"signal": "learned", "step": 1},
}


def plan_of(task: str, ties: dict, **options) -> TyingPlan:
    return make_plan(make_shape(task, n_layers=4, **options), ties)


def view_tie(name: str, **options) -> dict:
    return {name: {"rule": name, **options}}


def params(task: str, ties: dict) -> int:
    return count_params(plan_of(task, ties)).params


@pytest.mark.parametrize("task", ["lm", "mt"])
def test_count_params_of_views_are_the_closed_forms(task):
    shape = make_shape(task, n_layers=4)
    d, f = shape.d_model, shape.d_ff
    v = shape.stacks[0].vocab_size
    n_tables = {"lm": 2, "mt": 3}[task]
    base = params(task, {})
    own = view_tie("factorised", rank=3)
    assert params(task, TIED[task] | own) == base - n_tables * v * d + 3 * v + n_tables * 3 * d
    shared = view_tie("factorised", rank=3, up="shared")
    assert params(task, TIED[task] | shared) == base - n_tables * v * d + 3 * v + 3 * d
    universal = plan_of(task, UNIVERSAL)
    matrices = [slot for slot in universal.slots if slot.layer is not None and len(slot.shape) == 2]
    assert params(task, UNIVERSAL | view_tie("relaxed", rank=2)) == params(task, UNIVERSAL) + 2 * sum(
        sum(slot.shape) for slot in matrices
    )
    for side, of in enumerate(("out", "in")):
        gains = sum(slot.shape[side] for slot in matrices)
        assert params(task, UNIVERSAL | view_tie("scaled", of=of)) == params(task, UNIVERSAL) + gains
    n_layers = 4 * len(shape.stacks)
    assert params(task, view_tie("transposed")) == base - n_layers * f * d
    assert params(task, view_tie("step_signal")) == base + n_layers * d
    assert params(task, view_tie("step_signal", signal="sinusoidal")) == base


def test_count_flops_of_views_are_the_closed_forms():
    shape = make_shape("lm", n_layers=4)
    d, v = shape.d_model, shape.stacks[0].vocab_size
    of = {term.slot: term.per_unit for term in count_flops(plan_of("lm", view_tie("factorised", rank=3))).terms}
    assert of["decoder.embed"] == 2 * 3 * d
    assert of["decoder.output"] == 2 * 3 * d + 2 * v * 3
    plan = plan_of("lm", UNIVERSAL | view_tie("relaxed", rank=2))
    matrices = [slot for slot in plan.slots if slot.layer is not None and len(slot.shape) == 2]
    assert count_flops(plan).of_pass({"decoder": 1}) == sum(2 * 2 * slot.size for slot in matrices)
    assert count_flops(plan).of_pass({"decoder": 0}) == 0
    assert count_flops(plan).terms == count_flops(shape).terms


@pytest.mark.parametrize("name", VIEWS)
def test_views_keep_their_laws(name):
    shape = (6,) if name == "step_signal" else (5, 6)
    torch.manual_seed(0)
    view = VIEWS[name](shape, **OPTIONS[name])
    w = torch.randn(view.stored or shape, dtype=torch.float64)
    extras = [torch.randn(extra.shape, dtype=torch.float64) for extra in view.extras.values()]
    tensor = view.tensor(w, *extras)
    assert tensor.shape == shape
    if view.side:
        x = torch.randn(7, shape[1], dtype=torch.float64)
        torch.testing.assert_close(view.side(x, *extras) @ w.t(), x @ tensor.t())
    if view.by_row:
        rows = torch.tensor([4, 0, 4])
        torch.testing.assert_close(view.tensor(w[rows], *extras), tensor[rows])
    if view.undo:
        means = [torch.full(extra.shape, extra.mean, dtype=torch.float64) for extra in view.extras.values()]
        torch.testing.assert_close(view.tensor(view.undo(tensor), *means), tensor, rtol=0.0, atol=0.0)


def loss_and_gradients(plan: TyingPlan, values: dict | None = None) -> tuple[torch.Tensor, dict]:
    model = Transformer(plan)
    model.initialize(1)
    model.double()
    if values:
        model.load_state_dict(values)
    loss = summed_loss(model, draw_batches(model, 3, 5, 7), 0.0)
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters()}


def test_relaxed_and_scaled_uses_start_as_the_tied_model():
    strict = plan_of("lm", UNIVERSAL)
    loss, gradients = loss_and_gradients(strict)
    views = view_tie("relaxed", rank=2) | view_tie("scaled")
    begins, of_views = loss_and_gradients(plan_of("lm", UNIVERSAL | views))
    assert torch.equal(begins, loss)
    for name, gradient in gradients.items():
        torch.testing.assert_close(of_views[name], gradient, rtol=1e-12, atol=0.0)
    of_rank_0 = plan_of("lm", UNIVERSAL | view_tie("relaxed", rank=0))
    assert (of_rank_0.hash, of_rank_0.to_json()) == (strict.hash, strict.to_json())


def test_input_gradient_scales_the_gradient_of_one_use():
    untied = Transformer(plan_of("lm", {}))
    untied.initialize(1)
    untied.double()
    values = untied.state_dict()
    values["decoder.output.weight"] = values["decoder.embed.weight"]
    _, apart = loss_and_gradients(untied.plan, values)
    tied = {name: value for name, value in values.items() if name != "decoder.output.weight"}
    _, found = loss_and_gradients(plan_of("lm", TIED["lm"] | view_tie("input_gradient", by=0.25)), tied)
    wanted = 0.25 * apart["decoder.embed.weight"] + apart["decoder.output.weight"]
    torch.testing.assert_close(found["decoder.embed.weight"], wanted, rtol=1e-12, atol=1e-14)


def test_factorised_tables_reach_the_count_of_albert_base():
    """Lan et al. 2019, table 1: 12 M, which is 11,683,584 with a pooler, without the head that predicts pieces."""
    fields = {"d_model": 768, "n_heads": 12, "n_kv_heads": 12, "d_head": 64, "d_ff": 3072, "vocab_size": 30_000}
    biases = dict.fromkeys(["attn_bias", "ffn_bias", "norm_bias", "output_bias"], True)
    albert = {"n_layers": 12, "positions": "learned", "max_len": 512, "norm_position": "post"}
    shape = make_shape("mlm", **fields, **biases, **albert)
    ours = count_params(make_plan(shape, TIED["lm"] | UNIVERSAL | view_tie("factorised", rank=128))).params
    assert round(ours / 1e6) == 12
    head = 128 * 768 + 30_000  # the map of the output, and its bias
    only_theirs = 2 * 128 + 2 * 128 + 768 + 768 * 768 + 768  # types, norm of embeddings, bias of the map, pooler
    positions = 512 * (768 - 128)  # theirs are as narrow as the table
    assert ours - head - positions + only_theirs == 11_683_584


REFUSED = {
    "ranks that differ in a group": (
        TIED["mt"] | view_tie("factorised", rank=3, stacks=["encoder"]),
        "their shapes are",
    ),
    "one view twice": (
        view_tie("factorised") | {"again": {"rule": "factorised"}},
        "is read through it already",
    ),
    "rank 0 of a table": (view_tie("factorised", rank=0), "out of range"),
    "a use that is unknown": (view_tie("scaled", of="both"), "no such choice"),
    "transposed on one side of a tie": (
        {"same": {"rule": "encoder_decoder"}} | view_tie("transposed", stacks=["decoder"]),
        "their ",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_make_plan_refuses_views_that_do_not_fit(name):
    ties, problem = REFUSED[name]
    with pytest.raises(TyingError) as refused:
        plan_of("mt", ties)
    assert problem in refused.value.problem or problem in str(refused.value)


def test_a_plan_with_views_is_known_again_from_its_json():
    ties = (
        TIED["lm"] | UNIVERSAL | view_tie("relaxed", rank=2) | view_tie("factorised", rank=3) | view_tie("step_signal")
    )
    plan = plan_of("lm", ties)
    stored = record_of(json.loads(json.dumps(plan.to_json())))
    assert stored.params == count_params(plan).params
    assert Difference(stored, record_of(plan)).lines() == []
    assert all(place_of(store.name).stack == "decoder" for store in plan.stores)
    strict = Difference(stored, record_of(plan_of("lm", TIED["lm"] | UNIVERSAL)))
    assert not strict.same_ties
    assert "decoder.embed reads own parameters through factorised (rank 3, up own) there, its own parameters here" in (
        strict.lines()
    )
    assert "decoder layers 0-3: step read step_signal (signal learned) there, nothing here" in strict.lines()


@pytest.mark.parametrize(
    ("there", "here", "problem"),
    [
        (view_tie("relaxed", rank=2), {}, "ffn read layer 0's through relaxed (rank 2) there, layer 0's here"),
        (view_tie("relaxed", rank=2), view_tie("relaxed", rank=3), "relaxed (rank 2) there"),
        (view_tie("step_signal", signal="sinusoidal"), {}, "step_signal (signal sinusoidal) there, nothing here"),
    ],
)
def test_weights_of_another_view_are_refused_by_its_name(tmp_path, there, here, problem):
    model = Transformer(plan_of("lm", UNIVERSAL | there))
    model.initialize(1)
    save_weights(tmp_path / "weights", model)
    load_model(tmp_path / "weights" / MODEL, Transformer(model.plan))
    with pytest.raises(SettingsError) as refused:
        load_model(tmp_path / "weights" / MODEL, Transformer(plan_of("lm", UNIVERSAL | here)))
    assert problem in refused.value.problem


def test_groups_tie_what_they_name():
    named = [["decoder.0.ffn", "decoder.2.ffn"], ["decoder.1.self_attn.q.weight", "decoder.3.self_attn.k.weight"]]
    plan = plan_of(
        "lm", {"groups": {"rule": "groups", "groups": [*named, ["decoder.0.ffn_norm", "decoder.1.ffn_norm"]]}}
    )
    assert plan.owner["decoder.2.ffn.out.weight"] == "decoder.0.ffn.out.weight"
    assert plan.owner["decoder.3.self_attn.k.weight"] == "decoder.1.self_attn.q.weight"
    assert plan.owner["decoder.1.ffn_norm.weight"] == "decoder.0.ffn_norm.weight"
    whole = plan_of("lm", {"groups": {"rule": "groups", "groups": [[f"decoder.{i}" for i in range(4)]]}})
    assert whole.hash == plan_of("lm", UNIVERSAL).hash


@pytest.mark.parametrize("groups", [None, [], [["decoder.0"]], ["decoder.0"], [[1, 2]], [["decoder.0", "decoder.9"]]])
def test_groups_refuses_what_names_nothing(groups):
    with pytest.raises(TyingError) as refused:
        plan_of("lm", {"groups": {"rule": "groups", "groups": groups}})
    assert "write for example groups=[[decoder.0.ffn,decoder.2.ffn]]" in str(refused.value) or "decoder.9" in str(
        refused.value
    )
