"""What is inside a shared layer: two models of one name that differ in norms or biases have different contents."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tietrain.plan.plan import resolve
from tietrain.plan.schemes import make_plan
from tietrain.plan.words import describe_manifest, make_manifest
from tiny_models import CASES, cross, make_shape, plan_of

BIASES = {"attn_bias": True, "ffn_bias": True, "norm_bias": True}
ATTENTION = tuple(f"self_attn.{leaf}.weight" for leaf in "qkvo")


def cycle(n_layers, *, norms=True, parts=None, **options):
    ties = cross(order="cycle", n_unique=n_layers // 2, norms=norms, parts=parts)
    return make_plan(make_shape("lm", n_layers=n_layers, **options), ties)


def contents(plan):
    return make_manifest(plan).contents


def test_cycle_6_12_of_three_releases_are_told_apart():
    """Norms shared (Takase & Kiyono), norms apart (Subformer), biases present or not: one name, four contents."""
    plans = [
        cycle(12, norms=norms, **biases) for norms in (True, False) for biases in (BIASES, {"attn_bias": True}, {})
    ]
    assert len({contents(plan)[0].hash for plan in plans}) == 6
    assert len({make_manifest(plan).hash for plan in plans}) == 6


def test_contents_do_not_depend_on_depth_or_width_and_the_manifest_on_layers():
    small, deep, wide = cycle(4), cycle(12), cycle(4, d_ff=99)
    assert contents(small)[0].hash == contents(deep)[0].hash == contents(wide)[0].hash
    assert make_manifest(small).hash == make_manifest(wide).hash != make_manifest(deep).hash


def test_shared_and_own_leaves():
    (found,) = contents(cycle(4, norms=False, attn_bias=True))
    assert found.layers == (("decoder.0", "decoder.2"), ("decoder.1", "decoder.3"))
    assert found.own == ("self_attn_norm.weight", "ffn_norm.weight")
    assert set(found.shared) > {*ATTENTION, "self_attn.q.bias", "ffn.in.weight"}
    assert found.partly == found.inside == ()


def test_a_part_shared_within_smaller_groups():
    shape = make_shape("lm")
    pairs = [(f"decoder.{i}.self_attn", "decoder.0.self_attn") for i in (1, 2, 3)]
    pairs += [("decoder.2.ffn", "decoder.0.ffn"), ("decoder.3.ffn", "decoder.1.ffn")]
    wide, narrow = contents(resolve(shape, pairs))
    assert wide.layers == (("decoder.0", "decoder.1", "decoder.2", "decoder.3"),)
    assert (wide.shared, wide.partly) == (ATTENTION, ("ffn.in.weight", "ffn.out.weight"))
    assert narrow.layers == (("decoder.0", "decoder.2"), ("decoder.1", "decoder.3"))
    assert narrow.shared == (*ATTENTION, "ffn.in.weight", "ffn.out.weight")


def test_groups_across_stacks():
    plan = make_plan(make_shape("mt", n_layers=2), {"s1": {"rule": "encoder_decoder"}})
    (found,) = contents(plan)
    assert found.layers == (("encoder.0", "decoder.0"), ("encoder.1", "decoder.1"))
    assert {leaf.split(".")[0] for leaf in found.own} == {"cross_attn", "cross_attn_norm"}
    assert {leaf.split(".")[0] for leaf in found.shared} == {"self_attn", "self_attn_norm", "ffn", "ffn_norm"}


def test_ties_inside_a_layer():
    shape = make_shape("lm", n_layers=2)
    alone = make_plan(shape, {"qk": {"rule": "query_key"}})
    (found,) = contents(alone)
    assert found.layers == (("decoder.0",), ("decoder.1",))
    assert found.inside == ("self_attn.k.weight = self_attn.q.weight",)
    assert found.shared == ()
    both = make_plan(shape, {"qk": {"rule": "query_key"}, **cross()})
    assert contents(both)[0].inside == found.inside
    assert contents(both)[0].hash != contents(make_plan(shape, cross()))[0].hash


@given(case=st.sampled_from(CASES), biases=st.booleans())
def test_every_scheme_has_each_tied_leaf_in_it_once(case, biases):
    """Leaves of a group fall in one kind each, and every owner that layers share is shared in exactly one group."""
    plan = plan_of(*case, **(BIASES if biases else {}))
    shared = []
    for found in contents(plan):
        leaves = [*found.shared, *found.partly, *found.own]
        assert len(leaves) == len(set(leaves))
        for group in found.layers:
            owners = {plan.owner[f"{group[0]}.{leaf}"] for leaf in found.shared}
            exact = {o for o in owners if {n.rsplit(".", n.count(".") - 1)[0] for n in plan.uses[o]} == set(group)}
            shared += exact
    layered = [owner for owner in plan.groups if owner.split(".")[1].isdigit()]
    assert sorted(shared) == sorted(layered)


def test_tables_are_no_layers():
    assert contents(plan_of("mt", "three_way")) == ()


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (cycle(4), "layers decoder 0=2, decoder 1=3 share self_attn_norm, self_attn, ffn_norm, ffn (contents"),
        (cycle(4, norms=False, parts=["ffn"], ffn_bias=True), "share ffn; keep self_attn_norm, self_attn, ffn_norm ("),
        (cycle(24), "decoder 0=12, decoder 1=13, decoder 2=14, decoder 3=15, …, decoder 11=23 share"),
        (make_plan(make_shape("lm", n_layers=9), cross()), "layers decoder 0=1=2=3=…=8 share"),
        (
            make_plan(make_shape("mt", n_layers=1), {"s1": {"rule": "encoder_decoder"}}),
            "layers encoder.0=decoder.0 share self_attn_norm, self_attn, ffn_norm, ffn; keep cross_attn_norm, cross_attn (",
        ),
        (make_plan(make_shape("lm"), {"qk": {"rule": "query_key"}}), "read self_attn.k.weight = self_attn.q.weight"),
    ],
)
def test_in_words(plan, words):
    (line,) = describe_manifest(make_manifest(plan))
    assert words in line
    assert line.endswith(f"(contents {contents(plan)[0].hash})")


def test_weights_and_biases_apart_in_words():
    shape = make_shape("lm", n_layers=2, attn_bias=True)
    plan = resolve(shape, [(f"decoder.1.self_attn.{x}.weight", f"decoder.0.self_attn.{x}.weight") for x in "qkvo"])
    (line,) = describe_manifest(make_manifest(plan))
    assert "share self_attn weights; keep self_attn biases, self_attn_norm, ffn_norm, ffn" in line
