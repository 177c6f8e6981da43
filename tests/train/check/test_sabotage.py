"""Every check fails where what it checks is broken, and says what."""

import copy
import dataclasses
from dataclasses import replace

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


def failure(check, *args) -> str:
    """What a check names as the thing that is broken."""
    with pytest.raises(CheckFailed) as failed:
        check(*args)
    return failed.value.setting


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
def test_check_ties_finds_a_tie_lost_on_any_way(model, name):
    """Tying bugs 1, 3, 4, 5, 10: lost in a wrapper, on meta, by re-creation, by assignment, in an export."""
    assert model.plan.owner[SLOT] != SLOT
    way = WAYS[name]
    ways = WAYS | {name: lambda m: untie(way(copy.deepcopy(m)))}
    assert failure(check_ties, model, ways) == f"after {name}: tie of {SLOT}"


@pytest.mark.parametrize(
    ("name", "way"),
    [("meta build", lambda m: ties._fresh(m)), ("dtype change", lambda m: copy.deepcopy(m).bfloat16().float())],
)
def test_check_ties_finds_lost_values(model, name, way):
    assert failure(check_ties, model, WAYS | {name: way}).startswith(f"after {name}: decoder.")


def test_check_ties_finds_a_load_that_does_nothing(model, monkeypatch):
    monkeypatch.setattr(ties, "load_weights", lambda run, model: None)
    assert failure(check_ties, model).startswith("after save and load: decoder.")


def test_check_ties_finds_a_resume_without_the_optimizers_state(model, monkeypatch):
    def weights_alone(directory, m, optimizer, check, log):
        load_checkpoint(directory, m, build_optimizer(m, ties.optimizer_config("adamw")), check, log)

    monkeypatch.setattr(ties, "load_checkpoint", weights_alone)
    assert failure(check_ties, model) == "after save and load: optimizer state of decoder.embed.weight"


def test_check_ties_finds_a_state_dict_without_a_name(model):
    """Tying bug 13."""
    ways = {"partial load": lambda m: m.load_state_dict({}) and m}
    assert failure(check_ties, model, ways) == "after partial load"


def test_check_ties_finds_a_mean_that_adds_a_shared_tensor_twice(model, monkeypatch):
    """Tying bug 39."""

    def wrong(reads):
        mean = mean_weights(reads)
        mean["decoder.0.ffn.in.weight"] *= 2
        return mean

    monkeypatch.setattr(ties, "mean_weights", wrong)
    assert failure(check_ties, model) == "after averaging: average of decoder.0.ffn.in.weight"


def test_check_ties_finds_a_moving_average_that_moves_a_shared_tensor_twice(model, monkeypatch):
    def wrong(smoothed, model, decay, step):
        smooth(smoothed, model, decay, step)
        with torch.no_grad():
            smoothed.parameter(SLOT).lerp_(model.parameter(SLOT), 1 - decay)

    monkeypatch.setattr(ties, "smooth", wrong)
    assert failure(check_ties, model) == "after averaging: moving average of decoder.0.ffn.in.weight"


def twice(model, config):
    """An optimizer that steps the first parameter twice. Tying bug 37."""
    optimizer = build_optimizer(model, config)
    optimizer.param_groups[0]["params"].append(optimizer.param_groups[0]["params"][0])
    return optimizer


def test_checks_find_an_optimizer_that_holds_a_parameter_twice(model, monkeypatch):
    monkeypatch.setattr(ties, "build_optimizer", twice)
    found = failure(check_ties, model, {"optimizer": WAYS["optimizer"]})
    assert found.startswith("after optimizer: ") and found.endswith("decoder.embed.weight")
    monkeypatch.setattr(checks, "build_optimizer", twice)
    assert failure(check_decay, model) == "decoder.embed.weight after one decay by adamw"
    assert failure(check_params, model).endswith("in the optimizer")


def compiler(sabotage):
    """A compiler whose graphs do something to their model before they compute."""

    def compile_loss(loss, **options):
        def graph(model, *rest):
            sabotage(model)
            return loss(model, *rest)

        return graph

    return compile_loss


def double_gradient(model):
    """What a traced graph did that returned a tied gradient twice. Tying bug 34."""
    model.parameter(SLOT).register_hook(lambda grad: 2 * grad)


def test_check_compile_finds_a_compiler_that_doubles_a_gradient(model, monkeypatch):
    monkeypatch.setattr(torch, "compile", compiler(double_gradient))
    assert failure(check_compile, model) == "compiled by aot_eager: decoder.0.ffn.in.weight"


def test_check_compile_finds_a_lost_tie(model, monkeypatch):
    monkeypatch.setattr(torch, "compile", compiler(untie))
    with pytest.raises(ties.TietrainError) as failed:
        check_compile(model)
    assert failed.value.setting == f"tie of {SLOT}"


def lose_one_use(monkeypatch, wrong):
    """Give one use of a tied parameter a wrong tensor, where the plan has ties."""
    weights = Transformer._weights

    def changed(self, block):
        found = weights(self, block)
        return {k: wrong(v) for k, v in found.items()} if block == "decoder.2.ffn" and self.plan.groups else found

    monkeypatch.setattr(Transformer, "_weights", changed)


def test_checks_find_a_lost_gradient_of_one_use(model, monkeypatch):
    """Tying bug 35."""
    lose_one_use(monkeypatch, torch.Tensor.detach)
    found = failure(check_gradients, model)
    assert found.startswith("gradient of decoder.0.ffn.") and found.endswith(" against 2 uses")
    assert failure(check_optimizers, model).endswith("after 3 steps of adamw")


def test_check_gradients_finds_a_use_with_other_values(model, monkeypatch):
    lose_one_use(monkeypatch, lambda v: 1.001 * v)
    assert failure(check_gradients, model) == "loss of the untied twin"


def test_check_gradients_finds_a_use_that_computes_nothing(model, monkeypatch):
    monkeypatch.setattr(Transformer, "_cross_attention", lambda self, x, stack, layer, part, scope: 0 * x)
    assert failure(check_gradients, build("mt", "cycle")).startswith("gradient of encoder.embed.weight")


def test_check_optimizers_finds_copies_without_the_sum(model, monkeypatch):
    monkeypatch.setattr(checks, "_sum_gradients", lambda tied, twin: None)
    assert failure(check_optimizers, model).endswith("after 3 steps of adamw")
    check_optimizers(build("lm", "none"))


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_checks_find_an_optimizer_that_does_not_decay_a_tied_matrix(model, monkeypatch, name):
    """Tying bug 40: which decay a matrix of two roles gets."""

    def build_wrong(m, config):
        optimizer = build_optimizer(m, config)
        if config.name == name and m.plan.groups:
            optimizer.param_groups[0]["weight_decay"] = 0.0
        return optimizer

    monkeypatch.setattr(checks, "build_optimizer", build_wrong)
    assert failure(check_optimizers, model).endswith(f"after 3 steps of {name}")
    assert failure(check_decay, model).endswith(f"after one decay by {name}")


def test_check_decay_finds_state_of_a_tensor_that_is_not_stored(model, monkeypatch):
    def with_spare(m, config):
        optimizer = build_optimizer(m, config)
        spare = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        spare.grad = torch.zeros_like(spare)
        optimizer.param_groups[0]["params"].append(spare)
        return optimizer

    monkeypatch.setattr(checks, "build_optimizer", with_spare)
    assert failure(check_decay, model).endswith("states of adamw")


@pytest.mark.parametrize("task", ["lm", "mt"])
def test_check_cache_finds_a_cache_keyed_by_what_is_shared(monkeypatch, task):
    """Tying bugs 41 and 42: layers of one owner, or of one index, overwrite each other's past."""
    extend = Cache.extend
    monkeypatch.setattr(
        Cache, "extend", lambda self, place, k, v: extend(self, (place[0], place[1] % 3, place[2]), k, v)
    )
    assert failure(check_cache, build(task, "cycle")) == "cached decoding"


def test_check_cache_finds_source_keys_kept_by_what_is_shared(monkeypatch):
    memory = Cache.memory
    monkeypatch.setattr(Cache, "memory", lambda self, place, make: memory(self, (place[0], 0, place[2]), make))
    assert failure(check_cache, build("mt", "cycle")) == "cached decoding"


@pytest.mark.parametrize("task", ["lm", "mt"])
def test_check_cache_finds_a_selection_of_other_rows(monkeypatch, task):
    select = Cache.select
    monkeypatch.setattr(Cache, "select", lambda self, rows: select(self, rows.flip(0).roll(1)))
    assert failure(check_cache, build(task, "none")) == "cached decoding of selected rows"


def miscount(monkeypatch, **changes):
    monkeypatch.setattr(checks, "count_params", lambda plan: dataclasses.replace(count_params(plan), **changes))


def test_check_params_finds_a_ledger_that_miscounts(model, monkeypatch):
    """Tying bugs 32 and 33: duplicates summed, or a part left out."""
    ledger = count_params(model.plan)
    for changes, what in [
        ({"params": ledger.params_untied}, "in unique storages"),
        ({"params_untied": ledger.params}, "of the untied model"),
        ({"n_repeated": 0}, "used once, repeatedly or in tables"),
        ({"by_part": ledger.by_part | {"decoder.ffn": 1}}, "numbers by part"),
    ]:
        miscount(monkeypatch, **changes)
        assert what in failure(check_params, model)


def test_check_params_finds_a_tensor_no_slot_owns(model):
    model.register_parameter("spare", nn.Parameter(torch.zeros(3)))
    assert failure(check_params, model).endswith("in unique storages")


@pytest.mark.parametrize("change", [{"d_ff": 127}, {"n_heads": 3}])
def test_check_flops_finds_flops_of_another_shape(model, monkeypatch, change):
    """Tying bugs 28 to 31: FLOPs from stored parameters, lookups charged, a head left out."""
    monkeypatch.setattr(
        checks, "count_flops", lambda plan: count_flops(dataclasses.replace(plan.slots.shape, **change))
    )
    assert failure(check_flops, model).endswith("forward FLOPs by products")


def test_check_flops_finds_training_of_more_than_three_times_forward(model, monkeypatch):
    loss = checks.batch_loss

    def wasteful(m, batch, smoothing):
        m.logits(m(batch.sources, batch.tgt_in_ids))
        return loss(m, batch, smoothing)

    monkeypatch.setattr(checks, "batch_loss", wasteful)
    assert failure(check_flops, model).endswith("FLOPs in training by products")


def test_count_matmul_flops_refuses_an_attention_kernel_it_cannot_count(model, monkeypatch):
    monkeypatch.setattr(checks, "FUSED", {})
    ids = draw_batches(model, 2, 3, 4)[0].tgt_in_ids
    with torch.no_grad():
        assert "flash_attention_for_cpu" in failure(count_matmul_flops, lambda: model.double()(None, ids))


@pytest.mark.parametrize("tying", ["none", "pre_softmax", "universal"])
@pytest.mark.parametrize("std", [1.0, 0.1])
def test_check_start_finds_a_table_with_the_scale_of_another_role(monkeypatch, tying, std):
    """Tying bugs 23 to 26: initial losses of 400, 110, or a table five times too small."""
    initialize = Transformer.initialize

    def wrong(self, seed):
        stated, self.tables = self.tables, replace(self.tables, std=std)
        initialize(self, seed)
        self.tables = stated

    monkeypatch.setattr(Transformer, "initialize", wrong)
    assert failure(check_start, configure("lm", tying)).startswith("initial loss of ")
