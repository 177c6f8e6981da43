"""FLOPs a token against sequence length, with the lengths at which attention overtakes the rest."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from tietrain.report.figures.canvas import MARKERS, STYLE, Drawing, add_legend, finish, make_panels, power_of_ten

# Kind of a term -> its name, colour, as the figure of parameters has it, and marker; no arm has one of these.
KINDS = {
    "projections": ("attention projections", "#44BB99", "o"),
    "ffn": ("feed-forward", "#EE8866", "s"),
    "logits": ("logits", "#77AADD", "D"),
    "scores": ("attention scores", "#AAAA00", "^"),
}
MOST_TICKS = 6


def draw_lengths(body: dict[str, Any], title: str) -> Drawing:
    """Forward FLOPs a target token by kind, and their shares; crossings are marked where they lie in the range.

    Args:
        body: rows and crossings, as `tietrain plan --lengths LIST --json` has them under `lengths`.
        title: of what model.
    """
    rows = body["rows"]
    lengths = [row["length"] for row in rows]
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        figure, (absolute, shares) = make_panels(2)
        draw_kinds(absolute, rows)
        marks = _mark_crossings(absolute, body, lengths)
        absolute.set_ylabel(body["unit"])
        absolute.set_title(title, loc="left")
        parts = [[100 * row["shares"][kind] for row in rows] for kind in KINDS]
        shares.stackplot(lengths, *parts, colors=[colour for _, colour, _ in KINDS.values()], linewidth=0)
        shares.set_ylim(0, 100)
        shares.set_ylabel("share (%)")
        _scale_lengths(shares, lengths)
        add_legend(figure, kind_handles() + marks)
        caption = f"FLOPs against sequence length ({body['convention']}); crossings are of the stack alone."
        return finish(figure, "flops_length", caption, rows)


def draw_kinds(ax: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """A line for each kind on logarithmic axes; rows: length, and kind -> FLOPs a token."""
    for kind, (_, colour, marker) in KINDS.items():
        lengths, flops = [row["length"] for row in rows], [row[kind] for row in rows]
        ax.plot(lengths, flops, color=colour, marker=marker, markersize=4)
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: power_of_ten(round(log10(y)))))
    _scale_lengths(ax, [row["length"] for row in rows])


def _scale_lengths(ax: Axes, lengths: Sequence[int]) -> None:
    ax.set_xscale("log", base=2)
    ax.set_xticks(lengths[:: -(-len(lengths) // MOST_TICKS)])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    ax.margins(x=0)
    ax.set_xlabel("tokens a sequence")


def kind_handles() -> list[Line2D]:
    """Legend entries of the kinds."""
    return [Line2D([], [], color=c, marker=m, markersize=4, label=name) for name, c, m in KINDS.values()]


def _mark_crossings(ax: Axes, body: dict[str, Any], lengths: list[int]) -> list[Line2D]:
    """A vertical line and a marker on the scores for each crossing in the range; returns their legend entries."""
    per_length = body["rows"][0]["scores"] / lengths[0]
    handles = []
    for marker, (name, at) in zip(MARKERS, body["crossings"].items(), strict=False):
        where = "every length" if at is None else f"T = {at:,.0f}"
        if at is not None and lengths[0] <= at <= lengths[-1]:
            ax.axvline(at, color="#999999", linewidth=0.8, linestyle=":")
            ax.plot([at], [per_length * at], color="#000000", marker=marker, markersize=5)
        label = f"{name}:\n{where}"
        handles.append(Line2D([], [], color="#000000", marker=marker, linestyle="none", markersize=5, label=label))
    return handles
