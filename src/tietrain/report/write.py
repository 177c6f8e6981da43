"""`DIR/report/`: a page as HTML and as Markdown, tables, figures and their data, from the run directories alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tietrain.errors import StorageError
from tietrain.report.arms import Arm, Comparison, compare, make_arms
from tietrain.report.figures.canvas import ArmStyles, Drawing
from tietrain.report.figures.draw_all import draw_all
from tietrain.report.pages.exports import arm_json, arm_row, run_json, run_row
from tietrain.report.pages.html import make_html
from tietrain.report.pages.latex import arms_table, verdicts_table
from tietrain.report.pages.markdown import make_markdown
from tietrain.report.pages.markup import csv_text
from tietrain.report.pages.method import method_paragraph
from tietrain.report.pages.tensorboard_report import write_tensorboard_report
from tietrain.report.verdicts import Verdicts, add_two_level, judge
from tietrain.runs import record as runs
from tietrain.runs.view import Run, collect

FOLDER = "report"


@dataclass(frozen=True)
class ReportPaths:
    """Where a report was written: the page, and every file, the page included."""

    markdown: Path
    files: tuple[Path, ...]


def report_rows(directory: Path) -> list[dict[str, Any]]:
    """One JSON value an arm, as in `arms.json`; writes nothing.

    Raises:
        DataError: no runs found.
    """
    arms = make_arms(collect(directory))
    comparisons = compare(arms)
    return _arm_rows(arms, comparisons, _judge_all(comparisons, directory))


def write_report(directory: Path, *, tensorboard: bool = False) -> ReportPaths:
    """Read every run at or below a folder and write the report into its subfolder `report`.

    Args:
        tensorboard: write the comparison into `report/tb` too, see `tensorboard_report`.
    Raises:
        DataError: no runs found. StorageError: the disk refused.
    """
    found = collect(directory)
    arms = make_arms(found)
    comparisons = compare(arms)
    styles = ArmStyles(arm for comparison in comparisons for arm in comparison.arms)
    verdicts = _judge_all(comparisons, directory)
    drawings = {c.slug: draw_all(c, verdicts[c.slug], styles) for c in comparisons}
    files = _data_files(found, _arm_rows(arms, comparisons, verdicts))
    for slug, drawn in drawings.items():
        for drawing in drawn:
            files |= _figure_files(slug, drawing)
    for c in comparisons:
        files[f"{c.slug}_arms.tex"] = arms_table(c, verdicts[c.slug])
        files[f"{c.slug}_verdicts.tex"] = verdicts_table(c, verdicts[c.slug])
        files[f"{c.slug}_method.txt"] = method_paragraph(c, verdicts[c.slug]) + "\n"
    files["report.html"] = make_html(found, comparisons, verdicts, drawings, styles)
    files["report.md"] = make_markdown(found, comparisons, verdicts, drawings)
    paths = _write_all(directory / FOLDER, files)
    if tensorboard:
        write_tensorboard_report(directory / FOLDER / runs.TENSORBOARD, comparisons, verdicts)
    return paths


def _judge_all(comparisons: Sequence[Comparison], directory: Path) -> dict[str, Verdicts]:
    """Slug -> verdicts."""
    return {c.slug: add_two_level(judge(c, tuned=c.tuned), directory) for c in comparisons}


def _arm_rows(
    arms: Sequence[Arm], comparisons: Sequence[Comparison], verdicts: Mapping[str, Verdicts]
) -> list[dict[str, Any]]:
    """In the order of the comparisons, then the arms that are in none."""
    compared = [arm_json(arm, verdicts[c.slug]) for c in comparisons for arm in c.arms]
    return compared + [arm_json(arm, None) for arm in arms if not arm.id]


def _data_files(found: Sequence[Run], bodies: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "runs.csv": csv_text([run_row(run) for run in found]),
        "runs.json": [run_json(run) for run in found],
        "arms.csv": csv_text([arm_row(body) for body in bodies]),
        "arms.json": bodies,
    }


def _figure_files(slug: str, drawing: Drawing) -> dict[str, Any]:
    stem = f"{slug}_{drawing.name}"
    return {f"{stem}.svg": drawing.svg, f"{stem}.png": drawing.png, f"{stem}.csv": csv_text(drawing.data)}


def _write_all(folder: Path, files: dict[str, Any]) -> ReportPaths:
    """Each file whole or not at all; the page, which shows the others, comes last."""
    if folder.is_symlink():
        raise StorageError(f"writing {folder}", "it is a link, and leads out of the folder", "remove it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise StorageError(
            f"writing {folder}", f"the system says {e.strerror}", "give a folder that can be written"
        ) from e
    for name, body in files.items():
        if isinstance(body, bytes):
            runs.write_bytes(folder / name, body)
        elif isinstance(body, str):
            runs.write_text(folder / name, body)
        else:
            runs.write_json(folder / name, body)
    return ReportPaths(folder / "report.md", tuple(folder / name for name in files))
