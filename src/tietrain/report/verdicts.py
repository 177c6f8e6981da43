"""Arms -> verdicts: each against the baseline that its runs stated before training, paired by training seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from tietrain.errors import DataError
from tietrain.report import statistics
from tietrain.report.arms import UNTIED, Arm, Comparison, run_score
from tietrain.report.differences import closest
from tietrain.report.pages.markup import code, escape
from tietrain.runs.documents import nats_and_bits
from tietrain.runs.scores import COLUMNS, SCORES, Score
from tietrain.runs.view import Run

BASELINE, BETTER, WORSE, NO_DIFFERENCE, UNSTABLE = "baseline", "better", "worse", "no difference shown", "unstable"
EQUIVALENT, EQUIVALENT_HERE = "equivalent", "equivalent at this rate"
DIFFERS_HERE = "no verdict (differs at this rate)"
# Scores that differ by a smaller part than this are equal but for rounding.
SAME = 1e-12
# Score per token -> the score that replaces it if vocabularies differ; bits per byte for those that are not here.
UNCUT = {"excess_nats": "excess_bits_per_byte"}


@dataclass(frozen=True)
class Declared:
    """What the runs of a comparison stated before training.

    doubt: why no verdict can rest on it; empty if one can.
    instead_of: the stated score, if it was replaced because vocabularies differ; the stated margin is dropped then.
    """

    score: Score
    split: str
    baseline: str
    margin: float | None
    doubt: str = ""
    instead_of: Score | None = None

    def is_baseline(self, arm: Arm) -> bool:
        return self.baseline in {run.label for run in arm.runs}


@dataclass(frozen=True)
class ArmVerdict:
    """An arm against its baseline, on the primary score.

    base: None for a baseline. values: seed -> score of each finished run. n_diverged, n_ended: numbers of seeds.
    median: diverged seeds count as infinitely bad. paired: None with fewer than two common seeds.
    p_holm, p_equivalent: adjusted over all arms. seeds_needed: to show the margin, or without one the difference found.
    two_level: interval over seeds and documents of the difference in bits per byte.
    """

    arm: Arm
    base: ArmVerdict | None
    values: dict[int, float]
    n_diverged: int
    n_ended: int
    median: float | None
    differences: tuple[float, ...]
    paired: statistics.PairedSeeds | None = None
    p_holm: float | None = None
    p_equivalent: float | None = None
    verdict: str = BASELINE
    seeds_needed: int | None = None
    smallest_effect: float | None = None
    two_level: tuple[float, float] | None = None


@dataclass(frozen=True)
class Verdicts:
    """The verdicts of all arms of a comparison.

    tuned: whether every arm was tuned by the same list. notes: what could not be computed, and why.
    """

    declared: Declared
    tuned: bool
    arms: tuple[ArmVerdict, ...]
    notes: tuple[str, ...] = ()

    @property
    def level(self) -> float:
        """The strictest level of Holm's procedure: the one for the smallest p."""
        return statistics.LEVEL / max(1, sum(arm_verdict.paired is not None for arm_verdict in self.arms))

    def of(self, arm: Arm) -> ArmVerdict:
        return next(arm_verdict for arm_verdict in self.arms if arm_verdict.arm is arm)


def judge(comparison: Comparison, *, tuned: bool) -> Verdicts:
    """Verdicts of a comparison."""
    declared = read_declared(comparison)
    bases = {arm.id: _measured(arm, None, declared) for arm in comparison.arms if declared.is_baseline(arm)}
    measured = []
    for arm in comparison.arms:
        base = closest(arm, [arm_verdict.arm for arm_verdict in bases.values()])
        measured.append(bases.get(arm.id) or _measured(arm, bases[base.id] if base else None, declared))
    verdicts = Verdicts(declared, tuned, tuple(_adjusted(measured, declared.margin)))
    return replace(verdicts, arms=tuple(_with_verdict(arm_verdict, verdicts) for arm_verdict in verdicts.arms))


def _adjusted(measured: Sequence[ArmVerdict], margin: float | None) -> list[ArmVerdict]:
    """With p values that are adjusted over all arms that have a test."""
    tests = {arm_verdict.arm.id: arm_verdict.paired for arm_verdict in measured if arm_verdict.paired}

    def adjusted(p_of: Callable[[statistics.PairedSeeds], float]) -> dict[str, float]:
        return dict(zip(tests, statistics.adjust_holm([p_of(test) for test in tests.values()]), strict=True))

    p_holm = adjusted(lambda test: test.p)
    p_equivalent = adjusted(lambda test: statistics.equivalence_p(test, margin)) if margin else {}
    return [replace(m, p_holm=p_holm.get(m.arm.id), p_equivalent=p_equivalent.get(m.arm.id)) for m in measured]


def read_declared(comparison: Comparison) -> Declared:
    """What all runs stated alike; if they did not, the task's first score, on which no verdict can rest."""
    stated = [run.declared for arm in comparison.arms for run in arm.runs if run.status in ("done", "diverged")]
    declared = stated[0] if stated else {}
    name, split, baseline, margin = (declared.get(key) for key in ("metric", "split", "baseline", "margin"))
    doubt = ""
    if any(other != declared for other in stated):
        doubt = "the runs did not state one primary score, split, baseline and margin"
    elif name not in SCORES or not split or not baseline:
        doubt = "the runs did not state a primary score"
    if doubt:
        first = COLUMNS.get(comparison.task, COLUMNS["mt"])[0]
        name, split, baseline, margin = first, (comparison.splits or ["test"])[0], UNTIED, None
    score = SCORES[str(name)]
    instead_of = None
    if score.per_token and len(comparison.vocabularies) > 1:
        instead_of = score
        score = SCORES[UNCUT.get(score.name, "bits_per_byte")]
        margin = None
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
        paired=statistics.compare_seeds(differences) if len(differences) > 1 else None,
    )


def median_with_diverged(values: Sequence[float], n_diverged: int, sign: int) -> float | None:
    """The median, diverged runs counted as infinitely bad.

    >>> median_with_diverged([1.0, 2.0], 1, -1), median_with_diverged([1.0], 2, -1), median_with_diverged([], 0, 1)
    (2.0, inf, None)
    """
    ended = [*values, *[-sign * math.inf] * n_diverged]
    return median(ended) if ended else None


def _with_verdict(arm_verdict: ArmVerdict, verdicts: Verdicts) -> ArmVerdict:
    """With the verdict of an arm, and what its seeds could show."""
    declared = verdicts.declared
    if declared.is_baseline(arm_verdict.arm):
        return replace(arm_verdict, verdict=f"{BASELINE}, {UNSTABLE}") if arm_verdict.n_diverged else arm_verdict
    if arm_verdict.paired:
        sd = arm_verdict.paired.sd
        needed = statistics.seeds_needed(declared.margin or arm_verdict.paired.mean, sd, verdicts.level)
        smallest = statistics.smallest_effect(arm_verdict.paired.n, sd, verdicts.level)
        arm_verdict = replace(arm_verdict, seeds_needed=needed, smallest_effect=smallest)
    if arm_verdict.n_diverged:
        return replace(arm_verdict, verdict=UNSTABLE)
    if why := _why_none(arm_verdict, declared):
        return replace(arm_verdict, verdict=f"no verdict ({why})")
    return replace(arm_verdict, verdict=_verdict(arm_verdict, declared.score.sign, tuned=verdicts.tuned))


def _why_none(arm_verdict: ArmVerdict, declared: Declared) -> str:
    """Why an arm has no verdict; empty if it has one."""
    if arm_verdict.base is None:
        return f"no arm {declared.baseline}"
    if arm_verdict.base.n_diverged:
        return "unstable baseline"
    if not arm_verdict.differences:
        return "no common seed" if arm_verdict.values and arm_verdict.base.values else "not scored"
    if arm_verdict.paired is None:
        return "one seed"
    if arm_verdict.paired.mean and arm_verdict.paired.sd <= SAME * max(map(abs, arm_verdict.values.values())):
        # A t test needs differences that vary.
        return "the same difference at every seed"
    return "exploratory" if declared.doubt else ""


def _verdict(arm_verdict: ArmVerdict, sign: int, *, tuned: bool) -> str:
    """A difference inside the margin was stated not to matter, whether or not it is significant."""
    assert arm_verdict.paired is not None and arm_verdict.p_holm is not None
    if arm_verdict.p_equivalent is not None and arm_verdict.p_equivalent < statistics.LEVEL:
        return EQUIVALENT if tuned else EQUIVALENT_HERE
    if arm_verdict.p_holm >= statistics.LEVEL:
        return NO_DIFFERENCE
    if not tuned:
        return DIFFERS_HERE
    return BETTER if arm_verdict.paired.mean * sign > 0 else WORSE


def add_two_level(verdicts: Verdicts, directory: Path) -> Verdicts:
    """With intervals over seeds and documents for arms of at least MIN_SEEDS pairs; notes say why one is missing."""
    arms = []
    notes = list(verdicts.notes)
    for arm_verdict in verdicts.arms:
        if arm_verdict.base is not None and len(arm_verdict.differences) >= statistics.MIN_SEEDS:
            try:
                interval = _two_level(arm_verdict.arm, arm_verdict.base.arm, verdicts.declared.split, directory)
                arm_verdict = replace(arm_verdict, two_level=interval)
            except DataError as e:
                name = code(arm_verdict.arm.name)
                notes.append(f"{name}: no interval over seeds and documents, {escape(e.problem)}.")
        arms.append(arm_verdict)
    return replace(verdicts, arms=tuple(arms), notes=tuple(notes))


def _two_level(arm: Arm, base: Arm, split: str, directory: Path) -> tuple[float, float]:
    """Interval of the difference in bits per byte, which both arms must have."""
    ours = _by_seed(arm, split)
    theirs = _by_seed(base, split)
    seeds = sorted(ours.keys() & theirs.keys())
    if len(seeds) < statistics.MIN_SEEDS:
        problem = f"{len(seeds)} common seeds have bits per byte"
        raise DataError(f"{split}, {arm.name}", problem, f"run {statistics.MIN_SEEDS}")
    nats, units = nats_and_bits(directory, split, [runs[seed] for runs in (ours, theirs) for seed in seeds])
    return statistics.two_level_interval(nats[:, : len(seeds)] - nats[:, len(seeds) :], units)


def _by_seed(arm: Arm, split: str) -> dict[int, Run]:
    return {run.seed: run for run in arm.done if run_score(run, split, "bits_per_byte") is not None}
