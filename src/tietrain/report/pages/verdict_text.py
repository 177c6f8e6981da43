"""Verdicts in words: their table, what they rest on, and which differences the seeds could have shown."""

import math

from tietrain.report.arms import Comparison, make_stat
from tietrain.report.pages.markup import code, escape, fixed, join_words, markdown_table
from tietrain.report.pages.tables import score_text
from tietrain.report.pages.tuning_text import tuning_heading
from tietrain.report.statistics import LEVEL, MAX_SEEDS, smallest_sign_flip_p
from tietrain.report.verdicts import ArmVerdict, Verdicts
from tietrain.runs.scores import SCORES, Score

# The fewest whose sign-flip p can fall below 0.05.
ENOUGH_SEEDS = 6


def heading(comparison: Comparison, verdicts: Verdicts) -> str:
    """How much evidence there is: tuning or rates, and seeds."""
    low, high = comparison.seeds
    if high == 0:
        return "no finished run"
    seeds = f"{high} seed{'' if high == 1 else 's'}" if low == high else f"{low} to {high} seeds"
    rate = "at one common rate" if comparison.n_rates == 1 else f"at {comparison.n_rates} rates, none of them tuned"
    return f"{tuning_heading(comparison) or rate}, {seeds}"


def verdict_table(verdicts: Verdicts) -> str:
    """One row per arm: verdict, seeds, diverged, mean, median, difference with its interval, p values."""
    score = verdicts.declared.score
    header = ["arm", "verdict", "seeds", "diverged", f"mean {score.title}", "median", "difference [95 %]"]
    header += ["p sign-flip (smallest possible)", "p Holm"]
    return markdown_table(header, [_row(arm_verdict, score) for arm_verdict in verdicts.arms], n_text=2)


def _row(arm_verdict: ArmVerdict, score: Score) -> list[str]:
    test = arm_verdict.paired
    median = arm_verdict.median
    return [
        code(arm_verdict.arm.name),
        escape(arm_verdict.verdict),
        str(len(arm_verdict.values)),
        f"{arm_verdict.n_diverged} of {arm_verdict.n_ended}",
        score_text(make_stat([*arm_verdict.values.values()]), score),
        "—" if median is None else fixed(median * score.scale, score.decimals) if math.isfinite(median) else "diverged",
        difference_text(arm_verdict, score),
        f"{p_text(test.p_sign_flip)} ({p_text(smallest_sign_flip_p(test.n))})" if test else "—",
        p_text(arm_verdict.p_holm),
    ]


def p_text(p: float | None) -> str:
    """
    >>> p_text(0.25), p_text(0.03125), p_text(2e-9), p_text(None)
    ('0.25', '0.031', '< 0.001', '—')
    """
    if p is None:
        return "—"
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def difference_text(arm_verdict: ArmVerdict, score: Score) -> str:
    """`+0.12 [-0.01, +0.25]`, and the number of pairs if some seed has none."""
    if not arm_verdict.differences:
        return "—"
    test = arm_verdict.paired
    if test is None:
        return _signed(arm_verdict.differences[0], score)
    pairs = "" if test.n == len(arm_verdict.values) else f", {test.n} pairs"
    return f"{_signed(test.mean, score)} [{_signed(test.low, score)}, {_signed(test.high, score)}]{pairs}"


def _signed(value: float, score: Score) -> str:
    """One decimal more than the score itself."""
    return ("+" if value > 0 else "") + fixed(value * score.scale, score.decimals + 1)


def notes(verdicts: Verdicts) -> list[str]:
    """What the verdicts rest on, and what limits them."""
    declared = verdicts.declared
    pairs = [len(arm_verdict.differences) for arm_verdict in verdicts.arms if arm_verdict.differences]
    lines = [_primary(verdicts)]
    if not any(declared.is_baseline(arm_verdict.arm) for arm_verdict in verdicts.arms):
        lines.append(f"There is no arm {code(declared.baseline)} to compare with: name one in `report.baseline`.")
    if 1 in pairs:
        lines.append(
            "One seed gives no interval, no p and no verdict: another seed could reverse the difference. "
            f"`seed={','.join(map(str, range(1, ENOUGH_SEEDS + 1)))}` is the smallest grid whose sign-flip p can fall below {LEVEL}."
        )
    if few := sorted({n for n in pairs if 1 < n < ENOUGH_SEEDS}):
        smallest = join_words([f"{p_text(smallest_sign_flip_p(n))} with {n} seeds" for n in few])
        lines.append(
            f"The sign-flip p cannot be below {smallest}; the interval, p Holm and the verdict assume normally distributed "
            "differences."
        )
    if pairs and not verdicts.tuned:
        some = any(arm_verdict.arm.tuning for arm_verdict in verdicts.arms)
        tuned = "Not every arm was tuned in the same way" if some else "No arm was tuned"
        lines.append(f"{tuned}: another rate could favour another arm, so none is called better or worse.")
    if any(arm_verdict.n_diverged for arm_verdict in verdicts.arms):
        lines.append("Means and differences leave diverged seeds out; medians count them as worst.")
    lines += [_two_level(arm_verdict, verdicts) for arm_verdict in verdicts.arms if arm_verdict.two_level]
    return [*lines, *verdicts.notes, *_power(verdicts)]


def _primary(verdicts: Verdicts) -> str:
    declared = verdicts.declared
    measured = f"{declared.score.title} on {escape(declared.split)}"
    if declared.instead_of:
        replaced = f"instead of {declared.instead_of.title}, which depends on the vocabulary"
        measured += f" ({replaced}, and vocabularies differ)"
    measured += f", each arm against {code(declared.baseline)} at the same seeds"
    if declared.doubt:
        return f"Exploratory, no verdict: {measured}; {declared.doubt} before training."
    margin = "no margin was declared, so no arm can be called equivalent"
    if declared.margin is not None:
        margin = f"a difference within {declared.margin * declared.score.scale:g} does not matter"
    return f"Primary, declared before training: {measured}; {margin}. All other scores and splits here are exploratory."


def _two_level(arm_verdict: ArmVerdict, verdicts: Verdicts) -> str:
    low, high = (_signed(bound, SCORES["bits_per_byte"]) for bound in arm_verdict.two_level or ())
    return (
        f"{code(arm_verdict.arm.name)}: if seeds and documents are resampled together, the difference in bits/byte on "
        f"{escape(verdicts.declared.split)} lies in [{low}, {high}] (95 %)."
    )


def _power(verdicts: Verdicts) -> list[str]:
    """The smallest difference that each arm's seeds can detect, and how many are needed; empty without two seeds."""
    score = verdicts.declared.score
    target = "the margin" if verdicts.declared.margin else "the difference found"
    parts = []
    for arm_verdict in verdicts.arms:
        if arm_verdict.paired is not None and arm_verdict.smallest_effect is not None:
            smallest = fixed(arm_verdict.smallest_effect * score.scale, score.decimals + 1)
            needed = arm_verdict.seeds_needed
            seeds = f"more than {MAX_SEEDS:,}" if needed is None else str(needed)
            parts.append(
                f"{code(arm_verdict.arm.name)} can detect a difference of {smallest} with its {arm_verdict.paired.n} seeds, "
                f"and needs {seeds} seeds to detect {target}"
            )
    return [f"Power (80 %, level {verdicts.level:.2g}): {'; '.join(parts)}."] if parts else []
