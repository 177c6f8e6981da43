"""A judgement in words: the table of verdicts, what it rests on, and what its seeds could have shown."""

from __future__ import annotations

import math

from tietrain.report.arms import Comparison, make_stat
from tietrain.report.pages.markup import code, escape, fixed, join_words, markdown_table
from tietrain.report.pages.tables import stat_text
from tietrain.report.pages.tuning_text import heading_words
from tietrain.report.statistics import LEVEL, MAX_SEEDS, smallest_sign_flip_p
from tietrain.report.verdicts import ArmVerdict, Verdicts
from tietrain.runs.scores import SCORES, Score

# The fewest whose sign-flip p can fall below 0.05.
ENOUGH_SEEDS = 6


def heading(comparison: Comparison, judgement: Verdicts) -> str:
    """What the numbers can carry, said before they are shown."""
    low, high = comparison.seeds
    if high == 0:
        return "no finished run"
    seeds = f"{high} seed{'' if high == 1 else 's'}" if low == high else f"{low} to {high} seeds"
    rate = "at one common rate" if comparison.n_rates == 1 else f"at {comparison.n_rates} rates, none of them tuned"
    return f"{heading_words(comparison) or rate}, {seeds}"


def verdict_table(judgement: Verdicts) -> str:
    """One row an arm: seeds, diverged, mean, median, difference with its interval, p values, verdict."""
    score = judgement.declared.score
    header = ["arm", "seeds", "diverged", f"mean {score.title}", "median", "difference [95 %]"]
    header += ["p sign-flip (smallest possible)", "p Holm", "verdict"]
    rows = []
    for one in judgement.arms:
        stat, test = make_stat([value * score.scale for value in one.values.values()]), one.paired
        flips = f"{p_text(test.p_sign_flip)} ({p_text(smallest_sign_flip_p(test.n))})" if test else "—"
        rows.append(
            [
                code(one.arm.name),
                str(len(one.values)),
                f"{one.n_diverged} of {one.n_ended}",
                stat_text(stat, lambda v: fixed(v, score.decimals)),
                _median(one, score),
                difference_text(one, score),
                flips,
                "—" if one.p_holm is None else p_text(one.p_holm),
                escape(one.verdict),
            ]
        )
    return markdown_table(header, rows)


def p_text(p: float) -> str:
    """
    >>> p_text(0.25), p_text(0.03125), p_text(2e-9)
    ('0.25', '0.031', '< 0.001')
    """
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def _median(one: ArmVerdict, score: Score) -> str:
    if one.median is None:
        return "—"
    return fixed(one.median * score.scale, score.decimals) if math.isfinite(one.median) else "diverged"


def difference_text(one: ArmVerdict, score: Score) -> str:
    """`+0.12 [-0.01, +0.25]`, and the number of pairs where some seed has none."""
    if not one.differences:
        return "—"
    if one.paired is None:
        return _signed(one.differences[0], score)
    low, high = (_signed(bound, score) for bound in (one.paired.low, one.paired.high))
    pairs = "" if one.paired.n == len(one.values) else f", {one.paired.n} pairs"
    return f"{_signed(one.paired.mean, score)} [{low}, {high}]{pairs}"


def _signed(value: float, score: Score) -> str:
    """One decimal more than the score itself."""
    return ("+" if value > 0 else "") + fixed(value * score.scale, score.decimals + 1)


def notes(judgement: Verdicts) -> list[str]:
    """What the verdicts rest on, and what they could not rest on."""
    declared, pairs = judgement.declared, [len(one.differences) for one in judgement.arms if one.differences]
    lines = [_primary(judgement)]
    if not any(declared.is_baseline(one.arm) for one in judgement.arms):
        lines.append(f"There is no arm {code(declared.baseline)} to compare with: name one in `report.baseline`.")
    if 1 in pairs:
        lines.append(
            "One seed gives no interval, no p and no verdict: the next seed could turn the difference round. "
            f"`seed={','.join(map(str, range(1, ENOUGH_SEEDS + 1)))}` is the smallest grid whose sign-flip p can fall below {LEVEL}."
        )
    if few := sorted({n for n in pairs if 1 < n < ENOUGH_SEEDS}):
        smallest = join_words([f"with {n} seeds below {p_text(smallest_sign_flip_p(n))}" for n in few])
        lines.append(
            f"No sign-flip p can fall {smallest}: interval, p Holm and verdict rest on normally distributed differences."
        )
    if pairs and not judgement.tuned:
        tuned = "Not every arm was tuned alike" if any(one.arm.tuning for one in judgement.arms) else "No arm was tuned"
        lines.append(f"{tuned}: another rate could favour another arm, so none is called better or worse.")
    if any(one.n_diverged for one in judgement.arms):
        lines.append("Means and differences leave diverged seeds out; medians count them as worst.")
    lines += [_two_level(one, judgement) for one in judgement.arms if one.two_level]
    return [*lines, *judgement.notes, *_power(judgement)]


def _primary(judgement: Verdicts) -> str:
    declared = judgement.declared
    what = f"{declared.score.title} on {escape(declared.split)}"
    if declared.instead_of:
        what += f" (instead of {declared.instead_of.title}, which unlike vocabularies do not share)"
    what += f", each arm against {code(declared.baseline)} at the same seeds"
    if declared.doubt:
        return f"Exploratory, no verdict: {what}; {declared.doubt} before training."
    if declared.margin is None:
        margin = "no margin was stated for it, so no arm can be called equivalent"
    else:
        margin = f"a difference within {declared.margin * declared.score.scale:g} does not matter"
    return f"Primary, stated before training: {what}; {margin}. Every other score and split here is exploratory."


def _two_level(one: ArmVerdict, judgement: Verdicts) -> str:
    low, high = (_signed(bound, SCORES["bits_per_byte"]) for bound in one.two_level or ())
    return (
        f"{code(one.arm.name)}: over seeds and documents drawn again together, the difference in bits/byte on "
        f"{escape(judgement.declared.split)} lies in [{low}, {high}] (95 %)."
    )


def _power(judgement: Verdicts) -> list[str]:
    """The smallest difference the seeds of each arm could show, and how many would do; nothing where none has two."""
    score, parts = judgement.declared.score, []
    for one in judgement.arms:
        if one.paired is not None and one.smallest_effect is not None:
            wanted = f"more than {MAX_SEEDS:,}" if one.seeds_needed is None else str(one.seeds_needed)
            shown = fixed(one.smallest_effect * score.scale, score.decimals + 1)
            parts.append(f"{code(one.arm.name)} could show {shown} with its {one.paired.n} seeds and needs {wanted}")
    what = "the margin" if judgement.declared.margin else "the difference found"
    return [f"Power, 80 % at level {judgement.level:.2g}, to show {what}: {'; '.join(parts)}."] if parts else []
