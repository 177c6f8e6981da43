"""Verdicts in words: their table, what they rest on, and which differences the seeds could have shown."""

import math
from dataclasses import replace

from tietrain.report.arms import Comparison, make_stat, show_value
from tietrain.report.contrasts import ENOUGH_SEEDS, MAX_SEEDS, NO_DIFFERENCE, UNSTABLE, level_at, unseen_share
from tietrain.report.differences import describe_origins
from tietrain.report.pages.markup import bullets, code, escape, fixed, join_words, markdown_table
from tietrain.report.pages.tables import score_text
from tietrain.report.pages.tuning_text import tuning_heading
from tietrain.report.verdicts import ASSUMPTION, ArmVerdict, Verdicts
from tietrain.runs.scores import SCORES, Score


def heading(comparison: Comparison, verdicts: Verdicts) -> str:
    """How much evidence there is: tuning or rates, and seeds."""
    low, high = comparison.seeds
    if high == 0:
        return "no finished run"
    seeds = f"{high} seed{'' if high == 1 else 's'}" if low == high else f"{low} to {high} seeds"
    rate = "at one common rate" if comparison.n_rates == 1 else f"at {comparison.n_rates} rates, none of them tuned"
    return f"{tuning_heading(comparison) or rate}, {seeds}"


def verdict_blocks(verdicts: Verdicts) -> list[str]:
    """The verdicts, what they rest on, and what the seeds can show, as Markdown."""
    return [block for block in (verdict_table(verdicts), bullets(notes(verdicts)), power_table(verdicts)) if block]


def verdict_table(verdicts: Verdicts) -> str:
    """One row per arm: verdict, seeds, diverged, mean, median, difference with its interval, p values."""
    score = verdicts.declared.score
    header = ["arm", "verdict", "seeds", "diverged", f"mean {score.title}", "median", "against", "difference [95 %]"]
    header += ["p Holm", "p equivalent", "p not worse"] if verdicts.declared.margin else ["p Holm"]
    return markdown_table(header, [_row(arm_verdict, verdicts) for arm_verdict in verdicts.arms], n_text=2)


def _row(arm_verdict: ArmVerdict, verdicts: Verdicts) -> list[str]:
    test, score, median = arm_verdict.test, verdicts.declared.score, arm_verdict.median
    ps = [test.p, test.p_equivalent, test.p_not_worse] if test else [None] * 3
    return [
        code(arm_verdict.arm.name),
        escape(verdict_words(arm_verdict)),
        str(len(arm_verdict.values)),
        f"{arm_verdict.n_diverged} of {arm_verdict.n_ended}",
        score_text(make_stat([*arm_verdict.values.values()]), score),
        "—" if median is None else fixed(median * score.scale, score.decimals) if math.isfinite(median) else "diverged",
        code(arm_verdict.base.arm.name) if arm_verdict.base else "—",
        difference_text(arm_verdict, score),
        *map(p_text, ps if verdicts.declared.margin else ps[:1]),
    ]


def verdict_words(arm_verdict: ArmVerdict) -> str:
    """The verdict, and the condition that it holds under, if there is one."""
    test, verdict = arm_verdict.test, arm_verdict.verdict
    conditional = test is not None and test.equal_noise and verdict not in (NO_DIFFERENCE, UNSTABLE)
    return f"{verdict} ({ASSUMPTION})" if conditional and not verdict.startswith("no verdict") else verdict


def p_text(p: float | None) -> str:
    """
    >>> p_text(0.25), p_text(0.03125), p_text(2e-9), p_text(None)
    ('0.25', '0.031', '< 0.001', '—')
    """
    if p is None:
        return "—"
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def difference_text(arm_verdict: ArmVerdict, score: Score) -> str:
    """`+0.12 [-0.01, +0.25]`; no interval with one seed."""
    if arm_verdict.difference is None:
        return "—"
    text, test = signed(arm_verdict.difference, score), arm_verdict.test
    return text if test is None else f"{text} [{signed(test.low, score)}, {signed(test.high, score)}]"


def signed(value: float, score: Score) -> str:
    """One decimal more than the score itself."""
    return ("+" if value > 0 else "") + fixed(value * score.scale, score.decimals + 1)


def notes(verdicts: Verdicts) -> list[str]:
    """What the verdicts rest on, and what limits them."""
    declared = verdicts.declared
    compared = [arm_verdict for arm_verdict in verdicts.arms if arm_verdict.difference is not None]
    lines = [_primary(verdicts), *_corrections(verdicts)]
    lines += describe_origins([arm_verdict.arm for arm_verdict in verdicts.arms])
    if not any(declared.is_baseline(arm_verdict.arm) for arm_verdict in verdicts.arms):
        lines.append(f"There is no arm {code(declared.baseline)} to compare with: name one in `report.baseline`.")
    if any(arm_verdict.test is None for arm_verdict in compared):
        lines.append(
            "One seed gives no interval, no p and no verdict: another seed could reverse the difference. With "
            f"`seed={','.join(map(str, range(1, ENOUGH_SEEDS + 1)))}` a study needs no assumption about the noise of seeds."
        )
    if any(arm_verdict.test and arm_verdict.test.equal_noise for arm_verdict in compared):
        lines.append(
            f"With fewer than {ENOUGH_SEEDS} seeds per arm, intervals, p and verdicts assume that the scores of seeds vary equally "
            "in all arms."
        )
    if declared.split.partition(".")[0] == "valid":
        lines.append("valid also chose the checkpoint of each run, so its scores are somewhat better than on new text.")
    lines += [_bad(arm_verdict) for arm_verdict in verdicts.arms if arm_verdict.bad]
    if compared:
        n = min(len(arm_verdict.values) for arm_verdict in compared)
        lines.append(
            f"Verdicts are about a typical run. If {n} seed{'' if n == 1 else 's'} of an arm ended well, up to "
            f"{100 * unseen_share(n):.0f} % of all its runs may still end badly (95 % confidence)."
        )
    if compared and not verdicts.tuned:
        some = any(arm_verdict.arm.tuning for arm_verdict in verdicts.arms)
        tuned = "Not every arm was tuned in the same way" if some else "No arm was tuned"
        lines.append(f"{tuned}: another learning rate could favour another arm, so none is called better or worse.")
    if any(arm_verdict.n_diverged for arm_verdict in verdicts.arms):
        lines.append("Means and differences leave diverged seeds out; medians count them as worst.")
    lines += [_two_level(arm_verdict, verdicts) for arm_verdict in verdicts.arms if arm_verdict.two_level]
    return [*lines, *verdicts.notes]


def _primary(verdicts: Verdicts) -> str:
    declared = verdicts.declared
    measured = f"{declared.score.title} on {escape(declared.split)}"
    if declared.instead_of:
        replaced = f"instead of {declared.instead_of.title}, which depends on the vocabulary"
        measured += f" ({replaced}, and vocabularies differ)"
    others = {v.base.arm.label for v in verdicts.arms if v.base} - {declared.baseline}
    own = ", or the untied arm of its own vocabulary" if others else ""
    measured += f", each arm against {code(declared.baseline)}{own}"
    if declared.doubt:
        return f"Exploratory, no verdict: {measured}; {escape(declared.doubt)}."
    margin = "no margin was declared, so no arm can be called equivalent or not worse"
    if declared.margin is not None:
        margin = f"a difference within the margin of {margin_text(verdicts)} does not matter"
    when = "anew after training" if _corrections(verdicts) else "before training"
    return f"Primary, declared {when}: {measured}; {margin}. All other scores and splits here are exploratory."


def _bad(arm_verdict: ArmVerdict) -> str:
    seeds = join_words(list(map(str, arm_verdict.bad)))
    many = len(arm_verdict.bad) > 1
    return (
        f"{code(arm_verdict.arm.name)}: seed{'s' if many else ''} {seeds} ended far worse than the noise of the study explains; "
        "an arm with such a seed is unstable and is called nothing else."
    )


def _corrections(verdicts: Verdicts) -> list[str]:
    """What was declared anew after training, each change once."""
    every = [c for arm_verdict in verdicts.arms for run in arm_verdict.arm.runs for c in run.corrections]
    texts = [
        f"Declared anew after training, on {escape(str(c.get('date')))}: {code(str(c.get('key')))} was "
        f"{code(show_value(c.get('was')))} and is {code(show_value(c.get('value')))}."
        for c in every
    ]
    return list(dict.fromkeys(texts))


def _two_level(arm_verdict: ArmVerdict, verdicts: Verdicts) -> str:
    low, high = (signed(bound, SCORES["bits_per_byte"]) for bound in arm_verdict.two_level or ())
    return (
        f"{code(arm_verdict.arm.name)}: if seeds and documents are resampled together, the difference in bits/byte on "
        f"{escape(verdicts.declared.split)} lies in [{low}, {high}] (95 %)."
    )


def margin_text(verdicts: Verdicts) -> str:
    """The margin as it was declared, in the unit that is shown."""
    return f"{(verdicts.declared.margin or 0.0) * verdicts.declared.score.scale:g}"


def more_seeds(arm_verdict: ArmVerdict, verdicts: Verdicts) -> tuple[int, float]:
    """Seeds of the next declared look, or twice as many as there are; and the smallest difference that they can show."""
    assert arm_verdict.test is not None
    n, looks = len(arm_verdict.values), verdicts.declared.looks
    later = [look for look in looks if look > n]
    if not later:
        return 2 * n, verdicts.design.smallest_effect(2 * n, arm_verdict.test.sd)
    level = verdicts.design.level * level_at(looks, later[0]) / verdicts.level
    return later[0], replace(verdicts.design, level=level).smallest_effect(later[0], arm_verdict.test.sd)


def effect_text(effect: float, score: Score) -> str:
    """The size of a difference, with the decimals of a difference."""
    return fixed(effect * score.scale, score.decimals + 1)


def power_table(verdicts: Verdicts) -> str:
    """The smallest difference that the seeds of each arm can show, and how many seeds are needed; empty without a test."""
    target = "the margin" if verdicts.declared.margin else "the difference found"
    header = ["arm", "seeds", "smallest difference they can show", "with more seeds", f"seeds needed to show {target}"]
    rows = [
        _power_row(arm_verdict, verdicts) for arm_verdict in verdicts.arms if arm_verdict.smallest_effect is not None
    ]
    if not rows:
        return ""
    about = (
        f"What seeds can show, with a chance of 80 % at level {verdicts.design.level:.2g}, if seeds vary as they did here. It "
        "serves to plan the next study:"
    )
    return f"{about}\n\n{markdown_table(header, rows)}"


def _power_row(arm_verdict: ArmVerdict, verdicts: Verdicts) -> list[str]:
    score, needed = verdicts.declared.score, arm_verdict.seeds_needed
    more, effect = more_seeds(arm_verdict, verdicts)
    return [
        code(arm_verdict.arm.name),
        str(len(arm_verdict.values)),
        effect_text(arm_verdict.smallest_effect or 0.0, score),
        f"{effect_text(effect, score)} with {more} seeds",
        f"more than {MAX_SEEDS:,}" if needed is None else str(needed),
    ]
