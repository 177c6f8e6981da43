"""Every scheme against ties typed by hand; refusals are in test_refusals.py."""

import time
from dataclasses import replace

import pytest

from expected_ties import (
    BOTH,
    EXPECTED,
    LAYER,
    MORE_STACKS,
    NOT_FOR_LM,
    ONE,
    WEIGHTS,
    difference,
    expected_owners,
    layers,
    six_layers,
    ties_of,
)
from tietrain.config.compose import compose_config
from tietrain.config.keys import tying_choices
from tietrain.config.layout import make_shape as shape_of_config
from tietrain.plan.rules import RULES
from tietrain.plan.schemes import make_plan, needs_joint_vocabulary, tying_label
from tiny_models import make_shape

CASES = [(task, name) for name in EXPECTED for task in ("lm", "mt") if task == "mt" or name not in NOT_FOR_LM]


def plan_of(task: str, rule: str, *, shape: dict | None = None, **options):
    return make_plan(six_layers(task, **(shape or {})), {"mine": {"rule": rule, **options}})


def test_schemes_are_all_expected_here():
    assert set(EXPECTED) | set(MORE_STACKS) == set(tying_choices())
    assert set(NOT_FOR_LM) < set(EXPECTED)
    used = {tie["rule"] for name in [*EXPECTED, *MORE_STACKS] for tie in ties_of(name).values()}
    assert used == set(RULES), "a rule without a file"


def test_make_plan_has_the_owners_typed_by_hand():
    # Other shapes: gated feed-forwards, no bias, norms behind their part, other positions.
    other = {"activation": "swiglu", "attn_bias": False, "ffn_bias": False, "norm": "rms", "norm_position": "post"}
    wrong = {}
    for task, name in CASES:
        positions = {} if name == "positions" else {"positions": "rotary"}
        plan = make_plan(six_layers(task), ties_of(name))
        needs_ties = name in ("input_gradient", "relaxed", "scaled")
        assert plan.notes == ((f"{name}: changes nothing in this model",) if needs_ties else ()), name
        for each in (plan, make_plan(six_layers(task, **other, **positions), ties_of(name))):
            if found := difference(each, EXPECTED[name]):
                wrong[task, name] = found
    assert wrong == {}


def test_difference_from_expected_ties_can_fail():
    """A wrong tie, a missing one and one too many are each seen."""
    plan = make_plan(six_layers("mt"), ties_of("cycle"))
    assert difference(plan, EXPECTED["cycle_rev"]) and difference(plan, []) and difference(plan, layers(ONE))
    assert difference(make_plan(six_layers("mt"), {}), EXPECTED["cross_attn"])


LAYER_RULES = {
    "cross_layer": ({"order": "cycle", "n_unique": 3}, "0 1 2 0 1 2"),
    "mirror": ({}, "0 1 2 2 1 0"),
    "immediate": ({}, "0 0 2 2 4 4"),
    "sandwich": ({}, "0 1 1 1 1 5"),
    "all_but_last": ({}, "0 0 0 0 0 5"),
    "middle_cycle": ({"repeats": 4}, "0 1 1 1 1 5"),
    "middle_sequence": ({"repeats": 2}, "0 1 1 3 3 5"),
    "prelude_loop_coda": ({"prelude": 2, "coda": 0, "repeats": 4}, "0 1 2 2 2 2"),
    "execution": ({"blocks": ["0-2", "0-1", 2]}, "0 1 2 0 1 2"),
    "index_vector": ({"layers": [1, 2, 2, 4, 4, 1]}, "0 1 1 3 3 0"),
    "random_map": ({"n_unique": 3, "draw": 2, "sizes": "cycle"}, "0 1 1 3 3 0"),
}


def test_layer_rules_choose_stacks_parts_and_norms():
    cases = [
        ({"norms": True}, LAYER, BOTH),
        ({"norms": False}, WEIGHTS, BOTH),
        ({"stacks": ["encoder"], "norms": True}, LAYER, "encoder"),
        ({"stacks": ["decoder"], "norms": False}, WEIGHTS, "decoder"),
        ({"parts": ["self_attn"], "norms": True}, "self_attn_norm self_attn", BOTH),
        ({"parts": ["self_attn"], "norms": False}, "self_attn", BOTH),
        ({"parts": ["ffn", "cross_attn"], "norms": True}, "ffn_norm ffn cross_attn_norm cross_attn", BOTH),
        ({"parts": ["attention"], "norms": False}, "self_attn cross_attn", BOTH),
        ({"parts": ["attention"], "norms": True, "stacks": ["decoder"]}, LAYER.split(" ffn_norm")[0], "decoder"),
        # A projection is a matrix and its bias, without the norm before it.
        ({"parts": ["self_attn.q", "ffn.in"], "norms": True}, "self_attn.q ffn.in", BOTH),
        ({"parts": ["cross_attn.v"], "norms": True}, "cross_attn.v", "decoder"),
        ({"parts": ["ffn", "ffn.in"], "norms": True}, "ffn_norm ffn", BOTH),
    ]
    for rule, (options, owners) in LAYER_RULES.items():
        for more, parts, stacks in cases:
            plan = plan_of("mt", rule, **options, **more)
            assert difference(plan, layers(owners, parts, stacks)) == {}, (rule, more)


def test_layer_rules_share_norms_by_default_as_published():
    """papers.md, section 12: Takase, ALBERT, MobileLLM and MoR share norms; Subformer does not."""
    for rule, (options, owners) in LAYER_RULES.items():
        parts = WEIGHTS if rule in ("sandwich", "all_but_last") else LAYER
        assert difference(plan_of("lm", rule, **options), layers(owners, parts)) == {}, rule


def test_layer_rules_share_the_gate_of_a_feed_forward():
    plan = plan_of("lm", "mirror", parts=["ffn.gate"], shape={"activation": "swiglu"})
    assert difference(plan, layers("0 1 2 2 1 0", "ffn.gate")) == {}


SELF = "self_attn_norm self_attn"


def test_encoder_decoder_shares_the_chosen_parts():
    cases = [
        ({"parts": ["ffn"]}, layers("e0 e1 e2 e3 e4 e5", "ffn_norm ffn", "decoder")),
        ({"parts": ["self_attn"], "norms": False}, layers("e0 e1 e2 e3 e4 e5", "self_attn", "decoder")),
        ({"parts": ["attention"]}, layers("e0 e1 e2 e3 e4 e5", SELF, "decoder")),
        ({"parts": ["self_attn.k"]}, layers("e0 e1 e2 e3 e4 e5", "self_attn.k", "decoder")),
        (
            {"depth": "one", "parts": ["self_attn"]},
            layers(ONE, SELF, "encoder") + layers("e0 e0 e0 e0 e0 e0", SELF, "decoder"),
        ),
        ({"depth": "one", "parts": ["cross_attn"], "norms": False}, layers(ONE, "cross_attn", "decoder")),
    ]
    for options, lines in cases:
        assert difference(plan_of("mt", "encoder_decoder", **options), lines) == {}, options


def test_encoder_decoder_joins_stacks_of_unequal_depth_in_one_layer():
    shape = six_layers("mt")
    shape = replace(shape, stacks=(replace(shape.stacks[0], n_layers=2), shape.stacks[1]))
    plan = make_plan(shape, ties_of("one_layer"))
    assert plan.uses["encoder.0.ffn.in.weight"] == tuple(
        f"{stack}.{i}.ffn.in.weight" for stack, depth in (("encoder", 2), ("decoder", 6)) for i in range(depth)
    )


def test_schemes_never_tie_unlike_slots():
    """Self-attention with cross-attention, weights with biases, norms with anything else, final norms at all."""
    for name in EXPECTED:
        plan = make_plan(six_layers("mt"), ties_of(name))
        for owner, uses in plan.groups.items():
            slots = [plan.slots.named(use) for use in uses]
            parts = {slot.part for slot in slots}
            assert len(parts) == 1 or parts <= {"embed", "output"}, (name, owner)
            assert parts != {"final_norm"}, (name, owner)
            assert len({slot.leaf.endswith("bias") for slot in slots}) == 1, (name, owner)
            assert len({plan.asked(slot).spec for slot in slots}) == 1, (name, owner)


@pytest.mark.parametrize("task", ["lm", "mt"])
def test_query_key_ties_every_layer_and_nothing_else(task):
    plan = make_plan(six_layers(task), ties_of("query_key"))
    kinds = ("self_attn", "cross_attn") if task == "mt" else ("self_attn",)
    blocks = [f"{s.name}.{i}.{kind}" for s in plan.slots.shape.stacks for i in range(6) for kind in kinds]
    blocks = [block for block in blocks if not block.startswith("encoder") or "self" in block]
    pairs = {f"{b}.q.{leaf}": (f"{b}.q.{leaf}", f"{b}.k.{leaf}") for b in blocks for leaf in ("weight", "bias")}
    assert plan.groups == pairs


def test_query_key_ties_the_chosen_attentions():
    cases = [
        ({"parts": ["self_attn"]}, ["self_attn"], BOTH),
        ({"parts": ["cross_attn"]}, ["cross_attn"], BOTH),
        ({"stacks": ["encoder"]}, ["self_attn"], "encoder"),
        ({"stacks": ["decoder"], "parts": ["attention"]}, ["self_attn", "cross_attn"], "decoder"),
    ]
    for options, parts, stacks in cases:
        plan = plan_of("mt", "query_key", **options)
        assert difference(plan, [(stacks, f"{part}.k", f"{part}.q") for part in parts]) == {}, options


def test_make_plan_combines_rules():
    ties = {
        "tables": {"rule": "three_way"},
        "up": {"rule": "cross_layer", "order": "cycle", "n_unique": 2, "stacks": ["encoder"]},
        "down": {"rule": "mirror", "stacks": ["decoder"], "parts": ["ffn"], "norms": False},
        "heads": {"rule": "query_key", "stacks": ["decoder"], "parts": ["self_attn"]},
    }
    wanted = [
        *EXPECTED["three_way"],
        *layers("0 1 0 1 0 1", stacks="encoder"),
        *layers("0 1 2 2 1 0", "ffn", "decoder"),
        ("decoder", "self_attn.k", "self_attn.q"),
    ]
    assert difference(make_plan(six_layers("mt"), ties), wanted) == {}


def test_make_plan_joins_groups_that_meet():
    """Layer i of one stack is layer i of the other, and the encoder is mirrored: so is the decoder, but for cross."""
    ties = {"s": {"rule": "encoder_decoder"}, "m": {"rule": "mirror", "stacks": ["encoder"]}}
    shared = "self_attn_norm self_attn ffn_norm ffn"
    wanted = layers("0 1 2 2 1 0", stacks="encoder") + layers("e0 e1 e2 e2 e1 e0", shared, "decoder")
    assert difference(make_plan(six_layers("mt"), ties), wanted) == {}


def test_make_plan_of_one_rule_under_two_labels():
    words = ["tying=cycle", "tying.ties.cycle.stacks=[encoder]", "+tying.ties.other={rule: mirror, stacks: [decoder]}"]
    config = compose_config(["task=mt", "model.n_layers=6", *words])
    assert config.tying_label == "cycle+other"
    wanted = layers("0 1 0 1 0 1", stacks="encoder") + layers("0 1 2 2 1 0", stacks="decoder")
    shape = shape_of_config(config)
    assert make_plan(shape, config.tying.ties).owner == expected_owners(shape, wanted)


def test_rules_have_summary_source_and_examples():
    for name, rule in RULES.items():
        assert rule.summary.endswith(".") and len(rule.summary.split()) > 3, name
        assert rule.source, name
        assert set(rule.example) <= set(rule.options), name
    joint = {name for name, rule in RULES.items() if rule.joint_vocabulary}
    assert joint == {"shared_vocab", "embeddings", "three_way"}
    assert {name for name, rule in RULES.items() if rule.encoder} == joint | {"positions", "encoder_decoder"}
    assert needs_joint_vocabulary({"x": {"rule": "mirror"}, "y": {"rule": "three_way"}})
    assert not needs_joint_vocabulary({"x": {"rule": "encoder_decoder"}})


def test_tying_label():
    assert tying_label({"three_way": {}, "cross_layer": {}}) == "three_way+cross_layer"
    assert tying_label({}) == "none"


def test_make_plan_of_200_layers_takes_milliseconds():
    shape = make_shape("lm", n_layers=200)
    start = time.process_time()
    plan = make_plan(shape, {"a": {"rule": "cross_layer", "n_unique": 10}, "b": {"rule": "pre_softmax"}})
    assert len(plan.groups) == 10 * 8 + 1
    assert time.process_time() - start < 0.5  # 20 ms on an idle core
