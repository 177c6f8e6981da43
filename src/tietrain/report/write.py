"""`DIR/report/`: a page as HTML and as Markdown, tables, figures and their data, from the run directories alone."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib

from tietrain.errors import SettingsError
from tietrain.report.arms import Arm, Comparison, compare, make_arms
from tietrain.report.extremes import EACH, extremes
from tietrain.report.figures import factorial, flops, losses, model, scores, tuning, uses
from tietrain.report.figures.canvas import RC_PARAMS, ArmStyles, Drawing
from tietrain.report.pages import exports, latex
from tietrain.report.pages.convergence_text import convergence_rows
from tietrain.report.pages.headline import Headline, make_headline
from tietrain.report.pages.html import make_html
from tietrain.report.pages.markdown import make_markdown, make_sections
from tietrain.report.pages.markup import csv_text
from tietrain.report.pages.method import method_sentences
from tietrain.report.pages.tensorboard_report import write_tensorboard_report
from tietrain.report.reads import FOLDER, READS, Reads, earlier_reads, judge_after, with_this_read
from tietrain.report.verdicts import Verdicts, add_two_level
from tietrain.runs import record as runs
from tietrain.runs.events import clear_events
from tietrain.runs.ownership import ARMS, check_report, scratch
from tietrain.runs.view import collect

# Comparisons of which every figure is drawn: a figure takes a quarter of a second.
MOST_DRAWN = 12


@dataclass(frozen=True)
class ReportPaths:
    """Where a report was written: the page, and every file, the page included. headlines: one per comparison."""

    markdown: Path
    files: tuple[Path, ...]
    headlines: tuple[Headline, ...]


def report_rows(directory: Path) -> list[dict[str, Any]]:
    """One JSON value per arm, as in `arms.json`; writes nothing.

    Raises:
        DataError: no runs found.
    """
    arms = make_arms(collect(directory))
    comparisons = compare(arms)
    return _arm_rows(arms, comparisons, _judge_all(comparisons, directory, earlier_reads(directory / FOLDER)))


def write_report(directory: Path, *, tensorboard: bool = False) -> ReportPaths:
    """Read every run at or below a folder and write the report into its subfolder `report`.

    Args:
        tensorboard: write the comparison into `report/tb` too, see `tensorboard_report`.
    Raises:
        DataError: no runs found. SettingsError: none can be read, or `report` is a folder of the user's.
        StorageError: the disk refused; an earlier report is as it was.
    """
    found = collect(directory)
    if all(run.status == "unreadable" for run in found):
        raise SettingsError(f"report {directory}", f"no {runs.RUN} in it is that of a run", "name a folder of runs")
    check_report(directory / FOLDER)
    arms = make_arms(found)
    comparisons = compare(arms)
    styles = ArmStyles(arm for comparison in comparisons for arm in comparison.arms)
    reads = earlier_reads(directory / FOLDER)
    verdicts = _judge_all(comparisons, directory, reads)
    few = len(comparisons) <= MOST_DRAWN
    drawings = {c.slug: draw_all(c, verdicts[c.slug], styles, few) for c in comparisons}
    rows = _arm_rows(arms, comparisons, verdicts)
    files: dict[str, Any] = {
        ARMS: exports.json_lines(rows),  # the first to be moved in, because it shows what the folder is
        "runs.csv": csv_text([exports.run_row(run) for run in found]),
        "runs.json": exports.json_lines([exports.run_json(run) for run in found]),
        "arms.csv": csv_text([exports.arm_row(row) for row in rows]),
        READS: with_this_read(reads, verdicts),
    }
    for c in comparisons:
        for drawing in drawings[c.slug]:
            stem = f"{c.slug}_{drawing.name}"
            files |= {f"{stem}.svg": drawing.svg, f"{stem}.png": drawing.png, f"{stem}.csv": csv_text(drawing.data)}
            files |= {f"{stem}.pdf": drawing.pdf} if drawing.pdf else {}
        files[f"{c.slug}_arms.tex"] = latex.arms_table(c, verdicts[c.slug])
        files[f"{c.slug}_verdicts.tex"] = latex.verdicts_table(c, verdicts[c.slug])
        if learning := convergence_rows(verdicts[c.slug]):
            files[f"{c.slug}_convergence.csv"] = csv_text(learning)
        files[f"{c.slug}_method.txt"] = " ".join(method_sentences(c, verdicts[c.slug])) + "\n"
    sections = {c.slug: make_sections(c, verdicts[c.slug], drawings[c.slug]) for c in comparisons}
    files["report.html"] = make_html(found, comparisons, verdicts, sections, styles)
    files["report.md"] = make_markdown(found, comparisons, verdicts, sections)
    with scratch(directory, FOLDER) as stage:
        for name, body in files.items():
            _write(stage / name, body)
        if tensorboard:
            write_tensorboard_report(stage / runs.TENSORBOARD, comparisons, verdicts)
        _move_in(stage, directory / FOLDER, [*files])
    headlines = tuple(make_headline(c, verdicts[c.slug]) for c in comparisons)
    return ReportPaths(directory / FOLDER / "report.md", tuple(directory / FOLDER / name for name in files), headlines)


def _judge_all(comparisons: Sequence[Comparison], directory: Path, reads: Reads) -> dict[str, Verdicts]:
    return {c.slug: add_two_level(judge_after(reads, c), directory) for c in comparisons}


def _arm_rows(
    arms: Sequence[Arm], comparisons: Sequence[Comparison], verdicts: Mapping[str, Verdicts]
) -> list[dict[str, Any]]:
    """In the order of the comparisons, then the arms that are in none."""
    compared = [exports.arm_json(arm, verdicts[c.slug]) for c in comparisons for arm in c.arms]
    return compared + [exports.arm_json(arm, None) for arm in arms if not arm.id]


def draw_all(comparison: Comparison, verdicts: Verdicts, styles: ArmStyles, few: bool = True) -> list[Drawing]:
    """Every figure that has something to show, each with the rows it was drawn from; of many arms the best and the worst.

    Args:
        few: whether there are few comparisons; of many the figures about their verdicts are drawn alone.
    """
    n_arms = len(comparison.arms)
    whole = verdicts
    comparison, verdicts = extremes(comparison, verdicts)
    left_out = f" Of {n_arms} arms: the {EACH} best and the {EACH} worst, and their baselines."
    note = left_out if len(comparison.arms) < n_arms else ""
    if not few:
        note += f" Other figures are drawn if a report has at most {MOST_DRAWN} comparisons."
    with matplotlib.rc_context(RC_PARAMS):
        drawings = [
            factorial.draw_factorial(whole),
            scores.draw_differences(verdicts, styles),
            scores.draw_quality(comparison, styles),
        ]
        if few:
            drawings += [
                model.draw_parameters(comparison, styles),
                model.draw_owner_map(comparison, styles),
                *(losses.draw_loss(comparison, styles, unit) for unit in losses.UNITS),
                flops.draw_training_flops(comparison, styles),
                flops.draw_flops_by_length(comparison),
                *tuning.draw_tuning(comparison, styles),
                uses.draw_uses(comparison, styles),
            ]
    return [replace(drawing, caption=drawing.caption + note) for drawing in drawings if drawing]


def _write(path: Path, body: Any) -> None:
    if isinstance(body, bytes):
        runs.write_bytes(path, body)
    elif isinstance(body, str):
        runs.write_text(path, body)
    else:
        runs.write_json(path, body)


def _move_in(stage: Path, folder: Path, names: Sequence[str]) -> None:
    """Move the files of a report into their folder, in order; the page, which shows the others, comes last.

    By then all of them are on the disk, so that a full one leaves the earlier report. Other files in the folder stay.
    """
    events = [str(path.relative_to(stage)) for path in (stage / runs.TENSORBOARD).rglob("*") if path.is_file()]
    with runs.writing(folder):
        if events:
            clear_events(folder / runs.TENSORBOARD)
        for name in [*names[:1], *events, *names[1:]]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(stage / name, folder / name)
