"""What all figures share: style, the look of an arm, panels, legends, and files that equal data give equal bytes.

A scheme has one colour through all figures of a report: Okabe and Ito 2008, a palette for every kind of colour vision,
without its yellow, which is too pale for lines, then three of Tol's muted scheme and three that lie farthest from all
of these, whatever the vision. Markers and dashes repeat the distinction without colour. What belongs to one arm carries its key as a group's id in the SVG, so that a page can hide
it. Matplotlib's Figure objects only: no pyplot, no global state.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log10
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from tietrain.report.arms import Arm

COLOURS = (
    *("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"),
    *("#882255", "#999933", "#888888", "#772200", "#7766FF", "#0022CC"),
)
# As many as are no divisor of the colours: a colour and a marker come together once in 117 arms. As characters too.
MARKERS, GLYPHS = "osD^vPX<>", "●■◆▲▼✚✖◀▶"
# Dotted lines are for runs that are in no mean.
DASHES = ("-", (0, (5, 1.5)), (0, (4, 1, 1, 1)), (0, (7, 1, 1, 1, 1, 1)))
INK, GRID, PAPER, OWN = "#222222", "#E6E6E6", "#FFFFFF", "#DDDDDD"
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    **{key: INK for key in ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")},
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "hatch.linewidth": 0.6,
    "figure.dpi": 100,
    "svg.hashsalt": "tietrain",
    # Text stays text: small files, words that can be found, read aloud and edited.
    "svg.fonttype": "none",
    # A label from a file is text, never a formula.
    "text.parse_math": False,
}
PANEL = (4.4, 3.1)
LEGEND_WIDTH, COLUMNS = 1.9, 2
LINE_HEIGHT = 0.19
# Agg refuses a picture of 2^16 pixels a side; a report of hundreds of arms is drawn coarser instead.
DPI, MAX_PIXELS = 200.0, 30_000


@dataclass(frozen=True)
class Drawing:
    """A figure: what it is called, what it shows in a sentence, its bytes, and its data."""

    name: str
    caption: str
    png: bytes
    svg: str
    data: list[dict[str, Any]]


@dataclass(frozen=True)
class Look:
    """How an arm is drawn; key: of what belongs to it, `arm0`."""

    key: str
    colour: str
    marker: str
    dash: Any

    @property
    def glyph(self) -> str:
        """The marker as a character."""
        return GLYPHS[MARKERS.index(self.marker)]

    def mark(self, *artists: Artist) -> None:
        """Name the arm's part of a figure; `finish` makes the names unique."""
        for artist in artists:
            artist.set_gid(self.key)


class Looks:
    """The look of every arm of a report: a colour each scheme, or each arm where there is one scheme only."""

    def __init__(self, arms: Iterable[Arm]):
        schemes: dict[str, dict[str, None]] = {}
        for arm in arms:
            schemes.setdefault(arm.label, {})[arm.name] = None
        if len(schemes) == 1:
            (names,) = schemes.values()
            schemes = {name: {name: None} for name in names}
        places = [(name, i, j) for i, names in enumerate(schemes.values()) for j, name in enumerate(names)]
        self._looks = {name: _look(f"arm{n}", i, j) for n, (name, i, j) in enumerate(places)}

    def of(self, arm: Arm) -> Look:
        return self._looks[arm.name]


def _look(key: str, scheme: int, variant: int) -> Look:
    """Of the nth arm of a scheme: what tells it from the others is not its colour."""
    dash = DASHES[(scheme // len(COLOURS) + variant) % len(DASHES)]
    return Look(key, COLOURS[scheme % len(COLOURS)], MARKERS[(scheme + variant) % len(MARKERS)], dash)


def scale_x(ax: Axes, title: str) -> None:
    """Plain short numbers on the axis, their power of a thousand in its title."""
    ax.set_xlabel(_scale(ax.xaxis, ax.get_xlim(), title))


def scale_y(ax: Axes, title: str) -> None:
    """The same upwards."""
    ax.set_ylabel(_scale(ax.yaxis, ax.get_ylim(), title))


def _scale(axis: Axis, limits: Sequence[float], title: str) -> str:
    exponent = 3 * int(log10(max(1.0, *map(abs, limits))) // 3)
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 10.0**exponent:g}"))
    return f"{title} ({power_of_ten(exponent)})" if exponent else title


def power_of_ten(exponent: int) -> str:
    """A power as text, `10⁶`: formulas are not parsed here."""
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def make_panels(n: int) -> tuple[Figure, list[Axes]]:
    """Rows of panels, at most COLUMNS wide, with room for a legend at the right."""
    columns = min(n, COLUMNS)
    rows = -(-n // columns)
    figure = Figure(figsize=(PANEL[0] * columns + LEGEND_WIDTH, PANEL[1] * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[n:]:
        unused.set_visible(False)
    return figure, axes[:n]


def line_handle(look: Look, name: str, dash: Any = None) -> Line2D:
    """The legend entry of an arm."""
    label = figure_text(name)
    return Line2D([], [], color=look.colour, marker=look.marker, markersize=5, linestyle=dash or look.dash, label=label)


def dotted_handle() -> Line2D:
    """The legend entry of runs that are drawn and left out of means."""
    return Line2D([], [], color="#555555", linestyle=":", marker="x", markersize=5, label="not in the mean")


def add_legend(figure: Figure, handles: Iterable[Any], looks: Sequence[Look] = ()) -> None:
    """A legend right of the panels; a long one makes the figure taller.

    Args:
        looks: of the arms that the first handles stand for.
    """
    handles = list(handles)
    n_lines = sum(handle.get_label().count("\n") + 1 for handle in handles)
    figure.set_figheight(max(figure.get_figheight(), LINE_HEIGHT * n_lines + 0.3))
    legend = figure.legend(handles=handles, loc="outside right upper")
    for look, handle, text in zip(looks, legend.legend_handles, legend.get_texts(), strict=False):
        if handle is not None:
            look.mark(handle, text)


def figure_text(name: str, width: int = 30, most_lines: int = 3) -> str:
    """A name the figure's font can spell, in a few short lines."""
    spelled = "".join(c if ord(c) < 0x250 else "?" for c in name)
    return "\n".join(textwrap.wrap(spelled, width, max_lines=most_lines, placeholder="…"))


def finish(figure: Figure, name: str, caption: str, rows: list[dict[str, Any]]) -> Drawing:
    """Both renderings; the SVG holds no date and no random ids, so equal data give equal bytes."""
    FigureCanvasAgg(figure)
    for i, artist in enumerate(figure.findobj(lambda a: a.get_gid() is not None)):
        artist.set_gid(f"{artist.get_gid()}-{i}")
    png, svg = io.BytesIO(), io.BytesIO()
    dpi = min(DPI, MAX_PIXELS / max(figure.get_size_inches()))
    figure.savefig(png, format="png", dpi=dpi, metadata={"Software": None})
    figure.set_layout_engine("none")  # it stays as laid out, which takes a third of the time
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Drawing(name, caption, png.getvalue(), svg.getvalue().decode("utf-8"), rows)
