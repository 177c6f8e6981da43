"""FLOPs of runs: spent over training, and those of a token against sequence length."""

from __future__ import annotations

from typing import Any

from tietrain.report.arms import Arm, Comparison
from tietrain.report.canvas import (
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
from tietrain.report.collect import FLOP_KINDS
from tietrain.report.lengths import draw_kinds, kind_handles
from tietrain.report.losses import UNITS, curves

LENGTHS = [2**n for n in range(4, 17)]


def draw_flops(comparison: Comparison, looks: Looks) -> Drawing | None:
    """Training FLOPs of every run against target tokens, and against seconds where they are recorded."""
    arms = [arm for arm in comparison.arms if curves(arm)]
    units = [u for u in ("tokens", "seconds") if any(getattr(p, u) for a in arms for r in curves(a) for p in r.curve)]
    if not units:
        return None
    figure, axes = make_panels(len(units))
    for ax, unit in zip(axes, units, strict=True):
        for arm in arms:
            _draw_runs(ax, arm, looks, unit)
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
    return finish(figure, "flops_training", caption, rows)


def _draw_runs(ax: Any, arm: Arm, looks: Looks, unit: str) -> None:
    look = looks.of(arm)
    for run in curves(arm):
        points = [p for p in run.curve if getattr(p, unit) is not None]
        style: dict[str, Any] = {"color": look.colour, "linewidth": 1.1, "markersize": 4.5}
        style |= (
            {"linestyle": look.dash, "marker": look.marker}
            if run.status == "done"
            else {"linestyle": ":", "marker": "x"}
        )
        look.mark(*ax.plot([getattr(p, unit) for p in points], [p.flops for p in points], markevery=[-1], **style))


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
        rows += [{"arm": arm.name, **row} for arm in arms for row in by_length]
    add_legend(figure, kind_handles())
    caption = (
        "Forward FLOPs a target token by component, against length; every stack of the model holds as many tokens."
    )
    return finish(figure, "flops_length", caption, rows)


def _at(flops: dict[str, int], length: int) -> dict[str, int]:
    return {"length": length} | {kind: n * (length if kind == "scores" else 1) for kind, n in flops.items()}
