"""FLOPs and bytes of cached decoding against the model's own: torch's counter and the tensors of its cache."""

import pytest
from counted_decoding import ROWS, STEPS, S, booked, decode_counted, held
from hypothesis import given
from hypothesis import strategies as st

from tietrain.plan.flops import count_decoding
from tiny_models import build, make_shape


@pytest.mark.parametrize(
    ("task", "scheme", "options"),
    [
        ("lm", "none", {"activation": "swiglu", "attn_bias": True, "output_bias": True}),
        ("mt", "none", {"norm_position": "post", "positions": "learned"}),
        ("lm", "pre_softmax+cycle_rev-2", {"d_head": 6}),
        ("mt", "three_way+cycle-2", {"n_layers": 3}),
    ],
)
def test_count_decoding_equals_the_counter(task, scheme, options):
    model = build(task, scheme, **options)
    n_source = S if task == "mt" else 0
    ledger = count_decoding(model.shape)
    flops, cache = decode_counted(model, n_source)
    steps = [ROWS * ledger.token(past, n_source) for past in range(STEPS)]
    steps[0] += ROWS * ledger.source(n_source)
    assert flops == steps
    assert sum(flops) == ROWS * ledger.sentence(STEPS, n_source)
    assert held(cache) == booked(model, n_source)


@pytest.mark.parametrize(("task", "scheme"), [("lm", "sequence-1"), ("mt", "three_way+cycle-2")])
def test_kv_cache_of_grouped_heads_is_the_cache(task, scheme):
    """Keys and values belong to a layer's position in the stack: a shared layer saves none."""
    model = build(task, scheme, n_kv_heads=2)
    n_source = S if task == "mt" else 0
    _, cache = decode_counted(model, n_source)
    assert held(cache) == booked(model, n_source)
    assert len(cache.used) == (8 if task == "mt" else 4)


@given(task=st.sampled_from(["lm", "mt"]), n_kv_heads=st.sampled_from([1, 2, 4]), n=st.integers(1, 300))
def test_sentence_is_the_sum_of_its_tokens(task, n_kv_heads, n):
    ledger = count_decoding(make_shape(task, n_kv_heads=n_kv_heads))
    n_source = 7 if task == "mt" else 0
    tokens = sum(ledger.token(past, n_source) for past in range(n))
    assert ledger.sentence(n, n_source) == ledger.source(n_source) + tokens


def test_source_is_free_for_a_language_model():
    ledger = count_decoding(make_shape("lm"))
    assert ledger.source(9) == ledger.per_source_key == 0
