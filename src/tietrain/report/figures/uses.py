"""How the uses of shared parameters pull, by time: their cancellation, and each use's share in the gradient of a tied table."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from tietrain.report.arms import Arm, Comparison
from tietrain.report.figures import canvas
from tietrain.report.pages.uses_text import uses_rows
from tietrain.report.uses import Shared, course, shared_of, shares

# Arms whose tied tables are drawn; the file beside the figure has all.
MOST_TABLES = 5
USES = ("#000000", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9")
DASHES: dict[str, Any] = {"layers": "-", "tables": "--"}


def draw_uses(comparison: Comparison, styles: canvas.ArmStyles) -> canvas.Drawing | None:
    """Cancellation of every shared block, and the shares of tied tables; None if no run looked at gradients by use."""
    found = [(arm, shared) for arm in comparison.arms for shared in shared_of(arm)]
    if not found:
        return None
    tables = [(arm, shared) for arm, shared in found if shared.uses][:MOST_TABLES]
    figure, (first, *others) = canvas.make_panels(1 + len(tables))
    for arm, shared in found:
        style = styles.of(arm)
        values = course(arm, shared, "cancellation")
        style.mark(
            *first.plot(*_xy(values), color=style.colour, marker=style.marker, markersize=4, linestyle=_dash(shared))
        )
    first.set_ylim(0, 1.05)
    first.set_xlabel("step")
    first.set_ylabel("norm of the sum / sum of the norms")
    first.set_title("cancellation between uses", loc="left")
    for ax, (arm, shared) in zip(others, tables, strict=True):
        _draw_shares(ax, arm, shared)
    handles = canvas.arm_handles([arm for arm in comparison.arms if shared_of(arm)], styles)
    handles += [Line2D([], [], color=canvas.INK, linestyle=dash, label=text) for text, dash in DASHES.items()]
    canvas.add_legend(figure, handles)
    caption = (
        "Gradients of shared parameters, each use apart, mean over runs. Left: 1 if all uses pull alike. Tables: each use's share in "
        "the sum of the gradients' norms; dashed: in Adam's update on the rows that were read."
    )
    return canvas.finish(figure, "uses", caption, uses_rows(comparison))


def _dash(shared: Shared) -> Any:
    return DASHES["tables" if shared.uses else "layers"]


def _draw_shares(ax: Axes, arm: Arm, shared: Shared) -> None:
    for measure, dash in (("norm", "-"), ("adam_read", "--")):
        for (use, values), colour in zip(shares(arm, shared, measure).items(), USES, strict=False):
            label = canvas.figure_text(use) if measure == "norm" else None
            ax.plot(*_xy(values), color=colour, linestyle=dash, marker="o", markersize=3, label=label)
    ax.set_ylim(0, 1)
    ax.set_xlabel("step")
    ax.set_ylabel("share of the uses' norms")
    ax.set_title(canvas.figure_text(f"{arm.name}: {shared.name}", width=52), loc="left")
    ax.legend(loc="best")


def _xy(values: dict[int, float]) -> tuple[list[int], list[float]]:
    return [*values], [*values.values()]
