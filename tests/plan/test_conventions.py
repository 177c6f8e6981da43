"""Published FLOP conventions against values of their own code, and the columns of this project."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tietrain.config.compose import compose_config
from tietrain.config.layout import make_shape as shape_of_config
from tietrain.plan.conventions import PUBLISHED, columns, estimate, estimate_all
from tietrain.plan.flops import count_flops, equal_lengths
from tietrain.plan.params import count_params
from tietrain.plan.plan import resolve
from tietrain.plan.schemes import make_plan
from tietrain.plan.slots import ModelShape, Stack
from tiny_models import CASES, make_shape, plan_of

T = 1024


def gpt2(*overrides):
    config = compose_config(["task=lm", "model=gpt2", *overrides])
    return make_plan(shape_of_config(config), config.tying.ties)


def decoder(n_layers, d_model, d_ff, n_heads, vocab_size, **options):
    stack = Stack("decoder", n_layers, vocab_size, "joint", causal=True, has_output=True)
    fields = {"n_kv_heads": n_heads, "d_head": d_model // n_heads, "max_len": 64} | options
    return resolve(ModelShape((stack,), d_model, n_heads, d_ff=d_ff, **fields), [])


@pytest.mark.parametrize(("biases", "ratio"), [(False, 1.00013), (True, 1.00085)])
def test_palm_on_gpt2_is_the_explicit_count(biases, ratio):
    """Source: Chowdhery et al. 2022, appendix B (X7): 6 N + 12 L H Q T per token, N without the position table."""
    switches = [f"model.{part}_bias={str(biases).lower()}" for part in ("attn", "ffn", "norm")]
    plan = gpt2("tying=pre_softmax", *switches)
    explicit = count_flops(plan.slots.shape).training(equal_lengths(plan.slots.shape, T))
    assert round(estimate("palm", plan, T).flops * T / explicit, 5) == ratio
    logits = count_flops(plan.slots.shape).by_kind(equal_lengths(plan.slots.shape, T))["logits"]
    assert round(explicit / 1e9, 1) == pytest.approx(874.9, abs=0.2)
    assert round(3 * logits / explicit, 3) == 0.271


@pytest.mark.parametrize(
    ("shape", "total"),
    [((10, 640, 2560, 10, 32_000), 929_877_196_800), ((40, 3584, 14_336, 28, 32_000), 83_021_046_743_040)],
)
def test_chinchilla_without_tables_is_its_table_a4(shape, total):
    """Totals of 2,048 tokens that nanoGPT's scaling_laws notebook prints, which leaves out embedding and logits."""
    plan = decoder(*shape)
    tables = 3 * 4 * shape[1] * shape[4]
    assert 2048 * (estimate("chinchilla", plan, 2048).flops - tables) == total


def test_estimate_on_gpt2_by_hand():
    """L 12, D 768, F 3,072, V 50,257: each formula written out once more from its source, norms and biases included."""
    d, f, v, n_layers = 768, 3072, 50_257, 12
    matrices, layer_vectors = 4 * d * d + 2 * d * f, 4 * d + (f + d) + 4 * d
    attention = 12 * n_layers * d * T
    found = {name: estimate(name, gpt2("tying=pre_softmax"), T).flops for name in PUBLISHED}
    assert found == {
        "kaplan": 6 * (n_layers * (matrices + layer_vectors) + 2 * d),
        "chinchilla": 3 * (n_layers * (2 * matrices + 4 * T * d + 3 * 12 * T) + 4 * d * v),
        "palm": 6 * (124_439_808 - T * d) + attention,
        "nanochat": 6 * (n_layers * matrices + d * v) + attention,
        "eleuther": 3 * n_layers * (2 * 4 * d * d + 4 * T * d + 4 * d * f) + 4 * d + 2 * d * v,
        "schwethelm": 6 * (n_layers * (matrices + layer_vectors) + d * v) + attention,
    }


def test_estimate_falls_with_shared_layers_for_formulas_over_stored_parameters():
    """Those over stored parameters fall with a tie, those by layers do not; what is computed is the same."""
    untied, shared = gpt2("tying=none"), gpt2("tying=cycle", "tying.ties.cycle.n_unique=3")
    fell = {name for name in PUBLISHED if estimate(name, shared, T).flops < estimate(name, untied, T).flops}
    assert fell == {"kaplan", "palm", "nanochat"}
    assert columns(shared.slots.shape, T) == columns(untied.slots.shape, T)


def test_estimate_counts_a_tied_table_as_its_source_does():
    """nanochat goes by linear layers, so its head counts where the table is shared; palm counts a tied table once."""
    tied, untied = gpt2("tying=pre_softmax"), gpt2("tying=none")
    table = 768 * 50_257
    assert estimate("nanochat", tied, T) == estimate("nanochat", untied, T)
    assert estimate("palm", untied, T).flops - estimate("palm", tied, T).flops == 6 * table
    assert estimate("kaplan", tied, T) == estimate("kaplan", untied, T)


def test_estimate_all_is_none_for_an_encoder_decoder():
    found = estimate_all(plan_of("mt", "none"), 9)
    assert set(found) == set(PUBLISHED)
    assert all(e["flops"] is None and "decoder-only" in e["reason"] for e in found.values())


def test_estimate_all_leaves_out_shapes_a_formula_does_not_cover():
    cases = [
        ({"activation": "swiglu"}, {"chinchilla"}),
        ({"n_kv_heads": 1}, {"chinchilla"}),
        ({"d_head": 8}, {"eleuther"}),
    ]
    for options, outside in [*cases, ({}, set())]:
        found = estimate_all(resolve(make_shape("lm", **options), []), 9)
        assert {name for name, e in found.items() if e["flops"] is None} == outside
        assert all(bool(e["reason"]) == (e["flops"] is None) for e in found.values())


@given(case=st.sampled_from(CASES), length=st.integers(1, 500))
def test_columns_of_every_scheme(case, length):
    """6 N_eff, with attention, without logits: per target token, S = T; the middle one is what runs are counted by."""
    plan = plan_of(*case)
    shape, flops = plan.slots.shape, count_flops(plan.slots.shape)
    found = columns(shape, length)
    n_attentions = 3 * 4 if case[0] == "mt" else 4
    assert found["with attention"] * length == flops.training(equal_lengths(shape, length))
    assert found["6 N_eff"] == 6 * flops.n_effective == found["with attention"] - 12 * n_attentions * 16 * length
    assert found["non-embedding"] == found["6 N_eff"] - 6 * 16 * 23


def test_kaplan_is_the_non_embedding_column_without_repeats():
    """Without biases the two differ by norms alone."""
    plan = decoder(3, 16, 24, 4, 23)
    norms = sum(slot.size for slot in plan.owners if slot.part.endswith("norm"))
    assert estimate("kaplan", plan, 9).flops == columns(plan.slots.shape, 9)["non-embedding"] + 6 * norms
    assert count_params(plan).n_repeated == 0
