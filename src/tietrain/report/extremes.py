"""Of many arms, those that a reader looks at first: the best, the worst, and what they are compared with."""

from dataclasses import replace
from statistics import fmean

from tietrain.report.arms import Comparison
from tietrain.report.verdicts import ArmVerdict, Verdicts

# More arms than MOST are shown by EACH best and EACH worst.
MOST, EACH = 20, 10


def extremes(comparison: Comparison, verdicts: Verdicts) -> tuple[Comparison, Verdicts]:
    """The best and the worst arms by the primary score with their baselines, in their order; all arms if there are few."""
    if len(comparison.arms) <= MOST:
        return comparison, verdicts
    sign = verdicts.declared.score.sign

    def place(one: ArmVerdict) -> float:
        return -sign * fmean(one.values.values())

    scored = sorted((one for one in verdicts.arms if one.values), key=place)
    ends = [*scored[:EACH], *scored[-EACH:]] or verdicts.arms[:MOST]
    shown = {one.arm.name for one in ends} | {one.base.arm.name for one in ends if one.base}
    arms = tuple(arm for arm in comparison.arms if arm.name in shown)
    judged = tuple(one for one in verdicts.arms if one.arm.name in shown)
    return replace(comparison, arms=arms), replace(verdicts, arms=judged)
