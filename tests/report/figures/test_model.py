"""The map of owners: rows, labels and colours of a plan."""

from dataclasses import replace

from tietrain.report.arms import compare, make_arms
from tietrain.report.figures.canvas import OWN
from tietrain.report.figures.model import Grid, draw_owner_map


def test_grid_names_and_colours_shared_slots():
    owner = {f"decoder.{i}.ffn.in.weight": f"decoder.{i % 2}.ffn.in.weight" for i in range(3)}
    owner |= {"decoder.embed.weight": "decoder.embed.weight", "decoder.output.weight": "decoder.embed.weight"}
    grid = Grid(owner)
    assert grid.rows == ["decoder.embed.weight", "decoder.output.weight", "decoder 0", "decoder 1", "decoder 2"]
    assert [grid.label(slot) for slot in owner] == ["0", "", "0", "decoder.embed.weight", "decoder.embed.weight"]
    assert [grid.colour(slot) == OWN for slot in owner] == [False, True, False, False, False]
    assert grid.colour("decoder.0.ffn.in.weight") != grid.colour("decoder.embed.weight")


def test_draw_owner_map_leaves_out_a_model_of_more_layers_than_a_page_holds(comparisons, styles):
    small, large = comparisons[0].arms[:2]
    owner = {f"decoder.{i}.ffn.in.weight": "decoder.0.ffn.in.weight" for i in range(20_000)}
    run = replace(large.first, owner=owner, shapes=dict.fromkeys(owner, (2, 2)))
    (comparison,) = compare(make_arms([small.first, run]))
    drawing = draw_owner_map(comparison, styles)
    assert "Not drawn" in drawing.caption
    assert {row["slot"] for row in drawing.data} >= owner.keys()
