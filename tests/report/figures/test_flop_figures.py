"""FLOPs over training, striped if arms spend the same; FLOPs per token against length, with their crossings."""

from tietrain.plan.lengths import count_by_length, parse_lengths
from tietrain.report.figures.canvas import make_panels
from tietrain.report.figures.flops import (
    STRIPE,
    alike_arms,
    draw_flops_by_length,
    draw_lengths,
    draw_runs,
    draw_training_flops,
)
from tietrain.runs.view import FLOP_KINDS
from tiny_models import make_shape

LENGTHS = parse_lengths("1,...,64")


def body(lengths=LENGTHS):
    return count_by_length(make_shape("lm")).to_json(lengths)


def test_draw_training_flops_stripes_equal_curves(comparisons, styles):
    """All language models spend the same: each has its part of every period, and its marker elsewhere."""
    arms = comparisons[0].arms
    assert all(alike == list(arms) for alike in alike_arms(arms))
    _, (ax,) = make_panels(1)
    for arm in arms:
        draw_runs(ax, arm, styles, "tokens", arms)
    (starts, dashes) = zip(*(line._unscaled_dash_pattern for line in ax.lines), strict=True)
    assert starts == (0, STRIPE, 2 * STRIPE) and {tuple(dash) for dash in dashes} == {(STRIPE, 2 * STRIPE)}
    assert len({tuple(line.get_markevery()) for line in ax.lines}) == len(arms)
    assert "pre_softmax" in draw_training_flops(comparisons[0], styles).caption


def test_draw_flops_by_length_agrees_with_the_ledger(comparisons):
    drawing = draw_flops_by_length(comparisons[1])
    row = drawing.data[0]
    flops = comparisons[1].arms[0].first.flops_by_kind
    assert row["route"] == "encoder + decoder" and "encoder + decoder" in drawing.caption
    assert row["scores"] == 16 * flops["scores"] and row["ffn"] == flops["ffn"]
    assert set(FLOP_KINDS) <= row.keys() and len(drawing.data) == 6 * 13


def test_draw_lengths_gives_equal_bytes_for_equal_data():
    first, second = (draw_lengths(body(), "d_model 16") for _ in range(2))
    assert (first.png, first.svg) == (second.png, second.svg)
    assert first.data == body()["rows"]


def test_draw_lengths_marks_crossings_in_the_range_and_names_them_all():
    """d_model 16, d_ff 24: scores pass the feed-forward at T = 24, and all the rest at 56; projections always do."""
    assert list(body()["crossings"].values()) == [None, 24, 56]
    lines = [draw_lengths(body(lengths), "x").svg.count("stroke: #999999") for lengths in ([1, 8], [7], LENGTHS)]
    assert lines[0] == lines[1] == 0 < lines[2]
    svg = draw_lengths(body([1, 8]), "x").svg
    assert all(words in svg for words in ("T = 24", "T = 56", "every length"))
