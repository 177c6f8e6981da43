"""Loss curves: which points are intermediate, and what the figure holds of every arm."""

from dataclasses import replace

from tietrain.report.arms import compare, make_arms
from tietrain.report.figures.losses import INTERMEDIATE, curve_rows, draw_loss, is_intermediate


def test_is_intermediate_before_the_end_of_a_schedule(comparisons):
    lm = comparisons[0]
    run = lm.arms[0].done[0]
    assert [is_intermediate(run, p) for p in run.curve] == [True] * 9 + [False]
    constant = replace(run, settings=run.settings | {"optim.schedule": "constant"})
    assert not any(is_intermediate(constant, p) for p in run.curve)
    assert all(is_intermediate(replace(run, status="interrupted"), p) for p in run.curve)
    assert [row["point"] for row in curve_rows(lm.arms[0], lm)] == ([INTERMEDIATE] * 9 + [""]) * 2


def test_draw_loss_shows_the_range_over_seeds(comparisons, styles):
    drawing = draw_loss(comparisons[0], styles, "seconds")
    for arm in comparisons[0].arms:  # in both panels band, line, hollow and full points; marker and text of the legend
        assert drawing.svg.count(f'id="{styles.of(arm).key}-') == 10
    assert "whole training" in drawing.svg and "second half, enlarged" in drawing.svg
    assert {row["seconds"] for row in drawing.data} == {3.0 * i for i in range(1, 11)}


def test_draw_loss_without_seconds_is_none(comparisons, styles):
    arm = comparisons[0].arms[0]
    bare = [replace(run, curve=tuple(replace(p, seconds=None) for p in run.curve)) for run in arm.runs]
    (comparison,) = compare(make_arms(bare))
    assert draw_loss(comparison, styles, "seconds") is None
