"""The page of a report in Markdown: prose and tables that a colleague can read without having seen the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tietrain.report.arms import Comparison
from tietrain.report.figures.canvas import Drawing
from tietrain.report.pages.headline import make_headline
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
from tietrain.report.pages.markup import escape
from tietrain.report.pages.method import method_details, method_sentences
from tietrain.report.pages.tables import cost_table, left_out_table
from tietrain.report.pages.tuning_text import tuning_text
from tietrain.report.pages.verdict_text import heading, notes, verdict_table
from tietrain.report.verdicts import Verdicts
from tietrain.runs.view import Run

# What lies beside the pages, besides the files of figures.
FILES = {
    "report.html": "this report as one page that needs no other file",
    "report.md": "this report as text",
    "arms.csv": "an arm a row: every score with its sd and number of seeds, and the verdict",
    "arms.json": "the same, nested",
    "runs.csv": "a run a row, whatever became of it",
    "runs.json": "the same, nested",
}


def make_page(
    found: Sequence[Run],
    comparisons: Sequence[Comparison],
    judgements: Mapping[str, Verdicts],
    drawings: Mapping[str, Sequence[Drawing]],
) -> str:
    """The whole of `report.md`; equal runs give equal text."""
    blocks = [f"# {title(found)}", f"{counted(found, comparisons)} {INTRODUCTION}"]
    for comparison in comparisons:
        blocks += _comparison(comparison, judgements[comparison.slug], drawings.get(comparison.slug, ()))
    left_out = [run for run in found if run.status != "done"]
    if left_out:
        blocks += ["## Runs left out of every mean", left_out_table(left_out)]
    files = bullets([f"[{name}]({name}): {what}" for name, what in FILES.items() if name != "report.md"])
    blocks += ["## Files", files]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _comparison(comparison: Comparison, judgement: Verdicts, drawings: Sequence[Drawing]) -> list[str]:
    headline = make_headline(comparison, judgement)
    blocks = [f"## {escape(comparison.title)}", f"**{escape(headline.answer)}**"]
    said = {"Saves": headline.saves, "Costs": headline.costs, "How sure": headline.sure}
    blocks.append(bullets([f"{name}: {escape(text)}" for name, text in said.items()]))
    blocks.append(f"### Comparison: {escape(heading(comparison, judgement))}")
    if any(arm.done for arm in comparison.arms):
        blocks += [verdict_table(judgement), bullets(notes(judgement))]
    blocks += ["### Tuning", tuning] if (tuning := tuning_text(comparison)) else []
    blocks += ["### Costs", cost_table(comparison), bullets(warnings(comparison))]
    for head, table in scores(comparison, judgement):
        blocks += [f"#### {head}", table]
    blocks.append(bullets(score_notes(comparison)))
    if drawings:
        blocks.append("### Figures")
        blocks += [_figure(comparison, drawing) for drawing in drawings]
    blocks += ["### What differs between the arms", differences(comparison)]
    blocks += ["### What is tied", ties(comparison)]
    blocks += ["### Method, to paste", " ".join(map(escape, method_sentences(comparison, judgement)))]
    blocks += ["### Every setting", bullets(method_details(comparison))]
    return blocks


def _figure(comparison: Comparison, drawing: Drawing) -> str:
    stem = f"{comparison.slug}_{drawing.name}"
    links = f"Data: [{stem}.csv]({stem}.csv), vector: [{stem}.svg]({stem}.svg)"
    return f"![{drawing.name.replace('_', ' ')}]({stem}.png)\n\n*{drawing.caption}* {links}"
