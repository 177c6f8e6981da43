"""Figures of trials: scores against what was tuned, and what fewer trials would have been expected to find."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from tietrain.report.arms import Arm, Comparison
from tietrain.report.figures.canvas import (
    Drawing,
    Look,
    Looks,
    add_legend,
    figure_text,
    finish,
    line_handle,
    make_panels,
)
from tietrain.report.pages.tuning_text import tuned_arms
from tietrain.report.tuning import Tuning, expected_best, is_number

LOSS = "nats/token on valid"
# Keys whose values reach over this ratio are drawn on a logarithmic axis.
WIDE = 4
MOST_KEYS, MOST_TICKS = 3, 8


def draw_tuning(comparison: Comparison, looks: Looks) -> list[Drawing]:
    """Scores of the points, a panel for each number that was tuned, and the expected best of n; none of an untuned one."""
    arms = tuned_arms(comparison)
    finite = [(arm, tuning) for arm, tuning in arms if any(map(math.isfinite, tuning.means.values()))]
    return [*_draw_points(arms, looks), _draw_expected(finite, looks)] if finite else []


def _draw_points(arms: list[tuple[Arm, Tuning]], looks: Looks) -> list[Drawing]:
    keys = _keys(arms)
    if not keys:
        return []
    figure, axes = make_panels(len(keys))
    for ax, key in zip(axes, keys, strict=True):
        for arm, tuning in arms:
            _draw_arm(ax, key, tuning, looks.of(arm))
        values = [x for _, tuning in arms for x in _values(tuning, key)]
        if min(values) > 0 and max(values) / min(values) > WIDE:
            ax.set_xscale("log")
        if len(set(values)) <= MOST_TICKS:
            ax.set_xticks(sorted(set(values)), [f"{x:g}" for x in sorted(set(values))])
            ax.minorticks_off()
        ax.margins(x=0.08)
        ax.set_xlabel(figure_text(key))
        ax.set_ylabel(LOSS)
    _legend(figure, arms, looks)
    caption = (
        "Scores of the trials against what was tuned, mean over tuning seeds. Lines join the best at each value; the "
        "ringed point is the one that is reported; crosses at the top diverged."
    )
    return [finish(figure, "tuning", caption, [row for arm, tuning in arms for row in _rows(arm, tuning)])]


def _draw_arm(ax: Axes, key: str, tuning: Tuning, look: Look) -> None:
    """One arm's points at their values of one key."""
    known = {place: float(x) for place, point in tuning.points.items() if is_number(x := point.get(key))}
    finite = [(known[p], mean) for p, mean in tuning.means.items() if p in known and math.isfinite(mean)]
    lowest = {x: min(mean for at, mean in finite if at == x) for x, _ in finite}
    line = ax.plot(sorted(lowest), [lowest[x] for x in sorted(lowest)], color=look.colour, linestyle=look.dash)
    dots = ax.plot(*zip(*finite, strict=True), look.marker, color=look.colour, markersize=4.5) if finite else []
    lost = [known[p] for p, mean in tuning.means.items() if p in known and math.isinf(mean)]
    look.mark(*line, *dots)
    if lost:  # an artist without a point has no place in a layout
        at_top: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "clip_on": False}
        look.mark(*ax.plot(lost, [1.0] * len(lost), "x", color=look.colour, **at_top))
    if (place := tuning.chosen) in known and math.isfinite(mean := tuning.means.get(place, math.inf)):
        ring = ax.plot([known[place]], [mean], "o", markersize=11, markerfacecolor="none", color=look.colour)
        look.mark(*ring)


def _draw_expected(arms: list[tuple[Arm, Tuning]], looks: Looks) -> Drawing:
    figure, (ax,) = make_panels(1)
    rows: list[dict[str, Any]] = []
    for arm, tuning in arms:
        means, look = list(tuning.means.values()), looks.of(arm)
        sizes = range(1, len(means) + 1)
        best: list[Any] = [expected_best(means, n) for n in sizes]
        look.mark(*ax.plot(sizes, best, color=look.colour, linestyle=look.dash, marker=look.marker, markersize=4))
        rows += [{"arm": arm.name, "trials": n, "expected_best": score} for n, score in zip(sizes, best, strict=True)]
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("trials")
    ax.set_ylabel("expected best " + LOSS)
    _legend(figure, arms, looks)
    caption = (
        "Expected best score after n trials drawn with replacement from those that were made (Dodge et al. 2019); trials "
        "that diverged are left out."
    )
    return finish(figure, "tuning_expected", caption, rows)


def _legend(figure: Any, arms: list[tuple[Arm, Tuning]], looks: Looks) -> None:
    add_legend(figure, [line_handle(looks.of(arm), arm.name) for arm, _ in arms], [looks.of(arm) for arm, _ in arms])


def _keys(arms: list[tuple[Arm, Tuning]]) -> list[str]:
    """Keys with several numbers, in the order of the lists."""
    named = dict.fromkeys(key for _, tuning in arms for point in tuning.points.values() for key in point)
    return [key for key in named if len({x for _, tuning in arms for x in _values(tuning, key)}) > 1][:MOST_KEYS]


def _values(tuning: Tuning, key: str) -> list[float]:
    return [float(x) for point in tuning.points.values() if is_number(x := point.get(key))]


def _rows(arm: Arm, tuning: Tuning) -> list[dict[str, Any]]:
    """One row a point."""
    return [
        {
            "arm": arm.name,
            "point": place,
            **point,
            "valid_nats_per_token": mean
            if (mean := tuning.means.get(place)) is not None and math.isfinite(mean)
            else None,
            "n_seeds": len(tuning.scores[place]),
            "n_diverged": sum(map(math.isinf, tuning.scores[place])),
            "chosen": place == tuning.chosen,
        }
        for place, point in tuning.points.items()
    ]
