"""The ledgers as JSON and in words."""

import json

import pytest

from tietrain.config import DataConfig, ModelConfig, RunConfig, TaskConfig, TyingConfig
from tietrain.config.describe import describe_ledgers, describe_plan, ledger_json
from tietrain.config.layout import make_shape
from tietrain.plan.conventions import PUBLISHED
from tietrain.plan.flops import equal_lengths
from tietrain.plan.params import count_params
from tietrain.plan.schemes import make_plan

# What reports and other programs read since the first version.
FIRST_KEYS = {"convention", "params", "params_untied", "params_saved", "by_part", "saved_by_part", "uses", "flops"}


def made(task="lm", ties=None, **model):
    config = RunConfig(
        task=TaskConfig(name=task, window=16),
        model=ModelConfig(**{"d_model": 16, "n_heads": 2, "d_ff": 24, "n_layers": 4, "vocab_size": 30} | model),
        tying=TyingConfig(ties or {}),
    )
    return make_plan(make_shape(config), config.tying.ties), config


CYCLE = {"cycle": {"rule": "cross_layer", "order": "cycle", "n_unique": 2}}


@pytest.mark.parametrize("task", ["lm", "mt"])
def test_json_is_plain_and_complete(task):
    plan, config = made(task, CYCLE)
    body = ledger_json(plan, config)
    assert json.loads(json.dumps(body)) == body | {"manifest": json.loads(json.dumps(body["manifest"]))}
    assert body.keys() > FIRST_KEYS
    assert body["memory"]["parameters_bytes"] == 4 * body["params"]
    first = plan.slots.shape.stacks[0].name
    assert body["manifest"]["contents"][0]["layers"][0] == (f"{first}.0", f"{first}.2")
    assert set(body["conventions"]["published"]) == set(PUBLISHED)
    assert sum(load["n_numbers"] * load["n_uses"] for load in body["loads"]) == body["params_untied"]


@pytest.mark.parametrize("task", ["lm", "mt"])
def test_coefficients_give_the_column_and_the_last_token(task):
    """One set of numbers: FLOPs of a sentence by coefficients, by column and, of the last token, by decoding."""
    plan, config = made(task)
    body = ledger_json(plan, config)
    n = config.typical_length
    units = equal_lengths(plan.slots.shape, n)
    forward = sum(body["flops"]["coefficients"][unit] * amount for unit, amount in units.items())
    assert body["conventions"]["columns"]["with attention"] * n == 3 * forward
    source = body["decoding"]["per_source_token"] * n + body["decoding"]["per_source_pair"] * n * n
    assert body["decoding"]["last_token"] * n == forward - source


def test_a_model_of_several_routes_says_which_one_is_counted():
    columns = {"columns": ["a", "b", "c"], "splits": {"train": ["a", "b", "c"], "valid": ["d", "e", "f"]}}
    task = TaskConfig(name="mt", directions=["a-b", "a-c"])
    model = ModelConfig(d_model=16, n_heads=2, d_ff=24, n_layers=2, vocab_size=30, decoders="each")
    config = RunConfig(task=task, model=model, data=DataConfig(format="text", **columns))
    plan = make_plan(make_shape(config), {})
    flops, n = ledger_json(plan, config)["flops"], config.typical_length
    per_token = sum(value * (n if kind == "scores" else 1) for kind, value in flops["per_token"].items())
    assert flops["route"] == ["encoder", "decoder_b"]
    assert per_token < sum(term["per_unit"] for term in flops["terms"])
    (line,) = (line for line in describe_plan(plan, config) if line.startswith("FLOPs: "))
    assert f" {per_token:,} " in line and "encoder + decoder_b" in line


def test_the_default_text_is_short_and_says_what_layers_share():
    plan, config = made(ties=CYCLE)
    lines = describe_plan(plan, config)
    assert any(line.startswith("  layers decoder 0=2, decoder 1=3 share") for line in lines)
    assert [line.split(":")[0] for line in lines[-3:]] == ["FLOPs", "cached decoding", "memory"]
    plan, config = made()
    assert len(describe_plan(plan, config)) == 6 + len(count_params(plan).by_part)


def test_notes_of_a_plan_are_told():
    plan, config = made(ties={"cycle": {"rule": "cross_layer", "order": "cycle", "n_unique": 3}})
    assert plan.notes
    assert [line for line in describe_plan(plan, config) if line.startswith("note: ")]


def test_the_whole_ledger_in_words():
    text = "\n".join(describe_ledgers(*made(ties=CYCLE)))
    for name in PUBLISHED:
        assert f"  {name} " in text
    assert "read 2x" in text
    assert "self_attn       0 1 0 1" in text
    assert "not defined" in "\n".join(describe_ledgers(*made("mt")))


def test_plan_says_added_and_not_saved_if_views_bring_more_than_ties_spare():
    ties = {"universal": {"rule": "cross_layer"}, "relaxed": {"rule": "relaxed", "rank": 16}}
    plan, config = made(ties=ties, n_layers=2)
    saved = count_params(plan).params_saved
    assert saved < 0
    lines = "\n".join(describe_plan(plan, config))
    assert f"{-saved:,} added by views (" in lines and "added 3,072" in lines and "saved -" not in lines
