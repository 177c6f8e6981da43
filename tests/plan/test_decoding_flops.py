"""FLOPs and bytes of cached decoding against the model's own: torch's counter and the tensors of its cache."""

import pytest
from counted_decoding import ROWS, STEPS, S, decode_counted
from hypothesis import given
from hypothesis import strategies as st
from tietrain.plan.decoding import count_decoding
from tietrain.plan.memory import count_memory

from tiny_models import CASES, build, make_shape, plan_of


@pytest.mark.parametrize(("task", "scheme"), CASES)
def test_every_step_equals_the_counter(task, scheme):
    model = build(task, scheme, activation="swiglu", attn_bias=True, output_bias=True)
    n_source = S if task == "mt" else 0
    ledger = count_decoding(model.shape)
    flops, _ = decode_counted(model, n_source)
    steps = [ROWS * ledger.token(past, n_source) for past in range(STEPS)]
    steps[0] += ROWS * ledger.source(n_source)
    assert flops == steps
    assert sum(flops) == ROWS * ledger.sentence(STEPS, n_source)


@pytest.mark.parametrize("task", ["lm", "mt"])
@pytest.mark.parametrize("options", [{"n_layers": 1}, {"d_head": 6}, {"norm_position": "post", "positions": "learned"}])
def test_every_step_of_other_shapes(task, options):
    model = build(task, "none", **options)
    n_source = S if task == "mt" else 0
    assert sum(decode_counted(model, n_source)[0]) == ROWS * count_decoding(model.shape).sentence(STEPS, n_source)


@given(task=st.sampled_from(["lm", "mt"]), n_kv_heads=st.sampled_from([1, 2, 4]), n=st.integers(1, 300))
def test_a_sentence_is_the_sum_of_its_tokens(task, n_kv_heads, n):
    ledger = count_decoding(make_shape(task, n_kv_heads=n_kv_heads))
    n_source = 7 if task == "mt" else 0
    tokens = sum(ledger.token(past, n_source) for past in range(n))
    assert ledger.sentence(n, n_source) == ledger.source(n_source) + tokens


def test_a_language_model_has_no_source():
    ledger = count_decoding(make_shape("lm"))
    assert ledger.source(9) == ledger.per_source_key == 0


@pytest.mark.parametrize(("task", "scheme"), CASES)
@pytest.mark.parametrize("n_kv_heads", [4, 2])
def test_cache_bytes_are_the_used_part_of_the_cache(task, scheme, n_kv_heads):
    """Keys and values belong to a depth: a shared layer saves none."""
    model = build(task, scheme, n_kv_heads=n_kv_heads)
    n_source = S if task == "mt" else 0
    _, cache = decode_counted(model, n_source)
    held = sum(t.numel() * t.element_size() for pair in cache.used.values() for t in pair)
    assert held == ROWS * count_memory(plan_of(task, scheme, n_kv_heads=n_kv_heads), "adamw").kv_cache(STEPS, n_source)
    assert len(cache.used) == (8 if task == "mt" else 4)
