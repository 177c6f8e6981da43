"""`report.html`: one page that holds all it shows, and asks no other address for anything.

Its sections are those of `report.md`, rendered with raw HTML off; the answers and the sortable table of arms come before
them. The template engine, the renderer or the XML serializer escapes every string, and a content security policy lets no
script run except the page's own.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import Environment
from markdown_it import MarkdownIt
from markupsafe import Markup

from tietrain.report.arms import Arm, Comparison, Stat, make_stat
from tietrain.report.contrasts import half_width
from tietrain.report.extremes import EACH, extremes
from tietrain.report.figures.canvas import COLOURS, MARKERS, ArmStyles, css_colour, inline_svg
from tietrain.report.pages import markdown
from tietrain.report.pages.headline import make_headline
from tietrain.report.pages.markup import count, fixed, powers
from tietrain.report.pages.tables import left_out_table, saved_percent
from tietrain.report.pages.verdict_text import difference_text, heading
from tietrain.report.verdicts import ArmVerdict, Verdicts
from tietrain.runs.scores import Score
from tietrain.runs.view import Run

# Colours that are hard to see on a dark page -> what replaces them there.
DARK = {
    **{"#000000": "#F2F2F2", "#0072B2": "#4A9FD8", "#882255": "#B85C8A"},
    **{"#772200": "#B8704A", "#7766FF": "#A99EFF", "#0022CC": "#4D6FFF"},
}
# A longer section is folded.
MOST_LINES = 60
TEMPLATES = resources.files("tietrain.report") / "templates"


@dataclass(frozen=True)
class TableCell:
    """A cell of the table of arms; by: its sort key, None if it has none; note: small print."""

    text: str
    by: float | str | None = None
    note: str = ""


def make_html(
    found: Sequence[Run],
    comparisons: Sequence[Comparison],
    verdicts: Mapping[str, Verdicts],
    sections: Mapping[str, Sequence[markdown.Section]],
    styles: ArmStyles,
) -> str:
    """The whole of `report.html`, from verdicts and sections by slug; equal runs give equal text."""
    parts = [
        {
            "slug": c.slug,
            "title": c.title,
            "heading": heading(c, verdicts[c.slug]),
            "headline": make_headline(c, verdicts[c.slug]),
            "rows": [_row(arm, verdicts[c.slug], styles) for arm in c.arms],
            "shown": {styles.of(arm).key for arm in extremes(c, verdicts[c.slug])[0].arms},
            "sections": sections[c.slug],
        }
        for c in comparisons
    ]
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "text": _text,
        "line": lambda markdown: Markup(MarkdownIt("commonmark", {"html": False}).renderInline(markdown)),
        "svg": lambda drawing, stem: Markup(inline_svg(drawing, stem)),
    }
    return environment.from_string((TEMPLATES / "report.html").read_text(encoding="utf-8")).render(
        title=markdown.title(found),
        run_counts=markdown.run_counts(found, comparisons),
        introduction=markdown.INTRODUCTION,
        comparisons=parts,
        warnings=markdown.WARNINGS,
        left_out_title=markdown.LEFT_OUT,
        left_out=left_out_table([run for run in found if run.status != "done"]),
        files=markdown.FILES,
        each=EACH,
        most_lines=MOST_LINES,
        colours=list(enumerate(COLOURS)),
        dark=[(i, DARK[colour]) for i, colour in enumerate(COLOURS) if colour in DARK],
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def make_page(title: str, markdown: str) -> str:
    """A page of Markdown of ours, without scripts, in the look of a report."""
    template = (TEMPLATES / "page.html").read_text(encoding="utf-8")
    style = Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))
    return (
        Environment(autoescape=True).from_string(template).render(title=title, style=style, text=_text(markdown, title))
    )


def _text(markdown: str, label: str) -> Markup:
    """Markdown of ours as HTML that shows HTML as text; its tables can be scrolled, and `label` names them aloud."""
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = renderer.parse(markdown)
    for token in tokens:
        if token.type == "th_open":
            token.attrSet("scope", "col")
    text = Markup(renderer.renderer.render(tokens, renderer.options, {}))
    scroll = Markup('<div class="scroll" tabindex="0" role="region" aria-label="{}"><table>').format(label)
    return text.replace(Markup("<table>"), scroll).replace(Markup("</table>"), Markup("</table></div>"))


def _row(arm: Arm, verdicts: Verdicts, styles: ArmStyles) -> dict[str, Any]:
    """An arm of the table: its key, colour and mark as in the figures, and title of a column -> cell."""
    declared = verdicts.declared
    better = "higher" if declared.score.sign > 0 else "lower"
    quality = f"{declared.score.title} on {declared.split}, mean [95\u00a0%], {better} is better"
    arm_verdict = verdicts.of(arm)
    run = arm.first
    style = styles.of(arm)
    saved = saved_percent(run)
    per_token = arm.stat(lambda run: run.flops / run.tokens if run.flops and run.tokens else None)
    less = "—" if saved is None else f"{'adds ' if saved < 0 else ''}{abs(saved):.1f} %"
    cells = {
        quality: _quality(arm_verdict, declared.score),
        "difference [95\u00a0%]": _difference(arm_verdict, declared.score),
        "verdict": TableCell(arm_verdict.verdict, arm_verdict.verdict),
        "stored parameters": TableCell(count(run.params), run.params),
        "saved by tying": TableCell(less, saved, count(abs(run.params_saved or 0)) if saved else ""),
        "training FLOPs per target token": _mean(per_token, powers),
        "training FLOPs": _mean(arm.total("flops"), powers),
        "training seconds": _mean(arm.total("seconds"), count),
        "seeds": TableCell(str(len(arm.done)), len(arm.done)),
        "diverged": TableCell(f"{arm_verdict.n_diverged} of {arm_verdict.n_ended}", arm_verdict.n_diverged),
    }
    look = {"key": style.key, "colour": css_colour(style.colour), "mark": MARKERS[style.marker]}
    return {"name": arm.name, **look, "cells": cells}


def _mean(stat: Stat | None, show: Callable[[float], str]) -> TableCell:
    if stat is None:
        return TableCell("—")
    return TableCell(show(stat.mean), stat.mean, f"± {show(stat.sd)}" if stat.sd else "")


def _quality(arm_verdict: ArmVerdict, score: Score) -> TableCell:
    stat = make_stat([value * score.scale for value in arm_verdict.values.values()])
    if stat is None:
        return TableCell("—")
    note = "one seed"
    if stat.sd is not None:
        half = half_width(stat.n, stat.sd)
        low, high = (score.clip(bound / score.scale) * score.scale for bound in (stat.mean - half, stat.mean + half))
        note = f"[{fixed(low, score.decimals)}, {fixed(high, score.decimals)}]"
    return TableCell(fixed(stat.mean, score.decimals), stat.mean, note)


def _difference(arm_verdict: ArmVerdict, score: Score) -> TableCell:
    text, _, interval = difference_text(arm_verdict, score).partition(" ")
    return TableCell(text, arm_verdict.difference, interval)
