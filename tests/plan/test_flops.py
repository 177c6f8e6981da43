"""The FLOP ledger against torch's counter, exactly, and against published values."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel

from tietrain.config.compose import compose_config
from tietrain.config.layout import make_shape as shape_of_config
from tietrain.model.transformer import Transformer
from tietrain.plan.flops import CAUSAL, count_flops, equal_lengths, length_units
from tietrain.plan.schemes import make_plan
from tietrain.plan.slots import ModelShape, Stack
from tietrain.train.check.checks import count_matmul_flops
from tietrain.train.check.reference import untied_twin
from tiny_models import build, make_shape, sources_of

B, T, S = 3, 7, 5


def inputs(model: Transformer) -> tuple[dict[str, torch.Tensor] | None, torch.Tensor]:
    return sources_of(model, torch.randint(4, 23, (B, S))), torch.randint(4, 23, (B, T))


def units(shape):
    lengths = {"decoder": [T] * B, "encoder": [S] * B}
    return length_units(shape, {stack.name: lengths[stack.name] for stack in shape.stacks})


@pytest.mark.parametrize("task", ["lm", "mt"])
def test_count_flops_of_grouped_keys(task):
    model = build(task, "none", n_kv_heads=1, d_head=6)
    with torch.no_grad():
        counted = count_matmul_flops(lambda: model.logits(model(*inputs(model))))
    assert counted == count_flops(model.shape).forward(units(model.shape))


def test_count_flops_grows_with_depth_whatever_is_shared():
    """Source: Takase & Kiyono 2021 (X3): stacks of N = 6, 12 and 18 layers cost 1 : 2 : 3."""
    for order in ("sequence", "cycle", "cycle_rev"):
        costs = []
        for n in (6, 12, 18):
            ties = {"layers": {"rule": "cross_layer", "order": order, "n_unique": 6}}
            shape = make_plan(make_shape("lm", n_layers=n), ties).slots.shape
            head = 2 * 23 * 16 * B * T
            costs.append(count_flops(shape).forward(units(shape)) - head)
        assert costs[1:] == [2 * costs[0], 3 * costs[0]], order


def vaswani_base():
    return shape_of_config(compose_config(["task=mt", "model=vaswani_base", "tying=three_way"]))


def test_count_flops_of_a_vaswani_base_sentence():
    """S = T = 25 pieces, 37,000 pieces of vocabulary, forward."""
    shape = vaswani_base()
    assert count_flops(shape).forward(length_units(shape, {"encoder": [25], "decoder": [25]})) == 3_172_249_600


def test_count_flops_terms_of_one_layer():
    """d 512, f 2,048, per token forward: feed-forward, projections, scores a token of context."""
    terms = {t.slot: t for t in count_flops(vaswani_base()).terms if t.slot.startswith("encoder.0.")}
    ffn, scores = terms["encoder.0.ffn"].per_unit, terms["encoder.0.self_attn.scores"].per_unit
    projections = sum(terms[f"encoder.0.self_attn.{m}"].per_unit for m in "qkvo")
    assert (ffn, projections, scores) == (4_194_304, 2_097_152, 2_048)
    assert scores * 1024 + projections == ffn
    assert scores * 2048 == ffn
    assert scores * 3072 == ffn + projections


SHAPES = st.fixed_dictionaries(
    {
        "n_heads": st.sampled_from([1, 2, 4]),
        "d_head": st.sampled_from([2, 4]),
        "d_model": st.sampled_from([6, 8]),
        "d_ff": st.integers(1, 9),
        "activation": st.sampled_from(["relu", "gelu", "swiglu"]),
        "norm_position": st.sampled_from(["pre", "post"]),
        "positions": st.sampled_from(["learned", "sinusoidal", "rotary"]),
        **{f"{part}_bias": st.booleans() for part in ("attn", "ffn", "norm", "output")},
    }
)
TIES = {
    "lm": ({"rule": "pre_softmax"}, {"rule": "cross_layer"}, {"rule": "query_key"}, {"rule": "mirror"}),
    "mt": ({"rule": "three_way"}, {"rule": "immediate"}, {"rule": "query_key"}, {"rule": "encoder_decoder"}),
}


@settings(max_examples=25, deadline=None)
@given(
    task=st.sampled_from(["lm", "mt"]),
    fields=SHAPES,
    n_layers=st.integers(1, 3),
    chosen=st.sets(st.integers(0, 3), min_size=1),
    lengths=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_count_flops_equals_the_counter_tied_and_untied(task, fields, n_layers, chosen, lengths):
    """The tied model, its untied twin and the ledger, which knows the shape alone, count the same."""
    shape = make_shape(task, n_layers=n_layers, **fields, n_kv_heads=fields["n_heads"])
    tied = Transformer(make_plan(shape, {str(i): TIES[task][i] for i in chosen}))
    tied.initialize(1)
    n_source, n_target = lengths
    source = sources_of(tied, torch.randint(4, 23, (1, n_source)))
    target = torch.randint(4, 23, (1, n_target))
    by_stack = {"encoder": [n_source], "decoder": [n_target]}
    ledger, units_of_pair = count_flops(shape), length_units(shape, by_stack)
    for model in (tied, untied_twin(tied)):
        with torch.no_grad():
            forward = count_matmul_flops(lambda model=model: model.logits(model(source, target)))
        with sdpa_kernel(SDPBackend.MATH):
            training = count_matmul_flops(lambda model=model: model.logits(model(source, target)).sum().backward())
        assert (forward, training) == (ledger.forward(units_of_pair), ledger.training(units_of_pair))


@given(
    s=st.integers(1, 200),
    t=st.integers(1, 200),
    d_head=st.integers(1, 64),
    n_heads=st.integers(1, 8),
    f=st.integers(1, 500),
    v=st.integers(1, 10_000),
    depths=st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_count_flops_of_an_encoder_decoder_closed_form(s, t, d_head, n_heads, f, v, depths):
    """One pair of S and T tokens, forward, for any shape whose heads together are as wide as d_model."""
    d = d_head * n_heads
    stacks = (
        Stack("encoder", depths[0], v, "joint"),
        Stack("decoder", depths[1], v, "joint", causal=True, memories=(("encoder",),), has_output=True),
    )
    shape = ModelShape(stacks, d, n_heads, n_heads, d_head, f, max_len=8)
    encoder = s * (8 * d * d + 4 * d * f) + 4 * s * s * d
    cross = 4 * t * d * d + 4 * s * d * d + 4 * s * t * d
    decoder = t * (8 * d * d + 4 * d * f) + 4 * t * t * d + cross
    wanted = depths[0] * encoder + depths[1] * decoder + 2 * t * d * v
    assert count_flops(shape).forward(length_units(shape, {"encoder": [s], "decoder": [t]})) == wanted


def test_causal_convention_halves_only_scores_of_causal_stacks():
    for shape in (make_shape("lm"), make_shape("mt")):
        at = equal_lengths(shape, 6)
        full = count_flops(shape).by_kind(at)
        half = count_flops(shape, CAUSAL).by_kind(at)
        of_decoder = 4 * 4 * 16 * 6 * 6
        assert full.pop("scores") - half.pop("scores") == of_decoder / 2
        assert full == half


def test_n_effective_counts_matrices_at_every_use():
    """6 N_eff D: six layers of one set count six times, biases, norms and lookups never."""
    shape = make_shape("lm", n_layers=6, attn_bias=True, ffn_bias=True, norm_bias=True, output_bias=True)
    assert count_flops(shape).n_effective == 6 * (4 * 16 * 16 + 2 * 16 * 24) + 16 * 23
