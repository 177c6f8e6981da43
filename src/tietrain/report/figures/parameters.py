"""Stored parameters and what tying saved, by part of the model."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.text import Annotation

from tietrain.report.arms import Arm, Comparison
from tietrain.report.figures.canvas import LEGEND_WIDTH, PAPER, Drawing, Looks, add_legend, figure_text, finish, scale_x
from tietrain.report.pages.markup import count
from tietrain.report.pages.tables import saved_percent

# Parts of a model, in forward order; Tol's light scheme, apart from the colours of arms.
PARTS = {
    "embed": ("embedding tables", "#77AADD"),
    "output": ("output projection", "#99DDFF"),
    "positions": ("positions", "#DDDDDD"),
    "self_attn": ("self-attention", "#44BB99"),
    "cross_attn": ("cross-attention", "#BBCC33"),
    "ffn": ("feed-forward", "#EE8866"),
    "norm": ("norms", "#AAAA00"),
    "other": ("other", "#FFAABB"),
}


def draw_parts(comparison: Comparison, looks: Looks) -> Drawing | None:
    """Stored parameters by part, one bar an arm; hatched behind them what tying saved."""
    arms = [arm for arm in comparison.arms if arm.first.by_part]
    if not arms:
        return None
    figure = Figure(figsize=(7.7 + LEGEND_WIDTH, 0.9 + 0.42 * len(arms)), layout="constrained")
    ax = figure.subplots()
    rows, used = [], set()
    for y, arm in enumerate(arms):
        left = 0
        for saved, parts in ((False, arm.first.by_part), (True, arm.first.saved_by_part)):
            sums = _by_kind(parts)
            for kind in (k for k in PARTS if sums.get(k)):
                used.add(kind)
                bar = ax.barh(y, sums[kind], left=left, height=0.68, **_bar_style(PARTS[kind][1], saved))
                looks.of(arm).mark(*bar)
                left += sums[kind]
            rows += [{"arm": arm.name, "part": part, "saved": saved, "parameters": n} for part, n in parts.items()]
        looks.of(arm).mark(_write_total(ax, y, left, arm))
    ax.set_yticks(range(len(arms)), [figure_text(arm.name) for arm in arms])
    for label, arm in zip(ax.get_yticklabels(), arms, strict=True):
        looks.of(arm).mark(label)
    ax.invert_yaxis()
    ax.margins(x=0.16)
    ax.grid(axis="y", visible=False)
    scale_x(ax, "parameters")
    handles = [
        Patch(label=title, **_bar_style(colour, False)) for kind, (title, colour) in PARTS.items() if kind in used
    ]
    if any(row["saved"] for row in rows):
        handles.append(Patch(label="saved by tying", **_bar_style("#888888", True)))
    add_legend(figure, handles)
    caption = "Stored parameters by part; hatched: what the same model would store besides, were nothing tied; in brackets the share that is saved."
    return finish(figure, "parameters_by_part", caption, rows)


def _write_total(ax: Axes, y: int, end: int, arm: Arm) -> Annotation:
    """What the bar comes to, behind it."""
    saved = saved_percent(arm.first)
    text = count(arm.first.params) + (f" ({-saved:.1f} %)" if saved else "")
    return ax.annotate(text, (end, y), (4, 0), textcoords="offset points", va="center", fontsize=8.5)


def _bar_style(colour: str, saved: bool) -> dict[str, Any]:
    if saved:
        return {"facecolor": PAPER, "edgecolor": colour, "hatch": "////", "linewidth": 0.8}
    return {"facecolor": colour, "edgecolor": PAPER, "linewidth": 0.8}


def _by_kind(parts: dict[str, int]) -> dict[str, int]:
    """`stack.part` -> n as kind -> n, over all stacks."""
    sums: dict[str, int] = {}
    for name, n in parts.items():
        part = name.rsplit(".", 1)[-1]
        kind = "norm" if part.endswith("norm") else part if part in PARTS else "other"
        sums[kind] = sums.get(kind, 0) + n
    return sums
