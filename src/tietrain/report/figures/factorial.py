"""Scores of layers that are shared and not shared, with the recipe's settings and tuned, by tokens."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from tietrain.report.factorial import CELLS, DEEP, SHARED, UNSHARED, Factorial, factorials
from tietrain.report.figures import canvas
from tietrain.report.pages.factorial_text import factorial_rows
from tietrain.report.verdicts import Verdicts

COLOURS = {UNSHARED: "#000000", SHARED: "#D55E00", DEEP: "#56B4E9"}
DASHES = {False: "--", True: "-"}
# Cells stand beside each other, so that their intervals can be told apart: a part of their tokens.
ASIDE = 0.03


def draw_factorial(verdicts: Verdicts) -> canvas.Drawing | None:
    """A panel for each way of sharing layers; None if the cells are not there."""
    found = [one for one in factorials(verdicts) if any(budget.sums for budget in one.budgets)]
    if not found:
        return None
    declared = verdicts.declared
    figure, panels = canvas.make_panels(len(found))
    for ax, one in zip(panels, found, strict=True):
        for place, letter in enumerate(CELLS):
            _draw_cell(ax, one, letter, 1 + ASIDE * place, declared.score.scale)
        tokens = [budget.tokens for budget in one.budgets]
        ax.set_xscale("log")
        ax.set_xticks(tokens, [f"{n:,.0f}" for n in tokens])
        ax.minorticks_off()
        ax.set_xlabel("target tokens of training")
        ax.set_ylabel(f"{declared.score.title} on {canvas.figure_text(declared.split)}")
        ax.set_title(canvas.figure_text(one.label, width=52), loc="left")
    handles = []
    for letter, (layers, tuned) in CELLS.items():
        label = f"{letter}: {layers}, {'tuned' if tuned else 'recipe'}"
        style: dict[str, Any] = {"color": COLOURS[layers], "linestyle": DASHES[tuned]}
        handles.append(Line2D([], [], marker="o", markersize=4, label=label, **style))
    canvas.add_legend(figure, handles)
    caption = "Means over seeds with 95 % intervals, which hold the luck of tuning; cells with as many tokens estimate one noise."
    return canvas.finish(figure, "depth_or_convergence", caption, factorial_rows(verdicts))


def _draw_cell(ax: Axes, found: Factorial, letter: str, aside: float, scale: float) -> None:
    layers, tuned = CELLS[letter]
    points = [(budget.tokens * aside, budget.sums[letter]) for budget in found.budgets if letter in budget.sums]
    xs = [x for x, _ in points]
    for x, estimate in points:
        ax.plot([x, x], [estimate.low * scale, estimate.high * scale], color=COLOURS[layers], linewidth=1)
    ys = [estimate.value * scale for _, estimate in points]
    ax.plot(xs, ys, color=COLOURS[layers], linestyle=DASHES[tuned], marker="o", markersize=4)
