"""What differs between two plans, as data and in few lines."""

import doctest
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tietrain.config.stored import stored_record
from tietrain.errors import DataError
from tietrain.plan import lengths, wording
from tietrain.plan.difference import Difference, describe_difference, first_of, record_of
from tietrain.plan.schemes import make_plan
from tietrain.runs import record as runs
from tiny_models import CASES, SCHEMES, cross, make_shape, plan_of


def difference(there, here):
    return Difference(record_of(there), record_of(here))


def lm(ties, **options):
    return make_plan(make_shape("lm", **options), ties)


NONE = {}


@pytest.mark.parametrize(
    ("there", "here", "lines"),
    [
        (
            plan_of("lm", "none"),
            plan_of("lm", "pre_softmax"),
            ["decoder.output reads its own parameters there, decoder.embed's here"],
        ),
        (
            plan_of("mt", "three_way"),
            plan_of("mt", "none"),
            [
                "decoder.embed reads encoder.embed's there, its own parameters here",
                "decoder.output reads encoder.embed's there, its own parameters here",
            ],
        ),
        (
            lm(cross(order="cycle", n_unique=2)),
            lm(cross(order="sequence", n_unique=2)),
            [
                "decoder layer 1: all parts read their own parameters there, layer 0's here",
                "decoder layer 2: all parts read layer 0's there, their own parameters here",
                "decoder layer 3: all parts read layer 1's there, layer 2's here",
            ],
        ),
        (
            lm(cross(n_unique=1, norms=False), n_layers=9),
            lm(cross(n_unique=1), n_layers=9),
            ["decoder layers 1-8: self_attn_norm, ffn_norm read their own parameters there, layer 0's here"],
        ),
        (
            lm(NONE, n_layers=8),
            lm(cross(order="cycle", n_unique=4, parts=["ffn.in"]), n_layers=8, ffn_bias=True),
            [
                "only here: decoder layers 0-7: ffn biases",
                "decoder layers 4-7: ffn.in.weight read their own parameters there, layers 0-3's here",
            ],
        ),
        (
            make_plan(make_shape("mt", n_layers=3), NONE),
            make_plan(make_shape("mt", n_layers=3), {"s1": {"rule": "encoder_decoder", "parts": ["ffn"]}}),
            ["decoder layers 0-2: ffn_norm, ffn read their own parameters there, encoder layers 0-2's here"],
        ),
        (
            lm(NONE),
            lm({"qk": {"rule": "query_key"}}),
            ["decoder layers 0-3: self_attn.k.weight read their own parameters there, layers 0-3's self_attn.q here"],
        ),
        (
            lm(NONE, n_layers=2),
            make_plan(make_shape("mt", n_layers=3, positions="learned"), NONE),
            [
                "only here: encoder",
                "only here: decoder.positions",
                "only here: decoder layers 0, 1: cross_attn_norm, cross_attn",
                "only here: decoder layer 2: all parts",
            ],
        ),
        (
            lm(NONE),
            lm(NONE, vocab_size=29),
            ["decoder.embed.weight and 1 more: [23, 16] there, [29, 16] here"],
        ),
    ],
)
def test_lines(there, here, lines):
    assert difference(there, here).lines() == lines


def test_data_of_a_difference():
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


def test_equal_ties_of_other_shapes_are_the_same_ties():
    found = difference(plan_of("mt", "three_way"), plan_of("mt", "three_way", vocab_size=30))
    assert found.same_ties
    assert found.tie_lines() == []
    assert found.shapes["decoder.output.weight"] == ((23, 16), (30, 16))
    assert describe_difference(found, "a run") == [
        "against a run: same ties",
        "  encoder.embed.weight and 2 more: [23, 16] there, [30, 16] here",
        f"  {7 * 16} more parameters here",
    ]


def test_many_other_shapes_are_counted():
    lines = difference(plan_of("lm", "none"), plan_of("lm", "none", d_model=32)).lines()
    assert len(lines) == 4
    n_shapes = len(difference(plan_of("lm", "none"), plan_of("lm", "none", d_model=32)).shapes)
    shown = sum(int(line.split(" and ")[1].split(" more")[0]) + 1 for line in lines[:3])
    assert lines[3] == f"{n_shapes - shown} more slots have other shapes"


@given(task=st.sampled_from(["lm", "mt"]), data=st.data())
def test_any_two_schemes(task, data):
    """Equal plans have no difference, others have one, and it is as long as lines allow, in either direction."""
    first, second = (plan_of(task, data.draw(st.sampled_from(list(SCHEMES[task])))) for _ in range(2))
    found, back = difference(first, second), difference(second, first)
    assert found.same_ties == (first.hash == second.hash) == (found.lines() == [])
    assert found.owners == {slot: (b, a) for slot, (a, b) in back.owners.items()}
    assert found.to_json()["params"]["more_here"] == -back.to_json()["params"]["more_here"]
    assert len(found.lines()) <= 8


def test_an_error_gets_two_lines():
    assert first_of(["a", "b", "c", "d"]) == "a; b; and 2 more differences"
    assert first_of(["a", "b"]) == "a; b"
    assert difference(plan_of("lm", "none"), plan_of("lm", "none")).words() == ""


@pytest.mark.parametrize("case", CASES)
def test_a_stored_plan_is_the_plan(tmp_path, case):
    plan = plan_of(*case)
    runs.write_json(tmp_path / runs.PLAN, plan.to_json())
    assert stored_record(tmp_path) == record_of(plan)
    assert stored_record(tmp_path).params == sum(slot.size for slot in plan.owners)


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


@pytest.mark.parametrize("body", NO_PLANS)
def test_what_is_no_stored_plan_is_refused(tmp_path, body):
    (tmp_path / runs.PLAN).write_text(body)
    with pytest.raises(DataError, match=runs.PLAN):
        stored_record(tmp_path)
    with pytest.raises(DataError, match=runs.PLAN):
        stored_record(tmp_path / "nowhere")


def test_a_difference_of_hundreds_of_layers_stays_short():
    here = lm(cross(order="cycle_rev", n_unique=77), n_layers=200)
    lines = difference(lm(NONE, n_layers=200), here).lines()
    assert len(lines) == 1 and len(lines[0]) < 150


def test_examples_of_docstrings():
    for module in (wording, lengths):
        assert doctest.testmod(module).failed == 0
