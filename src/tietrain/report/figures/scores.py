"""Scores against stored parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tietrain.report.arms import Arm, Comparison, Stat
from tietrain.report.figures.canvas import Drawing, Look, Looks, add_legend, finish, line_handle, make_panels, scale_x
from tietrain.report.figures.labels import Named, label_points
from tietrain.report.pages.tables import shown_scores
from tietrain.runs.scores import Score

FRONTIER, CEILING = "#888888", "#777777"
# What is drawn beside BLEU; perplexity per word would show the same as per token on another scale.
DRAWN = ("excess_bits_per_byte", "excess_nats", "ppl_token", "bits_per_byte")


def draw_quality(comparison: Comparison, looks: Looks) -> Drawing | None:
    """Scores of one split against stored parameters: the primary score, and BLEU under its ceiling for translation."""
    split = next(iter(comparison.splits), "")
    scores = _plotted(comparison, split)
    arms = [arm for arm in comparison.arms if arm.done and arm.first.params is not None]
    if not scores or not arms:
        return None
    figure, axes = make_panels(len(scores))
    rows, panels = [], []
    for ax, score in zip(axes, scores, strict=True):
        points = [(arm, stat) for arm in arms if (stat := arm.score(split, score.name))]
        frontier = pareto(points, score.sign)
        xs, ys = [arm.first.params or 0 for arm, _ in frontier], [stat.mean for _, stat in frontier]
        ax.plot(xs, ys, color=FRONTIER, linewidth=4, alpha=0.35, drawstyle="steps-post", zorder=1)
        for arm, stat in points:
            _draw_point(ax, arm, stat, looks.of(arm))
            rows.append(_quality_row(arm, split, score.name, stat) | {"pareto": (arm, stat) in frontier})
        panels.append((ax, [_named(arm, stat, looks.of(arm)) for arm, stat in points]))
        ax.margins(x=0.2, y=0.15)
        if score.name == "bleu":
            _draw_ceiling(ax, comparison, split)
        scale_x(ax, "stored parameters")
        ax.set_ylabel(f"{score.title}, {split} ({'higher' if score.sign > 0 else 'lower'} is better)")
    _name_points(figure, panels, arms, looks)
    caption = f"Scores on {split} against stored parameters."
    if any(row["sd"] is not None for row in rows):
        caption += " Bars: ± one standard deviation over seeds."
    else:
        caption += " One seed: a difference may be chance."
    caption += " Grey: the Pareto line of the means, which no test stands behind."
    return finish(figure, "quality_parameters", caption, rows)


def _name_points(figure: Figure, panels: Sequence[tuple[Axes, list[Named]]], arms: Sequence[Arm], looks: Looks) -> None:
    """Names beside the points of every panel; in the legend where they would cover one another."""
    line = Line2D([], [], color=FRONTIER, linewidth=4, alpha=0.35, label="no arm is better\nand smaller")
    add_legend(figure, [line])
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    labels = [label_points(ax, points) for ax, points in panels]
    if all(found is not None for found in labels):
        return
    for label in (label for found in labels for label in found or ()):
        label.remove()
    figure.legends.clear()
    handles = [line_handle(looks.of(arm), arm.name, dash="none") for arm in arms]
    add_legend(figure, [*handles, line], [*map(looks.of, arms)])


def _named(arm: Arm, stat: Stat, look: Look) -> Named:
    sd = stat.sd or 0.0
    return Named(float(arm.first.params or 0), stat.mean, stat.mean - sd, stat.mean + sd, arm.name, look)


def pareto(points: Sequence[tuple[Arm, Stat]], sign: int) -> list[tuple[Arm, Stat]]:
    """Those that no other is at least as small and better than, or as good and smaller; smallest first.

    Args:
        sign: 1 where a higher score is better, else -1.
    """
    frontier: list[tuple[Arm, Stat]] = []
    for arm, stat in sorted(points, key=lambda p: (p[0].first.params or 0, -sign * p[1].mean)):
        if not frontier or sign * stat.mean > sign * frontier[-1][1].mean:
            frontier.append((arm, stat))
    return frontier


def _draw_point(ax: Axes, arm: Arm, stat: Stat, look: Look) -> None:
    sd = None if stat.sd is None else [stat.sd]
    at = [float(arm.first.params or 0)], [stat.mean]
    line, caps, bars = ax.errorbar(*at, yerr=sd, color=look.colour, marker=look.marker, markersize=7, capsize=3)
    look.mark(line, *caps, *bars)


def _plotted(comparison: Comparison, split: str) -> list[Score]:
    """At most two scores that all arms may be compared by: none a token where vocabularies differ."""
    several = len(comparison.vocabularies) > 1
    scored = [s for s in shown_scores(comparison) if any(a.score(split, s.name) for a in comparison.arms)]
    usable = [s for s in scored if not (several and s.per_token)]
    lower = [s for s in usable if s.name in DRAWN]
    bleu = [s for s in usable if s.name == "bleu"]
    return lower[:1] + bleu if bleu else lower[:2]


def _quality_row(arm: Arm, split: str, score: str, stat: Stat) -> dict[str, Any]:
    return {"arm": arm.name, "params": arm.first.params, "split": split, "score": score, **asdict(stat)}


def _draw_ceiling(ax: Axes, comparison: Comparison, split: str) -> None:
    """The oracle's BLEU, one for all arms because it belongs to the corpus: a line where it is near, else its value."""
    ceilings = [stat.mean for arm in comparison.arms if (stat := arm.score(split, "oracle_bleu"))]
    if not ceilings:
        return
    low, high = ax.get_ylim()
    near = ceilings[0] <= high + (high - low)
    if near:
        ax.axhline(ceilings[0], color=CEILING, linestyle=(0, (4, 2)), linewidth=1)
    ax.set_title(
        f"{'dashed: ' if near else ''}oracle {ceilings[0]:.1f}{'' if near else ', above'}", loc="right", color=CEILING
    )
