"""What the figures say: which points count, which arms no other beats, who owns what, one colour a scheme."""

from dataclasses import replace

import pytest

from fabricated import make_config, write_run, write_study
from tietrain.report.arms import Stat, compare, make_arms
from tietrain.report.figures.canvas import COLOURS, GLYPHS, MARKERS, Looks, make_panels
from tietrain.report.figures.flops import STRIPE, alike_arms, draw_by_length, draw_flops, draw_runs
from tietrain.report.figures.losses import INTERMEDIATE, curve_rows, draw_loss, is_intermediate
from tietrain.report.figures.model import OWN, Grid
from tietrain.report.figures.scores import pareto
from tietrain.runs.view import FLOP_KINDS, collect


@pytest.fixture(scope="module")
def comparisons(tmp_path_factory):
    return compare(make_arms(collect(write_study(tmp_path_factory.mktemp("figures"), seeds=(1, 2)))))


def looks_of(*comparisons):
    return Looks(arm for comparison in comparisons for arm in comparison.arms)


def test_curves_that_lie_on_one_another_are_stripes(comparisons):
    """All arms of the language model spend the same: each has a part of every period, and its marker apart."""
    arms, looks = comparisons[0].arms, looks_of(*comparisons)
    assert all(alike == list(arms) for alike in alike_arms(arms))
    _, (ax,) = make_panels(1)
    for arm in arms:
        draw_runs(ax, arm, looks, "tokens", arms)
    (starts, dashes) = zip(*(line._unscaled_dash_pattern for line in ax.lines[::2]), strict=True)
    assert starts == (0, STRIPE, 2 * STRIPE) and {tuple(dash) for dash in dashes} == {(STRIPE, 2 * STRIPE)}
    assert len({tuple(line.get_markevery()) for line in ax.lines}) == len(arms)
    assert "pre_softmax" in draw_flops(comparisons[0], looks).caption


def test_a_scheme_keeps_its_colour_to_itself(comparisons):
    arm = comparisons[0].arms[0]
    arms = [
        replace(arm, name=str(i), runs=tuple(replace(run, label=str(i)) for run in arm.runs))
        for i in range(len(COLOURS))
    ]
    looks = [Looks(arms).of(each) for each in arms]
    assert len({look.colour for look in looks}) == len(COLOURS) >= 12
    assert {(look.marker, look.glyph) for look in looks} == set(zip(MARKERS, GLYPHS, strict=True))


def test_points_before_the_end_of_a_schedule_are_marked(comparisons):
    lm = comparisons[0]
    run = lm.arms[0].done[0]
    assert [is_intermediate(run, p) for p in run.curve] == [True] * 9 + [False]
    constant = replace(run, settings=run.settings | {"optim.schedule": "constant"})
    assert not any(is_intermediate(constant, p) for p in run.curve)
    assert all(is_intermediate(replace(run, status="interrupted"), p) for p in run.curve)
    assert [row["point"] for row in curve_rows(lm.arms[0], lm)] == ([INTERMEDIATE] * 9 + [""]) * 2


def test_loss_against_seconds_shows_the_range_over_seeds(comparisons):
    looks = looks_of(*comparisons)
    drawing = draw_loss(comparisons[0], looks, "seconds")
    assert "training time (seconds)" in drawing.svg and "lowest to highest seed" in drawing.caption
    for arm in comparisons[0].arms:  # in both panels band, line, hollow and full points; marker and text of the legend
        assert drawing.svg.count(f'id="{looks.of(arm).key}-') == 10
    assert "whole training" in drawing.svg and "second half, enlarged" in drawing.svg
    assert {row["seconds"] for row in drawing.data} == {3.0 * i for i in range(1, 11)}


def test_runs_without_seconds_have_no_such_figure(comparisons):
    arm = comparisons[0].arms[0]
    bare = [replace(run, curve=tuple(replace(p, seconds=None) for p in run.curve)) for run in arm.runs]
    (comparison,) = compare(make_arms(bare))
    assert draw_loss(comparison, looks_of(comparison), "seconds") is None


def test_a_scheme_has_one_colour_in_both_tasks(comparisons):
    looks = looks_of(*comparisons)
    for arm in comparisons[0].arms:
        (same,) = [other for other in comparisons[1].arms if other.label == arm.label]
        assert looks.of(arm) == looks.of(same)
    assert len({looks.of(arm).colour for arm in comparisons[1].arms}) == 6


def test_arms_of_one_scheme_differ_in_marker_and_dash(tmp_path):
    for label in ("none", "pre_softmax"):
        for lr in (0.001, 0.002):
            config = make_config("lm", label, 1)
            write_run(tmp_path, replace(config, optim=replace(config.optim, lr=lr)))
    arms = make_arms(collect(tmp_path))
    looks = [Looks(arms).of(arm) for arm in arms]
    assert len({look.colour for look in looks}) == 2
    assert len({(look.colour, look.marker) for look in looks}) == len({look.key for look in looks}) == 4
    alone = [arm for arm in arms if arm.label == "none"]
    assert {Looks(alone).of(arm).colour for arm in alone} == set(COLOURS[:2])


def test_pareto(comparisons):
    arms = sorted(comparisons[1].arms, key=lambda arm: arm.first.params)
    points = list(zip(arms, [Stat(mean, None, 1) for mean in (3.0, 5.0, 4.0, 5.0, 6.0, 6.0)], strict=True))
    assert [stat.mean for _, stat in pareto(points, 1)] == [3.0, 5.0, 6.0]
    assert [stat.mean for _, stat in pareto(points, -1)] == [3.0]


def test_owner_map():
    owner = {f"decoder.{i}.ffn.in.weight": f"decoder.{i % 2}.ffn.in.weight" for i in range(3)}
    owner |= {"decoder.embed.weight": "decoder.embed.weight", "decoder.output.weight": "decoder.embed.weight"}
    grid = Grid(owner)
    assert grid.rows == ["decoder.embed.weight", "decoder.output.weight", "decoder 0", "decoder 1", "decoder 2"]
    assert [grid.label(slot) for slot in owner] == ["0", "", "0", "decoder.embed.weight", "decoder.embed.weight"]
    assert [grid.colour(slot) == OWN for slot in owner] == [False, True, False, False, False]
    assert grid.colour("decoder.0.ffn.in.weight") != grid.colour("decoder.embed.weight")


def test_flops_by_length_are_those_of_the_ledger(comparisons):
    """At the coefficients' own unit: one token in every stack costs what all coefficients sum to."""
    drawing = draw_by_length(comparisons[1])
    row = drawing.data[0]
    flops = comparisons[1].arms[0].first.flops_by_kind
    assert row["route"] == "encoder + decoder" and "as long (encoder + decoder)" in drawing.caption
    assert row["scores"] == 16 * flops["scores"] and row["ffn"] == flops["ffn"]
    assert set(FLOP_KINDS) <= row.keys() and len(drawing.data) == 6 * 13
