"""The audit fails, by name, wherever a tie could be lost."""

import json

import pytest
import torch
from torch import nn

from tietrain.model.audit import AuditError, audit_checkpoint_keys, audit_model, audit_optimizer
from tietrain.plan.params import count_params
from tiny_models import build, plan_of


@pytest.mark.parametrize(("task", "scheme"), [("lm", "cycle-2-no-norms"), ("mt", "three_way+cycle-2")])
def test_a_sound_model_passes_and_says_what_it_holds(task, scheme):
    model = build(task, scheme)
    result = json.loads(json.dumps(audit_model(model)))
    assert result["params"] == count_params(model.plan).params
    assert result["n_owners"] == len(model.plan.owners) and result["n_slots"] == len(model.plan.slots)
    assert result["groups"] == {owner: list(uses) for owner, uses in model.plan.groups.items()}
    audit_optimizer(model, torch.optim.AdamW(model.parameters()))
    audit_checkpoint_keys(model.plan, model.state_dict())


def test_a_slot_that_reads_elsewhere():
    model = build("lm", "cycle-2")
    model._blocks["decoder.2.ffn"]["in.weight"] = model._blocks["decoder.1.ffn"]["in.weight"]
    with pytest.raises(AuditError, match=r"decoder\.2\.ffn\.in\.weight: it reads another"):
        audit_model(model)


def test_a_parameter_of_its_own_for_a_tied_slot():
    model = build("lm", "cycle-2")
    model.get_submodule("decoder").add_module("9", nn.Linear(2, 2, bias=False))
    with pytest.raises(AuditError, match=r"decoder\.9\.weight: no slot of plan"):
        audit_model(model)


def test_owners_that_share_memory():
    model = build("lm", "none")
    a, b = model.parameter("decoder.0.ffn.in.weight"), model.parameter("decoder.1.ffn.in.weight")
    b.data = a.data
    with pytest.raises(
        AuditError, match=r"decoder\.[01]\.ffn\.in\.weight, decoder\.[01]\.ffn\.in\.weight: they share memory"
    ):
        audit_model(model)
    b.data = torch.cat([a.data.flatten(), torch.zeros(4)])[4:].view_as(b)
    audit_model(model)
    whole = torch.zeros(a.numel() + 4)
    a.data, b.data = whole[:-4].view_as(a), whole[4:].view_as(b)
    with pytest.raises(AuditError, match="they share memory"):
        audit_model(model)


def test_a_model_without_memory():
    with pytest.raises(AuditError, match="or have none"):
        audit_model(build("lm", "none").to("meta"))


def test_another_shape_and_the_ledger():
    model = build("lm", "none")
    model.parameter("decoder.0.ffn.in.weight").data = torch.zeros(24, 15)
    with pytest.raises(AuditError, match=r"shape of decoder\.0\.ffn\.in\.weight"):
        audit_model(model)


def test_a_number_that_is_not_finite():
    model = build("lm", "none")
    with torch.no_grad():
        model.parameter("decoder.1.self_attn.o.weight")[3, 2] = float("nan")
    with pytest.raises(AuditError, match=r"decoder\.1\.self_attn\.o\.weight: they are not all finite"):
        audit_model(model)


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate")
def test_optimizers():
    """Tying bug 37: a parameter twice in one group is stepped twice, with only a warning."""
    model = build("lm", "pre_softmax")
    parameters = list(model.parameters())
    with pytest.raises(AuditError, match=r"decoder\.embed\.weight: each must be held exactly once"):
        audit_optimizer(model, torch.optim.SGD([*parameters, model.parameter("decoder.output.weight")], lr=1.0))
    with pytest.raises(AuditError, match="exactly once"):
        audit_optimizer(model, torch.optim.SGD(parameters[1:], lr=1.0))
    with pytest.raises(AuditError, match="1 tensors of the optimizer"):
        audit_optimizer(model, torch.optim.SGD([*parameters, torch.zeros(2)], lr=1.0))


def test_checkpoints_of_another_plan():
    tied, untied = plan_of("lm", "sequence-1"), plan_of("lm", "none")
    with pytest.raises(AuditError, match=r"checkpoint keys: decoder\.1\.ffn.* and \d+ more: no slot of plan"):
        audit_checkpoint_keys(tied, [slot.name for slot in untied.owners])
    with pytest.raises(AuditError, match="owners are missing"):
        audit_checkpoint_keys(untied, [slot.name for slot in tied.owners])
