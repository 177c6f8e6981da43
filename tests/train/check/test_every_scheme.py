"""Every scheme passes the checks of `tietrain check` in every kind of model."""

import pytest

from every_scheme import CASES, QUICK, SCHEMES, build, configure
from tietrain.plan.rules import RULES
from tietrain.train.check.checks import check_cache, check_flops, check_gradients, check_params
from tietrain.train.check.lifecycle import check_compile
from tietrain.train.check.matrix import CHECKS, EXACT, check_all, check_start, mechanisms, passed


def pass_every_check(kind, tying, *overrides):
    model = build(kind, tying, *overrides)
    for check in EXACT.values():
        check(model)
    check_start(configure(kind, tying, *overrides))


@pytest.mark.parametrize(("kind", "tying"), QUICK)
def test_every_scheme(kind, tying):
    """With the depths of `tietrain check --all`: two layers unless a map of layers is for six."""
    is_shallow = kind not in ("lm", "mt") and tying != "cycle_rev"
    pass_every_check(kind, tying, *(["model.n_layers=2"] if is_shallow else []))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "tying"), sorted(set(CASES) - set(QUICK)))
def test_every_scheme_in_other_models(kind, tying):
    pass_every_check(kind, tying)


@pytest.mark.slow
@pytest.mark.parametrize("below", ["three_way", "universal", "cycle"])
@pytest.mark.parametrize(
    "view",
    ["factorised", "relaxed", "scaled", "transposed", "step_signal", "input_gradient"],
)
def test_ledgers_of_every_view_on_shared_tables_and_layers(view, below):
    rank = " tying.ties.factorised.rank=8" if view == "factorised" else ""
    model = build("mt", f"[{below},{view}]{rank}", "model.n_layers=4")
    assert model.plan.views and model.plan.groups
    check_params(model)
    check_flops(model)


OTHER_MODELS = [
    "model.norm_position=post model.norm=rms model.positions=rotary model.n_kv_heads=2",
    "model.norm_position=post model.positions=sinusoidal model.activation=relu model.n_kv_heads=1",
    "model.positions=rotary model.activation=swiglu model.d_head=10 model.attn_bias=false model.norm_bias=false",
]


@pytest.mark.parametrize("model", OTHER_MODELS)
@pytest.mark.parametrize(
    ("task", "tying"),
    [
        ("lm", "[pre_softmax,cycle_rev]"),
        ("mt", "[three_way,encoder_decoder]"),
        ("sources", "[three_way,one_encoder]"),
        ("mlm", "cycle"),
    ],
)
def test_checks_of_other_positions_norms_and_heads(task, tying, model):
    reference = build(task, tying, *model.split())
    for check in (check_cache, check_flops, check_gradients):
        check(reference)


def test_schemes_apply_to_translation_and_those_of_one_stack_to_both():
    names = {model: {name for kind, name in SCHEMES if kind == model} for model, _ in SCHEMES}
    assert names["mt"] | names["sources"] | names["languages"] == {name for _, name in SCHEMES}
    assert names["mt"] - {"groups"} <= names["sources"] & names["languages"]  # its example names the stack decoder
    for task, name in SCHEMES:
        if task == "mt" and ("lm", name) not in SCHEMES:
            ties = configure(task, name).tying.ties.values()
            stacks = {stack for tie in ties for stack in tie.get("stacks") or ()}
            parts = {part for tie in ties for part in tie.get("parts") or ()}
            assert any(RULES[tie["rule"]].encoder for tie in ties) or "encoder" in stacks or "cross_attn" in parts


def test_check_compile_of_two_stacks():
    """Of one stack: bug 34 of test_tying_bugs."""
    check_compile(build("mt", "[three_way,encoder_decoder]", "model.n_layers=2"))


@pytest.mark.slow
@pytest.mark.parametrize(("task", "tying"), CASES)
def test_check_compile_of_every_scheme(task, tying):
    check_compile(build(task, tying))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "tying"),
    [("lm", "pre_softmax"), ("lm", "universal"), ("lm", "query_key"), ("mt", "encoder_decoder"), ("mt", "none")],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_check_compile_of_every_mechanism_with_the_compiler_of_a_run(task, tying):
    model = build(task, tying, "model.n_layers=2")
    assert len(mechanisms(model.plan)) == 1
    assert check_compile(model, "inductor") == "inductor"


@pytest.mark.slow
def test_check_all_passes():
    rows = check_all([], [], lambda line: None)
    assert passed(rows)
    assert {(row.model, row.scheme) for row in rows if not row.reason} <= set(SCHEMES)
    assert {row.scheme for row in rows if not row.reason} == {name for _, name in SCHEMES}
    assert all(list(row.cells) == list(CHECKS) for row in rows)
    assert len([row for row in rows if row.cells["compile"].status == "pass"]) <= 6
