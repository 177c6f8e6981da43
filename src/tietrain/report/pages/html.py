"""`report.html`: one page that holds all it shows, and asks no other address for anything.

Its tables and lists are those of `report.md`, rendered with raw HTML off; the answer, the sortable table and the figures
are its own. Every string is escaped by the template engine, the renderer or the XML serializer, and a content security
policy lets no script run but the page's.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from jinja2 import Environment
from markdown_it import MarkdownIt
from markupsafe import Markup

from tietrain.report.arms import Comparison
from tietrain.report.figures.canvas import COLOURS, Drawing, Looks
from tietrain.report.figures.svg import inline_svg
from tietrain.report.pages.arm_table import Row, make_header, make_rows
from tietrain.report.pages.headline import Headline, make_headline
from tietrain.report.pages.markdown import (
    INTRODUCTION,
    bullets,
    counted,
    differences,
    score_notes,
    scores,
    ties,
    title,
    warnings,
)
from tietrain.report.pages.method import method_details, method_paragraph
from tietrain.report.pages.page import FILES
from tietrain.report.pages.tables import cost_table, left_out_table
from tietrain.report.pages.tuning_text import tuning_text
from tietrain.report.pages.verdict_text import heading, notes, verdict_table
from tietrain.report.verdicts import Verdicts
from tietrain.runs.view import Run

# What colours that are hard to see on a dark page are replaced by there.
DARK = {
    **{"#000000": "#F2F2F2", "#0072B2": "#4A9FD8", "#882255": "#B85C8A"},
    **{"#772200": "#B8704A", "#7766FF": "#A99EFF", "#0022CC": "#4D6FFF"},
}
TEMPLATES = resources.files("tietrain.report") / "templates"


@dataclass(frozen=True)
class Figure:
    """A figure on the page; stem: of the files beside it."""

    stem: str
    caption: str
    svg: Markup


@dataclass(frozen=True)
class Section:
    """A comparison on the page; blocks: title and rendered text of what stands below the figures."""

    slug: str
    title: str
    heading: str
    headline: Headline
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: Markup
    warnings: Markup
    figures: tuple[Figure, ...]
    method: str
    blocks: tuple[tuple[Markup, Markup], ...]


def make_html(
    found: Sequence[Run],
    comparisons: Sequence[Comparison],
    judgements: Mapping[str, Verdicts],
    drawings: Mapping[str, Sequence[Drawing]],
    looks: Looks,
) -> str:
    """The whole of `report.html`; equal runs give equal text."""
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    left_out = [run for run in found if run.status != "done"]
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string((TEMPLATES / "report.html").read_text(encoding="utf-8")).render(
        title=_line(title(found)),
        counted=counted(found, comparisons),
        introduction=INTRODUCTION,
        sections=[_section(c, judgements[c.slug], drawings.get(c.slug, ()), looks) for c in comparisons],
        left_out=_text(left_out_table(left_out)) if left_out else "",
        files=FILES,
        colours=list(enumerate(COLOURS)),
        dark=[(i, DARK[colour]) for i, colour in enumerate(COLOURS) if colour in DARK],
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _section(comparison: Comparison, judgement: Verdicts, drawings: Sequence[Drawing], looks: Looks) -> Section:
    slug = comparison.slug
    blocks = [("Verdicts in detail", verdict_table(judgement))] if comparison.seeds[1] else []
    blocks += [("Tuning", tuning_text(comparison))]
    blocks += [("What differs between the arms", differences(comparison)), ("What is tied", ties(comparison))]
    blocks += [("Costs", cost_table(comparison)), *scores(comparison, judgement)]
    blocks += [("About the scores", bullets(score_notes(comparison)))]
    blocks += [("Every setting", bullets(method_details(comparison)))]
    return Section(
        slug=slug,
        title=comparison.title,
        heading=heading(comparison, judgement),
        headline=make_headline(comparison, judgement),
        header=make_header(judgement),
        rows=tuple(make_rows(comparison, judgement, looks)),
        notes=_text(bullets(notes(judgement))),
        warnings=_text(bullets(warnings(comparison))),
        figures=tuple(
            Figure(f"{slug}_{d.name}", d.caption, Markup(inline_svg(d, f"{slug}-{d.name}"))) for d in drawings
        ),
        method=method_paragraph(comparison, judgement),
        blocks=tuple((_line(head), _text(text)) for head, text in blocks if text),
    )


def _text(markdown: str) -> Markup:
    """Markdown of ours as HTML; what looks like HTML in it is shown as text."""
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = renderer.parse(markdown)
    for token in tokens:
        if token.type == "th_open":
            token.attrSet("scope", "col")
    return Markup(renderer.renderer.render(tokens, renderer.options, {}))


def _line(markdown: str) -> Markup:
    """A line of Markdown, without a paragraph around it."""
    return Markup(MarkdownIt("commonmark", {"html": False}).renderInline(markdown))
