"""FLOPs: those that runs spent over training, and those per token against sequence length."""

from collections.abc import Sequence
from math import log10
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from tietrain.report.arms import Arm, Comparison
from tietrain.report.figures import canvas
from tietrain.report.figures.losses import UNITS, any_unfinished, curves
from tietrain.runs.view import FLOP_KINDS

LENGTHS = [2**n for n in range(4, 17)]
MOST_TICKS = 6
# Length of a stripe, in line widths.
STRIPE = 5
# Kind of a term -> its name, colour as in the figure of parameters, and marker; no arm has any of these colours.
KINDS = {
    "projections": ("attention projections", "#44BB99", "o"),
    "ffn": ("feed-forward", "#EE8866", "s"),
    "logits": ("logits", "#77AADD", "D"),
    "scores": ("attention scores", "#AAAA00", "^"),
}


def draw_training_flops(comparison: Comparison, styles: canvas.ArmStyles) -> canvas.Drawing | None:
    """Training FLOPs of every run against target tokens, and against seconds if they are recorded."""
    arms = [arm for arm in comparison.arms if curves(arm)]
    points = [point for arm in arms for run in curves(arm) for point in run.curve]
    units = [unit for unit in ("tokens", "seconds") if any(getattr(point, unit) for point in points)]
    if not units:
        return None
    figure, axes = canvas.make_panels(len(units))
    alike = alike_arms(arms)
    for ax, unit in zip(axes, units, strict=True):
        for arm, group in zip(arms, alike, strict=True):
            draw_runs(ax, arm, styles, unit, group if unit == "tokens" else [arm])
        ax.set_xlim(left=0)
        ax.set_ylim(bottom=0)
        canvas.scale_axis(ax.xaxis, UNITS[unit])
        canvas.scale_axis(ax.yaxis, "training FLOPs")
    canvas.add_legend(figure, canvas.arm_handles(arms, styles) + [canvas.dotted_handle()] * any_unfinished(arms))
    rows = [
        {"arm": arm.name, "seed": run.seed, "status": run.status, "step": p.step}
        | {unit: getattr(p, unit) for unit in ("tokens", "seconds", "flops")}
        for arm in arms
        for run in curves(arm)
        for p in run.curve
    ]
    caption = "Training FLOPs spent, one line per run. Sharing parameters does not change them; depth, width and vocabulary do."
    together = dict.fromkeys(" = ".join(arm.name for arm in group) for group in alike if len(group) > 1)
    if together:
        caption += f" Striped at the left: arms that spend the same per token ({'; '.join(together)})."
    return canvas.finish(figure, "flops_training", caption, rows)


def alike_arms(arms: Sequence[Arm]) -> list[list[Arm]]:
    """For each arm, all arms that spend exactly as much: their curves against tokens cover one another."""
    ends = [{(p.tokens, p.flops) for run in curves(arm) for p in run.curve[-1:]} for arm in arms]
    return [[other for other, its in zip(arms, ends, strict=True) if its & end] for end in ends]


def draw_runs(ax: Axes, arm: Arm, styles: canvas.ArmStyles, unit: str, alike: Sequence[Arm]) -> None:
    """One line per run, equal ones once; each of the arms alike has its stripe of the line and a place for its marker."""
    style = styles.of(arm)
    i, n = alike.index(arm), len(alike)
    dash = style.dash if n == 1 else (i * STRIPE, (STRIPE, (n - 1) * STRIPE))
    lines: dict[tuple[tuple[tuple[float, float], ...], bool], None] = {}
    for run in curves(arm):
        points = tuple((x, p.flops) for p in run.curve if (x := getattr(p, unit)) is not None)
        if points:
            lines[points, run.status == "done"] = None
    for points, done in lines:
        line: dict[str, Any] = {"linestyle": ":", "marker": "x", "markevery": [-1]}
        if done:
            place = round((len(points) - 1) * (i + 1) / n)
            line = {"linestyle": dash, "marker": style.marker, "markevery": [place]}
        line |= {"color": style.colour, "linewidth": 1.3, "markersize": 5, "dash_capstyle": "butt"}
        style.mark(*ax.plot(*zip(*points, strict=True), **line))


def draw_flops_by_length(comparison: Comparison) -> canvas.Drawing | None:
    """Forward FLOPs per target token by component; arms whose tokens cost the same at every length share a panel."""
    alike: dict[tuple[int, ...], list[Arm]] = {}
    for arm in comparison.arms:
        if any(arm.first.flops_by_kind.values()):
            alike.setdefault(tuple(arm.first.flops_by_kind[kind] for kind in FLOP_KINDS), []).append(arm)
    if not alike:
        return None
    figure, axes = canvas.make_panels(len(alike))
    rows: list[dict[str, Any]] = []
    for ax, (flops, arms) in zip(axes, alike.items(), strict=True):
        by_length = [_at_length(dict(zip(FLOP_KINDS, flops, strict=True)), length) for length in LENGTHS]
        _draw_kinds(ax, by_length)
        ax.set_title(canvas.figure_text(", ".join(arm.name for arm in arms), width=52), loc="left")
        ax.set_ylabel("forward FLOPs per target token")
        rows += [{"arm": arm.name, "route": " + ".join(arm.first.route), **row} for arm in arms for row in by_length]
    canvas.add_legend(figure, _kind_handles())
    caption = "Forward FLOPs per target token by component, against sequence length"
    routes = dict.fromkeys(row["route"] for row in rows if "+" in row["route"])
    caption += f"; source and target have the same length ({', '.join(routes)})." if routes else "."
    return canvas.finish(figure, "flops_length", caption, rows)


def _at_length(flops: dict[str, int], length: int) -> dict[str, int]:
    return {"length": length} | {kind: n * (length if kind == "scores" else 1) for kind, n in flops.items()}


def draw_lengths(body: dict[str, Any], title: str) -> canvas.Drawing:
    """Forward FLOPs per target token by kind, and their shares; crossings inside the range are marked.

    Args:
        body: rows and crossings, as `tietrain plan --lengths LIST --json` has them under `lengths`.
        title: the model's name.
    """
    rows = body["rows"]
    lengths = [row["length"] for row in rows]
    with matplotlib.rc_context(canvas.RC_PARAMS):
        figure, (absolute, shares) = canvas.make_panels(2)
        _draw_kinds(absolute, rows)
        marks = _mark_crossings(absolute, body, lengths)
        absolute.set_ylabel(body["unit"])
        absolute.set_title(title, loc="left")
        parts = [[100 * row["shares"][kind] for row in rows] for kind in KINDS]
        shares.stackplot(lengths, *parts, colors=[colour for _, colour, _ in KINDS.values()], linewidth=0)
        shares.set_ylim(0, 100)
        shares.set_ylabel("share (%)")
        _scale_lengths(shares, lengths)
        canvas.add_legend(figure, _kind_handles() + marks)
        caption = f"FLOPs against sequence length ({body['convention']}). Crossings are those of the stack alone."
        return canvas.finish(figure, "flops_length", caption, rows)


def _draw_kinds(ax: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """One line per kind on logarithmic axes; rows: length, and kind -> FLOPs per token."""
    lengths = [row["length"] for row in rows]
    for kind, (_, colour, marker) in KINDS.items():
        ax.plot(lengths, [row[kind] for row in rows], color=colour, marker=marker, markersize=4)
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: canvas.power_of_ten(round(log10(y)))))
    _scale_lengths(ax, lengths)


def _scale_lengths(ax: Axes, lengths: Sequence[int]) -> None:
    ax.set_xscale("log", base=2)
    ax.set_xticks(lengths[:: -(-len(lengths) // MOST_TICKS)])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    ax.margins(x=0)
    ax.set_xlabel("tokens per sequence")


def _kind_handles() -> list[Line2D]:
    return [Line2D([], [], color=c, marker=m, markersize=4, label=name) for name, c, m in KINDS.values()]


def _mark_crossings(ax: Axes, body: dict[str, Any], lengths: list[int]) -> list[Line2D]:
    """A vertical line and a marker on the scores for each crossing in the range; returns their legend entries."""
    per_length = body["rows"][0]["scores"] / lengths[0]
    handles = []
    for marker, (name, at) in zip(canvas.MARKERS, body["crossings"].items(), strict=False):
        where = "every length" if at is None else f"T = {at:,.0f}"
        if at is not None and lengths[0] <= at <= lengths[-1]:
            ax.axvline(at, color="#999999", linewidth=0.8, linestyle=":")
            ax.plot([at], [per_length * at], color="#000000", marker=marker, markersize=5)
        label = f"{name}:\n{where}"
        handles.append(Line2D([], [], color="#000000", marker=marker, linestyle="none", markersize=5, label=label))
    return handles
