"""A figure's SVG as a part of a page: ids of its own, classes by arm, colours that a style sheet can change."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from tietrain.report.figures.canvas import COLOURS, GRID, INK, OWN, PAPER, Drawing

VARIABLES = {INK: "ink", GRID: "grid", PAPER: "paper", OWN: "own"} | {
    colour: f"c{i}" for i, colour in enumerate(COLOURS)
}
# So that two panels fill the page, and their smallest text is as large as its small print.
SCALE = 1.12
COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b")
MARKED = re.compile(r"(arm\d+)-\d+")


def inline_svg(drawing: Drawing, key: str) -> str:
    """The drawing as an element for HTML; every string in it is escaped by the serializer.

    Args:
        key: set before each id, so that no two figures of a page share one.
    """
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
        if marked := MARKED.fullmatch(element.attrib.get("id", "").removeprefix(f"{key}-")):
            element.set("class", marked[1])
    root.attrib |= {"role": "img", "aria-label": drawing.caption, "style": f"width: {SCALE * width:.0f}pt"}
    root.attrib.pop("version", None)
    return ET.tostring(root, encoding="unicode", short_empty_elements=False)


def variable(colour: str) -> str:
    """The style sheet's name of a colour, for those that change with the page's scheme; others as they are."""
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
    return COLOUR.sub(lambda found: variable(found[0]), value) if name == "style" else value
