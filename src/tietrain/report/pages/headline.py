"""The answer of a comparison in a few plain sentences, made from its verdicts: what to use, saved, cost, how sure."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from tietrain.report.arms import Arm, Comparison
from tietrain.report.pages.markup import count, fixed, join_words, powers
from tietrain.report.pages.verdict_text import difference_text, heading, p_text
from tietrain.report.verdicts import (
    BETTER,
    DIFFERS_HERE,
    EQUIVALENT,
    EQUIVALENT_HERE,
    NO_DIFFERENCE,
    UNSTABLE,
    WORSE,
    ArmVerdict,
    Declared,
    Verdicts,
)


@dataclass(frozen=True)
class Headline:
    """Plain text: which sharing to use, and of that one what it saves, what it costs and how sure that is."""

    answer: str
    saves: str
    costs: str
    sure: str


def make_headline(comparison: Comparison, judgement: Verdicts) -> Headline:
    """Recommended is, of the arms shown better than or equivalent to the baseline, the one that stores least."""
    fit = [one for one in judgement.arms if one.verdict in (BETTER, EQUIVALENT, EQUIVALENT_HERE)]
    others = [one for one in judgement.arms if one.base is not None]
    sure = _sure(comparison, judgement)
    if fit:
        one = min(fit, key=lambda one: one.arm.first.params or 0)
        return Headline(
            _use(one, fit, judgement),
            saved_text(one.arm) + _stored(one),
            _costs(one, judgement),
            f"{_evidence(one)}; {sure}",
        )
    if others and all(one.verdict == WORSE for one in others) and (base := others[0].base):
        said = f"Keep {base.arm.name}: every other arm was worse in {_score(judgement.declared)}."
        return Headline(said, "nothing: what was shared cost quality", "nothing", sure)
    most = max(judgement.arms, key=lambda one: one.arm.first.params_saved or 0)
    saves = f"at most {saved_text(most.arm)}, by {most.arm.name}{_stored(most)}"
    saves = saves if most.arm.first.params_saved else "nothing was shared"
    answer = f"No recommendation can be given: {'; '.join(_why_none(comparison, judgement))}."
    return Headline(answer, saves, f"not known: no difference carries a verdict{_seen(judgement)}", sure)


def _use(one: ArmVerdict, fit: list[ArmVerdict], judgement: Verdicts) -> str:
    base = one.base.arm.name if one.base else ""
    score = _score(judgement.declared)
    if one.verdict == EQUIVALENT_HERE:
        said = f"{one.arm.name} is equivalent to {base} in {score} at this one common rate, and stores less"
        said = said if _stores_less(one) else said.removesuffix(", and stores less")
    else:
        how = f"better than {base}" if one.verdict == BETTER else f"equivalent to {base}"
        said = f"Use {one.arm.name}: {how} in {score}"
    rest = [f"{other.arm.name} ({other.verdict})" for other in fit if other is not one]
    return f"{said}." + (f" It stores least of those that are no worse; also: {join_words(rest)}." if rest else "")


def _stores_less(one: ArmVerdict) -> bool:
    return one.base is not None and (one.arm.first.params or 0) < (one.base.arm.first.params or 0)


def _score(declared: Declared) -> str:
    return f"{declared.score.title} on {declared.split}"


def saved_text(arm: Arm) -> str:
    """Parameters that sharing saved, and their share."""
    run = arm.first
    if run.params_saved is None or not run.params_untied:
        return "not recorded"
    return f"{count(run.params_saved)} parameters ({100 * run.params_saved / run.params_untied:.1f} %)"


def _stored(one: ArmVerdict) -> str:
    """The whole difference in size to the baseline, where not ties alone make it, but say another vocabulary."""
    ours, theirs = one.arm.first, one.base.arm.first if one.base else None
    if not ours.params or not theirs or not theirs.params or ours.params_untied == theirs.params:
        return ""
    percent = 100 * (ours.params / theirs.params - 1)
    return f"; stores {abs(percent):.1f} % {'less' if percent < 0 else 'more'} than the baseline"


def _costs(one: ArmVerdict, judgement: Verdicts) -> str:
    """Difference of the score, and FLOPs and seconds as a ratio to the baseline's."""
    score = judgement.declared.score
    parts = [f"{difference_text(one, score)} {score.title}"]
    for name, title in (("flops", "training FLOPs"), ("seconds", "training time")):
        ours, theirs = one.arm.total(name), one.base.arm.total(name) if one.base else None
        if ours and theirs and theirs.mean > 0:
            ratio = f"{ours.mean / theirs.mean:.3g}"
            parts.append(f"the same {title}" if ratio == "1" else f"{ratio} times the {title}")
        elif ours:
            parts.append(f"{powers(ours.mean)} {title}")
    return ", ".join(parts)


def _seen(judgement: Verdicts) -> str:
    """The range of the differences that were found; empty where there is none."""
    score = judgement.declared.score
    found = sorted((one for one in judgement.arms if one.differences), key=lambda one: fmean(one.differences))
    ends = [f"{difference_text(one, score).split()[0]} ({one.arm.name})" for one in found[:1] + found[1:][-1:]]
    return f"; seen: {' to '.join(ends)} {score.title}" if ends else ""


def _evidence(one: ArmVerdict) -> str:
    p = one.p_holm if one.verdict == BETTER else one.p_equivalent
    said = f"{len(one.differences)} paired seeds" + (f", adjusted p {p_text(p)}" if p is not None else "")
    return f"{said}, diverged {one.n_diverged} of {one.n_ended}"


def _sure(comparison: Comparison, judgement: Verdicts) -> str:
    effects = [one.smallest_effect for one in judgement.arms if one.smallest_effect is not None]
    said = heading(comparison, judgement)
    if not effects:
        return said
    score = judgement.declared.score
    ends = dict.fromkeys(fixed(x * score.scale, score.decimals + 1) for x in (min(effects), max(effects)))
    return f"{said}; smallest difference that could be seen: {' to '.join(ends)} {score.title}"


def _why_none(comparison: Comparison, judgement: Verdicts) -> list[str]:
    """Every reason once, with all arms it holds for."""
    if comparison.seeds[1] == 0:
        return ["no run has finished"]
    if len(comparison.arms) == 1:
        return ["there is one arm, and nothing to compare it with"]
    groups: dict[str, list[ArmVerdict]] = {}
    for one in judgement.arms:
        if one.base is not None or not judgement.declared.is_baseline(one.arm):
            groups.setdefault(one.verdict, []).append(one)
    whys = [judgement.declared.doubt] if judgement.declared.doubt else []
    whys += [_why(verdict, group) for verdict, group in groups.items()]
    return [why for why in whys if why != "exploratory"]


def _why(verdict: str, group: list[ArmVerdict]) -> str:
    names, one = join_words([one.arm.name for one in group]), len(group) == 1
    known = {
        NO_DIFFERENCE: f"{names} {'was' if one else 'were'} not shown to differ, nor to be equivalent",
        DIFFERS_HERE: f"{names} {'differs' if one else 'differ'}, but at one common rate, which may favour an arm",
        UNSTABLE: join_words([f"{one.arm.name} diverged {one.n_diverged} of {one.n_ended} times" for one in group]),
        WORSE: f"{names} {'is' if one else 'are'} worse",
        "no verdict (not scored)": f"{names} {'is' if one else 'are'} not scored",
        "no verdict (one seed)": "one seed an arm tells nothing of chance",
    }
    return known.get(verdict) or verdict.removeprefix("no verdict (").removesuffix(")")
