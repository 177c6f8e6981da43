"""The map of owners: rows, labels and colours of a plan."""

from tietrain.report.figures.canvas import OWN
from tietrain.report.figures.model import Grid


def test_grid_names_and_colours_shared_slots():
    owner = {f"decoder.{i}.ffn.in.weight": f"decoder.{i % 2}.ffn.in.weight" for i in range(3)}
    owner |= {"decoder.embed.weight": "decoder.embed.weight", "decoder.output.weight": "decoder.embed.weight"}
    grid = Grid(owner)
    assert grid.rows == ["decoder.embed.weight", "decoder.output.weight", "decoder 0", "decoder 1", "decoder 2"]
    assert [grid.label(slot) for slot in owner] == ["0", "", "0", "decoder.embed.weight", "decoder.embed.weight"]
    assert [grid.colour(slot) == OWN for slot in owner] == [False, True, False, False, False]
    assert grid.colour("decoder.0.ffn.in.weight") != grid.colour("decoder.embed.weight")
