"""Figures of a comparison, each with the rows it was drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from tietrain.report.arms import Arm, Comparison, Stat
from tietrain.report.canvas import (
    LEGEND_WIDTH,
    STYLE,
    Drawing,
    Look,
    Looks,
    add_legend,
    dotted_handle,
    figure_text,
    finish,
    line_handle,
    make_panels,
    scale_x,
)
from tietrain.report.collect import Point, Run
from tietrain.report.tables import Score, shown_scores

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
# Of perplexities the one a token; the one a word says the same on another scale.
LOWER_IS_BETTER = ("excess_bits_per_byte", "excess_nats", "ppl_token", "bits_per_byte")


def draw_all(comparison: Comparison, looks: Looks) -> list[Drawing]:
    """The figures of a comparison; one that would be empty is left out."""
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        drawings = [
            draw_loss(comparison, looks, "tokens", "target tokens seen"),
            draw_loss(comparison, looks, "flops", "training FLOPs"),
            draw_quality(comparison, looks),
            draw_parts(comparison),
        ]
    return [drawing for drawing in drawings if drawing]


def draw_loss(comparison: Comparison, looks: Looks, unit: str, title: str) -> Drawing | None:
    """Validation loss against tokens or FLOPs; a panel for each target vocabulary, because nats a token mean another
    thing in each."""
    drawn = [arm for arm in comparison.arms if _curves(arm)]
    panels = [(v, [arm for arm in drawn if arm.target_vocabulary == v]) for v in comparison.vocabularies]
    panels = [(v, arms) for v, arms in panels if arms]
    if not panels:
        return None
    figure, axes = make_panels(len(panels))
    rows: list[dict[str, Any]] = []
    for ax, (vocabulary, arms) in zip(axes, panels, strict=True):
        for arm in arms:
            _draw_curves(ax, arm, looks.of(arm), unit)
            rows += _curve_rows(arm, comparison.vocabularies[vocabulary])
        _fit_loss(ax, arms)
        scale_x(ax, title)
        ax.set_ylabel("validation loss (nats per token)")
        if len(comparison.vocabularies) > 1:
            size = arms[0].vocab_size
            pieces = f" ({size:,} pieces)" if size else ""
            ax.set_title(f"vocabulary {comparison.vocabularies[vocabulary]}{pieces}", loc="left")
    arms = [arm for _, members in panels for arm in members]
    unfinished = any(run.status != "done" for arm in arms for run in _curves(arm))
    handles = [line_handle(looks.of(arm), arm.name) for arm in arms]
    add_legend(figure, handles + [dotted_handle()] * unfinished)
    caption = f"Validation loss against {title.replace('seen', '').strip()}."
    if any(len(arm.done) > 1 for arm in arms):
        caption += " Thick: mean over seeds; thin: each seed."
    if len(panels) > 1:
        caption += " Vocabularies differ: curves are comparable per token within a panel only."
    if unfinished:
        caption += " Dotted: runs that are in no mean (unfinished, failed, diverged or damaged)."
    return finish(figure, f"loss_{unit}", caption, rows)


def _curves(arm: Arm) -> list[Run]:
    return [run for run in arm.runs if run.curve and run not in arm.repeated]


def _draw_curves(ax: Axes, arm: Arm, look: Look, unit: str) -> None:
    done = [run for run in _curves(arm) if run.status == "done"]
    for run in _curves(arm):
        xs, ys = [getattr(p, unit) for p in run.curve], [p.nats_per_token for p in run.curve]
        if run.status != "done":
            ax.plot(xs, ys, color=look.colour, linestyle=":", linewidth=1.1)
            ax.plot(xs[-1:], ys[-1:], color=look.colour, marker="x", linestyle="none", markersize=5)
        elif len(done) > 1:
            ax.plot(xs, ys, color=look.colour, linewidth=0.6, alpha=0.45)
    mean = _mean_curve(done)
    xs, ys = [getattr(p, unit) for p in mean], [p.nats_per_token for p in mean]
    ax.plot(xs, ys, color=look.colour, linestyle=look.dash, marker=look.marker, markersize=3.2)


def _mean_curve(done: Sequence[Run]) -> list[Point]:
    """Mean over seeds at the steps that every seed was looked at."""
    if not done:
        return []
    by_step = [{p.step: p for p in run.curve} for run in done]
    steps = [step for step in by_step[0] if all(step in points for points in by_step)]
    n = len(done)
    return [
        Point(
            step,
            sum(points[step].tokens for points in by_step) / n,
            sum(points[step].flops for points in by_step) / n,
            sum(points[step].nats_per_token for points in by_step) / n,
        )
        for step in steps
    ]


def _fit_loss(ax: Axes, arms: Sequence[Arm]) -> None:
    """Axes that finished runs decide: a diverged one leaves through the top instead of flattening all others."""
    points = [p for arm in arms for run in arm.done for p in run.curve]
    if points:
        low, high = min(p.nats_per_token for p in points), max(p.nats_per_token for p in points)
        margin = 0.05 * (high - low) or 0.05
        ax.set_ylim(low - margin, high + margin)
    ax.set_xlim(left=0)


def _curve_rows(arm: Arm, vocabulary: str) -> list[dict[str, Any]]:
    return [
        {
            "arm": arm.name,
            "vocabulary": vocabulary,
            "seed": run.seed,
            "status": run.status,
            "step": p.step,
            "tokens": p.tokens,
            "flops": p.flops,
            "valid_nats_per_token": p.nats_per_token,
        }
        for run in _curves(arm)
        for p in run.curve
    ]


def draw_quality(comparison: Comparison, looks: Looks) -> Drawing | None:
    """Scores of one split against stored parameters: the primary score, and BLEU under its ceiling for translation."""
    split = next(iter(comparison.splits), "")
    scores = _plotted(comparison, split)
    arms = [arm for arm in comparison.arms if arm.done and arm.first.params is not None]
    if not scores or not arms:
        return None
    figure, axes = make_panels(len(scores))
    rows = []
    for ax, score in zip(axes, scores, strict=True):
        for arm in arms:
            stat = arm.score(split, score.name)
            if stat is None:
                continue
            look, sd = looks.of(arm), None if stat.sd is None else [stat.sd]
            at = [float(arm.first.params or 0)], [stat.mean]
            ax.errorbar(*at, yerr=sd, color=look.colour, marker=look.marker, markersize=7, capsize=3)
            rows.append(_quality_row(arm, split, score.name, stat))
        ax.margins(x=0.12, y=0.12)
        if score.name == "bleu":
            _draw_ceiling(ax, comparison, split)
        scale_x(ax, "stored parameters")
        ax.set_ylabel(f"{score.title}, {split} ({'higher' if score.name == 'bleu' else 'lower'} is better)")
    add_legend(figure, [line_handle(looks.of(arm), arm.name, dash="none") for arm in arms])
    caption = f"Scores on {split} against stored parameters."
    if any(row["sd"] is not None for row in rows):
        caption += " Bars: ± one standard deviation over seeds."
    else:
        caption += " One seed: a difference may be chance."
    return finish(figure, "quality_parameters", caption, rows)


def _plotted(comparison: Comparison, split: str) -> list[Score]:
    """At most two scores that all arms may be compared by: none a token where vocabularies differ."""
    several = len(comparison.vocabularies) > 1
    scored = [s for s in shown_scores(comparison) if any(a.score(split, s.name) for a in comparison.arms)]
    usable = [s for s in scored if not (several and s.per_token)]
    lower = [s for s in usable if s.name in LOWER_IS_BETTER]
    bleu = [s for s in usable if s.name == "bleu"]
    return lower[:1] + bleu if bleu else lower[:2]


def _quality_row(arm: Arm, split: str, score: str, stat: Stat) -> dict[str, Any]:
    return {"arm": arm.name, "params": arm.first.params, "split": split, "score": score, **asdict(stat)}


def _draw_ceiling(ax: Axes, comparison: Comparison, split: str) -> None:
    """The oracle's BLEU, one for all arms because it belongs to the corpus: a line where it is near, else its value."""
    ceilings = [stat.mean for arm in comparison.arms if (stat := arm.score(split, "oracle_bleu"))]
    if not ceilings:
        return
    low, high = ax.get_ylim()
    style: dict[str, Any] = {"ha": "right", "fontsize": 8, "color": "#555555"}
    if ceilings[0] <= high + (high - low):
        ax.axhline(ceilings[0], color="#555555", linestyle=(0, (4, 2)), linewidth=1)
        at = (0.99, ceilings[0])
        ax.annotate(
            "oracle", at, xycoords=("axes fraction", "data"), xytext=(0, 2), textcoords="offset points", **style
        )
    else:
        ax.text(0.99, 0.99, f"oracle {ceilings[0]:.1f}, above", transform=ax.transAxes, va="top", **style)


def draw_parts(comparison: Comparison) -> Drawing | None:
    """Stored parameters by part, one bar an arm; hatched behind them what tying saved."""
    arms = [arm for arm in comparison.arms if arm.first.by_part]
    if not arms:
        return None
    figure = Figure(figsize=(6.2 + LEGEND_WIDTH, 0.9 + 0.42 * len(arms)), layout="constrained")
    ax = figure.subplots()
    rows, used = [], set()
    for y, arm in enumerate(arms):
        left = 0
        for saved, parts in ((False, arm.first.by_part), (True, arm.first.saved_by_part)):
            sums = _by_kind(parts)
            for kind in (k for k in PARTS if sums.get(k)):
                used.add(kind)
                ax.barh(y, sums[kind], left=left, height=0.68, **_bar_style(PARTS[kind][1], saved))
                left += sums[kind]
            rows += [{"arm": arm.name, "part": part, "saved": saved, "parameters": n} for part, n in parts.items()]
    ax.set_yticks(range(len(arms)), [figure_text(arm.name) for arm in arms])
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    scale_x(ax, "parameters")
    handles = [
        Patch(label=title, **_bar_style(colour, False)) for kind, (title, colour) in PARTS.items() if kind in used
    ]
    if any(row["saved"] for row in rows):
        handles.append(Patch(label="saved by tying", **_bar_style("#888888", True)))
    add_legend(figure, handles)
    caption = "Stored parameters by part; hatched: what the same model would store besides, were nothing tied."
    return finish(figure, "parameters_by_part", caption, rows)


def _bar_style(colour: str, saved: bool) -> dict[str, Any]:
    if saved:
        return {"facecolor": "white", "edgecolor": colour, "hatch": "////", "linewidth": 0.8}
    return {"facecolor": colour, "edgecolor": "white", "linewidth": 0.8}


def _by_kind(parts: dict[str, int]) -> dict[str, int]:
    """`stack.part` -> n as kind -> n, over all stacks."""
    sums: dict[str, int] = {}
    for name, n in parts.items():
        part = name.rsplit(".", 1)[-1]
        kind = "norm" if part.endswith("norm") else part if part in PARTS else "other"
        sums[kind] = sums.get(kind, 0) + n
    return sums
