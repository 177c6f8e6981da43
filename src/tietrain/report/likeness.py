"""What the table of one run resembles more, the output or the input tables of untied runs of other seeds, as a number."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from tietrain.report.arms import UNTIED
from tietrain.report.similarity import ROLES, Floats, bands, prepared, resemblance
from tietrain.runs.tables import kept_tables, read_tables
from tietrain.runs.view import Run


def output_likeness(
    directory: Path, found: Sequence[Run], *, less_ceilings: bool = False
) -> Callable[[Run], float | None]:
    """A measure of the runs of a folder that kept their tables: the gap of `similarity.resemblance` by CKA at their last point.

    None of other runs, and without two untied runs.

    Args:
        less_ceilings: each likeness less what two untied runs reach.
    """

    @cache
    def tables(path: str, stack: str) -> dict[str, Floats]:
        *_, last = kept_tables(directory / path).values()
        kept = read_tables(last)
        own = {role: kept[f"{stack}.{role}"] for role in ROLES}
        return {role: prepared(table[bands(len(table))["all"]]) for role, table in own.items()}

    kept = {run.path for run in found if run.status == "done" and kept_tables(directory / run.path)}
    untied = [run for run in found if run.path in kept and run.label == UNTIED]

    def measure(run: Run) -> float | None:
        stack = run.predictors[0]
        others = {other.seed: tables(other.path, stack) for other in untied}
        like = resemblance({run.seed: tables(run.path, stack)}, others, "cka") if run.path in kept else None
        if like is None:
            return None
        return (like.less_ceiling if less_ceilings else like.plain).value

    return measure
