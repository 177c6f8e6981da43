"""The answer of a comparison in a few plain sentences, made from its verdicts: what to use, savings, costs, evidence.

A sentence gives the size first and the certainty second, both from the numbers of the tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from tietrain.report import contrasts
from tietrain.report import verdicts as outcomes
from tietrain.report.arms import Comparison
from tietrain.report.pages.markup import fixed, join_words, powers
from tietrain.report.pages.tables import saved_text
from tietrain.report.pages.verdict_text import difference_text, heading, p_text, signed, verdict_words
from tietrain.report.ties import ties_tables
from tietrain.report.verdicts import ArmVerdict, Verdicts

# Verdicts under which an arm can replace its baseline, with the family of tests that each rests on.
FIT = {
    contrasts.BETTER: "p",
    contrasts.EQUIVALENT: "p_equivalent",
    contrasts.NOT_WORSE: "p_not_worse",
    outcomes.EQUIVALENT_HERE: "p_equivalent",
    outcomes.NOT_WORSE_HERE: "p_not_worse",
}
# A difference of this many standard deviations of a seed is called large.
LARGE = 5.0
# Settings that make a parametrisation of the token tables.
TABLES = ("model.table_init_std", "model.embed_scale", "model.output_scale", "model.init_std.")


@dataclass(frozen=True)
class Headline:
    """Plain text: which sharing to use, what it saves, what it costs, and how sure that is."""

    answer: str
    saves: str
    costs: str
    sure: str


def make_headline(comparison: Comparison, verdicts: Verdicts) -> Headline:
    """Of the arms that are better than, equivalent to or not worse than the baseline, the one that stores least is named."""
    fit = [v for v in verdicts.arms if v.verdict in FIT]
    others = [v for v in verdicts.arms if v.base is not None]
    sure = _sure(comparison, verdicts)
    if fit:
        best = min(fit, key=lambda v: v.arm.first.params or 0)
        saves = saved_text(best.arm.first, " parameters") + _stored(best)
        rest = [f"{v.arm.name} ({verdict_words(v)})" for v in fit if v is not best]
        by_label = {v.arm.label: v for v in reversed([best, *fit])}
        under = "".join(_under(v, verdicts) for v in reversed(by_label.values()))
        also = (
            f" It stores the least of the arms that can replace the baseline; also: {join_words(rest)}." if rest else ""
        )
        answer = f"{_advice(best)}{_sentence(best, verdicts)}{also}{under}"
        p = getattr(best.test, FIT[best.verdict])
        evidence = f"{len(best.values)} seeds, adjusted p {p_text(p)}, diverged {best.n_diverged} of {best.n_ended}"
        return Headline(answer, saves, _costs(best, verdicts), f"{evidence}; {sure}")
    if others and all(v.verdict == contrasts.WORSE for v in others) and (base := others[0].base):
        least = max(others, key=lambda v: (v.difference or 0.0) * verdicts.declared.score.sign)
        answer = f"Keep {base.arm.name}: {'the' if len(others) == 1 else 'every'} other arm was worse. {_sentence(least, verdicts)}{_under(least, verdicts)}"
        return Headline(answer, "nothing: sharing cost quality", "nothing", sure)
    most = max(verdicts.arms, key=lambda v: v.arm.first.params_saved or 0)
    saves = "nothing was shared"
    if most.arm.first.params_saved:
        saves = f"at most {saved_text(most.arm.first, ' parameters')}, by {most.arm.name}{_stored(most)}"
    sentences = [_sentence(v, verdicts) for v in _shown(others)]
    why = "; ".join(_why_none(comparison, verdicts))
    answer = " ".join([f"No recommendation can be given: {why}.", *sentences])
    return Headline(answer, saves, f"not known: no difference has a verdict{_observed(verdicts)}", sure)


def _advice(best: ArmVerdict) -> str:
    return "" if best.verdict.endswith(outcomes.HERE) else f"Use {best.arm.name}. "


def _shown(others: Sequence[ArmVerdict]) -> list[ArmVerdict]:
    """The arms with the lowest and the highest difference."""
    found = sorted((v for v in others if v.difference is not None), key=lambda v: v.difference or 0.0)
    return found[:1] + found[1:][-1:]


def _sentence(v: ArmVerdict, verdicts: Verdicts) -> str:
    """`three_way against shared_vocab: 25.2 against 91.4 BLEU on test, 3 seeds: the drop is large and clear.`"""
    assert v.base is not None
    score = verdicts.declared.score
    ours, theirs = (fixed(fmean(x.values.values()) * score.scale, score.decimals) for x in (v, v.base))
    n = len(v.values)
    size = f"{v.arm.name} against {v.base.arm.name}: {ours} against {theirs} {score.title} on {verdicts.declared.split}"
    return f"{size}, {n} seed{'' if n == 1 else 's'}: {_certainty(v, verdicts)}."


def _certainty(v: ArmVerdict, verdicts: Verdicts) -> str:
    score, test = verdicts.declared.score, v.test
    assert v.difference is not None
    margin = fixed((verdicts.declared.margin or 0.0) * score.scale, score.decimals + 1)
    change = "gain" if v.difference * score.sign > 0 else "loss"
    large = "large and " if test and abs(v.difference) >= LARGE * test.sd else ""
    known = {
        contrasts.EQUIVALENT: f"equal within the margin of {margin}",
        contrasts.NOT_WORSE: f"not worse by more than the margin of {margin}",
        contrasts.UNSTABLE: "unstable, so the mean says little",
        outcomes.DIFFERS_HERE: f"the {change} is {large}clear at this one rate, but no arm was tuned",
    }
    verdict = v.verdict.removesuffix(outcomes.HERE)
    if verdict in (contrasts.BETTER, contrasts.WORSE):
        words = f"the {change} is {large}clear"
    elif verdict == contrasts.NO_DIFFERENCE and test:
        words = f"the {change} cannot be told from noise{_next_look(v, verdicts)}"
    else:
        words = known.get(verdict, f"the {change} has no verdict")
    condition = f", {outcomes.ASSUMPTION}" if verdict_words(v).endswith(f"({outcomes.ASSUMPTION})") else ""
    return words + condition


def _next_look(v: ArmVerdict, verdicts: Verdicts) -> str:
    """What more seeds would show: those of the next declared look, or twice as many."""
    assert v.test is not None
    n, score = len(v.values), verdicts.declared.score
    declared = [look for look in verdicts.declared.looks if look > n]
    more = declared[0] if declared else 2 * n
    seen = fixed(verdicts.design.smallest_effect(more, v.test.sd) * score.scale, score.decimals + 1)
    return f"; {'at the next look, ' if declared else 'with '}{more} seeds, a difference of {seen} would be seen"


def _under(v: ArmVerdict, verdicts: Verdicts) -> str:
    """Of a tie of tables: under which parametrisations of the tables it was tried, and whether they agree."""
    if not ties_tables(v.arm.first.owner):
        return ""
    tried = [other for other in verdicts.arms if other.arm.label == v.arm.label and other.test]
    by_tables = {_tables(other): other for other in tried}
    if len(by_tables) < 2:
        return f" {v.arm.label} was tried under one parametrisation of the tables ({_tables(v)}), another could differ."
    score = verdicts.declared.score
    found = "; ".join(f"{signed(other.difference or 0.0, score)} under {name}" for name, other in by_tables.items())
    if len({(other.difference or 0.0) > 0 for other in by_tables.values()}) == 1:
        return f" {v.arm.label} has the same sign under {len(by_tables)} parametrisations of the tables: {found}."
    return f" {v.arm.label} depends on the parametrisation of the tables: {found}."


def _tables(v: ArmVerdict) -> str:
    settings = v.arm.first.settings
    stated = {key: settings[key] for key in settings if key.startswith(TABLES) and settings[key] is not None}
    std = settings.get(TABLES[0])
    words = {TABLES[0]: "d_model^-0.5" if std is None else std} | stated
    return ", ".join(f"{key.removeprefix('model.')} {value}" for key, value in words.items())


def _stored(arm_verdict: ArmVerdict) -> str:
    """The whole difference in size to the baseline, if more than ties makes it, such as another vocabulary."""
    ours = arm_verdict.arm.first
    theirs = arm_verdict.base.arm.first if arm_verdict.base else None
    if not ours.params or not theirs or not theirs.params or ours.params_untied == theirs.params:
        return ""
    percent = 100 * (ours.params / theirs.params - 1)
    return f"; stores {abs(percent):.1f} % {'less' if percent < 0 else 'more'} than the baseline"


def _costs(arm_verdict: ArmVerdict, verdicts: Verdicts) -> str:
    """Difference of the score, and FLOPs as a ratio to the baseline's; no seconds, which depend on what else ran."""
    score = verdicts.declared.score
    parts = [f"{difference_text(arm_verdict, score)} {score.title}"]
    ours = arm_verdict.arm.total("flops")
    theirs = arm_verdict.base.arm.total("flops") if arm_verdict.base else None
    if ours and theirs and theirs.mean > 0:
        ratio = f"{ours.mean / theirs.mean:.3g}"
        parts.append("the same training FLOPs" if ratio == "1" else f"{ratio} times the training FLOPs")
    elif ours:
        parts.append(f"{powers(ours.mean)} training FLOPs")
    return ", ".join(parts)


def _observed(verdicts: Verdicts) -> str:
    """The range of the differences that were found; empty if there is none."""
    score = verdicts.declared.score
    ends = [f"{signed(v.difference or 0.0, score)} ({v.arm.name})" for v in _shown(verdicts.arms)]
    return f"; observed: {' to '.join(ends)} {score.title}" if ends else ""


def _sure(comparison: Comparison, verdicts: Verdicts) -> str:
    text = heading(comparison, verdicts)
    effects = [v.smallest_effect for v in verdicts.arms if v.smallest_effect is not None]
    if not effects:
        return text
    score = verdicts.declared.score
    ends = dict.fromkeys(fixed(x * score.scale, score.decimals + 1) for x in (min(effects), max(effects)))
    return f"{text}; smallest detectable difference: {' to '.join(ends)} {score.title}"


def _why_none(comparison: Comparison, verdicts: Verdicts) -> list[str]:
    """Every reason once, with all arms it holds for."""
    if comparison.seeds[1] == 0:
        return ["no run has finished"]
    if len(comparison.arms) == 1:
        return ["there is only one arm, so there is nothing to compare it with"]
    if verdicts.declared.doubt:
        return [verdicts.declared.doubt]
    groups: dict[str, list[ArmVerdict]] = {}
    for arm_verdict in verdicts.arms:
        if not verdicts.declared.is_baseline(arm_verdict.arm):
            groups.setdefault(arm_verdict.verdict, []).append(arm_verdict)
    reasons = [_reason(verdict, group) for verdict, group in groups.items()]
    every = f"every arm is a baseline ({verdicts.declared.baseline}), so no tie is compared with another"
    return reasons or [every]


def _reason(verdict: str, group: list[ArmVerdict]) -> str:
    names = join_words([v.arm.name for v in group])
    single = len(group) == 1
    why = verdict.removeprefix("no verdict (").removesuffix(")")
    known = {
        contrasts.NO_DIFFERENCE: f"{names} {'was' if single else 'were'} shown neither to differ nor to be equivalent",
        outcomes.DIFFERS_HERE: f"{names} {'differs' if single else 'differ'}, but at one common rate, which may favour an arm",
        contrasts.UNSTABLE: f"{names} {'is' if single else 'are'} unstable: seeds diverged or ended far worse than others",
        contrasts.WORSE: f"{names} {'is' if single else 'are'} worse",
        "not scored": f"{names} {'is' if single else 'are'} not scored",
        contrasts.TOO_FEW: "one seed per arm cannot show whether a difference is chance",
        contrasts.UNSTABLE_BASELINE: "the baseline is unstable: seeds diverged or ended far worse than others",
        contrasts.NO_SPREAD: f"{names}: seeds do not vary, so chance cannot be estimated",
    }
    return known.get(verdict) or known.get(why) or f"there is {why} to compare with"
