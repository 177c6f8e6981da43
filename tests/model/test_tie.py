"""A tie of any module holds through all that torch does to parameters."""

import copy
import doctest
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

import tietrain
from foreign_models import LanguageModel
from refusals import refusal, spelled

TABLES = [["embed.weight", "head.weight"]]
DOCS = Path(__file__).parents[2] / "docs"


class Nested(nn.Module):
    """One of the tied modules contains the others."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(3, 3))
        self.inner = nn.Linear(3, 3, bias=False)
        self.last = nn.Linear(3, 3, bias=False)


def tied_model() -> LanguageModel:
    model = LanguageModel()
    tietrain.tie(model, [*TABLES, ["layers.0", "layers.1"]])
    return model


def nested() -> Nested:
    model = Nested()
    tietrain.tie(model, [["weight", "inner.weight", "last.weight"]])
    return model


def recurrent() -> nn.Module:
    """Layers that keep a list of their parameters of their own."""
    model = nn.ModuleList(nn.LSTM(3, 3) for _ in range(2))
    tietrain.tie(model, [["0", "1"]])
    return model


def assigned(model):
    values = {name: torch.rand_like(p) for name, p in model.named_parameters()}
    model.load_state_dict(values, assign=True)
    assert all(torch.equal(model.get_parameter(name), value) for name, value in values.items())
    return model


def overwritten(model):
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        return model.double()
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)


STEPS = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "half": lambda model: model.half(),
    "to dtype": lambda model: model.to(torch.float64),
    "overwritten": overwritten,
    "to_empty": lambda model: model.to("meta").to_empty(device="cpu"),
    "load": lambda model: (model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}), model)[1],
    "assign": assigned,
    "copy, then to_empty": lambda model: copy.deepcopy(model).to("meta").to_empty(device="cpu"),
}


@pytest.mark.parametrize("make", [tied_model, nested, recurrent])
@pytest.mark.parametrize("step", STEPS)
def test_tie_holds(make, step):
    model = make()
    tied = tietrain.audit(model).tied
    after = STEPS[step](model)
    assert tied and tietrain.audit(after).tied == tied
    assert not any(p.is_meta for p in after.parameters())


@pytest.mark.parametrize("name", ["embed", "head"])
def test_tie_holds_if_a_part_is_moved_or_loaded(name):
    model = tied_model().to("meta")
    part = model.get_submodule(name)
    part.to_empty(device="cpu")
    assert model.embed.weight is model.head.weight and not model.embed.weight.is_meta
    part.load_state_dict({"weight": torch.ones(9, 4)}, assign=True)
    assert model.embed.weight is model.head.weight and model.embed.weight.sum() == 36


def test_tie_reaches_layers_that_keep_a_list_of_their_parameters():
    model = recurrent()
    x = torch.rand(2, 1, 3)
    assert torch.equal(model[0](x)[0], model[1](x)[0])


def test_tie_gives_the_sum_of_the_gradients_of_the_uses():
    untied = LanguageModel()
    untied.head.weight.data = untied.embed.weight.data.clone()
    tied = copy.deepcopy(untied)
    tietrain.tie(tied, TABLES)
    ids = torch.arange(6)
    for model in (untied, tied):
        model(ids).square().sum().backward()
    torch.testing.assert_close(tied.embed.weight.grad, untied.embed.weight.grad + untied.head.weight.grad)


def test_tie_keeps_the_values_of_the_first_name_in_either_order():
    for first, second in (("embed", "head"), ("head", "embed")):
        model = LanguageModel()
        values = model.get_submodule(first).weight.detach().clone()
        assert tietrain.tie(model, [[f"{first}.weight", f"{second}.weight"]]) == (
            (f"{first}.weight", f"{second}.weight"),
        )
        assert torch.equal(model.embed.weight, values) and model.embed.weight is model.head.weight


def test_tie_joins_groups_that_meet_and_takes_along_what_was_tied_before():
    model = nn.ModuleDict({name: nn.Linear(2, 2, bias=False) for name in "abcde"})
    model["e"].weight = model["a"].weight
    values = model["b"].weight
    assert tietrain.tie(model, [["b", "c"], ["a", "b"]]) == (("b.weight", "c.weight", "a.weight", "e.weight"),)
    assert all(model[name].weight is values for name in "abce") and model["d"].weight is not values
    tietrain.tie(model, [["d", "c"]])
    assert len(set(model.parameters())) == 1
    assert tietrain.audit(model.to("meta").to_empty(device="cpu")).tied == (
        tuple(f"{name}.weight" for name in "abcde"),
    )


def test_tie_that_somebody_ends_stays_ended():
    model = tied_model()
    own = nn.Parameter(torch.zeros(9, 4))
    model.head.weight = own
    model.double()
    assert model.head.weight.sum() == 0 and model.embed.weight.sum() != 0
    model.to("meta").to_empty(device="cpu")
    assert model.head.weight is not model.embed.weight


def test_state_dict_needs_one_name_of_a_group():
    model = tied_model()
    state = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    model.load_state_dict(state)
    assert "head.weight" not in state and model.head.weight.sum() == 36
    outer = nn.ModuleDict({"model": model})
    outer.load_state_dict({f"model.{name}": 2 * value for name, value in state.items()}, assign=True)
    assert model.head.weight is model.embed.weight and model.head.weight.sum() == 72


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.0])
def test_state_dict_of_a_tied_module_fits_it_whatever_its_values(value):
    model = tied_model()
    nn.init.constant_(model.embed.weight, value)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert model.load_state_dict(state).missing_keys == []


def test_tie_survives_functional_call_with_the_parameters_of_another_model():
    model, other = tied_model(), tied_model()
    ids = torch.arange(3)
    found = torch.func.functional_call(model, dict(other.named_parameters()), (ids,))
    assert torch.equal(found, other(ids))
    assert model.head.weight is model.embed.weight is not other.embed.weight


def test_audit_reads_plain_tensors_alone():
    class Wrapper(torch.Tensor):
        pass

    table = torch.rand(3, 3)
    same = nn.ParameterList([nn.Parameter(table.clone()) for _ in range(2)])
    wrapped = nn.ParameterList([nn.Parameter(table.clone().as_subclass(Wrapper)) for _ in range(2)])
    assert tietrain.audit(same).equal == (("0", "1"),)
    for model in (wrapped, same.to("meta")):
        found = tietrain.audit(model)
        assert (found.tied, found.equal, found.overlapping, found.unread) == ((), (), (), ("0", "1"))
    assert tietrain.audit(nn.Sequential(nn.LazyLinear(3))).params == 0


def test_audit_leaves_out_tensors_of_one_number():
    assert tietrain.audit(nn.ModuleList(nn.LayerNorm(3) for _ in range(2))).equal == ()


def test_audit_asks_a_model_of_an_unknown_family_for_its_tables():
    class Named(LanguageModel):
        def get_input_embeddings(self):
            return self.embed

        def get_output_embeddings(self):
            return self.head

    for tied, says in ((True, True), (False, True), (True, False), (False, False)):
        model = Named(tied)
        del model.layers
        model.config = {"tie_word_embeddings": says}
        assert bool(tietrain.audit(model).broken) == (tied != says)
    unknown = LanguageModel()
    unknown.config = {"tie_word_embeddings": True}
    assert "tie_word_embeddings" in str(tietrain.audit(unknown)) and tietrain.audit(unknown).unchecked


def refused() -> dict:
    """Name of a refusal -> module and groups."""
    model = LanguageModel()
    frozen = LanguageModel()
    frozen.head.weight.requires_grad_(False)
    whole = nn.Parameter(torch.rand(6, 2))
    fused = nn.ModuleDict({"qkv": nn.Linear(2, 6), "q": nn.Linear(2, 2, bias=False), "k": nn.Linear(2, 2, bias=False)})
    fused["qkv"].weight = whole
    view = copy.copy(fused)
    view["q"].weight = nn.Parameter(whole.detach()[:2])
    turned = nn.ModuleDict({"up": nn.Linear(2, 6), "down": nn.Linear(6, 2)})
    norm = nn.ModuleDict({"a": nn.BatchNorm1d(2), "b": nn.BatchNorm1d(2)})
    return {
        "unknown": (model, [["embed.weigth", "head.weight"]]),
        "unknown, nothing near": (model, [["x", "head.weight"]]),
        "other leaves": (model, [["layers.0", "head"]]),
        "parameter and submodule": (model, [["embed", "layers.0.weight"]]),
        "shape": (model, [["embed.weight", "layers.0.weight"]]),
        "dtype": (nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2).half()}), [["a", "b"]]),
        "frozen": (frozen, TABLES),
        "fused": (fused, [["qkv.weight", "k.weight"]]),
        "fused in memory": (view, [["q.weight", "k.weight"]]),
        "transposed": (turned, [["up.weight", "down.weight"]]),
        "buffer": (norm, [["a.running_mean", "b.running_mean"]]),
        "no list": (model, ["embed.weight", "head.weight"]),
        "one name": (model, [["embed.weight"]]),
        "nothing": (model, []),
        "unknown scheme": (model, "three-way"),
        "unknown family": (turned, "pre_softmax"),
        "no such table": (model, "pre_softmax"),
    }


def test_tie_refuses_by_name_and_changes_nothing(golden, tmp_path):
    texts = {}
    for name, (module, groups) in refused().items():
        before = dict(module.named_parameters(remove_duplicate=False))
        texts[name] = spelled(refusal(tietrain.tie, module, groups), tmp_path)
        assert all(p is before[key] for key, p in module.named_parameters(remove_duplicate=False))
    golden("tie_refusals", texts)


def test_page_of_any_module_is_true(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = doctest.testfile(str(DOCS / "any_module.md"), module_relative=False)
    assert found.attempted > 10 and not found.failed
