"""Ties in words, from real plans."""

from fabricated import TIES, make_config
from tietrain.config.layout import make_shape
from tietrain.plan.schemes import make_plan
from tietrain.report.ties import describe_ties


def described(label, ties=None):
    config = make_config("mt", label, 1)
    config.model.n_layers = 6
    return describe_ties(make_plan(make_shape(config), ties or TIES[label]).owner)


def test_describe_ties_of_schemes():
    expected = {
        "none": [],
        "shared_vocab": [],
        "embeddings": ["`decoder.embed.weight` = `encoder.embed.weight`"],
        "pre_softmax": ["`decoder.output.weight` = `decoder.embed.weight`"],
        "three_way": ["`decoder.output.weight` = `decoder.embed.weight` = `encoder.embed.weight`"],
        "cross_layer": [
            "`encoder` layers 0 = … = 5: `self_attn` with its norm, `ffn` with its norm",
            "`decoder` layers 0 = … = 5: `self_attn` with its norm, `cross_attn` with its norm, `ffn` with its norm",
        ],
    }
    assert {label: described(label) for label in TIES} == expected


def test_describe_ties_of_sets_of_layers():
    tie = {
        "rule": "cross_layer",
        "order": "sequence",
        "n_unique": 3,
        "parts": ["ffn"],
        "norms": False,
        "stacks": ["decoder"],
    }
    assert described("cross_layer", {"cross_layer": tie}) == ["`decoder` layers 0 = 1, 2 = 3, 4 = 5: `ffn`"]


def test_describe_ties_of_single_tensors():
    owner = {
        f"decoder.{i}.self_attn.{leaf}.weight": f"decoder.{i}.self_attn.{leaf}.weight"
        for i in range(2)
        for leaf in "qk"
    }
    owner["decoder.1.self_attn.q.weight"] = "decoder.0.self_attn.q.weight"
    assert describe_ties(owner) == ["`decoder` layers 0 = 1: `self_attn.q.weight`"]
    owner = {"encoder.0.ffn.in.weight": "encoder.0.ffn.in.weight", "decoder.0.ffn.in.weight": "encoder.0.ffn.in.weight"}
    assert describe_ties(owner) == ["`decoder.0.ffn.in.weight` = `encoder.0.ffn.in.weight`"]
