"""The answer of a comparison in a few plain sentences, made from its verdicts: what to use, savings, costs, evidence."""

from dataclasses import dataclass
from statistics import fmean

from tietrain.report import verdicts as outcomes
from tietrain.report.arms import Comparison
from tietrain.report.pages.markup import fixed, join_words, powers
from tietrain.report.pages.tables import saved_text
from tietrain.report.pages.verdict_text import difference_text, heading, p_text
from tietrain.report.verdicts import ArmVerdict, Declared, Verdicts


@dataclass(frozen=True)
class Headline:
    """Plain text: which sharing to use, what it saves, what it costs, and how sure that is."""

    answer: str
    saves: str
    costs: str
    sure: str


def make_headline(comparison: Comparison, verdicts: Verdicts) -> Headline:
    """Of the arms that are better than or equivalent to the baseline, the one that stores least is recommended."""
    fit = [v for v in verdicts.arms if v.verdict in (outcomes.BETTER, outcomes.EQUIVALENT, outcomes.EQUIVALENT_HERE)]
    others = [v for v in verdicts.arms if v.base is not None]
    sure = _sure(comparison, verdicts)
    if fit:
        best = min(fit, key=lambda v: v.arm.first.params or 0)
        saves = saved_text(best.arm.first, " parameters") + _stored(best)
        p = best.p_holm if best.verdict == outcomes.BETTER else best.p_equivalent
        adjusted = "" if p is None else f", adjusted p {p_text(p)}"
        evidence = f"{len(best.differences)} paired seeds{adjusted}, diverged {best.n_diverged} of {best.n_ended}"
        return Headline(_recommendation(best, fit, verdicts), saves, _costs(best, verdicts), f"{evidence}; {sure}")
    if others and all(v.verdict == outcomes.WORSE for v in others) and (base := others[0].base):
        answer = f"Keep {base.arm.name}: every other arm was worse in {_score(verdicts.declared)}."
        return Headline(answer, "nothing: sharing cost quality", "nothing", sure)
    most = max(verdicts.arms, key=lambda v: v.arm.first.params_saved or 0)
    saves = "nothing was shared"
    if most.arm.first.params_saved:
        saves = f"at most {saved_text(most.arm.first, ' parameters')}, by {most.arm.name}{_stored(most)}"
    answer = f"No recommendation can be given: {'; '.join(_why_none(comparison, verdicts))}."
    return Headline(answer, saves, f"not known: no difference has a verdict{_observed(verdicts)}", sure)


def _recommendation(best: ArmVerdict, fit: list[ArmVerdict], verdicts: Verdicts) -> str:
    base = best.base.arm.name if best.base else ""
    theirs = best.base.arm.first.params if best.base else None
    score = _score(verdicts.declared)
    if best.verdict == outcomes.EQUIVALENT_HERE:
        less = ", and stores less" if (best.arm.first.params or 0) < (theirs or 0) else ""
        text = f"{best.arm.name} is equivalent to {base} in {score} at this one common rate{less}."
    else:
        how = f"better than {base}" if best.verdict == outcomes.BETTER else f"equivalent to {base}"
        text = f"Use {best.arm.name}: {how} in {score}."
    rest = [f"{other.arm.name} ({other.verdict})" for other in fit if other is not best]
    return text + (f" It stores the least of the arms that are not worse; also: {join_words(rest)}." if rest else "")


def _score(declared: Declared) -> str:
    return f"{declared.score.title} on {declared.split}"


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
    found = sorted((v for v in verdicts.arms if v.differences), key=lambda v: fmean(v.differences))
    ends = [f"{difference_text(v, score).split()[0]} ({v.arm.name})" for v in found[:1] + found[1:][-1:]]
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
    groups: dict[str, list[ArmVerdict]] = {}
    for arm_verdict in verdicts.arms:
        if arm_verdict.base is not None or not verdicts.declared.is_baseline(arm_verdict.arm):
            groups.setdefault(arm_verdict.verdict, []).append(arm_verdict)
    reasons = [verdicts.declared.doubt] if verdicts.declared.doubt else []
    reasons += [_reason(verdict, group) for verdict, group in groups.items()]
    return [reason for reason in reasons if reason != "exploratory"]


def _reason(verdict: str, group: list[ArmVerdict]) -> str:
    names = join_words([v.arm.name for v in group])
    single = len(group) == 1
    why = verdict.removeprefix("no verdict (").removesuffix(")")
    known = {
        outcomes.NO_DIFFERENCE: f"{names} {'was' if single else 'were'} shown neither to differ nor to be equivalent",
        outcomes.DIFFERS_HERE: f"{names} {'differs' if single else 'differ'}, but at one common rate, which may favour an arm",
        outcomes.UNSTABLE: join_words([f"{v.arm.name} diverged {v.n_diverged} of {v.n_ended} times" for v in group]),
        outcomes.WORSE: f"{names} {'is' if single else 'are'} worse",
        "not scored": f"{names} {'is' if single else 'are'} not scored",
        "one seed": "one seed per arm cannot show whether a difference is chance",
        "no common seed": f"{names} {'has' if single else 'have'} no seed in common with the baseline",
        "unstable baseline": "the baseline diverged",
        "the same difference at every seed": f"{names}: all seeds show the same difference, so chance cannot be estimated",
    }
    return known.get(verdict) or known.get(why) or f"there is {why} to compare with"
