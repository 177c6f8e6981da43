"""Scores: the difference of each arm to the baseline, and quality against stored parameters."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from tietrain.report.arms import Arm, Comparison, Stat
from tietrain.report.figures import canvas
from tietrain.report.pages.tables import shown_scores
from tietrain.report.verdicts import ArmVerdict, Declared, Verdicts
from tietrain.runs.scores import Score

# Arms, and their scores over seeds.
Points = Sequence[tuple[Arm, Stat]]

WIDTH, ROW = 9.6, 0.42
# Of a figure in a column of a paper, in inches.
COLUMN, COLUMN_ROW = 3.3, 0.22
FRONTIER, CEILING = "#888888", "#777777"
# What is drawn beside BLEU; perplexity per word would show the same as per token on another scale.
DRAWN = ("excess_bits_per_byte", "excess_nats", "ppl_token", "bits_per_byte")
# Directions of a label from its point; the first free one is taken: right, left, above, below, then the corners.
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
# In points: the size of a label, the side of a marker, and the gap between the two.
LABEL_SIZE, MARKER_SIDE, GAP = 8.5, 9.0, 2.0


def draw_differences(verdicts: Verdicts, styles: canvas.ArmStyles) -> canvas.Drawing | None:
    """One row per arm; None if no arm and its baseline have scores."""
    declared = verdicts.declared
    compared = [arm_verdict for arm_verdict in verdicts.arms if arm_verdict.difference is not None]
    if not compared:
        return None
    figure = Figure(figsize=(WIDTH, 1.0 + ROW * len(compared)), layout="constrained")
    ax = figure.subplots()
    _draw_margin(ax, declared)
    for y, arm_verdict in enumerate(compared):
        _draw_difference(ax, y, arm_verdict, styles.of(arm_verdict.arm), declared.score)
    canvas.mark_rows(ax, [arm_verdict.arm for arm_verdict in compared], styles, width=36)
    better, worse = ("right", "left") if declared.score.sign > 0 else ("left", "right")
    ax.set_xlabel(
        f"{declared.score.title} on {canvas.figure_text(declared.split)}: arm minus {canvas.figure_text(_bases(compared))} "
        f"({better} is better, {worse} is worse)"
    )
    rows = [row for arm_verdict in compared for row in _difference_rows(arm_verdict, declared.score)]
    drawing = canvas.finish(figure, "differences", _difference_caption(verdicts, compared), rows)
    return replace(drawing, pdf=_draw_column(compared, declared, styles))


def _draw_column(compared: Sequence[ArmVerdict], declared: Declared, styles: canvas.ArmStyles) -> bytes:
    """The same at the width of a column, its text not smaller than 7 points."""
    figure = Figure(figsize=(COLUMN, 0.55 + COLUMN_ROW * len(compared)), layout="constrained")
    ax = figure.subplots()
    _draw_margin(ax, declared)
    for y, arm_verdict in enumerate(compared):
        style = styles.of(arm_verdict.arm)
        if test := arm_verdict.test:
            interval = [test.low * declared.score.scale, test.high * declared.score.scale]
            ax.plot(interval, [y, y], color=style.colour, linewidth=1.5)
        mean = (arm_verdict.difference or 0.0) * declared.score.scale
        ax.plot([mean], [y], style.marker, color=style.colour, markersize=4)
    canvas.mark_rows(ax, [arm_verdict.arm for arm_verdict in compared], styles, width=22)
    ax.set_xlabel(f"difference in {declared.score.title} to {canvas.figure_text(_bases(compared), 22)}", fontsize=7.5)
    ax.tick_params(labelsize=7)
    return canvas.finish_pdf(figure)


def _draw_margin(ax: Axes, declared: Declared) -> None:
    """A line at no difference, and a band of differences that were declared not to matter."""
    if declared.margin:
        margin = declared.margin * declared.score.scale
        ax.axvspan(-margin, margin, color=canvas.OWN, alpha=0.6, linewidth=0, zorder=0)
    ax.axvline(0, color=canvas.INK, linewidth=1, zorder=1)


def _bases(compared: Sequence[ArmVerdict]) -> str:
    """The label that all arms are compared with, or `its baseline`."""
    labels = {arm_verdict.base.arm.label for arm_verdict in compared if arm_verdict.base}
    return labels.pop() if len(labels) == 1 else "its baseline"


def _draw_difference(ax: Axes, y: int, arm_verdict: ArmVerdict, style: canvas.ArmStyle, score: Score) -> None:
    """Seeds as strokes, their mean with its interval, and at the right the verdict in words."""
    seeds = [deviation * score.scale for deviation in arm_verdict.deviations.values()]
    mean, test = (arm_verdict.difference or 0.0) * score.scale, arm_verdict.test
    if test:
        bar = ax.plot([test.low * score.scale, test.high * score.scale], [y, y], color=style.colour, linewidth=2.2)
        strokes = ax.plot(seeds, [y + 0.22] * len(seeds), "|", color=style.colour, markersize=7, markeredgewidth=1.2)
        style.mark(*bar, *strokes)
    style.mark(*ax.plot([mean], [y], style.marker, color=style.colour, markersize=8))
    words = ", ".join([arm_verdict.verdict, *_size_text(arm_verdict)])
    style.mark(ax.annotate(words, (1, y), (8, 0), ("axes fraction", "data"), "offset points", va="center"))


def _size_text(arm_verdict: ArmVerdict) -> list[str]:
    """Stored parameters compared with the baseline's, which may have another vocabulary."""
    ours = arm_verdict.arm.first.params
    theirs = arm_verdict.base.arm.first.params if arm_verdict.base else None
    if ours is None or not theirs:
        return []
    percent = 100 * (ours / theirs - 1)
    if not percent:
        return ["as many parameters"]
    return [f"{abs(percent):.1f} % {'fewer' if percent < 0 else 'more'} parameters"]


def _difference_rows(arm_verdict: ArmVerdict, score: Score) -> list[dict[str, Any]]:
    assert arm_verdict.base is not None
    head = {"arm": arm_verdict.arm.name, "baseline": arm_verdict.base.arm.name, "score": score.name}
    rows: list[dict[str, Any]] = [
        {**head, "seed": seed, "difference": deviation} for seed, deviation in arm_verdict.deviations.items()
    ]
    test = arm_verdict.test
    if test:
        interval = {"difference": test.difference, "low": test.low, "high": test.high}
        rows.append({**head, "seed": "mean", **interval, "verdict": arm_verdict.verdict})
    return rows


def _difference_caption(verdicts: Verdicts, compared: Sequence[ArmVerdict]) -> str:
    caption = f"Difference of each arm to the mean of {_bases(compared)}."
    if any(arm_verdict.test for arm_verdict in compared):
        caption += " Point and bar: the mean and its 95 % t interval. Strokes below: the arm's seeds."
        caption += " The verdicts are adjusted for the number of arms (Holm); the bars are not."
    else:
        caption += " There is only one seed, so a difference may be chance."
    if verdicts.declared.margin:
        caption += " Grey band: the margin; a difference inside it was declared not to matter."
    return caption


def draw_quality(comparison: Comparison, styles: canvas.ArmStyles) -> canvas.Drawing | None:
    """Scores of one split against stored parameters: the primary score, and BLEU under its ceiling for translation."""
    split = next(iter(comparison.splits), "")
    scores = _plotted(comparison, split)
    arms = [arm for arm in comparison.arms if arm.done and arm.first.params is not None]
    if not scores or not arms:
        return None
    figure, axes = canvas.make_panels(len(scores))
    rows, panels = [], []
    for ax, score in zip(axes, scores, strict=True):
        points = [(arm, stat) for arm in arms if (stat := arm.score(split, score.name))]
        frontier = pareto(points, score.sign)
        sizes = [_size(arm) for arm, _ in frontier]
        means = [stat.mean for _, stat in frontier]
        ax.plot(sizes, means, color=FRONTIER, linewidth=4, alpha=0.35, drawstyle="steps-post", zorder=1)
        for arm, stat in points:
            style = styles.of(arm)
            sd = None if stat.sd is None else [stat.sd]
            line: dict[str, Any] = {"color": style.colour, "marker": style.marker, "markersize": 7, "capsize": 3}
            point, caps, bars = ax.errorbar([_size(arm)], [stat.mean], yerr=sd, **line)
            style.mark(point, *caps, *bars)
            row = {"arm": arm.name, "params": arm.first.params, "split": split, "score": score.name, **asdict(stat)}
            rows.append(row | {"pareto": (arm, stat) in frontier})
        panels.append((ax, points))
        ax.margins(x=0.2, y=0.15)
        if score.name == "bleu":
            _draw_ceiling(ax, comparison, split)
        canvas.scale_axis(ax.xaxis, "stored parameters")
        ax.set_ylabel(f"{score.title}, {split} ({'higher' if score.sign > 0 else 'lower'} is better)")
    _name_points(figure, panels, arms, styles)
    caption = f"Scores on {split} against stored parameters."
    if any(row["sd"] is not None for row in rows):
        caption += " Bars: ± one standard deviation over seeds."
    else:
        caption += " There is only one seed, so a difference may be chance."
    caption += " Grey: the Pareto line of the means; no test supports it."
    return canvas.finish(figure, "quality_parameters", caption, rows)


def _plotted(comparison: Comparison, split: str) -> list[Score]:
    """At most two scores in which all arms are comparable: none per token if vocabularies differ."""
    scores = [score for score in shown_scores(comparison) if any(a.score(split, score.name) for a in comparison.arms)]
    if len(comparison.vocabularies) > 1:
        scores = [score for score in scores if not score.per_token]
    lower = [score for score in scores if score.name in DRAWN]
    bleu = [score for score in scores if score.name == "bleu"]
    return lower[:1] + bleu if bleu else lower[:2]


def pareto(points: Points, sign: int) -> list[tuple[Arm, Stat]]:
    """The points that no other beats: none is smaller and at least as good, or as small and better. Smallest first."""
    frontier: list[tuple[Arm, Stat]] = []
    for arm, stat in sorted(points, key=lambda p: (p[0].first.params or 0, -sign * p[1].mean)):
        if not frontier or sign * stat.mean > sign * frontier[-1][1].mean:
            frontier.append((arm, stat))
    return frontier


def _size(arm: Arm) -> float:
    return float(arm.first.params or 0)


def _draw_ceiling(ax: Axes, comparison: Comparison, split: str) -> None:
    """The oracle's BLEU, which belongs to the corpus and so to all arms: a line if it is near, else its value."""
    ceilings = [stat.mean for arm in comparison.arms if (stat := arm.score(split, "oracle_bleu"))]
    if not ceilings:
        return
    low, high = ax.get_ylim()
    near = ceilings[0] <= high + (high - low)
    if near:
        ax.axhline(ceilings[0], color=CEILING, linestyle=(0, (4, 2)), linewidth=1)
    text = f"dashed: oracle {ceilings[0]:.1f}" if near else f"oracle {ceilings[0]:.1f}, above"
    ax.set_title(text, loc="right", color=CEILING)


def _name_points(
    figure: Figure, panels: Sequence[tuple[Axes, Points]], arms: Sequence[Arm], styles: canvas.ArmStyles
) -> None:
    """Names beside the points of every panel, or in the legend if some name would cover another or a point."""
    line = Line2D([], [], color=FRONTIER, linewidth=4, alpha=0.35, label="no arm is better\nand smaller")
    canvas.add_legend(figure, [line])
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    labels = [label_points(ax, points, styles) for ax, points in panels]
    if None not in labels:
        return
    for found in labels:
        for label in found or ():
            label.remove()
    figure.legends.clear()
    canvas.add_legend(figure, [*canvas.arm_handles(arms, styles, dash="none"), line])


def label_points(ax: Axes, points: Points, styles: canvas.ArmStyles) -> list[Annotation] | None:
    """The names of arms, each beside its point and covering nothing; None, and nothing drawn, if one finds no place.

    The figure must have its layout, which labels do not change.
    """
    taken = [_point_box(ax, arm, stat) for arm, stat in points]
    labels: list[Annotation] = []
    for (arm, stat), box in zip(points, list(taken), strict=True):
        label = _place_label(ax, arm, stat, box, taken)
        if label is None:
            for other in labels:
                other.remove()
            return None
        styles.of(arm).mark(label)
        labels.append(label)
        taken.append(label.get_window_extent())
    return labels


def _point_box(ax: Axes, arm: Arm, stat: Stat) -> Bbox:
    """What the marker of a point and its error bar cover, in pixels."""
    sd = stat.sd or 0.0
    ends = ax.transData.transform([(_size(arm), stat.mean - sd), (_size(arm), stat.mean + sd)])
    return Bbox([ends.min(axis=0), ends.max(axis=0)]).padded(_pixels(ax, MARKER_SIDE / 2))


def _pixels(ax: Axes, points: float) -> float:
    return points * ax.figure.dpi / 72


def _place_label(ax: Axes, arm: Arm, stat: Stat, point: Bbox, taken: Sequence[Bbox]) -> Annotation | None:
    """The name in the first direction where it lies inside the axes and covers nothing."""
    room = ax.get_window_extent()
    middle = ax.transData.transform((_size(arm), stat.mean))[1]
    name = canvas.figure_text(arm.name, width=24, most_lines=2)
    for right, up in DIRECTIONS:
        x = {1: point.x1 + _pixels(ax, GAP), 0: (point.x0 + point.x1) / 2, -1: point.x0 - _pixels(ax, GAP)}[right]
        y = {1: point.y1, 0: middle, -1: point.y0}[up]
        sides: dict[str, Any] = {
            "ha": {1: "left", 0: "center", -1: "right"}[right],
            "va": {1: "bottom", 0: "center", -1: "top"}[up],
        }
        label = ax.annotate(name, tuple(ax.transData.inverted().transform((x, y))), fontsize=LABEL_SIZE, **sides)
        label.set_in_layout(False)
        box = label.get_window_extent()
        inside = room.contains(box.x0, box.y0) and room.contains(box.x1, box.y1)
        if inside and not box.count_overlaps(taken):
            return label
        label.remove()
    return None
