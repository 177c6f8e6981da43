"""Schemes of well-known models, by the names of their parameters alone."""

import pytest

from foreign_models import TRANSFORMERS, named_as
from refusals import refusal
from tietrain.plan.known_models import find_family, find_tables, scheme_groups

FAMILY = {"gpt2": "GPT-2", "llama": "Llama", "bert": "BERT", "marian": "Marian", "t5": "T5"}


def names_of(kind, n_layers=4):
    return list(dict(named_as(kind, n_layers).named_parameters()))


@pytest.mark.parametrize("kind", TRANSFORMERS)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_family_is_known_under_any_prefix(kind, prefix):
    names = [prefix + name for name in names_of(kind)]
    embed, output, _ = TRANSFORMERS[kind]
    assert find_family(names).name == FAMILY[kind]
    tables = find_tables(names)
    assert (tables["embed"], tables["output"]) == (f"{prefix}{embed}.weight", f"{prefix}{output}.weight")


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_schemes_that_every_family_has(kind):
    names = names_of(kind)
    embed, output, layers = TRANSFORMERS[kind]
    assert scheme_groups("pre_softmax", names) == [[f"{embed}.weight", f"{output}.weight"]]
    every = [[f"{layer}.weight".format(i) for i in range(4)] for layer in layers]
    assert sorted(scheme_groups("universal", names)) == sorted(every)
    halves = [group[i::2] for group in every for i in range(2)]
    assert sorted(scheme_groups("cycle", names)) == sorted(halves)
    assert sorted(scheme_groups("cycle", names, n_unique=3)) == [[group[0], group[3]] for group in sorted(every)]


def test_three_way_joins_both_embeddings_with_the_output():
    assert scheme_groups("three_way", names_of("t5")) == [
        ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"]
    ]


def test_encoder_decoder_joins_parts_of_one_role():
    marian = scheme_groups("encoder_decoder", names_of("marian", 1))
    assert marian == [
        [f"model.{stack}.layers.0.{part}.weight" for stack in ("encoder", "decoder")]
        for part in ("fc1", "self_attn.q_proj")
    ]
    t5 = dict(
        scheme_groups("encoder_decoder", [*names_of("t5", 1), "encoder.block.0.layer.0.SelfAttention.relative_x"])
    )
    assert {a.removeprefix("encoder.block.0."): b.removeprefix("decoder.block.0.") for a, b in t5.items()} == {
        "layer.0.SelfAttention.q.weight": "layer.0.SelfAttention.q.weight",
        "layer.0.layer_norm.weight": "layer.0.layer_norm.weight",
        "layer.1.DenseReluDense.wi.weight": "layer.2.DenseReluDense.wi.weight",
        "layer.1.layer_norm.weight": "layer.2.layer_norm.weight",
    }


def test_schemes_refuse_what_does_not_fit(golden, tmp_path):
    deep = [*names_of("marian", 2), "model.decoder.layers.2.fc1.weight"]
    refused = {
        "three_way of one stack": ("three_way", names_of("gpt2")),
        "encoder_decoder of one stack": ("encoder_decoder", names_of("llama")),
        "encoder_decoder of two depths": ("encoder_decoder", deep),
        "cycle of more layers than there are": ("cycle", names_of("gpt2", 2), 3),
        "cycle of as many layers as there are": ("cycle", names_of("gpt2", 2), 2),
    }
    golden("known_model_refusals", {name: str(refusal(scheme_groups, *args)) for name, args in refused.items()})
