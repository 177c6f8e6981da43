"""Styles of arms: one colour per scheme in the whole report, and no two arms alike."""

from dataclasses import replace

from fabricated import make_config, write_run
from tietrain.report.arms import make_arms
from tietrain.report.figures.canvas import COLOURS, MARKERS, ArmStyles
from tietrain.runs.view import collect


def test_arm_styles_give_each_scheme_its_own_colour(comparisons):
    arm = comparisons[0].arms[0]
    arms = [
        replace(arm, name=str(i), runs=tuple(replace(run, label=str(i)) for run in arm.runs))
        for i in range(len(COLOURS))
    ]
    styles = [ArmStyles(arms).of(each) for each in arms]
    assert len({style.colour for style in styles}) == len(COLOURS) >= 12
    assert {style.marker for style in styles} == set(MARKERS)


def test_arm_styles_give_a_scheme_one_colour_in_both_tasks(comparisons, styles):
    for arm in comparisons[0].arms:
        (same,) = [other for other in comparisons[1].arms if other.label == arm.label]
        assert styles.of(arm) == styles.of(same)
    assert len({styles.of(arm).colour for arm in comparisons[1].arms}) == 6


def test_arm_styles_tell_arms_of_one_scheme_apart(tmp_path):
    for label in ("none", "pre_softmax"):
        for lr in (0.001, 0.002):
            config = make_config("lm", label, 1)
            write_run(tmp_path, replace(config, optim=replace(config.optim, lr=lr)))
    arms = make_arms(collect(tmp_path))
    styles = [ArmStyles(arms).of(arm) for arm in arms]
    assert len({style.colour for style in styles}) == 2
    assert len({(style.colour, style.marker) for style in styles}) == len({style.key for style in styles}) == 4
    alone = [arm for arm in arms if arm.label == "none"]
    assert {ArmStyles(alone).of(arm).colour for arm in alone} == set(COLOURS[:2])
