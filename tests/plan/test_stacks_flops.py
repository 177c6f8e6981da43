"""The ledgers of models of several sources and targets against torch's counter, tensors in memory and the checks."""

import pytest
import torch
from counted_decoding import ROWS, STEPS, S, decode_counted
from tietrain.plan.decoding import count_decoding
from tietrain.plan.memory import count_memory
from torch.nn.attention import SDPBackend, sdpa_kernel

from several_stacks import KINDS, ROUTES, A, B, build_several, draw, shape_of
from tietrain.plan.flops import CAUSAL, count_flops, length_units
from tietrain.train.check.checks import (
    check_cache,
    check_decay,
    check_flops,
    check_gradients,
    check_optimizers,
    check_params,
)
from tietrain.train.check.counter import count_matmul_flops
from tietrain.train.check.lifecycle import check_ties

LENGTHS = {A: 6, B: 3}
TIES = {
    "untied": {},
    "tied": {
        "three_way": {"rule": "three_way"},
        "cross_layer": {"rule": "cross_layer", "stacks": ["encoder"]},
        "encoder_decoder": {"rule": "encoder_decoder", "parts": ["ffn"]},
        "query_key": {"rule": "query_key"},
    },
}
CHECKS = (check_flops, check_params, check_gradients, check_cache, check_optimizers, check_decay, check_ties)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("kind", KINDS)
def test_checks(kind, ties, check):
    model = build_several(kind, TIES[ties])
    assert len(model.plan.groups) > 10 or ties == "untied"
    check(model)


@pytest.mark.parametrize(
    "options", [{}, {"n_kv_heads": 2, "activation": "swiglu", "d_head": 6, "positions": "learned"}]
)
@pytest.mark.parametrize(("kind", "route"), ROUTES)
def test_flops_of_a_route_with_sources_of_other_lengths(kind, route, options):
    """Stacks that are not on the route cost nothing; training costs three times forward."""
    model, (*names, target) = build_several(kind, **options).double(), route
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


@pytest.mark.parametrize("kind", KINDS)
def test_the_causal_convention_halves_the_targets_own_scores_alone(kind):
    shape, lengths = shape_of(kind), {stack.name: [5] for stack in shape_of(kind).stacks}
    full, causal = (count_flops(shape, name) for name in ("matmul-full-square-3x", CAUSAL))
    less = {a.slot: a.per_unit - b.per_unit for a, b in zip(full.terms, causal.terms, strict=True)}
    halved = {f"{stack.name}.{layer}.self_attn.scores" for stack in shape.predictors for layer in range(2)}
    assert {slot: n for slot, n in less.items() if n} == dict.fromkeys(halved, 2 * 16)
    saved = full.forward(length_units(shape, lengths)) - causal.forward(length_units(shape, lengths))
    assert saved == len(halved) * 2 * 16 * 25


@pytest.mark.parametrize("kind", KINDS)
def test_matmul_weights_of_the_first_route_at_every_use(kind):
    """Keys and values of a memory are one use a source, since each of its sources has its own tokens."""
    model = build_several(kind)
    *names, target = model.shape.routes[0]
    readers = dict.fromkeys(["cross_attn", "cross_attn2"], 1 if kind == "one after the other" else len(names))
    wanted = 0
    for slot in model.plan.slots:
        if slot.stack in (*names, target) and len(slot.shape) == 2 and slot.part != "embed":
            wanted += slot.size * (readers.get(slot.part, 1) if slot.leaf in ("k.weight", "v.weight") else 1)
    assert count_flops(model.shape).n_effective == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_by_the_first_route(kind):
    """Every step's FLOPs, and the bytes of keys and values, are those of the model."""
    model = build_several(kind, activation="swiglu", attn_bias=True)
    ledger, (flops, cache) = count_decoding(model.shape), decode_counted(model, S)
    steps = [ROWS * ledger.token(past, S) for past in range(STEPS)]
    steps[0] += ROWS * ledger.source(S)
    assert flops == steps
    assert sum(flops) == ROWS * ledger.sentence(STEPS, S)
    held = sum(t.numel() * t.element_size() for pair in cache.used.values() for t in pair)
    assert held == ROWS * count_memory(model.plan, "adamw").kv_cache(STEPS, S)
