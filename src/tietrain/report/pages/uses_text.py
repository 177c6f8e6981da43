"""What the uses of shared parameters ask for: a table, and its rows for a file."""

from collections.abc import Mapping
from typing import Any

from tietrain.report.arms import Comparison
from tietrain.report.pages.markup import bullets, code, fixed, markdown_table
from tietrain.report.uses import course, share_clipped, shared_of, shares

# Measure -> decimals.
MEASURES = {"cosine": 2, "ceiling": 2, "cancellation": 2, "update": 4}
EXPLANATION = (
    "Numbers are those of the first and of the last look of `train.probe_every`, means over runs and blocks. Gradients are those of "
    "the objective before clipping.",
    "Shares: each use's part of the sum of all uses' gradient norms. In Adam's update: the same of g / (sqrt(v) + eps) with the "
    "second moment v of the whole table, on the rows of tokens that were read.",
    "Cosine: mean over pairs of uses. Ceiling: mean cosine of one use's gradients on the two halves of the batch, which noise keeps below 1; uses of the same text share some of their noise. "
    "Cancellation: norm of the sum over the sum of the norms; 1 if all uses pull alike. Update: norm of the step over that of the "
    "weights. Clipped: part of the looks whose step was clipped.",
)


def uses_text(comparison: Comparison) -> str:
    """The table; empty if no run looked."""
    rows = []
    for arm in comparison.arms:
        clipped = share_clipped(arm)
        for shared in shared_of(arm):
            cells = [_shares(shares(arm, shared)), _shares(shares(arm, shared, "adam_read"))]
            cells += [_first_and_last(course(arm, shared, measure), decimals) for measure, decimals in MEASURES.items()]
            rows.append(
                [code(arm.name), code(shared.name), *cells, "—" if clipped is None else f"{100 * clipped:.0f} %"]
            )
    if not rows:
        return ""
    header = ["arm", "shared", "shares of the gradient", "shares of Adam's update", *MEASURES, "clipped"]
    return "\n\n".join([markdown_table(header, rows, n_text=4), bullets(EXPLANATION)])


def _shares(found: Mapping[str, dict[int, float]]) -> str:
    return "; ".join(f"{code(use)} {_first_and_last(values)}" for use, values in found.items() if values) or "—"


def _first_and_last(values: dict[int, float], decimals: int = 2) -> str:
    if not values:
        return "—"
    ends = dict.fromkeys([min(values), max(values)])
    return " to ".join(fixed(values[step], decimals) for step in ends)


def uses_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """One row per arm, shared block, measure, use and look."""
    rows: list[dict[str, Any]] = []
    for arm in comparison.arms:
        for shared in shared_of(arm):
            found = {(measure, ""): course(arm, shared, measure) for measure in MEASURES}
            for measure in ("norm", "adam", "adam_read"):
                found |= {(measure, use): course(arm, shared, measure, use) for use in shared.uses}
            rows += _rows({"arm": arm.name, "shared": shared.name}, found)
    return rows


def _rows(names: dict[str, Any], found: Mapping[tuple[str, str], dict[int, float]]) -> list[dict[str, Any]]:
    return [
        {**names, "measure": measure, "use": use, "step": step, "value": value}
        for (measure, use), values in found.items()
        for step, value in values.items()
    ]
