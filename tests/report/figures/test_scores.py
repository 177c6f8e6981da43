"""Differences, with every seed in their data; the Pareto line; names beside points that cover nothing."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from fabricated import make_config, write_run
from tietrain.config import ReportConfig
from tietrain.report.arms import Stat, compare, make_arms
from tietrain.report.figures.canvas import OWN, ArmStyles, make_panels
from tietrain.report.figures.scores import draw_differences, label_points, pareto
from tietrain.report.verdicts import judge
from tietrain.runs.view import collect


def drawn(root, n_seeds=3, margin=None):
    for label, loss in (("none", 2.5), ("pre_softmax", 2.6), ("cross_layer", 2.4)):
        for seed in range(1, n_seeds + 1):
            config = make_config("lm", label, seed)
            config.report = ReportConfig(metric="bits_per_byte", margin=margin)
            write_run(root, config, loss=loss + (0.01 * seed if label == "none" else 0.0))
    (comparison,) = compare(make_arms(collect(root)))
    verdicts, styles = judge(comparison, tuned=True), ArmStyles(comparison.arms)
    return verdicts, styles, draw_differences(verdicts, styles)


def test_draw_differences_has_every_seed_and_arm(tmp_path):
    verdicts, styles, drawing = drawn(tmp_path)
    rows = [row for row in drawing.data if row["arm"] == "pre_softmax"]
    assert [row["seed"] for row in rows] == [1, 2, 3, "mean"]
    assert rows[-1]["difference"] == pytest.approx(sum(row["difference"] for row in rows[:3]) / 3)
    (own,) = [arm_verdict for arm_verdict in verdicts.arms if arm_verdict.arm.name == "pre_softmax"]
    assert (rows[-1]["low"], rows[-1]["high"]) == (own.test.low, own.test.high)
    for arm_verdict in verdicts.arms:  # bar, strokes, mean, label and words; the baseline is the line at zero
        n = drawing.svg.count(f'id="{styles.of(arm_verdict.arm).key}-')
        assert n == (0 if arm_verdict.base is None else 5)
    assert "% fewer parameters" in drawing.svg and "left is better" in drawing.svg
    assert OWN.lower() not in drawing.svg


def test_draw_differences_shows_the_margin_as_a_band(tmp_path):
    drawing = drawn(tmp_path, margin=0.05)[-1]
    assert "margin" in drawing.caption and OWN.lower() in drawing.svg


def test_draw_differences_of_one_seed_has_no_interval(tmp_path):
    drawing = drawn(tmp_path, n_seeds=1)[-1]
    assert "low" not in drawing.data[0] and len(drawing.data) == 2


def test_draw_differences_of_one_arm_is_none(tmp_path):
    write_run(tmp_path, make_config("lm", "none", 1))
    (comparison,) = compare(make_arms(collect(tmp_path)))
    assert draw_differences(judge(comparison, tuned=True), ArmStyles(comparison.arms)) is None


def test_pareto_keeps_what_nothing_beats(comparisons):
    arms = sorted(comparisons[1].arms, key=lambda arm: arm.first.params)
    points = list(zip(arms, [Stat(mean, None, 1) for mean in (3.0, 5.0, 4.0, 5.0, 6.0, 6.0)], strict=True))
    assert [stat.mean for _, stat in pareto(points, 1)] == [3.0, 5.0, 6.0]
    assert [stat.mean for _, stat in pareto(points, -1)] == [3.0]


def labelled(points, styles):
    figure, (ax,) = make_panels(1)
    FigureCanvasAgg(figure)
    ax.set_xlim(800_000, 2_000_000)
    ax.set_ylim(0, 1)
    figure.draw_without_rendering()
    return ax, label_points(ax, points, styles)


@pytest.mark.parametrize(
    ("means", "sd"), [((0.02, 0.2, 0.4, 0.6, 0.8, 0.97), 0.0), ((0.5, 0.5, 0.6, 0.3, 0.75, 0.9), 0.05)]
)
def test_label_points_covers_no_name_and_no_point(comparisons, styles, means, sd):
    arms = comparisons[1].arms
    points = [(arm, Stat(mean, sd, 2)) for arm, mean in zip(arms, means, strict=True)]
    ax, labels = labelled(points, styles)
    boxes = [label.get_window_extent() for label in labels]
    assert [label.get_text() for label in labels] == [arm.name for arm in arms]
    room = ax.get_window_extent()
    for i, box in enumerate(boxes):
        assert not box.count_overlaps(boxes[i + 1 :])
        assert not [p for p in points if box.contains(*ax.transData.transform((p[0].first.params, p[1].mean)))]
        assert room.containsx(box.x0) and room.containsx(box.x1) and room.containsy(box.y0)


def test_label_points_draws_none_in_a_crowd(comparisons, styles):
    arm = comparisons[0].arms[0]
    ax, labels = labelled([(arm, Stat(0.5 + 0.001 * i, None, 1)) for i in range(30)], styles)
    assert labels is None and not ax.texts
