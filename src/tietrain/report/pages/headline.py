"""The answer of a comparison in a few plain sentences, made from its verdicts: what to use, savings, costs, evidence.

A sentence gives the size first and the certainty second, both from the numbers of the tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from tietrain.report import contrasts
from tietrain.report import verdicts as outcomes
from tietrain.report.arms import Comparison
from tietrain.report.pages.markup import fixed, join_some, powers
from tietrain.report.pages.tables import SAME_FLOPS, flops_text, saved_text, stored_text
from tietrain.report.pages.verdict_text import (
    difference_text,
    effect_text,
    heading,
    margin_text,
    more_seeds,
    p_text,
    signed,
    verdict_words,
)
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
# Ties of which the answer says under which settings of the tables they were tried.
MOST_TIES = 3
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
    if fit:
        return _recommend(fit, comparison, verdicts)
    sure = _sure(comparison, verdicts)
    if others and all(v.verdict == contrasts.WORSE for v in others):
        return Headline(_keep(others, verdicts), "nothing: every other arm was worse", "nothing", sure)
    most = max(verdicts.arms, key=lambda v: v.arm.first.params_saved or 0)
    saves = "nothing was shared"
    if (most.arm.first.params_saved or 0) > 0:
        saves = f"at most {saved_text(most.arm.first, ' parameters')}, by {most.arm.name}{_stored(most)}"
    sentences = [f"{v.arm.name} {_scores(v, verdicts)}" for v in _shown(others)]
    why = "; ".join(_why_none(comparison, verdicts))
    answer = " ".join([f"No recommendation can be given: {why}.", *sentences])
    unknown = "no arm was shown to be as good as the baseline" if others else "nothing was compared"
    return Headline(answer, saves, f"not known: {unknown}{_observed(verdicts)}", sure)


def _recommend(fit: Sequence[ArmVerdict], comparison: Comparison, verdicts: Verdicts) -> Headline:
    best = min(fit, key=lambda v: v.arm.first.params or 0)
    advice = f"Use {best.arm.name}"
    if best.verdict.endswith(outcomes.HERE):
        advice = f"At this learning rate {best.arm.name} can replace the baseline"
    rest = [f"{v.arm.name} ({verdict_words(v)})" for v in fit if v is not best]
    also = f" Other arms that can replace the baseline store as much or more: {join_some(rest)}." if rest else ""
    also += " Both were converted from runs that had been trained." if best.arm.converted else ""
    by_label = {v.arm.label: v for v in reversed([best, *fit])}
    under = "".join(_under(v, verdicts) for v in [*reversed(by_label.values())][:MOST_TIES])
    p = p_text(getattr(best.test, FIT[best.verdict]))
    evidence = f"adjusted p {p if p.startswith('<') else f'= {p}'}; {best.n_diverged} of {best.n_ended} seeds diverged"
    return Headline(
        answer=f"{advice}: it {_scores(best, verdicts)}{also}{under}",
        saves=saved_text(best.arm.first, " parameters") + _stored(best),
        costs=_costs(best, verdicts),
        sure=f"{evidence}; {_sure(comparison, verdicts)}",
    )


def _keep(worse: Sequence[ArmVerdict], verdicts: Verdicts) -> str:
    least = max(worse, key=lambda v: (v.difference or 0.0) * verdicts.declared.score.sign)
    several = len(worse) > 1
    return (
        f"Keep {verdicts.declared.baseline}: {'every' if several else 'the'} other arm was worse. "
        f"{'The best of them, ' if several else ''}{least.arm.name}{',' if several else ''} {_scores(least, verdicts)}"
        f"{_under(least, verdicts)}"
    )


def _shown(others: Sequence[ArmVerdict]) -> list[ArmVerdict]:
    """The arms with the lowest and the highest difference."""
    found = sorted((v for v in others if v.difference is not None), key=lambda v: v.difference or 0.0)
    return found[:1] + found[1:][-1:]


def _scores(v: ArmVerdict, verdicts: Verdicts) -> str:
    """`scores 25.2 BLEU on test, and the baseline (none) 91.4 (3 seeds). This is clearly worse, and the difference is large.`"""
    assert v.base is not None
    score = verdicts.declared.score
    ours, theirs = (fixed(fmean(x.values.values()) * score.scale, score.decimals) for x in (v, v.base))
    seeds = " and ".join(dict.fromkeys(str(len(x.values)) for x in (v, v.base)))
    measured = f"{ours} {score.title} on {verdicts.declared.split}, and the baseline ({v.base.arm.name}) {theirs}"
    return f"scores {measured} ({seeds} seed{'' if seeds == '1' else 's'}). {_certainty(v, verdicts)}."


def _certainty(v: ArmVerdict, verdicts: Verdicts) -> str:
    test, verdict = v.test, v.verdict.removesuffix(outcomes.HERE)
    assert v.difference is not None
    side = contrasts.BETTER if v.difference * verdicts.declared.score.sign > 0 else contrasts.WORSE
    large = ", and the difference is large" if test and abs(v.difference) >= LARGE * test.sd else ""
    margin = f"the margin of {margin_text(verdicts)}"
    known = {
        contrasts.BETTER: f"This is clearly better{large}",
        contrasts.WORSE: f"This is clearly worse{large}",
        outcomes.DIFFERS_HERE: f"This is clearly {side} at this learning rate{large}",
        contrasts.EQUIVALENT: f"The two are equal within {margin}",
        contrasts.NOT_WORSE: f"It is worse by less than {margin}, if at all",
        contrasts.UNSTABLE: "It is unstable, so its mean says little",
    }
    if verdict == contrasts.NO_DIFFERENCE:
        return f"The difference may be chance{_next_study(v, verdicts)}"
    if verdict not in known:
        return "This difference has no verdict"
    assumes = test is not None and test.equal_noise and verdict != contrasts.UNSTABLE
    return known[verdict] + (f", {outcomes.ASSUMPTION}" if assumes else "")


def _next_study(v: ArmVerdict, verdicts: Verdicts) -> str:
    """What more seeds could show; without declared looks they need a new study, because seeds that are added give no verdict."""
    n, effect = more_seeds(v, verdicts)
    what = f"a new study with {n} seeds per arm"
    if n in verdicts.declared.looks:
        what = f"the next look, at {n} seeds,"
    return f"; {what} can show a difference of {effect_text(effect, verdicts.declared.score)}"


def _under(v: ArmVerdict, verdicts: Verdicts) -> str:
    """Of a tie of tables: with which parametrisations of the tables it was tried, and whether they agree."""
    if not ties_tables(v.arm.first.owner):
        return ""
    tried = [other for other in verdicts.arms if other.arm.label == v.arm.label and other.test]
    by_tables = {_tables(other): other for other in tried}
    if len(by_tables) < 2:
        return f" Only one setting of the token tables was tried for {v.arm.label} ({_tables(v)}); with another it may differ."
    score = verdicts.declared.score
    found = "; ".join(f"{signed(other.difference or 0.0, score)} with {name}" for name, other in by_tables.items())
    if len({(other.difference or 0.0) > 0 for other in by_tables.values()}) == 1:
        return f" {v.arm.label} has the same sign with all settings of the token tables that were tried: {found}."
    return f" The sign of {v.arm.label} depends on the settings of the token tables: {found}."


def _tables(v: ArmVerdict) -> str:
    settings = v.arm.first.settings
    stated = {key: settings[key] for key in settings if key.startswith(TABLES) and settings[key] is not None}
    std = settings.get(TABLES[0])
    words = {TABLES[0]: "d_model ** -0.5" if std is None else std} | stated
    return ", ".join(f"{key.removeprefix('model.')} {value}" for key, value in words.items())


def _stored(arm_verdict: ArmVerdict) -> str:
    """The whole difference in size to the baseline, if more than ties makes it, such as another vocabulary."""
    text = stored_text(arm_verdict)
    return f"; stores {text} than the baseline" if text else ""


def _costs(arm_verdict: ArmVerdict, verdicts: Verdicts) -> str:
    """Difference of the score, and FLOPs as a ratio to the baseline's; no seconds, which depend on what else ran."""
    score = verdicts.declared.score
    parts = [f"{difference_text(arm_verdict, score)} {score.title}"]
    ratio, ours = flops_text(arm_verdict), arm_verdict.arm.total("flops")
    if ratio:
        parts.append(f"{ratio} {'' if ratio == SAME_FLOPS else 'the '}training FLOPs")
    elif ours:
        parts.append(f"{powers(ours.mean)} training FLOPs")
    return ", ".join(parts)


def _observed(verdicts: Verdicts) -> str:
    """The range of the differences that were found; empty if there is none."""
    score = verdicts.declared.score
    ends = [f"{signed(v.difference or 0.0, score)} ({v.arm.name})" for v in _shown(verdicts.arms)]
    return f"; found: {' to '.join(ends)} {score.title}" if ends else ""


def _sure(comparison: Comparison, verdicts: Verdicts) -> str:
    text = heading(comparison, verdicts)
    effects = [v.smallest_effect for v in verdicts.arms if v.smallest_effect is not None]
    if not effects:
        return text
    score = verdicts.declared.score
    ends = dict.fromkeys(effect_text(effect, score) for effect in (min(effects), max(effects)))
    return f"{text}; smallest difference that these seeds can show: {' to '.join(ends)} {score.title}"


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
    baseline = verdicts.declared.baseline
    reasons = [_reason(verdict, group, baseline) for verdict, group in groups.items()]
    every = f"every arm has the tying of the baseline ({baseline}), so there is no other tying to compare"
    return reasons or [every]


def _reason(verdict: str, group: list[ArmVerdict], baseline: str) -> str:
    names = join_some([v.arm.name for v in group])
    single = len(group) == 1
    why = verdict.removeprefix("no verdict (").removesuffix(")")
    known = {
        contrasts.NO_DIFFERENCE: f"it is open whether {names} {'differs' if single else 'differ'} from the baseline",
        outcomes.DIFFERS_HERE: (
            f"{names} {'differs' if single else 'differ'} from the baseline, but the arms were not tuned, and another learning "
            "rate could favour another arm"
        ),
        contrasts.UNSTABLE: f"{names} {'is' if single else 'are'} unstable: seeds diverged or ended far worse than others",
        contrasts.WORSE: f"{names} {'is' if single else 'are'} worse",
        "not scored": f"{names} or the baseline has no score",
        contrasts.TOO_FEW: "one seed per arm cannot show whether a difference is chance",
        contrasts.UNSTABLE_BASELINE: "the baseline is unstable: seeds diverged or ended far worse than others",
        contrasts.NO_SPREAD: f"the scores of {names} and of the baseline do not vary from seed to seed, so the size of chance is unknown",
    }
    if why.endswith(outcomes.CONVERTED_ALIKE):
        known[why] = (
            f"{names} {'was' if single else 'were'} converted, and no arm {baseline} was converted in the same way"
        )
    return known.get(verdict) or known.get(why) or f"the baseline ({baseline}) has no runs"
