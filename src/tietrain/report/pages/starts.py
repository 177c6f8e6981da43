"""How arms begin and what training makes of their tables: a table, and what deserves a second look."""

import math
from statistics import fmean

import numpy as np

from tietrain.report import contrasts
from tietrain.report.arms import Arm, Comparison, common_points
from tietrain.report.pages.markup import bullets, code, fixed, markdown_table
from tietrain.report.verdicts import ArmVerdict, Verdicts

STEPS = (0, 10, 50, 200)
# Nats between the first losses of two arms that deserve an explanation.
APART = 0.1
# Factor by which training may change the row norm of a role.
GROWTH = 3.0
ROW_NORM = "row_norm_"
EXPLANATION = (
    "Above uniform: nats/token minus ln V on one batch without dropout, before the step. Own logit: mean logit of the token just "
    "read. Rows: mean norm of a table's rows in the scored weights over that at the start, by role."
)


def starts_text(comparison: Comparison, verdicts: Verdicts) -> str:
    """The table and its flags; empty if no run recorded how it began."""
    arms = [arm for arm in comparison.arms if _at(arm, 0, "above_uniform") is not None]
    if not arms:
        return ""
    header = ["arm", *(f"above uniform, step {step}" for step in STEPS), "logit std", "own logit", "rows"]
    rows = []
    for arm in arms:
        seen = [_at(arm, step, "above_uniform") for step in STEPS]
        seen += [_at(arm, 0, name) for name in ("logit_std", "own_logit")]
        growth = ", ".join(f"{role} {factor:.2g} x" for role, factor in _growth(arm).items())
        rows.append([code(arm.name), *("—" if x is None else fixed(x, 2) for x in seen), growth or "—"])
    compared = [one for one in verdicts.arms if one.base is not None and one.arm in arms]
    flags = [text for one in compared if (text := _starts_apart(one))]
    flags += [text for arm in arms for text in _grown(arm)]
    return "\n\n".join([markdown_table(header, rows), bullets([EXPLANATION, *flags])])


def _at(arm: Arm, step: int, name: str) -> float | None:
    """Mean over the finished runs of what was seen before a step."""
    found = [look[name] for run in arm.done for look in run.looks if look.get("of_step") == step and name in look]
    return fmean(found) if found else None


def _growth(arm: Arm) -> dict[str, float]:
    """Role -> mean row norm at the end over that at the start; infinite for a table that began at zero."""
    found: dict[str, list[float]] = {}
    for run in arm.done:
        first = run.looks[0] if run.looks else {}
        for role, norm in run.row_norms.items():
            before = first.get(ROW_NORM + role)
            if before is not None:
                found.setdefault(role, []).append(norm / before if before else math.inf)
    return {role: fmean(factors) for role, factors in found.items()}


def _starts_apart(one: ArmVerdict) -> str:
    """A sentence if an arm begins elsewhere than its baseline and has not caught up at the first evaluation; else empty."""
    assert one.base is not None
    ours, theirs = (_at(arm, 0, "above_uniform") for arm in (one.arm, one.base.arm))
    if ours is None or theirs is None or abs(ours - theirs) <= APART:
        return ""
    where = f"{fixed(abs(ours - theirs), 2)} nats {'above' if ours > theirs else 'below'}"
    names = f"{code(one.arm.name)} starts {where} {code(one.base.arm.name)}"
    points = common_points([*one.arm.done, *one.base.arm.done])
    if not points:
        return f"{names}; no evaluation tells whether that lasts."
    n = len(one.arm.done)
    nats = [point.nats_per_token for point in points[0]]
    scores = np.full((2, max(n, len(nats) - n)), np.nan)
    scores[0, : len(nats) - n] = nats[n:]
    scores[1, :n] = nats[:n]
    found = contrasts.contrast(scores, [1], [0], sign=-1)
    if found.verdict[0] == contrasts.NO_DIFFERENCE:
        return ""
    apart = f"{fixed(abs(float(found.difference[0])), 3)} nats apart at step {points[0][0].step}, the first evaluation"
    sure = "more than seed noise explains" if np.isfinite(found.p[0]) else "which one seed cannot tell from noise"
    return f"{names}, and they are {apart}, {sure}: part of their difference may be that of their initial values."


def _grown(arm: Arm) -> list[str]:
    """A sentence per role of tables whose rows training changed by more than GROWTH."""
    return [
        f"{code(arm.name)}: training changed the row norm of its {role} table {factor:.2g} times, so its initial scale was far "
        "from where it ends; try another `model.tables`."
        for role, factor in _growth(arm).items()
        if math.isfinite(factor) and not 1 / GROWTH <= factor <= GROWTH
    ]
