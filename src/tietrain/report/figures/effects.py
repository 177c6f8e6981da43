"""What each arm changed: its difference to the baseline at the same seeds, beside what it saved and its verdict."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tietrain.report.figures.canvas import INK, OWN, Drawing, Look, Looks, figure_text, finish
from tietrain.report.verdicts import ArmVerdict, Verdicts
from tietrain.runs.scores import Score

WIDTH, ROW = 9.6, 0.42


def draw_effects(judgement: Verdicts, looks: Looks) -> Drawing | None:
    """A row an arm; None where no two have a seed in common."""
    declared, found = judgement.declared, [one for one in judgement.arms if one.differences]
    if not found:
        return None
    figure = Figure(figsize=(WIDTH, 1.0 + ROW * len(found)), layout="constrained")
    ax = figure.subplots()
    if declared.margin:
        margin = declared.margin * declared.score.scale
        ax.axvspan(-margin, margin, color=OWN, alpha=0.6, linewidth=0, zorder=0)
    ax.axvline(0, color=INK, linewidth=1, zorder=1)
    for y, one in enumerate(found):
        _draw_arm(ax, y, one, looks.of(one.arm), declared.score)
    ax.set_yticks(range(len(found)), [figure_text(one.arm.name, width=36) for one in found])
    for label, one in zip(ax.get_yticklabels(), found, strict=True):
        looks.of(one.arm).mark(label)
    ax.set_ylim(len(found) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    better, worse = ("right", "left") if declared.score.sign > 0 else ("left", "right")
    ax.set_xlabel(
        f"{declared.score.title} on {figure_text(declared.split)}: arm minus {figure_text(declared.baseline)} "
        f"({better} is better, {worse} is worse)"
    )
    rows = [row for one in found for row in _rows(one, declared.score)]
    return finish(figure, "differences", _caption(judgement, found), rows)


def _draw_arm(ax: Axes, y: int, one: ArmVerdict, look: Look, score: Score) -> None:
    """Seeds as small points, their mean with its interval, and at the right in words what came of it."""
    seeds = [difference * score.scale for difference in one.differences]
    mean, test = sum(seeds) / len(seeds), one.paired
    if test:
        bar = ax.plot([test.low * score.scale, test.high * score.scale], [y, y], color=look.colour, linewidth=2.2)
        dots = ax.plot(seeds, [y + 0.22] * len(seeds), "|", color=look.colour, markersize=7, markeredgewidth=1.2)
        look.mark(*bar, *dots)
    look.mark(*ax.plot([mean], [y], look.marker, color=look.colour, markersize=8))
    text = ax.annotate(
        ", ".join([one.verdict, *_size(one)]), (1, y), (8, 0), ("axes fraction", "data"), "offset points", va="center"
    )
    look.mark(text)


def _size(one: ArmVerdict) -> list[str]:
    """Stored parameters against those of the baseline, whose vocabulary may be another."""
    ours, theirs = one.arm.first.params, one.base.arm.first.params if one.base else None
    if ours is None or not theirs:
        return []
    percent = 100 * (ours / theirs - 1)
    return (
        [f"{abs(percent):.1f} % {'fewer' if percent < 0 else 'more'} parameters"] if percent else ["as many parameters"]
    )


def _rows(one: ArmVerdict, score: Score) -> list[dict[str, Any]]:
    """A row a seed, and one of their mean."""
    assert one.base is not None
    seeds = sorted(one.values.keys() & one.base.values.keys())
    arm = {"arm": one.arm.name, "baseline": one.base.arm.name, "score": score.name}
    rows: list[dict[str, Any]] = [
        {**arm, "seed": seed, "difference": d} for seed, d in zip(seeds, one.differences, strict=True)
    ]
    test = one.paired
    if test:
        interval = {"difference": test.mean, "low": test.low, "high": test.high}
        rows.append({**arm, "seed": "mean", **interval, "verdict": one.verdict})
    return rows


def _caption(judgement: Verdicts, found: list[ArmVerdict]) -> str:
    caption = f"Difference of each arm to {judgement.declared.baseline} at the same seeds."
    if any(one.paired for one in found):
        caption += " Point and bar: mean and its 95 % t interval; strokes below: the seeds. The verdicts allow for the number of arms (Holm), "
        caption += "the bars do not."
    else:
        caption += " One seed: it may be chance."
    if judgement.declared.margin:
        caption += " Grey band: the margin within which a difference was said not to matter."
    return caption
