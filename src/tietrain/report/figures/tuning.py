"""Figures of trials: their scores against the tuned settings, and the best score expected from fewer trials."""

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from tietrain.report.arms import Arm, Comparison
from tietrain.report.figures import canvas
from tietrain.report.pages.tuning_text import tuned_arms
from tietrain.report.tuning import Tuning, expected_best, is_number

LOSS = "nats per token on valid"
# Keys whose values span more than this ratio are drawn on a logarithmic axis.
WIDE = 4
MOST_KEYS, MOST_TICKS = 3, 8


def draw_tuning(comparison: Comparison, styles: canvas.ArmStyles) -> list[canvas.Drawing]:
    """Scores of the points, one panel per tuned number, and the expected best of n trials; empty if nothing was tuned."""
    arms = tuned_arms(comparison)
    finite = [(arm, tuning) for arm, tuning in arms if any(map(math.isfinite, tuning.means.values()))]
    return [*_draw_points(arms, styles), _draw_expected(finite, styles)] if finite else []


def _draw_points(arms: list[tuple[Arm, Tuning]], styles: canvas.ArmStyles) -> list[canvas.Drawing]:
    keys = _keys(arms)
    if not keys:
        return []
    figure, axes = canvas.make_panels(len(keys))
    for ax, key in zip(axes, keys, strict=True):
        for arm, tuning in arms:
            _draw_arm(ax, key, tuning, styles.of(arm))
        values = sorted({x for _, tuning in arms for x in _values(tuning, key)})
        if values[0] > 0 and values[-1] / values[0] > WIDE:
            ax.set_xscale("log")
        if len(values) <= MOST_TICKS:
            ax.set_xticks(values, [f"{x:g}" for x in values])
            ax.minorticks_off()
        ax.margins(x=0.08)
        ax.set_xlabel(canvas.figure_text(key))
        ax.set_ylabel(LOSS)
    canvas.add_legend(figure, canvas.arm_handles([arm for arm, _ in arms], styles))
    caption = (
        "Scores of the trials against the tuned settings, mean over tuning seeds. Lines join the best score at each "
        "value. Ring: the point that is reported. Crosses at the top: diverged trials."
    )
    return [canvas.finish(figure, "tuning", caption, [row for arm, tuning in arms for row in _rows(arm, tuning)])]


def _draw_arm(ax: Axes, key: str, tuning: Tuning, style: canvas.ArmStyle) -> None:
    known = {place: float(x) for place, point in tuning.points.items() if is_number(x := point.get(key))}
    finite = [(known[p], mean) for p, mean in tuning.means.items() if p in known and math.isfinite(mean)]
    lowest = {x: min(mean for at, mean in finite if at == x) for x, _ in finite}
    line = ax.plot(sorted(lowest), [lowest[x] for x in sorted(lowest)], color=style.colour, linestyle=style.dash)
    dots = ax.plot(*zip(*finite, strict=True), style.marker, color=style.colour, markersize=4.5) if finite else []
    diverged = [known[p] for p, mean in tuning.means.items() if p in known and math.isinf(mean)]
    style.mark(*line, *dots)
    if diverged:  # an artist without a point has no place in a layout
        at_top: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "clip_on": False}
        style.mark(*ax.plot(diverged, [1.0] * len(diverged), "x", color=style.colour, **at_top))
    if (place := tuning.chosen) in known and math.isfinite(mean := tuning.means.get(place, math.inf)):
        ring = ax.plot([known[place]], [mean], "o", markersize=11, markerfacecolor="none", color=style.colour)
        style.mark(*ring)


def _draw_expected(arms: list[tuple[Arm, Tuning]], styles: canvas.ArmStyles) -> canvas.Drawing:
    figure, (ax,) = canvas.make_panels(1)
    rows: list[dict[str, Any]] = []
    for arm, tuning in arms:
        means = list(tuning.means.values())
        style = styles.of(arm)
        sizes = range(1, len(means) + 1)
        best: list[Any] = [expected_best(means, n) for n in sizes]
        style.mark(*ax.plot(sizes, best, color=style.colour, linestyle=style.dash, marker=style.marker, markersize=4))
        rows += [{"arm": arm.name, "trials": n, "expected_best": score} for n, score in zip(sizes, best, strict=True)]
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("trials")
    ax.set_ylabel("expected best " + LOSS)
    canvas.add_legend(figure, canvas.arm_handles([arm for arm, _ in arms], styles))
    caption = (
        "Expected best score after n trials, drawn with replacement from the trials that were made (Dodge et al. 2019). "
        "Diverged trials are left out."
    )
    return canvas.finish(figure, "tuning_expected", caption, rows)


def _keys(arms: list[tuple[Arm, Tuning]]) -> list[str]:
    """Keys with several numbers, in the order of the lists."""
    named = dict.fromkeys(key for _, tuning in arms for point in tuning.points.values() for key in point)
    return [key for key in named if len({x for _, tuning in arms for x in _values(tuning, key)}) > 1][:MOST_KEYS]


def _values(tuning: Tuning, key: str) -> list[float]:
    return [float(x) for point in tuning.points.values() if is_number(x := point.get(key))]


def _rows(arm: Arm, tuning: Tuning) -> list[dict[str, Any]]:
    finite = {place: mean for place, mean in tuning.means.items() if math.isfinite(mean)}
    return [
        {
            "arm": arm.name,
            "point": place,
            **point,
            "valid_nats_per_token": finite.get(place),
            "n_seeds": len(tuning.scores[place]),
            "n_diverged": sum(map(math.isinf, tuning.scores[place])),
            "chosen": place == tuning.chosen,
        }
        for place, point in tuning.points.items()
    ]
