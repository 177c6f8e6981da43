"""Which slot reads whose parameters, as a picture: a panel an arm, a row a layer, a column a parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from tietrain.report.arms import Comparison
from tietrain.report.figures.canvas import INK, OWN, PAPER, Drawing, Looks, figure_text, finish
from tietrain.report.ties import LAYERED

# Tol's light scheme without its greys: apart from the colours of arms, and dark text is legible on each.
SHARED = ("#77AADD", "#EE8866", "#EEDD88", "#44BB99", "#FFAABB", "#99DDFF", "#BBCC33", "#AAAA00")
CELL, MARGINS, WIDEST = 0.32, (1.7, 1.35), 13.0


def draw_owner_map(comparison: Comparison, looks: Looks) -> Drawing | None:
    """None where no arm recorded its plan."""
    arms = [arm for arm in comparison.arms if arm.first.owner]
    if not arms:
        return None
    grids = [Grid(arm.first.owner) for arm in arms]
    width = CELL * max(grid.width for grid in grids) + MARGINS[0]
    n_columns = min(len(arms), max(1, int(WIDEST / width)))
    n_rows = -(-len(arms) // n_columns)
    height = n_rows * (CELL * max(grid.height for grid in grids) + MARGINS[1])
    figure = Figure(figsize=(n_columns * width, height), layout="constrained")
    axes = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    for ax in axes[len(arms) :]:
        ax.set_visible(False)
    for ax, arm, grid in zip(axes, arms, grids, strict=False):
        looks.of(arm).mark(ax)
        _draw_grid(ax, grid)
        ax.set_title(figure_text(arm.name, width=40), loc="left", fontweight="bold")
    legend = [Patch(facecolor=OWN, edgecolor=PAPER, label="own parameters")]
    legend.append(Patch(facecolor=SHARED[0], edgecolor=PAPER, label="shared, named after the owner"))
    figure.legend(handles=legend, loc="outside lower left", ncols=2)
    caption = "Which parameters each place of the model uses: grey its own, coloured those it shares; one colour and label, one owner."
    rows = [
        {"arm": arm.name, "slot": slot, "owner": owner, "shape": "x".join(map(str, arm.first.shapes[slot]))}
        for arm in arms
        for slot, owner in arm.first.owner.items()
    ]
    return finish(figure, "owner_map", caption, rows)


class Grid:
    """Slots of a plan in rows and columns: layers of a stack by part and leaf, tables one below the other.

    cells: (row, column) -> slot of a layer; tables: row -> slot.
    """

    def __init__(self, owner: Mapping[str, str]):
        self.owner = owner
        found = {slot: LAYERED.fullmatch(slot) for slot in owner}
        layers = {slot: (m[1], int(m[2]), _column(m[3], m[4])) for slot, m in found.items() if m}
        self.columns = list(dict.fromkeys(column for _, _, column in layers.values()))
        names = dict.fromkeys((stack, layer) for stack, layer, _ in layers.values())
        plain = [slot for slot, m in found.items() if not m]
        self.rows = [*plain, *(f"{stack} {layer}" for stack, layer in names)]
        self.tables = dict(enumerate(plain))
        at = {name: len(plain) + i for i, name in enumerate(names)}
        self.cells = {(at[stack, layer], self.columns.index(c)): slot for slot, (stack, layer, c) in layers.items()}
        uses = list(owner.values())
        owners = dict.fromkeys(_place(root) for root in uses if uses.count(root) > 1)
        self._colours = {place: SHARED[i % len(SHARED)] for i, place in enumerate(owners)}
        self._shared = {root for root in uses if uses.count(root) > 1}

    @property
    def width(self) -> int:
        return max(len(self.columns), 6)

    @property
    def height(self) -> int:
        return len(self.rows)

    def colour(self, slot: str) -> str:
        root = self.owner[slot]
        return self._colours[_place(root)] if root in self._shared else OWN

    def label(self, slot: str) -> str:
        """Of a shared slot, the layer that owns it, or the table; nothing where it has its own parameters."""
        root = self.owner[slot]
        if root not in self._shared:
            return ""
        place, own = _place(root), _place(slot)
        stack, _, layer = place.partition(" ")
        return layer if layer and own.startswith(f"{stack} ") else f"{stack[:1]}{layer}" if layer else root


def _column(part: str, leaf: str) -> str:
    return f"{part}.{leaf}".removesuffix(".weight")


def _place(slot: str) -> str:
    """`decoder 3` of a slot in a layer, else the slot itself."""
    m = LAYERED.fullmatch(slot)
    return f"{m[1]} {m[2]}" if m else slot


def _draw_grid(ax: Axes, grid: Grid) -> None:
    style: dict[str, Any] = {"edgecolor": PAPER, "linewidth": 1}
    text: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "color": "#111111"}
    for (row, column), slot in grid.cells.items():
        ax.add_patch(Rectangle((column, row), 1, 1, facecolor=grid.colour(slot), **style))
        if label := grid.label(slot):
            ax.text(column + 0.5, row + 0.5, label, **text)
    for row, slot in grid.tables.items():
        ax.add_patch(Rectangle((0, row), grid.width, 1, facecolor=grid.colour(slot), **style))
        if label := grid.label(slot):
            name = figure_text(label.removesuffix(".weight"), width=60, most_lines=1)
            ax.text(grid.width / 2, row + 0.5, name, **text)
    ax.set_xlim(0, grid.width)
    ax.set_ylim(grid.height, 0)
    ax.set_xticks([i + 0.5 for i in range(len(grid.columns))], [figure_text(c) for c in grid.columns], rotation=90)
    ax.set_yticks(
        [i + 0.5 for i in range(grid.height)], [figure_text(row.removesuffix(".weight")) for row in grid.rows]
    )
    ax.tick_params(length=0, labelsize=8, colors=INK)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
