"""Every check fails where what it checks is broken, and says what."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from every_scheme import build, configure
from tietrain.model.cache import Cache
from tietrain.model.transformer import Transformer
from tietrain.plan.flops import count_flops
from tietrain.plan.params import count_params
from tietrain.train.averaging import mean_weights, smooth
from tietrain.train.check import checks
from tietrain.train.check import lifecycle as ties
from tietrain.train.check.checks import (
    check_cache,
    check_decay,
    check_flops,
    check_gradients,
    check_optimizers,
    check_params,
    count_matmul_flops,
)
from tietrain.train.check.lifecycle import WAYS, check_compile, check_ties
from tietrain.train.check.matrix import check_start
from tietrain.train.check.reference import CheckFailed, draw_batches
from tietrain.train.checkpoint import load_checkpoint
from tietrain.train.optim import build_optimizer

SLOT = "decoder.2.ffn.in.weight"


@pytest.fixture
def model():
    return build("lm", "cycle", "model.n_layers=4")


def untie(model):
    """A parameter of its own for one slot, of equal values, as a careless copy or load would leave it."""
    slot, own = model.plan.slots.named(SLOT), nn.Module()
    own.weight = nn.Parameter(model.parameter(SLOT).detach().clone())
    model._blocks[slot.block][slot.leaf] = (own, "weight")
    return model


@pytest.mark.parametrize("name", WAYS)
def test_a_tie_lost_on_any_way(model, name):
    """Tying bugs 1, 3, 4, 5, 10: lost in a wrapper, on meta, by re-creation, by assignment, in an export."""
    assert model.plan.owner[SLOT] != SLOT
    way = WAYS[name]
    with pytest.raises(CheckFailed, match=f"after {name}: tie of decoder.2.ffn.in.weight: it reads another parameter"):
        check_ties(model, WAYS | {name: lambda m: untie(way(copy.deepcopy(m)))})


@pytest.mark.parametrize(
    ("name", "way"),
    [("meta build", lambda m: ties._fresh(m)), ("dtype change", lambda m: copy.deepcopy(m).bfloat16().float())],
)
def test_values_lost_on_the_way(model, name, way):
    with pytest.raises(CheckFailed, match=f"after {name}: .*: other values than before"):
        check_ties(model, WAYS | {name: way})


def test_a_load_that_does_nothing(model, monkeypatch):
    monkeypatch.setattr(ties, "load_weights", lambda run, model: None)
    with pytest.raises(CheckFailed, match=r"after save and load: .*: other values"):
        check_ties(model)


def test_a_resume_without_the_optimizers_state(model, monkeypatch):
    def weights_alone(directory, m, optimizer, check, log):
        load_checkpoint(directory, m, build_optimizer(m, ties.optimizer_config("adamw")), check, log)

    monkeypatch.setattr(ties, "load_checkpoint", weights_alone)
    with pytest.raises(
        CheckFailed, match=r"after save and load: optimizer state of decoder\.embed\.weight: other values"
    ):
        check_ties(model)


def test_a_state_dict_without_a_name(model):
    """Tying bug 13."""
    with pytest.raises(CheckFailed, match=r"after partial load: Error\(s\) in loading state_dict"):
        check_ties(model, {"partial load": lambda m: m.load_state_dict({}) and m})


def test_a_mean_that_adds_a_shared_tensor_twice(model, monkeypatch):
    """Tying bug 39."""

    def wrong(reads):
        mean = mean_weights(reads)
        mean["decoder.0.ffn.in.weight"] *= 2
        return mean

    monkeypatch.setattr(ties, "mean_weights", wrong)
    with pytest.raises(CheckFailed, match=r"after averaging: average of decoder\.0\.ffn\.in\.weight: it differs"):
        check_ties(model)


def test_a_moving_average_that_moves_a_shared_tensor_twice(model, monkeypatch):
    def wrong(smoothed, model, decay, step):
        smooth(smoothed, model, decay, step)
        with torch.no_grad():
            smoothed.parameter(SLOT).lerp_(model.parameter(SLOT), 1 - decay)

    monkeypatch.setattr(ties, "smooth", wrong)
    with pytest.raises(CheckFailed, match=r"moving average of decoder\.0\.ffn\.in\.weight: it differs"):
        check_ties(model)


def twice(model, config):
    """An optimizer that steps the first parameter twice. Tying bug 37."""
    optimizer = build_optimizer(model, config)
    optimizer.param_groups[0]["params"].append(optimizer.param_groups[0]["params"][0])
    return optimizer


def test_an_optimizer_that_holds_a_parameter_twice(model, monkeypatch):
    monkeypatch.setattr(ties, "build_optimizer", twice)
    with pytest.raises(CheckFailed, match=r"after optimizer: .*decoder\.embed\.weight: each must be held exactly once"):
        check_ties(model, {"optimizer": WAYS["optimizer"]})
    monkeypatch.setattr(checks, "build_optimizer", twice)
    with pytest.raises(CheckFailed, match=r"decoder\.embed\.weight after one decay"):
        check_decay(model)
    with pytest.raises(CheckFailed, match="in the optimizer: the ledger says"):
        check_params(model)


class DoubledGradient(nn.Module):
    """What a traced graph did that returned a tied gradient twice. Tying bug 34."""

    def __init__(self, model, **kwargs):
        super().__init__()
        self.model = model
        model.parameter(SLOT).register_hook(lambda grad: 2 * grad)

    def forward(self, *args):
        return self.model(*args)

    def output_weights(self, stack=None):
        return self.model.output_weights(stack)


def test_a_compiler_that_doubles_a_gradient(model, monkeypatch):
    monkeypatch.setattr(torch, "compile", DoubledGradient)
    with pytest.raises(CheckFailed, match=r"compiled by aot_eager: decoder\.0\.ffn\.in\.weight: it differs"):
        check_compile(model)


def test_a_compiled_model_that_lost_its_tie(model, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda model, **kwargs: untie(model))
    with pytest.raises(ties.TietrainError, match="it reads another parameter"):
        check_compile(model)


def lose_one_use(monkeypatch, wrong):
    """Give one use of a tied parameter a wrong tensor, where the plan has ties."""
    weights = Transformer._weights

    def changed(self, block):
        found = weights(self, block)
        return {k: wrong(v) for k, v in found.items()} if block == "decoder.2.ffn" and self.plan.groups else found

    monkeypatch.setattr(Transformer, "_weights", changed)


def test_the_gradient_of_one_use_is_lost(model, monkeypatch):
    """Tying bug 35."""
    lose_one_use(monkeypatch, torch.Tensor.detach)
    with pytest.raises(CheckFailed, match=r"gradient of decoder\.0\.ffn\.\S+ against 2 uses: it differs"):
        check_gradients(model)
    with pytest.raises(CheckFailed, match="after 3 steps of adamw"):
        check_optimizers(model)


def test_one_use_computes_with_other_values(model, monkeypatch):
    lose_one_use(monkeypatch, lambda v: 1.001 * v)
    with pytest.raises(CheckFailed, match="loss of the untied twin"):
        check_gradients(model)


def test_a_use_that_computes_nothing(model, monkeypatch):
    monkeypatch.setattr(Transformer, "_cross_attention", lambda self, x, stack, layer, part, scope: 0 * x)
    with pytest.raises(CheckFailed, match=r"encoder\.embed\.weight: it is zero: this use computes nothing"):
        check_gradients(build("mt", "cycle"))


def test_copies_that_do_not_get_the_sum(model, monkeypatch):
    monkeypatch.setattr(checks, "_sum_gradients", lambda tied, twin: None)
    with pytest.raises(CheckFailed, match="after 3 steps of adamw: it differs"):
        check_optimizers(model)
    check_optimizers(build("lm", "none"))


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_decay_of_one_optimizer_that_skips_a_tied_matrix(model, monkeypatch, name):
    """Tying bug 40: which decay a matrix of two roles gets."""

    def build_wrong(m, config):
        optimizer = build_optimizer(m, config)
        if config.name == name and m.plan.groups:
            optimizer.param_groups[0]["weight_decay"] = 0.0
        return optimizer

    monkeypatch.setattr(checks, "build_optimizer", build_wrong)
    with pytest.raises(CheckFailed, match=f"after 3 steps of {name}"):
        check_optimizers(model)
    with pytest.raises(CheckFailed, match=f"after one decay by {name}"):
        check_decay(model)


def test_state_of_a_tensor_that_is_not_stored(model, monkeypatch):
    def with_spare(m, config):
        optimizer = build_optimizer(m, config)
        spare = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        spare.grad = torch.zeros_like(spare)
        optimizer.param_groups[0]["params"].append(spare)
        return optimizer

    monkeypatch.setattr(checks, "build_optimizer", with_spare)
    with pytest.raises(CheckFailed, match=r"states of adamw: .* are stored"):
        check_decay(model)


@pytest.mark.parametrize("task", ["lm", "mt"])
def test_a_cache_keyed_by_what_is_shared(monkeypatch, task):
    """Tying bugs 41 and 42: layers of one owner, or of one index, overwrite each other's past."""
    extend = Cache.extend
    monkeypatch.setattr(
        Cache, "extend", lambda self, place, k, v: extend(self, (place[0], place[1] % 3, place[2]), k, v)
    )
    with pytest.raises(CheckFailed, match="cached decoding: it differs"):
        check_cache(build(task, "cycle"))


def test_source_keys_kept_by_what_is_shared(monkeypatch):
    memory = Cache.memory
    monkeypatch.setattr(Cache, "memory", lambda self, place, make: memory(self, (place[0], 0, place[2]), make))
    with pytest.raises(CheckFailed, match="cached decoding: it differs"):
        check_cache(build("mt", "cycle"))


@pytest.mark.parametrize("task", ["lm", "mt"])
def test_a_selection_that_keeps_other_rows(monkeypatch, task):
    select = Cache.select
    monkeypatch.setattr(Cache, "select", lambda self, rows: select(self, rows.flip(0).roll(1)))
    with pytest.raises(CheckFailed, match="cached decoding of selected rows: it differs"):
        check_cache(build(task, "none"))


def miscount(monkeypatch, **changes):
    monkeypatch.setattr(checks, "count_params", lambda plan: dataclasses.replace(count_params(plan), **changes))


def test_a_ledger_that_miscounts(model, monkeypatch):
    """Tying bugs 32 and 33: duplicates summed, or a part left out."""
    ledger = count_params(model.plan)
    for changes, what in [
        ({"params": ledger.params_untied}, "in unique storages"),
        ({"params_untied": ledger.params}, "of the untied model"),
        ({"n_repeated": 0}, "used once, repeatedly or in tables"),
        ({"by_part": ledger.by_part | {"decoder.ffn": 1}}, "numbers by part"),
    ]:
        miscount(monkeypatch, **changes)
        with pytest.raises(CheckFailed, match=f"{what}.*: the ledger says"):
            check_params(model)


def test_a_tensor_no_slot_owns(model):
    model.register_parameter("spare", nn.Parameter(torch.zeros(3)))
    with pytest.raises(CheckFailed, match="in unique storages: the ledger says"):
        check_params(model)


@pytest.mark.parametrize("change", [{"d_ff": 127}, {"n_heads": 3}])
def test_flops_of_another_shape(model, monkeypatch, change):
    """Tying bugs 28 to 31: FLOPs from stored parameters, lookups charged, a head left out."""
    monkeypatch.setattr(checks, "count_flops", lambda shape: count_flops(dataclasses.replace(shape, **change)))
    with pytest.raises(CheckFailed, match="forward FLOPs by products: the ledger says"):
        check_flops(model)


def test_training_that_computes_more_than_three_times_forward(model, monkeypatch):
    loss = checks.batch_loss

    def wasteful(m, batch, smoothing):
        m.logits(m(batch.sources, batch.tgt_in_ids))
        return loss(m, batch, smoothing)

    monkeypatch.setattr(checks, "batch_loss", wasteful)
    with pytest.raises(CheckFailed, match="FLOPs in training by products: the ledger says"):
        check_flops(model)


def test_an_attention_kernel_no_counter_knows(model, monkeypatch):
    monkeypatch.setattr(checks, "FUSED", {})
    with pytest.raises(CheckFailed, match=r"flash_attention_for_cpu.*no formula"), torch.no_grad():
        count_matmul_flops(lambda: model.double()(None, draw_batches(model, 2, 3, 4)[0].tgt_in_ids))


@pytest.mark.parametrize("tying", ["none", "pre_softmax", "universal"])
@pytest.mark.parametrize("std", [1.0, 0.1])
def test_a_table_with_the_scale_of_another_role(monkeypatch, tying, std):
    """Tying bugs 23 to 26: initial losses of 400, 110, or a table five times too small."""
    initialize = Transformer.initialize
    monkeypatch.setattr(Transformer, "initialize", lambda self, seed, table_init_std: initialize(self, seed, std))
    with pytest.raises(
        CheckFailed, match=r"initial loss of .* nats per token: .* follow from the initial distribution"
    ):
        check_start(configure("lm", tying))
