"""The four laws of a plan, for any ties a model admits."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expected_ties import EXPECTED, six_layers, ties_of
from tietrain.errors import TyingError
from tietrain.plan.plan import resolve
from tietrain.plan.schemes import make_plan
from tietrain.plan.slots import Slots
from tiny_models import make_shape

SHAPES = [
    make_shape("lm"),
    make_shape("mt"),
    make_shape("mt", norm_bias=True, n_kv_heads=2, activation="swiglu", n_layers=2),
]


@st.composite
def ties(draw):
    """A shape and any list of pairs of slots that may be tied."""
    shape = draw(st.sampled_from(SHAPES))
    by_spec: dict = {}
    for slot in Slots(shape):
        by_spec.setdefault(slot.spec, []).append(slot.name)
    groups = [names for names in by_spec.values() if len(names) > 1]
    group = st.sampled_from(groups).flatmap(lambda names: st.tuples(st.sampled_from(names), st.sampled_from(names)))
    return shape, draw(st.lists(group, max_size=40))


@given(ties(), st.randoms(use_true_random=False))
def test_laws(case, random):
    shape, pairs = case
    plan = resolve(shape, pairs)
    position = {slot.name: i for i, slot in enumerate(plan.slots)}
    assert plan.owner.keys() == position.keys()  # total
    for slot in plan.slots:
        owner = plan.slots.named(plan.owner[slot.name])
        assert plan.owner[owner.name] == owner.name  # idempotent
        assert owner.spec == slot.spec  # shape-true
        assert position[owner.name] <= position[slot.name]  # canonical: the earliest owns
    assert sum(len(names) for names in plan.uses.values()) == len(plan.slots)
    assert all(plan.owner[a] == plan.owner[b] for a, b in pairs)

    shuffled = [random.choice([(a, b), (b, a)]) for a, b in pairs]
    random.shuffle(shuffled)
    again = resolve(shape, shuffled)
    assert again.owner == plan.owner and again.hash == plan.hash and again.to_json() == plan.to_json()


@given(ties())
def test_no_slot_is_tied_without_a_chain_of_pairs(case):
    shape, pairs = case
    plan = resolve(shape, pairs)
    neighbours: dict = {}
    for a, b in pairs:
        neighbours.setdefault(a, set()).add(b)
        neighbours.setdefault(b, set()).add(a)
    for owner, names in plan.groups.items():
        reached, frontier = {owner}, [owner]
        while frontier:
            frontier = [n for at in frontier for n in neighbours.get(at, ()) if n not in reached]
            reached.update(frontier)
        assert reached == set(names)


def test_a_prefix_ties_leaf_by_leaf():
    plan = resolve(make_shape("lm"), [("decoder.2.self_attn", "decoder.0.self_attn")])
    assert plan.groups == {
        f"decoder.0.self_attn.{m}.weight": (f"decoder.0.self_attn.{m}.weight", f"decoder.2.self_attn.{m}.weight")
        for m in "qkvo"
    }


@pytest.mark.parametrize(
    ("left", "right", "words"),
    [
        ("decoder.embde", "decoder.output", ["no slot decoder.embde", "decoder.embed", "decoder.0-3.ffn"]),
        ("decoder.0.ffn", "decoder.0.self_attn", ["only one of them has", "in.weight"]),
        (
            "decoder.0.self_attn.q.weight",
            "decoder.0.self_attn.v.weight",
            ["kinds are self_attn.qk.weight and self_attn.v.weight"],
        ),
    ],
)
def test_refusals_name_both_sides(left, right, words):
    with pytest.raises(TyingError) as refusal:
        resolve(make_shape("lm"), [(left, right)])
    assert all(word in str(refusal.value) for word in [f"tie {left} = {right}", *words])


def test_tables_of_different_vocabularies_of_equal_size_are_refused():
    shape = make_shape("mt")
    shape = replace(shape, stacks=(replace(shape.stacks[0], vocabulary="english"), shape.stacks[1]))
    with pytest.raises(TyingError, match="vocabularies are english and joint"):
        resolve(shape, [("encoder.embed", "decoder.embed")])


def test_self_attention_is_never_cross_attention():
    """Tying bug 21: a cross-attention bias bound to the self-attention's."""
    shape = make_shape("mt", attn_bias=True)
    for leaf in ("q.weight", "q.bias", "k.weight", "v.bias", "o.weight"):
        with pytest.raises(TyingError, match=r"their kinds are cross_attn\.\w+\.(weight|bias) and self_attn"):
            resolve(shape, [(f"decoder.1.cross_attn.{leaf}", f"decoder.0.self_attn.{leaf}")])


def test_hash_tells_ties_and_shapes_apart_and_nothing_else():
    hashes = {name: make_plan(six_layers("mt"), ties_of(name)).hash for name in EXPECTED}
    same = {frozenset(n for n in hashes if hashes[n] == h) for h in hashes.values()}
    assert {names for names in same if len(names) > 1} == {
        frozenset({"none", "shared_vocab"}),
        frozenset({"cross_layer", "universal"}),
        frozenset({"middle_cycle", "prelude_loop_coda"}),
    }
    assert len({make_plan(make_shape("lm", d_ff=f, n_layers=n), {}).hash for f in (24, 32) for n in (3, 4)}) == 4


def test_three_way_written_two_ways_is_one_plan():
    written = [("decoder.output.weight", "encoder.embed.weight"), ("decoder.embed.weight", "decoder.output.weight")]
    assert resolve(make_shape("mt"), written).hash == make_plan(make_shape("mt"), ties_of("three_way")).hash
