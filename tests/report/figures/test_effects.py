"""The figure of differences: a row an arm, every seed in its data, the margin where there is one."""

import pytest

from fabricated import make_config, write_run
from tietrain.config import ReportConfig
from tietrain.report.arms import compare, make_arms
from tietrain.report.figures.canvas import OWN, Looks
from tietrain.report.figures.effects import draw_effects
from tietrain.report.verdicts import judge
from tietrain.runs.view import collect


def drawn(root, n_seeds=3, margin=None):
    for label, loss in (("none", 2.5), ("pre_softmax", 2.6), ("cross_layer", 2.4)):
        for seed in range(1, n_seeds + 1):
            config = make_config("lm", label, seed)
            config.report = ReportConfig(metric="bits_per_byte", margin=margin)
            write_run(root, config, loss=loss + (0.01 * seed if label == "none" else 0.0))
    (comparison,) = compare(make_arms(collect(root)))
    judgement, looks = judge(comparison, tuned=True), Looks(comparison.arms)
    return judgement, looks, draw_effects(judgement, looks)


def test_every_seed_is_in_the_data_and_every_arm_in_the_figure(tmp_path):
    judgement, looks, drawing = drawn(tmp_path)
    rows = [row for row in drawing.data if row["arm"] == "pre_softmax"]
    assert [row["seed"] for row in rows] == [1, 2, 3, "mean"]
    assert rows[-1]["difference"] == pytest.approx(sum(row["difference"] for row in rows[:3]) / 3)
    one = judgement.arms[[each.arm.name for each in judgement.arms].index("pre_softmax")]
    assert (rows[-1]["low"], rows[-1]["high"]) == (one.paired.low, one.paired.high)
    for each in judgement.arms:  # bar, strokes, mean, label and words; the baseline is the line at nought
        n = drawing.svg.count(f'id="{looks.of(each.arm).key}-')
        assert n == (0 if each.base is None else 5)
    assert "% fewer parameters" in drawing.svg and "left is better" in drawing.svg
    assert "margin" not in drawing.caption and OWN.lower() not in drawing.svg


def test_the_margin_is_a_band(tmp_path):
    drawing = drawn(tmp_path, margin=0.05)[-1]
    assert "margin" in drawing.caption and OWN.lower() in drawing.svg


def test_one_seed_has_no_interval(tmp_path):
    drawing = drawn(tmp_path, n_seeds=1)[-1]
    assert "may be chance" in drawing.caption and "low" not in drawing.data[0]


def test_nothing_to_compare(tmp_path):
    write_run(tmp_path, make_config("lm", "none", 1))
    (comparison,) = compare(make_arms(collect(tmp_path)))
    assert draw_effects(judge(comparison, tuned=True), Looks(comparison.arms)) is None
