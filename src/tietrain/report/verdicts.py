"""Arms -> verdicts: each against the baseline that its runs stated before they were trained, paired by training seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tietrain.errors import DataError
from tietrain.report.arms import UNTIED, Arm, Comparison, run_score
from tietrain.report.differences import closest
from tietrain.report.pages.markup import code, escape
from tietrain.report.resampling import MIN_SEEDS, two_level_interval
from tietrain.report.statistics import (
    LEVEL,
    Paired,
    adjust_holm,
    compare_paired,
    equivalence_p,
    seeds_needed,
    smallest_effect,
)
from tietrain.runs.documents import nats_and_bits
from tietrain.runs.scores import COLUMNS, SCORES, Score

BASELINE, BETTER, WORSE, NO_DIFFERENCE, UNSTABLE = "baseline", "better", "worse", "no difference shown", "unstable"
EQUIVALENT, EQUIVALENT_HERE = "equivalent", "equivalent at this rate"
DIFFERS_HERE = "no verdict (differs at this rate)"
# Scores that agree to so many parts are the same but for rounding.
SAME = 1e-12
# What a score that depends on how text is cut is read as where vocabularies differ.
UNCUT = {"excess_nats": "excess_bits_per_byte"}


@dataclass(frozen=True)
class Declared:
    """What the runs of a comparison stated before training; doubt: why no verdict can rest on it, else empty.

    instead_of: the score that was stated, where vocabularies differ and it depends on them; a margin does not hold then.
    """

    score: Score
    split: str
    baseline: str
    margin: float | None
    doubt: str = ""
    instead_of: Score | None = None

    def is_baseline(self, arm: Arm) -> bool:
        return self.baseline in {run.label for run in arm.runs}

    def is_primary(self, split: str) -> bool:
        return split == self.split and not self.doubt


@dataclass(frozen=True)
class ArmVerdict:
    """An arm against its baseline, on the primary score.

    base: None for a baseline. values: seed -> score of each finished run. n_diverged, n_ended: seeds. median: diverged
    seeds count as worst, infinitely so. paired: None below two common seeds. p_holm, p_equivalent: over all arms.
    seeds_needed: to see the margin, or without one the difference found. two_level: of the difference in bits a byte.
    """

    arm: Arm
    base: ArmVerdict | None
    values: dict[int, float]
    n_diverged: int
    n_ended: int
    median: float | None
    differences: tuple[float, ...]
    paired: Paired | None = None
    p_holm: float | None = None
    p_equivalent: float | None = None
    verdict: str = BASELINE
    seeds_needed: int | None = None
    smallest_effect: float | None = None
    two_level: tuple[float, float] | None = None


@dataclass(frozen=True)
class Verdicts:
    """All arms of a comparison. tuned: whether each was trained at a rate of its own. notes: what could not be done."""

    declared: Declared
    tuned: bool
    arms: tuple[ArmVerdict, ...]
    notes: tuple[str, ...] = ()

    @property
    def level(self) -> float:
        """Holm's strictest: what the smallest p is held against."""
        return LEVEL / max(1, sum(one.paired is not None for one in self.arms))

    def of(self, arm: Arm) -> ArmVerdict:
        return next(judged for judged in self.arms if judged.arm is arm)


def judge(comparison: Comparison, *, tuned: bool) -> Verdicts:
    """Verdicts of a comparison."""
    declared = read_declared(comparison)
    bases = {arm.id: _measured(arm, None, declared) for arm in comparison.arms if declared.is_baseline(arm)}
    judged = []
    for arm in comparison.arms:
        base = closest(arm, [one.arm for one in bases.values()])
        judged.append(bases.get(arm.id) or _measured(arm, bases[base.id] if base else None, declared))
    tests = {one.arm.id: one.paired for one in judged if one.paired}

    def adjusted(p_of: Callable[[Paired], float]) -> dict[str, float]:
        return dict(zip(tests, adjust_holm([p_of(test) for test in tests.values()]), strict=True))

    p_holm, margin = adjusted(lambda test: test.p), declared.margin
    p_equivalent = adjusted(lambda test: equivalence_p(test, margin)) if margin else {}
    judged = [replace(one, p_holm=p_holm.get(one.arm.id), p_equivalent=p_equivalent.get(one.arm.id)) for one in judged]
    judgement = Verdicts(declared, tuned, tuple(judged))
    return replace(judgement, arms=tuple(_with_verdict(one, judgement) for one in judged))


def read_declared(comparison: Comparison) -> Declared:
    """What all runs stated alike; where they do not, the task's first score and no ground for a verdict."""
    stated = [run.declared for arm in comparison.arms for run in arm.runs if run.status in ("done", "diverged")]
    name, split, baseline, margin = (
        stated[0].get(k) if stated else None for k in ("metric", "split", "baseline", "margin")
    )
    doubt = ""
    if any(other != stated[0] for other in stated):
        doubt = "the runs did not state one primary score, split, baseline and margin"
    elif name not in SCORES or not split or not baseline:
        doubt = "the runs did not state a primary score"
    if doubt:
        first = COLUMNS.get(comparison.task, COLUMNS["mt"])[0]
        name, split, baseline, margin = first, (comparison.splits or ["test"])[0], UNTIED, None
    score, instead_of = SCORES[str(name)], None
    if score.per_token and len(comparison.vocabularies) > 1:
        score, instead_of, margin = SCORES[UNCUT.get(score.name, "bits_per_byte")], score, None
    margin = margin if isinstance(margin, float) and margin > 0 else None
    return Declared(score, str(split), str(baseline), margin, doubt, instead_of)


def _measured(arm: Arm, base: ArmVerdict | None, declared: Declared) -> ArmVerdict:
    scores = {run.seed: run_score(run, declared.split, declared.score.name) for run in arm.done}
    values = {seed: value for seed, value in scores.items() if value is not None}
    n_diverged = len({run.seed for run in arm.runs if run.status == "diverged"} - scores.keys())
    theirs = base.values if base else {}
    pairs = [(values[seed], theirs[seed]) for seed in sorted(values.keys() & theirs.keys())]
    differences = tuple(0.0 if math.isclose(ours, other, rel_tol=SAME) else ours - other for ours, other in pairs)
    return ArmVerdict(
        arm=arm,
        base=base,
        values=values,
        n_diverged=n_diverged,
        n_ended=len(scores) + n_diverged,
        median=median_with_diverged(list(values.values()), n_diverged, declared.score.sign),
        differences=differences,
        paired=compare_paired(differences) if len(differences) > 1 else None,
    )


def median_with_diverged(values: Sequence[float], n_diverged: int, sign: int) -> float | None:
    """The median, diverged runs counted as infinitely bad.

    >>> median_with_diverged([1.0, 2.0], 1, -1), median_with_diverged([1.0], 2, -1), median_with_diverged([], 0, 1)
    (2.0, inf, None)
    """
    ended = [*values, *[-sign * math.inf] * n_diverged]
    return statistics.median(ended) if ended else None


def _with_verdict(one: ArmVerdict, judgement: Verdicts) -> ArmVerdict:
    """The verdict of an arm and what its seeds could and should show."""
    declared = judgement.declared
    if declared.is_baseline(one.arm):
        return replace(one, verdict=f"{BASELINE}, {UNSTABLE}") if one.n_diverged else one
    if one.paired:
        wanted, sd = declared.margin or one.paired.mean, one.paired.sd
        needed = seeds_needed(wanted, sd, judgement.level)
        one = replace(one, seeds_needed=needed, smallest_effect=smallest_effect(one.paired.n, sd, judgement.level))
    if one.n_diverged:
        return replace(one, verdict=UNSTABLE)
    if why := _why_none(one, declared):
        return replace(one, verdict=f"no verdict ({why})")
    return replace(one, verdict=_verdict(one, declared.score.sign, tuned=judgement.tuned))


def _why_none(one: ArmVerdict, declared: Declared) -> str:
    """Why an arm has no verdict; empty where it has one."""
    if one.base is None:
        return f"no arm {declared.baseline}"
    if one.base.n_diverged:
        return "unstable baseline"
    if not one.differences:
        return "no common seed" if one.values and one.base.values else "not scored"
    if one.paired is None:
        return "one seed"
    if one.paired.mean and one.paired.sd <= SAME * max(map(abs, one.values.values())):
        return "the same difference at every seed"  # of which no t test can say how far chance reaches
    return "exploratory" if declared.doubt else ""


def _verdict(one: ArmVerdict, sign: int, *, tuned: bool) -> str:
    """A difference inside the margin is what was said not to matter, significant or not."""
    assert one.paired is not None and one.p_holm is not None
    if one.p_equivalent is not None and one.p_equivalent < LEVEL:
        return EQUIVALENT if tuned else EQUIVALENT_HERE
    if one.p_holm >= LEVEL:
        return NO_DIFFERENCE
    if not tuned:
        return DIFFERS_HERE
    return BETTER if one.paired.mean * sign > 0 else WORSE


def add_two_level(judgement: Verdicts, directory: Path) -> Verdicts:
    """With intervals over seeds and documents for arms of at least MIN_SEEDS pairs; notes say where one is missing.

    Args:
        directory: what the paths of the runs are relative to.
    """
    arms, notes = [], list(judgement.notes)
    for one in judgement.arms:
        if one.base is not None and len(one.differences) >= MIN_SEEDS:
            try:
                one = replace(one, two_level=_two_level(one.arm, one.base.arm, judgement.declared.split, directory))
            except DataError as e:
                notes.append(f"{code(one.arm.name)}: no interval over seeds and documents, {escape(e.problem)}.")
        arms.append(one)
    return replace(judgement, arms=tuple(arms), notes=tuple(notes))


def _two_level(arm: Arm, base: Arm, split: str, directory: Path) -> tuple[float, float]:
    """Of the difference in bits a byte, which both must have."""
    ours, theirs = (
        {r.seed: r for r in a.done if run_score(r, split, "bits_per_byte") is not None} for a in (arm, base)
    )
    seeds = sorted(ours.keys() & theirs.keys())
    if len(seeds) < MIN_SEEDS:
        raise DataError(f"{split}, {arm.name}", f"{len(seeds)} common seeds have bits a byte", f"run {MIN_SEEDS}")
    nats, units = nats_and_bits(directory, split, [runs[seed] for runs in (ours, theirs) for seed in seeds])
    return two_level_interval(nats[:, : len(seeds)] - nats[:, len(seeds) :], units)
