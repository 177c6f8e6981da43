"""What the table of a run resembles more, the output or the input tables of untied runs of other seeds: one number for each run."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import permutations
from pathlib import Path
from statistics import fmean

from tietrain.report.arms import UNTIED
from tietrain.report.similarity import ROLES, Floats, bands, debiased_cka, prepared
from tietrain.runs.tables import kept_tables, read_tables
from tietrain.runs.view import Run


def output_likeness(
    directory: Path, found: Sequence[Run], *, less_ceilings: bool = False
) -> Callable[[Run], float | None]:
    """A measure of the finished runs of a folder that kept their tables, at their last point; None of a run without.

    The debiased CKA of a run's input table with untied output tables, less that with untied input tables, mean over untied runs
    of other seeds: twins of one seed begin with the same values.

    Args:
        less_ceilings: each less the same of two untied runs, the most that can be expected.
    """

    @cache
    def table(path: str, name: str) -> Floats:
        (*_, last) = kept_tables(directory / path).values()
        found = read_tables(last)[name]
        return prepared(found[bands(len(found))["all"]])

    def gap(run: Run, other: Run) -> float:
        stack = run.predictors[0]
        own = table(run.path, f"{stack}.input")
        like = {role: debiased_cka(own, table(other.path, f"{stack}.{role}")) for role in ROLES}
        return like["output"] - like["input"]

    def ceilings() -> float:
        """The gap between what two untied output tables and two untied input tables reach."""
        pairs = list(permutations(untied, 2))
        of_role = {}
        for role in ROLES:
            name = f"{untied[0].predictors[0]}.{role}"
            of_role[role] = fmean(debiased_cka(table(a.path, name), table(b.path, name)) for a, b in pairs)
        return of_role["output"] - of_role["input"]

    kept = [run for run in found if run.status == "done" and kept_tables(directory / run.path)]
    untied = [run for run in kept if run.label == UNTIED]
    ceiling = ceilings() if less_ceilings and len(untied) > 1 else 0.0

    def measure(run: Run) -> float | None:
        others = [other for other in untied if other.seed != run.seed]
        return fmean(gap(run, other) for other in others) - ceiling if others and run in kept else None

    return measure
