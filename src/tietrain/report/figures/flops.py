"""FLOPs of runs: spent over training, and those of a token against sequence length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tietrain.report.arms import Arm, Comparison
from tietrain.report.figures.canvas import (
    Drawing,
    Looks,
    add_legend,
    dotted_handle,
    figure_text,
    finish,
    line_handle,
    make_panels,
    scale_x,
    scale_y,
)
from tietrain.report.figures.lengths import draw_kinds, kind_handles
from tietrain.report.figures.losses import UNITS, curves
from tietrain.runs.view import FLOP_KINDS

LENGTHS = [2**n for n in range(4, 17)]
# Length of a stripe, in line widths.
STRIPE = 5


def draw_flops(comparison: Comparison, looks: Looks) -> Drawing | None:
    """Training FLOPs of every run against target tokens, and against seconds where they are recorded."""
    arms = [arm for arm in comparison.arms if curves(arm)]
    units = [u for u in ("tokens", "seconds") if any(getattr(p, u) for a in arms for r in curves(a) for p in r.curve)]
    if not units:
        return None
    figure, axes = make_panels(len(units))
    for ax, unit in zip(axes, units, strict=True):
        for arm, alike in zip(arms, alike_arms(arms), strict=True):
            draw_runs(ax, arm, looks, unit, alike if unit == "tokens" else [arm])
        ax.set_xlim(left=0)
        ax.set_ylim(bottom=0)
        scale_x(ax, UNITS[unit])
        scale_y(ax, "training FLOPs")
    handles = [line_handle(looks.of(arm), arm.name) for arm in arms]
    unfinished = any(run.status != "done" for arm in arms for run in curves(arm))
    add_legend(figure, handles + [dotted_handle()] * unfinished, [*map(looks.of, arms)])
    rows = [
        {"arm": arm.name, "seed": run.seed, "status": run.status, "step": p.step}
        | {unit: getattr(p, unit) for unit in ("tokens", "seconds", "flops")}
        for arm in arms
        for run in curves(arm)
        for p in run.curve
    ]
    caption = "Training FLOPs spent, a line a run: sharing parameters changes none, depth, width and vocabulary do."
    together = dict.fromkeys(" = ".join(arm.name for arm in alike) for alike in alike_arms(arms) if len(alike) > 1)
    if together:
        caption += f" Striped at the left, because these spend the same a token: {'; '.join(together)}."
    return finish(figure, "flops_training", caption, rows)


def alike_arms(arms: Sequence[Arm]) -> list[list[Arm]]:
    """Of each arm, all that spend just what it does: their curves against tokens lie on one another."""
    ends = [{(p.tokens, p.flops) for run in curves(arm) for p in run.curve[-1:]} for arm in arms]
    return [[other for other, its in zip(arms, ends, strict=True) if its & end] for end in ends]


def draw_runs(ax: Any, arm: Arm, looks: Looks, unit: str, alike: Sequence[Arm]) -> None:
    """A line a run; of those alike every one a stripe of it, and its marker at a place of its own."""
    look, i, n = looks.of(arm), alike.index(arm), len(alike)
    dash = look.dash if n == 1 else (i * STRIPE, (STRIPE, (n - 1) * STRIPE))
    for run in curves(arm):
        points = [p for p in run.curve if getattr(p, unit) is not None]
        if not points:
            continue
        done = run.status == "done"
        style: dict[str, Any] = (
            {"linestyle": dash, "marker": look.marker} if done else {"linestyle": ":", "marker": "x"}
        )
        style |= {"markevery": [round((len(points) - 1) * (i + 1) / n)] if done else [-1], "dash_capstyle": "butt"}
        xs, ys = [getattr(p, unit) for p in points], [p.flops for p in points]
        look.mark(*ax.plot(xs, ys, color=look.colour, linewidth=1.3, markersize=5, **style))


def draw_by_length(comparison: Comparison) -> Drawing | None:
    """Forward FLOPs of a target token by component; a panel for arms whose tokens cost the same at every length."""
    alike: dict[tuple[int, ...], list[Arm]] = {}
    for arm in comparison.arms:
        if any(arm.first.flops_by_kind.values()):
            alike.setdefault(tuple(arm.first.flops_by_kind[kind] for kind in FLOP_KINDS), []).append(arm)
    if not alike:
        return None
    figure, axes = make_panels(len(alike))
    rows: list[dict[str, Any]] = []
    for ax, (flops, arms) in zip(axes, alike.items(), strict=True):
        by_length = [_at(dict(zip(FLOP_KINDS, flops, strict=True)), length) for length in LENGTHS]
        draw_kinds(ax, by_length)
        ax.set_title(figure_text(", ".join(arm.name for arm in arms), width=52), loc="left")
        ax.set_ylabel("forward FLOPs a target token")
        rows += [{"arm": arm.name, "route": " + ".join(arm.first.route), **row} for arm in arms for row in by_length]
    add_legend(figure, kind_handles())
    caption = "Forward FLOPs a target token by component, against length"
    routes = dict.fromkeys(row["route"] for row in rows if "+" in row["route"])
    caption += f"; source and target are as long ({', '.join(routes)})." if routes else "."
    return finish(figure, "flops_length", caption, rows)


def _at(flops: dict[str, int], length: int) -> dict[str, int]:
    return {"length": length} | {kind: n * (length if kind == "scores" else 1) for kind, n in flops.items()}
