"""The report says which arms were made equal, and how equal they came out."""

from dataclasses import replace

import pytest

from fabricated import make_config, write_run
from tietrain.config import MatchConfig, TrainConfig
from tietrain.config.match import solve
from tietrain.report.arms import compare, make_arms
from tietrain.report.matching import describe_matching
from tietrain.report.write import write_report
from tietrain.runs.view import collect


def matched(label, base="none", layers=3, **match):
    config = replace(make_config("lm", label, 1), match=MatchConfig(**{"by": "params", **match}))
    baseline = f"{base} model.n_layers={layers}" if layers != 3 else base
    config = replace(config, match=replace(config.match, baseline=baseline))
    return solve(config, {base: {"rule": base}}, {"n_layers": layers} if layers != 3 else {})


@pytest.fixture
def described(tmp_path):
    def of(*configs):
        for config in configs:
            write_run(tmp_path, config)
        (comparison,) = compare(make_arms(collect(tmp_path)))
        return describe_matching(comparison)

    return of


def test_what_was_matched_and_what_is_left(described, tmp_path):
    lines = described(matched("none"), matched("pre_softmax"))
    assert "`none` is what others are matched to, by stored parameters." in lines
    said = "`pre_softmax` was matched to `none` by stored parameters (`model.d_ff` 680, was 512)"
    shapes = "Shapes differ: initial values are the same only where name and shape are."
    assert f"{said}: 847,744 against 846,720, +0.12 %. {shapes}" in lines
    page = write_report(tmp_path).markdown.read_text(encoding="utf-8")
    assert said in page


def test_what_came_out_unequal_is_not_called_matched(described):
    lines = described(matched("none", vary="n_layers"), matched("pre_softmax", vary="n_layers"))
    assert any("`model.n_layers` 4, was 3" in line and "+8.13 %: these are **not matched**" in line for line in lines)


def test_a_baseline_of_another_shape_is_another_arm(described):
    lines = described(matched("none"), matched("pre_softmax", layers=4))
    assert any(line.endswith("no arm here is that baseline.") and "`none model.n_layers=4`" in line for line in lines)


def test_what_is_left_is_said_where_the_baseline_is_no_arm(tmp_path):
    notes = [
        "train and test share 0 lines",
        "match: model.d_ff from 512 to 680, +0.12 % against none",
        "match: shapes differ",
    ]
    write_run(tmp_path, matched("pre_softmax", layers=4), notes=notes)
    (comparison,) = compare(make_arms(collect(tmp_path)))
    (line,) = describe_matching(comparison)
    assert line.endswith(
        "that baseline. Its runs recorded: model.d\\_ff from 512 to 680, +0.12 % against none; shapes differ."
    )


def test_depth_counts_every_run_of_a_layer(described):
    arms = [matched(label, by="depth", vary="n_layers") for label in ("none", "cross_layer")]
    assert "`cross_layer` was matched to `none` by layers run (`model.n_layers` 3, was 3): 3 against 3, +0.00 %." in (
        described(*arms)
    )


def test_a_budget_that_was_solved_for_is_named(described):
    match = MatchConfig(by="flops", vary="steps", baseline="none")
    arms = [
        replace(make_config("lm", label, 1), train=TrainConfig(max_steps=900), match=match)
        for label in ("none", "pre_softmax")
    ]
    lines = described(*(solve(arm, {"none": {"rule": "none"}}, {}) for arm in arms))
    assert any("by training FLOPs (`train.max_steps` 900, was 900): " in line for line in lines)


def test_an_arm_that_was_not_matched_is_said(described):
    lines = described(make_config("lm", "none", 1), matched("pre_softmax"))
    assert lines[0] == "`none` was not matched."
    assert "847,744 against 846,720" in lines[1]


def test_a_study_that_matches_nothing_says_nothing(described):
    assert described(make_config("lm", "none", 1), make_config("lm", "pre_softmax", 1)) == []
