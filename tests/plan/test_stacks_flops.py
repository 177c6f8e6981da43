"""The ledgers of models of several sources and targets against torch's counter, tensors in memory and the checks."""

import pytest
import torch
from counted_decoding import ROWS, STEPS, S, booked, decode_counted, held
from torch.nn.attention import SDPBackend, sdpa_kernel

from several_stacks import KINDS, ROUTES, A, B, build_several, draw, shape_of
from tietrain.plan.flops import CAUSAL, count_decoding, count_flops, length_units
from tietrain.plan.slots import Slots
from tietrain.train.check.checks import (
    check_cache,
    check_decay,
    check_flops,
    check_gradients,
    check_optimizers,
    check_params,
    count_matmul_flops,
)
from tietrain.train.check.lifecycle import check_ties

LENGTHS = {A: 6, B: 3}
TIES = {
    "three_way": {"rule": "three_way"},
    "cross_layer": {"rule": "cross_layer", "stacks": ["encoder"]},
    "encoder_decoder": {"rule": "encoder_decoder", "parts": ["ffn"]},
    "query_key": {"rule": "query_key"},
}
CHECKS = (check_flops, check_params, check_gradients, check_cache, check_optimizers, check_decay, check_ties)


@pytest.mark.parametrize("kind", KINDS)
def test_checks_of_models_with_several_stacks(kind):
    for check in CHECKS:
        model = build_several(kind, TIES)
        assert len(model.plan.groups) > 10
        check(model)


@pytest.mark.parametrize(("kind", "route"), ROUTES)
def test_count_flops_of_a_route_with_unequal_lengths(kind, route):
    """Stacks that are not on the route cost nothing; training costs three times forward."""
    options = {"n_kv_heads": 2, "activation": "swiglu", "d_head": 6, "positions": "learned"}
    model = build_several(kind, **options).double()
    *names, target = route
    sources = {name: draw(model, name, 2, LENGTHS[name]) for name in names}
    ids, ledger = torch.randint(4, 23, (2, 5)), count_flops(model.shape)
    lengths = {name: [LENGTHS[name]] * 2 for name in names} | {target: [5] * 2}
    units = length_units(model.shape, lengths)

    def run():
        return model.logits(model(sources, ids, stack=target), target)

    with torch.no_grad():
        assert count_matmul_flops(run) == ledger.forward(units) == sum(ledger.by_kind(units).values())
    with sdpa_kernel(SDPBackend.MATH):
        assert count_matmul_flops(lambda: run().sum().backward()) == ledger.training(units)


def test_causal_convention_halves_only_scores_of_the_target():
    for kind in KINDS:
        shape = shape_of(kind)
        full, causal = count_flops(shape), count_flops(shape, CAUSAL)
        less = {a.slot: a.per_unit - b.per_unit for a, b in zip(full.terms, causal.terms, strict=True)}
        halved = {f"{stack.name}.{layer}.self_attn.scores" for stack in shape.predictors for layer in range(2)}
        assert {slot: n for slot, n in less.items() if n} == dict.fromkeys(halved, 2 * 16), kind
        units = length_units(shape, {stack.name: [5] for stack in shape.stacks})
        assert full.forward(units) - causal.forward(units) == len(halved) * 2 * 16 * 25, kind


def test_n_effective_counts_weights_of_the_first_route_at_every_use():
    """Keys and values of a memory are one use per source, since each source has its own tokens."""
    for kind in KINDS:
        shape = shape_of(kind)
        *names, target = shape.routes[0]
        readers = dict.fromkeys(["cross_attn", "cross_attn2"], 1 if kind == "one after the other" else len(names))
        wanted = 0
        for slot in Slots(shape):
            if slot.stack in (*names, target) and len(slot.shape) == 2 and slot.part != "embed":
                wanted += slot.size * (readers.get(slot.part, 1) if slot.leaf in ("k.weight", "v.weight") else 1)
        assert count_flops(shape).n_effective == wanted, kind


@pytest.mark.parametrize("kind", KINDS)
def test_count_decoding_follows_the_first_route(kind):
    """Every step's FLOPs, and the bytes of keys and values, are those of the model."""
    model = build_several(kind, activation="swiglu", attn_bias=True)
    ledger, (flops, cache) = count_decoding(model.shape), decode_counted(model, S)
    steps = [ROWS * ledger.token(past, S) for past in range(STEPS)]
    steps[0] += ROWS * ledger.source(S)
    assert flops == steps
    assert sum(flops) == ROWS * ledger.sentence(STEPS, S)
    assert held(cache) == booked(model, S)
