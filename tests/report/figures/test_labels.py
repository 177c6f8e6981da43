"""Names beside points: as they are rendered none covers another, or a point; where there is no room there are none."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from tietrain.report.figures.canvas import Look, make_panels
from tietrain.report.figures.labels import Named, label_points

LOOK = Look("arm0", "#000000", "o", "-")


def labelled(places, bar=0.0):
    """The axes and labels of points at places."""
    figure, (ax,) = make_panels(1)
    FigureCanvasAgg(figure)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    figure.draw_without_rendering()
    points = [Named(x, y, y - bar, y + bar, f"scheme_{i}", LOOK) for i, (x, y) in enumerate(places)]
    return ax, label_points(ax, points)


@pytest.mark.parametrize(
    "places, bar",
    [
        ([(0.5, 0.5)], 0.0),
        ([(0.02, 0.5), (0.98, 0.5), (0.5, 0.02), (0.5, 0.97)], 0.0),
        ([(0.5, 0.5), (0.5, 0.56), (0.6, 0.53)], 0.05),
    ],
)
def test_no_name_covers_a_name_or_a_point(places, bar):
    ax, labels = labelled(places, bar)
    boxes = [label.get_window_extent() for label in labels]
    assert [label.get_text() for label in labels] == [f"scheme_{i}" for i in range(len(places))]
    for i, box in enumerate(boxes):
        assert not [other for other in boxes[i + 1 :] if box.overlaps(other)]
        assert not [place for place in places if box.contains(*ax.transData.transform(place))]
        assert ax.get_window_extent().containsx(box.x0) and ax.get_window_extent().containsx(box.x1)


def test_a_crowd_has_no_names():
    ax, labels = labelled([(0.5 + 0.001 * i, 0.5) for i in range(30)])
    assert labels is None and not ax.texts
