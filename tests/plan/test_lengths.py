"""FLOPs against sequence length: golden values at d_model 512, crossings, and lists of lengths."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from several_stacks import A, shape_of
from tietrain.config.compose import compose_config
from tietrain.config.layout import make_shape as shape_of_config
from tietrain.plan.flops import CAUSAL, count_flops, equal_lengths
from tietrain.plan.lengths import CROSSINGS, count_by_length, describe_lengths, parse_lengths
from tiny_models import make_shape


def d512(task="lm", convention=None):
    shape = shape_of_config(compose_config([f"task={task}", "model=vaswani_base"]))
    return count_by_length(shape, *([convention] if convention else []))


def test_count_by_length_of_a_layer_at_d_512():
    """Per token forward and layer: feed-forward 4,194,304, projections 2,097,152, scores 2,048 T."""
    ledger = d512()
    layers = {"ffn": 6 * 4_194_304, "projections": 6 * 2_097_152, "scores": 6 * 2_048}
    assert ledger.by_kind == {**layers, "logits": 2 * 512 * 37_000}


def test_crossings_at_d_512():
    assert d512().crossings == dict(zip(CROSSINGS, (1024, 2048, 3072), strict=True))
    assert d512(convention=CAUSAL).crossings == dict(zip(CROSSINGS, (2048, 4096, 6144), strict=True))


def test_crossings_of_an_encoder_decoder():
    """6+6 layers, S = T: 18 attentions of 2,048 T and 2,097,152, 12 feed-forwards of 4,194,304."""
    found = list(d512("mt").crossings.values())
    ffn, projections, scores = 12 * 4_194_304, 18 * 2_097_152, 18 * 2_048
    assert found == [(ffn - projections) / scores, ffn / scores, (ffn + projections) / scores]


def test_count_by_length_of_several_routes_is_the_first():
    """One source and one decoder, whatever other stacks the model has."""
    several, stacks = shape_of("languages"), {stack.name: stack for stack in shape_of("languages").stacks}
    route = several.routes[0]
    assert route == (A, "decoder_b") and len(stacks) == 4
    pair = stacks[A], replace(stacks["decoder_b"], memories=((A,),))
    found, alone = count_by_length(several), count_by_length(shape_of("languages", stacks=pair, routes=()))
    assert found == alone and found.to_json([8])["route"] == list(route)
    assert "(encoder_a + decoder_b)" in describe_lengths(found, [8])[0]


def test_crossings_of_a_narrow_feed_forward_are_none():
    ledger = count_by_length(make_shape("lm", d_ff=16))
    assert ledger.by_kind["projections"] >= ledger.by_kind["ffn"]
    assert ledger.crossings[CROSSINGS[0]] is None


def test_describe_lengths(golden):
    narrow = count_by_length(make_shape("lm", d_ff=16))
    ledgers = {"language model": d512(), "encoder-decoder": d512("mt"), "narrow feed-forward": narrow}
    texts = {name: "\n".join(describe_lengths(ledger, [8, 1024])) for name, ledger in ledgers.items()}
    golden("lengths", texts)


@given(task=st.sampled_from(["lm", "mt"]), length=st.integers(1, 10**6), d_ff=st.integers(1, 400))
def test_rows_are_the_ledgers_and_crossings_have_equal_sides(task, length, d_ff):
    shape = make_shape(task, d_ff=d_ff)
    ledger = count_by_length(shape)
    row = ledger.to_json([length])["rows"][0]
    assert row["flops_per_token"] * length == count_flops(shape).forward(equal_lengths(shape, length))
    assert sum(row["shares"].values()) == pytest.approx(1, abs=1e-12), "shares are not rounded before they are shown"
    flops = ledger.by_kind
    for at, side in zip(ledger.crossings.values(), (flops["ffn"] - flops["projections"], flops["ffn"]), strict=False):
        assert (at is None and side <= 0) or at * flops["scores"] == pytest.approx(side)


def test_parse_lengths():
    lists = {
        "64,...,65536": [2**i for i in range(6, 17)],
        "10,100,1000": [10, 100, 1000],
        "3, 5, ..., 20, 100": [3, 5, 10, 20, 100],
        "7": [7],
        "5,...,10": [5, 10],
        "1,...,4,...,16": [1, 2, 4, 8, 16],
    }
    assert {text: parse_lengths(text) for text in lists} == lists
