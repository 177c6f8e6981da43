"""The audit fails, by name, wherever a tie could be lost."""

import json

import pytest
import torch
from torch import nn

from tietrain.model.audit import AuditError, audit_checkpoint_keys, audit_model, audit_optimizer
from tietrain.plan.params import count_params
from tiny_models import build, plan_of


def finding(audit, *args) -> str:
    """What an audit names as the thing that is wrong."""
    with pytest.raises(AuditError) as failed:
        audit(*args)
    return failed.value.setting


@pytest.mark.parametrize(("task", "scheme"), [("lm", "cycle-2-no-norms"), ("mt", "three_way+cycle-2")])
def test_audit_model_describes_a_sound_model(task, scheme):
    model = build(task, scheme)
    result = json.loads(json.dumps(audit_model(model)))
    assert result["params"] == count_params(model.plan).params
    assert result["n_owners"] == len(model.plan.owners) and result["n_slots"] == len(model.plan.slots)
    assert result["groups"] == {owner: list(uses) for owner, uses in model.plan.groups.items()}
    audit_optimizer(model, torch.optim.AdamW(model.parameters()))
    audit_checkpoint_keys(model.plan, model.state_dict())


def test_audit_model_finds_a_slot_that_reads_elsewhere():
    model = build("lm", "cycle-2")
    model._blocks["decoder.2.ffn"]["in.weight"] = model._blocks["decoder.1.ffn"]["in.weight"]
    assert finding(audit_model, model) == "tie of decoder.2.ffn.in.weight"


def test_audit_model_finds_a_parameter_without_a_slot():
    model = build("lm", "cycle-2")
    model.get_submodule("decoder").add_module("9", nn.Linear(2, 2, bias=False))
    assert finding(audit_model, model) == "model parameters: decoder.9.weight"


def test_audit_model_finds_owners_that_share_memory():
    model = build("lm", "none")
    names = ["decoder.0.ffn.in.weight", "decoder.1.ffn.in.weight"]
    a, b = map(model.parameter, names)
    b.data = a.data
    assert all(name in finding(audit_model, model) for name in names)
    b.data = torch.cat([a.data.flatten(), torch.zeros(4)])[4:].view_as(b)
    audit_model(model)
    whole = torch.zeros(a.numel() + 4)
    a.data, b.data = whole[:-4].view_as(a), whole[4:].view_as(b)
    assert all(name in finding(audit_model, model) for name in names)


def test_audit_model_finds_a_model_without_memory():
    assert finding(audit_model, build("lm", "none").to("meta")).startswith("owners decoder.")


def test_audit_model_finds_another_shape():
    model = build("lm", "none")
    model.parameter("decoder.0.ffn.in.weight").data = torch.zeros(24, 15)
    assert finding(audit_model, model) == "shape of decoder.0.ffn.in.weight"


def test_audit_model_finds_a_number_that_is_not_finite():
    model = build("lm", "none")
    with torch.no_grad():
        model.parameter("decoder.1.self_attn.o.weight")[3, 2] = float("nan")
    assert finding(audit_model, model) == "values of decoder.1.self_attn.o.weight"


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate")
def test_audit_optimizer_finds_what_is_not_held_once():
    """Tying bug 37: a parameter twice in one group is stepped twice, with only a warning."""
    model = build("lm", "pre_softmax")
    parameters = list(model.parameters())
    twice = torch.optim.SGD([*parameters, model.parameter("decoder.output.weight")], lr=1.0)
    assert finding(audit_optimizer, model, twice) == "optimizer groups and decoder.embed.weight"
    assert finding(audit_optimizer, model, torch.optim.SGD(parameters[1:], lr=1.0)).startswith("optimizer groups and ")
    foreign = torch.optim.SGD([*parameters, torch.zeros(2)], lr=1.0)
    assert finding(audit_optimizer, model, foreign) == "1 tensors of the optimizer"


def test_audit_checkpoint_keys_of_another_plan():
    tied, untied = plan_of("lm", "sequence-1"), plan_of("lm", "none")
    extra = finding(audit_checkpoint_keys, tied, [slot.name for slot in untied.owners])
    missing = finding(audit_checkpoint_keys, untied, [slot.name for slot in tied.owners])
    assert extra == missing and extra.startswith("checkpoint keys: decoder.1.ffn") and extra.endswith(" more")
