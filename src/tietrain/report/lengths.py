"""FLOPs a token against sequence length, with the lengths at which attention overtakes the rest."""

from __future__ import annotations

from math import log10
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from tietrain.report.canvas import COLOURS, MARKERS, STYLE, Drawing, add_legend, finish, make_panels, power_of_ten

# Kind of a term -> its name and colour.
KINDS = {
    "projections": ("attention projections", COLOURS[3]),
    "ffn": ("feed-forward", COLOURS[4]),
    "logits": ("logits", COLOURS[6]),
    "scores": ("attention scores", COLOURS[5]),
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
        for kind, (_, colour) in KINDS.items():
            absolute.plot(lengths, [row[kind] for row in rows], color=colour)
        marks = _mark_crossings(absolute, body, lengths)
        absolute.set_yscale("log")
        absolute.yaxis.set_major_formatter(FuncFormatter(lambda y, _: power_of_ten(round(log10(y)))))
        absolute.set_ylabel(body["unit"])
        absolute.set_title(title, loc="left")
        parts = [[100 * row["shares"][kind] for row in rows] for kind in KINDS]
        shares.stackplot(lengths, *parts, colors=[colour for _, colour in KINDS.values()], linewidth=0)
        shares.set_ylim(0, 100)
        shares.set_ylabel("share (%)")
        for ax in (absolute, shares):
            ax.set_xscale("log", base=2)
            ax.set_xticks(lengths[:: -(-len(lengths) // MOST_TICKS)])
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
            ax.margins(x=0)
            ax.set_xlabel("tokens a sequence")
        add_legend(figure, [Line2D([], [], color=colour, label=name) for name, colour in KINDS.values()] + marks)
        caption = f"FLOPs against sequence length ({body['convention']}); crossings are of the stack alone."
        return finish(figure, "flops_length", caption, rows)


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
