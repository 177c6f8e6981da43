"""The map of owners: rows, labels and colours of a plan."""

from dataclasses import replace

from tietrain.report.arms import compare, make_arms
from tietrain.report.figures import model
from tietrain.report.figures.canvas import OWN
from tietrain.report.figures.model import Grid, draw_owner_map, draw_parameters
from tietrain.report.pages.tables import saved_text


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


def test_draw_owner_map_marks_slots_that_are_read_through_views(comparisons, styles, monkeypatch):
    plain, other = comparisons[0].arms[:2]
    slot = next(iter(plain.first.owner))
    viewed = replace(plain.first, arm=other.id, label=other.label, viewed={slot: "relaxed, scaled"})
    (comparison,) = compare(make_arms([plain.first, viewed]))
    marked = []
    monkeypatch.setattr(model, "_mark_corner", lambda ax, *place: marked.append(ax))
    drawing = draw_owner_map(comparison, styles)
    assert len(marked) == 1  # one of two panels: equal owners are read in two ways
    assert "read through a view" in drawing.caption
    assert {row["slot"]: row["views"] for row in drawing.data if row["views"]} == {slot: "relaxed, scaled"}
    assert "views" not in draw_owner_map(comparisons[0], styles).data[0]


def test_what_views_add_is_not_called_saved(comparisons, styles):
    arm = comparisons[0].arms[0]
    added = {"params_saved": -64, "params_untied": 1000, "saved_by_part": {"decoder.ffn": -64}}
    (comparison,) = compare(make_arms([replace(arm.first, **added)]))
    assert saved_text(comparison.arms[0].first, " parameters") == "nothing: adds 64 parameters (6.4 %)"
    assert "(+6.4 %)" in draw_parameters(comparison, styles).svg
