"""Validation loss against what it cost: tokens, FLOPs or seconds, with its range over seeds as a band."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from tietrain.report.arms import Arm, Comparison, common_points
from tietrain.report.figures import canvas
from tietrain.runs.view import Point, Run

UNITS = {"tokens": "target tokens seen", "flops": "training FLOPs", "seconds": "training time (seconds)"}
INTERMEDIATE = "intermediate point of a longer schedule"
HOLLOW: dict[str, Any] = {"marker": "o", "markersize": 4.2, "markerfacecolor": canvas.PAPER, "markeredgewidth": 0.8}


def draw_loss(comparison: Comparison, styles: canvas.ArmStyles, unit: str) -> canvas.Drawing | None:
    """Validation loss against one of UNITS; None if no run recorded any.

    Each target vocabulary has two panels, the whole training and its second half enlarged: nats per token of different
    vocabularies are not comparable.
    """
    arms = [arm for arm in comparison.arms if any(_xs(run.curve, unit) for run in curves(arm))]
    panels = [(v, [arm for arm in arms if arm.target_vocabulary == v]) for v in comparison.vocabularies]
    panels = [(v, members) for v, members in panels if members]
    if not panels:
        return None
    figure, axes = canvas.make_panels(2 * len(panels))
    for i, ax in enumerate(axes):
        vocabulary, members = panels[i // 2]
        late = i % 2 == 1
        for arm in members:
            _draw_curves(ax, arm, styles.of(arm), unit)
        _fit(ax, members, unit, late=late)
        canvas.scale_axis(ax.xaxis, UNITS[unit])
        ax.set_ylabel("validation loss (nats per token)")
        title = "second half, enlarged" if late else "whole training"
        if len(comparison.vocabularies) > 1:
            size = members[0].vocab_size
            pieces = f" ({size:,} pieces)" if size else ""
            title = f"vocabulary {comparison.vocabularies[vocabulary]}{pieces}, {title}"
        ax.set_title(title, loc="left")
    drawn = [arm for _, members in panels for arm in sorted(members, key=_last_loss, reverse=True)]
    handles = canvas.arm_handles(drawn, styles)
    if _any_intermediate(drawn):
        label = "hollow: intermediate point\nof a longer schedule"
        handles.append(Line2D([], [], color=canvas.INK, linestyle="none", label=label, **HOLLOW))
    canvas.add_legend(figure, handles + [canvas.dotted_handle()] * any_unfinished(drawn))
    rows = [row for arm in drawn for row in curve_rows(arm, comparison)]
    return canvas.finish(figure, f"loss_{unit}", _caption(drawn, unit, len(panels)), rows)


def curves(arm: Arm) -> list[Run]:
    """Runs of an arm that have a curve; a seed that finished twice counts once."""
    return [run for run in arm.runs if run.curve and run not in arm.repeated]


def is_intermediate(run: Run, point: Point) -> bool:
    """Whether the schedule continued after this point: a run that ended here would have had other learning rates.

    After its warm-up, a constant rate has no end, so no point is intermediate.
    """
    if run.settings.get("optim.schedule") == "constant":
        return False
    return run.status != "done" or run.steps is None or point.step < run.steps


def curve_rows(arm: Arm, comparison: Comparison) -> list[dict[str, Any]]:
    """One row per evaluation of each run, for the file beside a figure."""
    return [
        {
            "arm": arm.name,
            "vocabulary": comparison.vocabularies[arm.target_vocabulary],
            "seed": run.seed,
            "status": run.status,
            "point": INTERMEDIATE if is_intermediate(run, point) else "",
            **{name: getattr(point, name) for name in ("step", *UNITS)},
            "valid_nats_per_token": point.nats_per_token,
        }
        for run in curves(arm)
        for point in run.curve
    ]


def _draw_curves(ax: Axes, arm: Arm, style: canvas.ArmStyle, unit: str) -> None:
    for run in curves(arm):
        if run.status != "done" and (xs := _xs(run.curve, unit)):
            ys = [p.nats_per_token for p in run.curve if getattr(p, unit) is not None]
            line: dict[str, Any] = {"linestyle": ":", "linewidth": 1.1, "marker": "x", "markersize": 5}
            style.mark(*ax.plot(xs, ys, color=style.colour, markevery=[-1], **line))
    done = [run for run in arm.done if run.curve]
    levels = [points for points in common_points(done) if all(getattr(p, unit) is not None for p in points)]
    if not levels:
        return
    xs = [fmean(getattr(p, unit) for p in points) for points in levels]
    nats = [[p.nats_per_token for p in points] for points in levels]
    means = [fmean(found) for found in nats]
    if any(min(found) < max(found) for found in nats):
        lows, highs = [min(found) for found in nats], [max(found) for found in nats]
        style.mark(ax.fill_between(xs, lows, highs, color=style.colour, alpha=0.18, linewidth=0))
    style.mark(*ax.plot(xs, means, color=style.colour, linestyle=style.dash))
    unfinished = [any(map(is_intermediate, done, points)) for points in levels]
    for hollow in (True, False):
        at = [i for i in range(len(levels)) if unfinished[i] == hollow]
        markers = (HOLLOW if hollow else {"markersize": 6.5}) | {"marker": style.marker, "linestyle": "none"}
        style.mark(*ax.plot([xs[i] for i in at], [means[i] for i in at], color=style.colour, **markers))


def _xs(curve: Sequence[Point], unit: str) -> list[float]:
    return [x for point in curve if (x := getattr(point, unit)) is not None]


def _last_loss(arm: Arm) -> float:
    """Mean of the last evaluations, which orders the legend like the ends of the lines; arms without any come last."""
    last = [run.curve[-1].nats_per_token for run in arm.done if run.curve]
    return fmean(last) if last else -math.inf


def _fit(ax: Axes, arms: Sequence[Arm], unit: str, *, late: bool) -> None:
    """Axes fitted to finished runs, or to their second half: a diverged one leaves through the top."""
    ends = [max(xs) for arm in arms for run in arm.done if (xs := _xs(run.curve, unit))]
    start = min(ends) / 2 if late and ends else 0
    points = [p for arm in arms for run in arm.done for p in run.curve if (getattr(p, unit) or 0) >= start]
    if points:
        nats = [p.nats_per_token for p in points]
        margin = 0.05 * (max(nats) - min(nats)) or 0.05
        ax.set_ylim(min(nats) - margin, max(nats) + margin)
    ax.set_xlim(left=start)


def _any_intermediate(arms: Sequence[Arm]) -> bool:
    return any(is_intermediate(run, p) for arm in arms for run in arm.done for p in run.curve)


def any_unfinished(arms: Sequence[Arm]) -> bool:
    """Whether some run with a curve is in no mean."""
    return any(run.status != "done" for arm in arms for run in curves(arm))


def _caption(arms: Sequence[Arm], unit: str, n_panels: int) -> str:
    caption = f"Validation loss against {UNITS[unit].replace(' seen', '')}."
    caption += " The legend is in the order of the line ends."
    if any(len(arm.done) > 1 for arm in arms):
        caption += " Line: mean over seeds. Band: lowest to highest seed."
    if _any_intermediate(arms):
        caption += f" Hollow: {INTERMEDIATE}; it gives no verdict, because a run of that length would end elsewhere."
    if n_panels > 1:
        caption += " Vocabularies differ: nats per token are comparable only within a row."
    if any_unfinished(arms):
        caption += " Dotted: runs that are in no mean (unfinished, failed, diverged or damaged)."
    return caption
