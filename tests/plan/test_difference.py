"""The difference between two plans, as data and in a few lines."""

import doctest
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tietrain.config.stored import stored_record
from tietrain.errors import DataError
from tietrain.plan import aliases, flops, layer_rules, lengths, slots, words
from tietrain.plan.difference import Difference, describe_difference, first_of, record_of
from tietrain.plan.schemes import make_plan
from tietrain.runs import record as runs
from tiny_models import CASES, SCHEMES, cross, make_shape, plan_of


def difference(there, here):
    return Difference(record_of(there), record_of(here))


def lm(ties, **options):
    return make_plan(make_shape("lm", **options), ties)


NONE = {}


# name -> the plan there, the plan here; their lines are in tests/golden/plan_differences.txt.
PLANS = {
    "an output that reads its embedding": (plan_of("lm", "none"), plan_of("lm", "pre_softmax")),
    "tables that no longer share": (plan_of("mt", "three_way"), plan_of("mt", "none")),
    "another order of layers": (lm(cross(order="cycle", n_unique=2)), lm(cross(order="sequence", n_unique=2))),
    "norms shared too": (lm(cross(n_unique=1, norms=False), n_layers=9), lm(cross(n_unique=1), n_layers=9)),
    "one projection, and biases added": (
        lm(NONE, n_layers=8),
        lm(cross(order="cycle", n_unique=4, parts=["ffn.in"]), n_layers=8, ffn_bias=True),
    ),
    "feed-forwards of the encoder": (
        make_plan(make_shape("mt", n_layers=3), NONE),
        make_plan(make_shape("mt", n_layers=3), {"s1": {"rule": "encoder_decoder", "parts": ["ffn"]}}),
    ),
    "keys that read queries": (lm(NONE), lm({"qk": {"rule": "query_key"}})),
    "more stacks, layers and tables": (
        lm(NONE, n_layers=2),
        make_plan(make_shape("mt", n_layers=3, positions="learned"), NONE),
    ),
    "another vocabulary": (lm(NONE), lm(NONE, vocab_size=29)),
    "hundreds of layers": (lm(NONE, n_layers=200), lm(cross(order="cycle_rev", n_unique=77), n_layers=200)),
    "other shapes of equal ties": (plan_of("mt", "three_way"), plan_of("mt", "three_way", vocab_size=30)),
    "equal plans": (plan_of("mt", "three_way"), plan_of("mt", "three_way")),
}


def test_describe_difference(golden):
    found = {name: difference(*plans) for name, plans in PLANS.items()}
    texts = {name: "\n".join(describe_difference(each, "a run")) for name, each in found.items()}
    assert {name for name, each in found.items() if each.same_ties} == {name for name in PLANS if "equal" in name} | {
        "another vocabulary"
    }
    assert found["equal plans"].words() == ""
    assert len(found["hundreds of layers"].lines()) == 1
    golden("plan_differences", texts)


def test_to_json_of_a_difference():
    found = difference(plan_of("lm", "none"), plan_of("lm", "pre_softmax")).to_json()
    saved = 23 * 16
    assert json.loads(json.dumps(found)) == {
        "same_ties": False,
        "only_there": [],
        "only_here": [],
        "owners": {"decoder.output.weight": {"there": "decoder.output.weight", "here": "decoder.embed.weight"}},
        "shapes": {},
        "params": {"there": 23 * 16 + found["params"]["here"], "here": found["params"]["here"], "more_here": -saved},
    }


def test_same_ties_of_other_shapes():
    found = difference(*PLANS["other shapes of equal ties"])
    assert found.same_ties and found.tie_lines() == []
    assert found.shapes["decoder.output.weight"] == ((23, 16), (30, 16))
    assert found.here.params - found.there.params == 7 * 16


def test_lines_count_further_shapes():
    lines = difference(plan_of("lm", "none"), plan_of("lm", "none", d_model=32)).lines()
    assert len(lines) == 4
    n_shapes = len(difference(plan_of("lm", "none"), plan_of("lm", "none", d_model=32)).shapes)
    shown = sum(int(line.split(" and ")[1].split(" more")[0]) + 1 for line in lines[:3])
    assert lines[3] == f"{n_shapes - shown} more slots have other shapes"


@given(task=st.sampled_from(["lm", "mt"]), data=st.data())
def test_difference_of_any_two_schemes(task, data):
    """Equal plans have no difference, others have one, and it is as long as lines allow, in either direction."""
    first, second = (plan_of(task, data.draw(st.sampled_from(list(SCHEMES[task])))) for _ in range(2))
    found, back = difference(first, second), difference(second, first)
    assert found.same_ties == (first.hash == second.hash) == (found.lines() == [])
    assert found.owners == {slot: (b, a) for slot, (a, b) in back.owners.items()}
    assert found.to_json()["params"]["more_here"] == -back.to_json()["params"]["more_here"]
    assert len(found.lines()) <= 8


def test_first_of_joins_two_lines():
    assert first_of(["a", "b", "c", "d"]) == "a; b; and 2 more differences"
    assert first_of(["a", "b"]) == "a; b"


def test_stored_record_is_the_plan(tmp_path):
    for case in CASES:
        plan = plan_of(*case)
        runs.write_json(tmp_path / runs.PLAN, plan.to_json())
        assert stored_record(tmp_path) == record_of(plan), case
        assert stored_record(tmp_path).params == sum(slot.size for slot in plan.owners), case


NO_PLANS = [
    '{"slots": [{"slot": "a"}]}',
    '{"slots": [{"slot": "a.b.c", "owner": "x.y.z", "shape": [1]}]}',
    '{"slots": [{"slot": "a", "owner": "a", "shape": [1]}]}',
    '{"slots": [{"slot": "a.b.c", "owner": "a.b.c", "shape": ["x"]}]}',
    '{"slots": [{"slot": 3, "owner": 3, "shape": [1]}]}',
    '{"slots": 3}',
    '{"hash": "x"}',
    "[]",
    "3",
    "{",
]


def test_stored_record_refuses_what_is_not_a_plan(tmp_path):
    path = tmp_path / runs.PLAN
    for body in NO_PLANS:
        path.write_text(body)
        with pytest.raises(DataError) as refused:
            stored_record(tmp_path)
        assert refused.value.setting == str(path), body
    with pytest.raises(DataError) as refused:
        stored_record(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in refused.value.setting


def test_docstring_examples_of_the_plan():
    for module in (aliases, flops, layer_rules, lengths, slots, words):
        result = doctest.testmod(module)
        assert result.attempted and not result.failed, module
