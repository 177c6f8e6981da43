"""The model of each arm: stored parameters by part with what tying saved, and which slot uses whose parameters."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon, Rectangle

from tietrain.report.arms import Arm, Comparison
from tietrain.report.figures import canvas
from tietrain.report.pages.markup import count, join_some
from tietrain.report.pages.tables import saved_percent
from tietrain.report.ties import LAYERED

# Parts of a model in forward order, in colours of Tol's light scheme, which no arm has.
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
# The same scheme without its greys; dark text is legible on each.
SHARED = ("#77AADD", "#EE8866", "#EEDD88", "#44BB99", "#FFAABB", "#99DDFF", "#BBCC33", "#AAAA00")
CELL, MARGINS, WIDEST = 0.32, (1.7, 1.35), 13.0
# A triangle in the upper right of a square from -1 to 1.
CORNER = [(-1, 1), (1, 1), (1, -1)]
# A taller map cannot be read.
MOST_ROWS = 200


def draw_parameters(comparison: Comparison, styles: canvas.ArmStyles) -> canvas.Drawing | None:
    """Stored parameters by part, one bar per arm, followed by a hatched bar of what tying saved."""
    arms = [arm for arm in comparison.arms if arm.first.by_part]
    if not arms:
        return None
    figure = Figure(figsize=(7.7 + canvas.LEGEND_WIDTH, 0.9 + 0.42 * len(arms)), layout="constrained")
    ax = figure.subplots()
    rows, used = [], set()
    for y, arm in enumerate(arms):
        left = 0
        for saved, parts in ((False, arm.first.by_part), (True, arm.first.saved_by_part)):
            sums = _by_kind(parts)
            for kind in (k for k in PARTS if sums.get(k, 0) > 0):  # what views add is among what is stored
                used.add(kind)
                bar = ax.barh(y, sums[kind], left=left, height=0.68, **_bar_style(PARTS[kind][1], saved))
                styles.of(arm).mark(*bar)
                left += sums[kind]
            rows += [{"arm": arm.name, "part": part, "saved": saved, "parameters": n} for part, n in parts.items()]
        saving = saved_percent(arm.first)
        total = count(arm.first.params) + (f" ({-saving:+.1f} %)" if saving else "")
        place: dict[str, Any] = {"xytext": (4, 0), "textcoords": "offset points", "va": "center"}
        styles.of(arm).mark(ax.annotate(total, (left, y), fontsize=8.5, **place))
    canvas.mark_rows(ax, arms, styles)
    ax.margins(x=0.16)
    canvas.scale_axis(ax.xaxis, "parameters")
    handles = [Patch(label=title, **_bar_style(colour, False)) for k, (title, colour) in PARTS.items() if k in used]
    if any(row["saved"] for row in rows):
        handles.append(Patch(label="saved by tying", **_bar_style("#888888", True)))
    canvas.add_legend(figure, handles)
    caption = "Stored parameters by part. Hatched: what tying saves compared with the same model untied; in brackets: its share."
    return canvas.finish(figure, "parameters_by_part", caption, rows)


def _bar_style(colour: str, saved: bool) -> dict[str, Any]:
    if saved:
        return {"facecolor": canvas.PAPER, "edgecolor": colour, "hatch": "////", "linewidth": 0.8}
    return {"facecolor": colour, "edgecolor": canvas.PAPER, "linewidth": 0.8}


def _by_kind(parts: dict[str, int]) -> dict[str, int]:
    """`stack.part` -> n becomes kind -> n, over all stacks."""
    sums: dict[str, int] = {}
    for name, n in parts.items():
        part = name.rsplit(".", 1)[-1]
        kind = "norm" if part.endswith("norm") else part if part in PARTS else "other"
        sums[kind] = sums.get(kind, 0) + n
    return sums


def draw_owner_map(comparison: Comparison, styles: canvas.ArmStyles) -> canvas.Drawing | None:
    """One panel per plan, one row per layer, one column per parameter; None if no arm recorded a plan that can be drawn."""
    planned = [arm for arm in comparison.arms if arm.first.owner]
    by_plan: dict[tuple[tuple[str, str], ...], list[Arm]] = {}
    for arm in planned:
        by_plan.setdefault((*arm.first.owner.items(), *arm.first.viewed.items()), []).append(arm)
    alike = [arms for arms in by_plan.values() if _n_rows(arms[0].first.owner) <= MOST_ROWS]
    if not alike:
        return None
    grids = [Grid(arms[0].first.owner, arms[0].first.viewed) for arms in alike]
    width = CELL * max(grid.width for grid in grids) + MARGINS[0]
    height = CELL * max(len(grid.rows) for grid in grids) + MARGINS[1]
    figure, axes = canvas.make_panels(len(alike), max(1, int(WIDEST / width)), (width, height), legend=0)
    for ax, arms, grid in zip(axes, alike, grids, strict=True):
        if len(arms) == 1:
            styles.of(arms[0]).mark(ax)
        _draw_grid(ax, grid)
        title = join_some([arm.name for arm in arms], 2)
        ax.set_title(canvas.figure_text(title, width=40), loc="left", fontweight="bold")
    legend: list[Artist] = [Patch(facecolor=canvas.OWN, edgecolor=canvas.PAPER, label="own parameters")]
    legend.append(Patch(facecolor=SHARED[0], edgecolor=canvas.PAPER, label="shared, named after the owner"))
    caption = (
        "The parameters that each place of the model uses. Grey: its own. Coloured: shared; places with the same colour "
        "and label have the same owner."
    )
    if any(grid.viewed for grid in grids):
        legend.append(Line2D([], [], marker=CORNER, linestyle="", color=canvas.INK, label="read through a view"))
        caption += " A marked corner: read through a view, see what is tied."
    figure.legend(handles=legend, loc="outside lower left", ncols=len(legend))
    if len(alike) < len(by_plan):
        caption += f" Not drawn: models of more than {MOST_ROWS} layers and tables."
    has_views = any(arm.first.viewed for arm in planned)
    rows = [
        {"arm": arm.name, "slot": slot, "owner": owner, "shape": "x".join(map(str, arm.first.shapes[slot]))}
        | ({"views": arm.first.viewed.get(slot, "")} if has_views else {})
        for arm in planned
        for slot, owner in arm.first.owner.items()
    ]
    return canvas.finish(figure, "owner_map", caption, rows)


def _n_rows(owner: Mapping[str, str]) -> int:
    return len({_place(slot) for slot in owner})


class Grid:
    """Slots of a plan in rows and columns: layers of a stack by part and leaf, tables one below the other.

    cells: (row, column) -> slot of a layer; tables: row -> slot. viewed: slots that are read through views.
    """

    def __init__(self, owner: Mapping[str, str], viewed: Collection[str] = ()):
        self.owner = owner
        self.viewed = {slot for slot in owner if slot in viewed}
        found = {slot: LAYERED.fullmatch(slot) for slot in owner}
        layers = {slot: (m[1], int(m[2]), f"{m[3]}.{m[4]}".removesuffix(".weight")) for slot, m in found.items() if m}
        self.columns = list(dict.fromkeys(column for _, _, column in layers.values()))
        names = dict.fromkeys((stack, layer) for stack, layer, _ in layers.values())
        plain = [slot for slot, m in found.items() if not m]
        self.rows = [*plain, *(f"{stack} {layer}" for stack, layer in names)]
        self.tables = dict(enumerate(plain))
        at = {name: len(plain) + i for i, name in enumerate(names)}
        column_of = {column: i for i, column in enumerate(self.columns)}
        self.cells = {(at[stack, layer], column_of[c]): slot for slot, (stack, layer, c) in layers.items()}
        self.width = max(len(self.columns), 6)
        uses = Counter(owner.values())
        self._shared = {root for root, n in uses.items() if n > 1}
        places = dict.fromkeys(_place(root) for root in uses if root in self._shared)
        self._colours = {place: SHARED[i % len(SHARED)] for i, place in enumerate(places)}

    def colour(self, slot: str) -> str:
        root = self.owner[slot]
        return self._colours[_place(root)] if root in self._shared else canvas.OWN

    def label(self, slot: str) -> str:
        """For a shared slot, the layer or table that owns it; empty if the slot has its own parameters."""
        root = self.owner[slot]
        if root not in self._shared:
            return ""
        stack, _, layer = _place(root).partition(" ")
        if not layer:
            return root
        return layer if _place(slot).startswith(f"{stack} ") else f"{stack[:1]}{layer}"


def _place(slot: str) -> str:
    """`decoder 3` for a slot in a layer, else the slot itself."""
    m = LAYERED.fullmatch(slot)
    return f"{m[1]} {m[2]}" if m else slot


def _mark_corner(ax: Axes, right: float, top: float) -> None:
    """The upper right corner of a cell, in a third of its size."""
    ax.add_patch(Polygon([(right + (x - 1) / 6, top + (1 - y) / 6) for x, y in CORNER], facecolor=canvas.INK))


def _draw_grid(ax: Axes, grid: Grid) -> None:
    style: dict[str, Any] = {"edgecolor": canvas.PAPER, "linewidth": 1}
    text: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "color": "#111111"}
    for (row, column), slot in grid.cells.items():
        ax.add_patch(Rectangle((column, row), 1, 1, facecolor=grid.colour(slot), **style))
        if slot in grid.viewed:
            _mark_corner(ax, column + 1, row)
        if label := grid.label(slot):
            ax.text(column + 0.5, row + 0.5, label, **text)
    for row, slot in grid.tables.items():
        ax.add_patch(Rectangle((0, row), grid.width, 1, facecolor=grid.colour(slot), **style))
        if slot in grid.viewed:
            _mark_corner(ax, grid.width, row)
        if label := grid.label(slot):
            name = canvas.figure_text(label.removesuffix(".weight"), width=60, most_lines=1)
            ax.text(grid.width / 2, row + 0.5, name, **text)
    ax.set_xlim(0, grid.width)
    ax.set_ylim(len(grid.rows), 0)
    titles = [canvas.figure_text(column) for column in grid.columns]
    ax.set_xticks([i + 0.5 for i in range(len(titles))], titles, rotation=90)
    names = [canvas.figure_text(row.removesuffix(".weight")) for row in grid.rows]
    ax.set_yticks([i + 0.5 for i in range(len(names))], names)
    ax.tick_params(length=0, labelsize=8, colors=canvas.INK)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
