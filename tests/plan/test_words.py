"""Contents of shared layers, ties in words, and owner maps."""

from hypothesis import given
from hypothesis import strategies as st

from expected_ties import ties_of
from tietrain.plan.plan import resolve
from tietrain.plan.schemes import make_plan
from tietrain.plan.words import describe_manifest, make_manifest, manifest_json, owner_map
from tiny_models import CASES, cross, make_shape, plan_of

BIASES = {"attn_bias": True, "ffn_bias": True, "norm_bias": True}
ATTENTION = tuple(f"self_attn.{leaf}.weight" for leaf in "qkvo")


def cycle(n_layers, *, norms=True, parts=None, **options):
    ties = cross(order="cycle", n_unique=n_layers // 2, norms=norms, parts=parts)
    return make_plan(make_shape("lm", n_layers=n_layers, **options), ties)


def contents(plan):
    return make_manifest(plan)


def manifest_hash(plan):
    return manifest_json(make_manifest(plan))["hash"]


def test_contents_hash_tells_three_releases_of_one_scheme_apart():
    """Norms shared (Takase & Kiyono), norms apart (Subformer), biases present or not: one name, four contents."""
    plans = [
        cycle(12, norms=norms, **biases) for norms in (True, False) for biases in (BIASES, {"attn_bias": True}, {})
    ]
    assert len({contents(plan)[0].hash for plan in plans}) == 6
    assert len({manifest_hash(plan) for plan in plans}) == 6


def test_hashes_of_contents_and_manifest_depend_on_leaves_and_layers():
    small, deep, wide = cycle(4), cycle(12), cycle(4, d_ff=99)
    assert contents(small)[0].hash == contents(deep)[0].hash == contents(wide)[0].hash
    assert manifest_hash(small) == manifest_hash(wide) != manifest_hash(deep)


def test_contents_are_shared_and_own_leaves():
    (found,) = contents(cycle(4, norms=False, attn_bias=True))
    assert found.layers == (("decoder.0", "decoder.2"), ("decoder.1", "decoder.3"))
    assert found.own == ("self_attn_norm.weight", "ffn_norm.weight")
    assert set(found.shared) > {*ATTENTION, "self_attn.q.bias", "ffn.in.weight"}
    assert found.partly == found.inside == ()


def test_contents_of_a_part_shared_within_smaller_groups():
    shape = make_shape("lm")
    pairs = [(f"decoder.{i}.self_attn", "decoder.0.self_attn") for i in (1, 2, 3)]
    pairs += [("decoder.2.ffn", "decoder.0.ffn"), ("decoder.3.ffn", "decoder.1.ffn")]
    wide, narrow = contents(resolve(shape, pairs))
    assert wide.layers == (("decoder.0", "decoder.1", "decoder.2", "decoder.3"),)
    assert (wide.shared, wide.partly) == (ATTENTION, ("ffn.in.weight", "ffn.out.weight"))
    assert narrow.layers == (("decoder.0", "decoder.2"), ("decoder.1", "decoder.3"))
    assert narrow.shared == (*ATTENTION, "ffn.in.weight", "ffn.out.weight")


def test_contents_of_groups_across_stacks():
    plan = make_plan(make_shape("mt", n_layers=2), {"s1": {"rule": "encoder_decoder"}})
    (found,) = contents(plan)
    assert found.layers == (("encoder.0", "decoder.0"), ("encoder.1", "decoder.1"))
    assert {leaf.split(".")[0] for leaf in found.own} == {"cross_attn", "cross_attn_norm"}
    assert {leaf.split(".")[0] for leaf in found.shared} == {"self_attn", "self_attn_norm", "ffn", "ffn_norm"}


def test_contents_of_ties_inside_a_layer():
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
def test_manifest_has_each_tied_leaf_once(case, biases):
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


def test_manifest_leaves_out_tables():
    assert contents(plan_of("mt", "three_way")) == ()


def test_describe_manifest(golden):
    weights = [(f"decoder.1.self_attn.{x}.weight", f"decoder.0.self_attn.{x}.weight") for x in "qkvo"]
    plans = {
        "cycle": cycle(4),
        "cycle without norms of one part": cycle(4, norms=False, parts=["ffn"], ffn_bias=True),
        "cycle of many groups": cycle(24),
        "one group of many layers": make_plan(make_shape("lm", n_layers=9), cross()),
        "encoder and decoder": make_plan(make_shape("mt", n_layers=1), {"s1": {"rule": "encoder_decoder"}}),
        "query and key": make_plan(make_shape("lm"), {"qk": {"rule": "query_key"}}),
        "weights without biases": resolve(make_shape("lm", n_layers=2, attn_bias=True), weights),
    }
    texts = {name: "\n".join(describe_manifest(make_manifest(plan))) for name, plan in plans.items()}
    assert all(text.endswith(f"(contents {contents(plans[name])[0].hash})") for name, text in texts.items())
    golden("plan_manifests", texts)


SANDWICH = """\
decoder           0 1 2 3
  embed           own
  final_norm      own
  output          own
  self_attn_norm  0 1 2 3
  self_attn       0 1 1 3
  ffn_norm        0 1 2 3
  ffn             0 1 1 3
"""

ONE_LAYER = """\
encoder            0 1
  embed            own
  self_attn        0 0
  self_attn_norm   0 0
  ffn              0 0
  ffn_norm         0 0
decoder             0  1
  embed            encoder.embed
  output           encoder.embed
  self_attn        e0 e0
  self_attn_norm   e0 e0
  cross_attn        0  0
  cross_attn_norm   0  0
  ffn              e0 e0
  ffn_norm         e0 e0
"""

QUERY_KEY = """\
decoder                0  1
  embed               own
  positions           own
  output.weight       decoder.embed
  output.bias         own
  self_attn.q.weight   0  1
  self_attn.k.weight  0q 1q
  self_attn.v.weight   0  1
  self_attn.o.weight   0  1
  self_attn_norm       0  1
  ffn                  0  1
  ffn_norm             0  1
"""


def picture(task, ties, **options) -> str:
    return "".join(f"{line}\n" for line in owner_map(make_plan(make_shape(task, **options), ties)))


def test_owner_map_of_a_sandwich():
    assert picture("lm", ties_of("sandwich")) == SANDWICH


def test_owner_map_of_two_stacks():
    ties = ties_of("three_way") | ties_of("one_layer")
    assert picture("mt", ties, n_layers=2, norm_position="post") == ONE_LAYER


def test_owner_map_has_one_row_per_tensor_if_owners_differ():
    ties = ties_of("pre_softmax") | ties_of("query_key")
    shown = picture("lm", ties, n_layers=2, norm_position="post", positions="learned", output_bias=True)
    assert shown == QUERY_KEY


def test_owner_map_aligns_ten_layers_and_more():
    rows = picture("lm", {"x": {"rule": "mirror"}}, n_layers=12).splitlines()
    assert rows[0].split()[1:] == [str(i) for i in range(12)]
    assert {len(row) for row in rows if not row.endswith("own")} == {len(rows[0])}
    assert rows[-1].split()[1:] == ["0", "1", "2", "3", "4", "5", "5", "4", "3", "2", "1", "0"]


def test_owner_map_of_one_layer():
    rows = picture("lm", ties_of("pre_softmax"), n_layers=1).splitlines()
    assert rows[0] == "decoder           0"
    assert rows[3:5] == ["  output          decoder.embed", "  self_attn_norm  0"]


def test_owner_map_of_an_untied_model_has_only_own_cells():
    for task in ("lm", "mt"):
        for line in owner_map(resolve(make_shape(task), [])):
            assert line.split()[1:] in ([["own"], ["0", "1", "2", "3"]]), line
