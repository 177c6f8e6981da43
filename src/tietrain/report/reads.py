"""When a report was read: seeds that were added after a look make a verdict exploratory unless the look was declared."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tietrain.errors import DataError
from tietrain.report.arms import Comparison
from tietrain.report.verdicts import Verdicts, judge
from tietrain.runs import record as runs
from tietrain.runs.reading import is_there

# Folder of the report in the folder of its runs.
FOLDER = "report"
READS = "reads.json"

Reads = Mapping[str, list[dict[str, Any]]]


def earlier_reads(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Comparison -> date and number of seeds of each time its report was written; empty if it never was."""
    path = folder / READS
    if not is_there(path):
        return {}
    body = runs.read_json(path)
    try:
        return {str(slug): [{"date": str(x["date"]), "seeds": int(x["seeds"])} for x in body[slug]] for slug in body}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise DataError(
            str(path), "it is not a record of when the report was read", "restore it, or remove it"
        ) from None


def judge_after(reads: Reads, comparison: Comparison) -> Verdicts:
    """The verdicts of a comparison whose report was read before."""
    read_at = [read["seeds"] for read in reads.get(comparison.slug, ())]
    return judge(comparison, tuned=comparison.tuned, read_at=read_at)


def with_this_read(earlier: Reads, verdicts: Mapping[str, Verdicts]) -> dict[str, list[dict[str, Any]]]:
    """With this time, for each comparison that has more seeds than before, enough to be compared."""
    found = {slug: list(reads) for slug, reads in earlier.items()}
    for slug, judged in verdicts.items():
        reads = found.setdefault(slug, [])
        if judged.n_seeds > max([1, *(read["seeds"] for read in reads)]):
            reads.append({"date": datetime.now(UTC).isoformat(timespec="seconds"), "seeds": judged.n_seeds})
    return {slug: reads for slug, reads in found.items() if reads}
