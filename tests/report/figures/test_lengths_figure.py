"""The figure of FLOPs against length: its rows, its crossings, the same bytes for the same data."""

from tietrain.plan.lengths import count_by_length, parse_lengths
from tietrain.report.figures.lengths import draw_lengths
from tiny_models import make_shape

LENGTHS = parse_lengths("1,...,64")


def body(lengths=LENGTHS, **options):
    return count_by_length(make_shape("lm", **options)).to_json(lengths)


def test_equal_data_give_equal_files():
    first, second = (draw_lengths(body(), "d_model 16") for _ in range(2))
    assert (first.png, first.svg) == (second.png, second.svg)
    assert first.data == body()["rows"]


def test_crossings_are_marked_in_the_range_and_named_everywhere():
    """d_model 16, d_ff 24: scores pass the feed-forward at T = 24, and all the rest at 56; projections always do."""
    crossings = body()["crossings"]
    assert list(crossings.values()) == [None, 24, 56]
    lines = [draw_lengths(body(lengths), "x").svg.count("stroke: #999999") for lengths in ([1, 8], [1, 32], LENGTHS)]
    assert lines[0] == 0 < lines[1] < lines[2]
    svg = draw_lengths(body([1, 8]), "x").svg
    assert all(words in svg for words in ("T = 24", "T = 56", "every length"))


def test_one_length_is_a_figure_too():
    assert draw_lengths(body([7]), "x").png.startswith(b"\x89PNG")
