"""What all figures share: style, the colours and markers of arms, panels, legends, and both renderings of a figure.

Equal data give equal bytes. A scheme has one colour in all figures of a report: those of Okabe and Ito (2008) without
their pale yellow, then three of Tol's muted scheme and three that lie farthest from all others. Markers and dashes repeat
the distinction. The SVG group of an arm has the arm's key as its id, so that a page can hide it.
"""

import io
import re
import textwrap
import xml.etree.ElementTree as ET
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
# Marker -> the same as a character. Nine share no divisor with the number of colours: a pair repeats after 117 schemes.
MARKERS = {"o": "●", "s": "■", "D": "◆", "^": "▲", "v": "▼", "P": "✚", "X": "✖", "<": "◀", ">": "▶"}
# Dotted lines are kept for runs that are in no mean.
DASHES = ("-", (0, (5, 1.5)), (0, (4, 1, 1, 1)), (0, (7, 1, 1, 1, 1, 1)))
INK, GRID, PAPER, OWN = "#222222", "#E6E6E6", "#FFFFFF", "#DDDDDD"
RC_PARAMS: dict[Any, Any] = {
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
    "pdf.fonttype": 42,
    # A label from a file is text, never a formula.
    "text.parse_math": False,
}
PANEL = (4.4, 3.1)
LEGEND_WIDTH = 1.9
LINE_HEIGHT = 0.19
# Agg refuses a picture with a side of 2^16 pixels; a report of hundreds of arms is drawn coarser instead.
DPI, MAX_PIXELS = 200.0, 30_000

# Colours that the page's style sheet can change -> their name there.
VARIABLES = {INK: "ink", GRID: "grid", PAPER: "paper", OWN: "own"} | {
    colour: f"c{i}" for i, colour in enumerate(COLOURS)
}
# Of figures inside the page: two panels fill it, and their smallest text is as large as its small print.
SCALE = 1.12
COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b")
ARM_ID = re.compile(r"(arm\d+)-\d+")


@dataclass(frozen=True)
class Drawing:
    """A figure: its name, what it shows in a sentence or two, its bytes, and its data. pdf: as a column of a paper has it."""

    name: str
    caption: str
    png: bytes
    svg: str
    data: list[dict[str, Any]]
    pdf: bytes = b""


@dataclass(frozen=True)
class ArmStyle:
    """How an arm is drawn; key: the id of its parts, `arm0`."""

    key: str
    colour: str
    marker: str
    dash: Any

    def mark(self, *artists: Artist) -> None:
        """Name the arm's part of a figure; `finish` makes the names unique."""
        for artist in artists:
            artist.set_gid(self.key)


class ArmStyles:
    """The style of every arm of a report: one colour per scheme, or per arm if there is only one scheme."""

    def __init__(self, arms: Iterable[Arm]):
        schemes: dict[str, dict[str, None]] = {}
        for arm in arms:
            schemes.setdefault(arm.label, {})[arm.name] = None
        if len(schemes) == 1:
            (names,) = schemes.values()
            schemes = {name: {name: None} for name in names}
        self._styles: dict[str, ArmStyle] = {}
        for i, names in enumerate(schemes.values()):
            for variant, name in enumerate(names):
                # Variants of a scheme share its colour and differ in marker and dash.
                dash = DASHES[(i // len(COLOURS) + variant) % len(DASHES)]
                marker = [*MARKERS][(i + variant) % len(MARKERS)]
                self._styles[name] = ArmStyle(f"arm{len(self._styles)}", COLOURS[i % len(COLOURS)], marker, dash)

    def of(self, arm: Arm) -> ArmStyle:
        return self._styles[arm.name]


def scale_axis(axis: Axis, title: str) -> None:
    """Short numbers on an axis; their power of a thousand stands in its title."""
    exponent = 3 * int(log10(max(1.0, *map(abs, axis.get_view_interval()))) // 3)
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 10.0**exponent:g}"))
    axis.set_label_text(f"{title} ({power_of_ten(exponent)})" if exponent else title)


def power_of_ten(exponent: int) -> str:
    """A power as text, `10⁶`: figures parse no formulas."""
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def make_panels(
    n: int, columns: int = 2, panel: tuple[float, float] = PANEL, legend: float = LEGEND_WIDTH
) -> tuple[Figure, list[Axes]]:
    """Rows of at most `columns` panels of one size, with room for a legend at the right; sizes in inches."""
    columns = min(n, columns)
    rows = -(-n // columns)
    figure = Figure(figsize=(panel[0] * columns + legend, panel[1] * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[n:]:
        unused.set_visible(False)
    return figure, axes[:n]


def arm_handles(arms: Iterable[Arm], styles: ArmStyles, dash: Any = None) -> list[Line2D]:
    """The legend entries of arms."""
    handles = []
    for arm in arms:
        style = styles.of(arm)
        line: dict[str, Any] = {"color": style.colour, "marker": style.marker, "linestyle": dash or style.dash}
        handles.append(Line2D([], [], markersize=5, label=figure_text(arm.name), **line))
        style.mark(handles[-1])
    return handles


def dotted_handle() -> Line2D:
    """The legend entry of runs that are drawn but are in no mean."""
    return Line2D([], [], color="#555555", linestyle=":", marker="x", markersize=5, label="not in the mean")


def add_legend(figure: Figure, handles: Iterable[Any]) -> None:
    """A legend right of the panels; a long one makes the figure taller. Entries of `arm_handles` belong to their arm."""
    handles = list(handles)
    n_lines = sum(handle.get_label().count("\n") + 1 for handle in handles)
    figure.set_figheight(max(figure.get_figheight(), LINE_HEIGHT * n_lines + 0.3))
    legend = figure.legend(handles=handles, loc="outside right upper")
    for handle, drawn, text in zip(handles, legend.legend_handles, legend.get_texts(), strict=True):
        for artist in (drawn, text):
            if artist is not None and handle.get_gid():
                artist.set_gid(handle.get_gid())


def mark_rows(ax: Axes, arms: Sequence[Arm], styles: ArmStyles, width: int = 30) -> None:
    """One row per arm, from the top, named at the left."""
    ax.set_yticks(range(len(arms)), [figure_text(arm.name, width) for arm in arms])
    for label, arm in zip(ax.get_yticklabels(), arms, strict=True):
        styles.of(arm).mark(label)
    ax.set_ylim(len(arms) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)


def figure_text(name: str, width: int = 30, most_lines: int = 3) -> str:
    """A name in characters that the figure's font has, in a few short lines."""
    printable = "".join(c if ord(c) < 0x250 else "?" for c in name)
    return "\n".join(textwrap.wrap(printable, width, max_lines=most_lines, placeholder="…"))


def finish(figure: Figure, name: str, caption: str, rows: list[dict[str, Any]]) -> Drawing:
    """Both renderings; the SVG holds no date and no random ids, so equal data give equal bytes."""
    FigureCanvasAgg(figure)
    figure.set_dpi(min(DPI, MAX_PIXELS / max(figure.get_size_inches())))
    for i, artist in enumerate(figure.findobj(lambda a: a.get_gid() is not None)):
        artist.set_gid(f"{artist.get_gid()}-{i}")
    png, svg = io.BytesIO(), io.BytesIO()
    layout = figure.get_layout_engine()
    assert layout is not None, "each figure has one"
    layout.execute(figure)
    figure.set_layout_engine(None)  # each format would do it again
    figure.savefig(png, format="png", dpi=figure.dpi, metadata={"Software": None})
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Drawing(name, caption, png.getvalue(), svg.getvalue().decode("utf-8"), rows)


def finish_pdf(figure: Figure) -> bytes:
    """The figure for a paper: text stays text, and equal data give equal bytes."""
    pdf = io.BytesIO()
    figure.savefig(pdf, format="pdf", metadata=dict.fromkeys(("CreationDate", "Creator", "Producer")))
    return pdf.getvalue()


def inline_svg(drawing: Drawing, key: str) -> str:
    """The SVG as an element for HTML: ids that begin with `key`, classes by arm, colours as variables of the style sheet."""
    root = ET.fromstring(drawing.svg)
    width = float(root.attrib.pop("width").removesuffix("pt"))
    root.attrib.pop("height")
    for parent in [*root.iter()]:
        for child in [child for child in parent if _local(child.tag) in ("metadata", "style")]:
            parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        if fill := element.attrib.pop("fill", None):
            element.set("style", f"fill: {fill}")  # an attribute takes no variable
        element.attrib = {_local(name): _value(_local(name), value, key) for name, value in element.attrib.items()}
        if found := ARM_ID.fullmatch(element.attrib.get("id", "").removeprefix(f"{key}-")):
            element.set("class", found[1])
    root.attrib |= {"role": "img", "aria-label": drawing.caption, "style": f"width: {SCALE * width:.0f}pt"}
    root.attrib.pop("version", None)
    return ET.tostring(root, encoding="unicode", short_empty_elements=False)


def css_colour(colour: str) -> str:
    """The style sheet's variable for a colour that changes with the page's light or dark scheme; others unchanged."""
    name = VARIABLES.get(colour.upper())
    return f"var(--{name})" if name else colour


def _local(name: str) -> str:
    return name.rsplit("}", 1)[-1]


def _value(name: str, value: str, key: str) -> str:
    if name == "id":
        return f"{key}-{value}"
    if name == "href":
        return value.replace("#", f"#{key}-", 1)
    value = value.replace("url(#", f"url(#{key}-")
    return COLOUR.sub(lambda found: css_colour(found[0]), value) if name == "style" else value
