"""Names beside points, where each finds a place that covers nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.text import Annotation

from tietrain.report.figures.canvas import Look, figure_text

# Of a character of the figures' font, in units of its size; of a marker, in points.
CHARACTER, MARKER, SIZE, GAP = 0.62, 9.0, 8.5, 2.0
# Directions of a label from its point, the first free one is taken: to the right, left, above, below, and corners.
PLACES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))


@dataclass(frozen=True)
class Named:
    """A point with the range of its error bar, in data's units."""

    x: float
    y: float
    low: float
    high: float
    name: str
    look: Look


@dataclass(frozen=True)
class _Box:
    """In points from the lower left corner of the figure."""

    left: float
    low: float
    right: float
    high: float

    def meets(self, other: _Box) -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.low < other.high and other.low < self.high

    def inside(self, other: _Box) -> bool:
        return (
            self.left >= other.left and self.right <= other.right and self.low >= other.low and self.high <= other.high
        )


def label_points(ax: Axes, points: Sequence[Named]) -> list[Annotation] | None:
    """The labels, each beside its point; None, and nothing drawn, where one finds no place.

    The figure must have its layout, which labels do not change.
    """
    to_points = 72 / ax.figure.dpi
    frame = ax.get_window_extent()
    room = _Box(*(to_points * edge for edge in (frame.x0, frame.y0, frame.x1, frame.y1)))
    ends = [ax.transData.transform([(p.x, p.low), (p.x, p.y), (p.x, p.high)]) for p in points]
    bars = [_bar((to_points * found).tolist()) for found in ends]
    taken, places = [box for _, box in bars], []
    for point, (y, bar) in zip(points, bars, strict=True):
        lines = figure_text(point.name, width=24, most_lines=2).split("\n")
        place = _free(lines, y, bar, room, taken)
        if place is None:
            return None
        taken.append(place)
        places.append(("\n".join(lines), point, place))
    labels = []
    for name, point, box in places:
        at = [edge / to_points for edge in ((box.left + box.right) / 2, (box.low + box.high) / 2)]
        x, y = ax.transData.inverted().transform(at)
        label = ax.annotate(name, (x, y), ha="center", va="center", fontsize=SIZE)
        label.set_in_layout(False)
        point.look.mark(label)
        labels.append(label)
    return labels


def _bar(ends: Sequence[Sequence[float]]) -> tuple[float, _Box]:
    """Height of a point, and the box of its marker and error bar, from the lowest, middle and highest place."""
    (x, low), (_, y), (_, high) = ends
    return y, _Box(x - MARKER / 2, min(low, high) - MARKER / 2, x + MARKER / 2, max(low, high) + MARKER / 2)


def _free(lines: Sequence[str], y: float, bar: _Box, room: _Box, taken: Sequence[_Box]) -> _Box | None:
    """The first place beside a point that lies in the room and meets nothing."""
    width, height = CHARACTER * SIZE * max(map(len, lines)), 1.3 * SIZE * len(lines)
    for right, up in PLACES:
        left = {1: bar.right + GAP, -1: bar.left - GAP - width, 0: (bar.left + bar.right - width) / 2}[right]
        low = {1: bar.high, -1: bar.low - height, 0: y - height / 2}[up]
        box = _Box(left, low, left + width, low + height)
        if box.inside(room) and not any(box.meets(other) for other in taken):
            return box
    return None
