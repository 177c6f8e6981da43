"""The guarantees of a plan, for any ties that fit a model."""

from hypothesis import given
from hypothesis import strategies as st

from expected_ties import EXPECTED, six_layers, ties_of
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
def test_resolve_guarantees(case, random):
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
def test_resolve_ties_only_by_chains_of_pairs(case):
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


def test_resolve_ties_a_prefix_leaf_by_leaf():
    plan = resolve(make_shape("lm"), [("decoder.2.self_attn", "decoder.0.self_attn")])
    assert plan.groups == {
        f"decoder.0.self_attn.{m}.weight": (f"decoder.0.self_attn.{m}.weight", f"decoder.2.self_attn.{m}.weight")
        for m in "qkvo"
    }


def test_hash_differs_by_ties_and_shapes_only():
    hashes = {name: make_plan(six_layers("mt"), ties_of(name)).hash for name in EXPECTED}
    same = {frozenset(n for n in hashes if hashes[n] == h) for h in hashes.values()}
    assert {names for names in same if len(names) > 1} == {
        frozenset({"none", "shared_vocab", "input_gradient", "relaxed", "scaled"}),  # these are about what others share
        frozenset({"cross_layer", "universal"}),
        frozenset({"middle_cycle", "prelude_loop_coda"}),
    }
    assert len({make_plan(make_shape("lm", d_ff=f, n_layers=n), {}).hash for f in (24, 32) for n in (3, 4)}) == 4


def test_resolve_gives_one_plan_for_two_spellings():
    written = [("decoder.output.weight", "encoder.embed.weight"), ("decoder.embed.weight", "decoder.output.weight")]
    assert resolve(make_shape("mt"), written).hash == make_plan(make_shape("mt"), ties_of("three_way")).hash
