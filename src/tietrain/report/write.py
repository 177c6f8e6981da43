"""`DIR/report/`: a page in Markdown with its tables and figures, from the run directories alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tietrain import runs
from tietrain.errors import StorageError
from tietrain.report.arms import Arm, compare, make_arms
from tietrain.report.canvas import Drawing, Looks
from tietrain.report.collect import Run, collect
from tietrain.report.exports import arm_json, arm_row, run_json, run_row
from tietrain.report.figures import draw_all
from tietrain.report.markup import csv_text
from tietrain.report.page import make_page

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
    return [arm_json(arm) for arm in _ordered(make_arms(collect(directory)))]


def write_report(directory: Path) -> ReportPaths:
    """Read every run at or below a folder and write the report into its subfolder `report`.

    Raises:
        DataError: no runs found. StorageError: the disk refused.
    """
    found = collect(directory)
    arms = _ordered(make_arms(found))
    comparisons, looks = compare(arms), Looks()
    drawings = {c.slug: draw_all(c, looks) for c in comparisons}
    files = _data_files(found, arms)
    for slug, drawn in drawings.items():
        for drawing in drawn:
            files |= _figure_files(slug, drawing)
    files["report.md"] = make_page(found, comparisons, drawings)
    return _write_all(directory / FOLDER, files)


def _ordered(arms: Sequence[Arm]) -> list[Arm]:
    """In the order of the comparisons, then the arms that are in none."""
    compared = [arm for comparison in compare(arms) for arm in comparison.arms]
    return compared + [arm for arm in arms if not arm.id]


def _data_files(found: Sequence[Run], arms: Sequence[Arm]) -> dict[str, Any]:
    bodies = [arm_json(arm) for arm in arms]
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
