"""Arms -> verdicts: each against the baseline that its runs stated before training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, median

import numpy as np

from tietrain.errors import DataError
from tietrain.report import contrasts, statistics
from tietrain.report.arms import UNTIED, Arm, Comparison, run_score
from tietrain.report.contrasts import BETTER, EQUIVALENT, NOT_WORSE, TOO_FEW, UNSTABLE, UNSTABLE_BASELINE, WORSE
from tietrain.report.differences import closest, same_vocabulary
from tietrain.report.pages.markup import code, escape, join_words
from tietrain.runs.documents import nats_and_bits
from tietrain.runs.scores import COLUMNS, SCORES, Score, find_score
from tietrain.runs.view import configured

BASELINE = "baseline"
HERE = " at this rate"
EQUIVALENT_HERE, NOT_WORSE_HERE = EQUIVALENT + HERE, NOT_WORSE + HERE
DIFFERS_HERE = "no verdict (differs at this rate)"
# A verdict on few seeds holds under this condition.
ASSUMPTION = "assuming equal seed noise"
CONVERTED_ALIKE = "of the same conversion"
# Score per token -> the score that replaces it if vocabularies differ; bits per byte for those that are not here.
UNCUT = {"excess_nats": "excess_bits_per_byte"}


@dataclass(frozen=True)
class Declared:
    """What the runs of a comparison stated before training.

    looks: numbers of seeds at which the report was to be read; empty for once.
    doubt: why no verdict can rest on it; empty if one can.
    instead_of: the stated score, if it was replaced because vocabularies differ; the stated margin is dropped then.
    """

    score: Score
    split: str
    baseline: str
    margin: float | None
    looks: tuple[int, ...] = ()
    doubt: str = ""
    instead_of: Score | None = None

    def is_baseline(self, arm: Arm) -> bool:
        return self.baseline in {run.label for run in arm.runs}


@dataclass(frozen=True)
class Test:
    """An arm minus its baseline over seeds, see `contrasts.Contrasts`; p values are adjusted over all arms."""

    difference: float
    low: float
    high: float
    sd: float
    p: float
    p_equivalent: float | None
    p_not_worse: float | None
    equal_noise: bool


@dataclass(frozen=True)
class ArmVerdict:
    """An arm against its baseline, on the primary score.

    base: None for a baseline. values: seed -> score of each finished run. bad: seeds that ended far worse than the noise of
    the study explains. n_diverged, n_ended: numbers of seeds. median: diverged seeds count as infinitely bad.
    difference: of the means. test: None with fewer than two seeds of either. seeds_needed: to show the margin, or without
    one the difference found. two_level: interval over seeds and documents of the difference in bits per byte.
    """

    arm: Arm
    base: ArmVerdict | None
    values: dict[int, float]
    n_diverged: int
    n_ended: int
    median: float | None
    bad: tuple[int, ...] = ()
    difference: float | None = None
    test: Test | None = None
    verdict: str = BASELINE
    seeds_needed: int | None = None
    smallest_effect: float | None = None
    two_level: tuple[float, float] | None = None

    @property
    def deviations(self) -> dict[int, float]:
        """Seed -> its score minus the mean of the baseline."""
        if self.base is None or not self.base.values:
            return {}
        mean = fmean(self.base.values.values())
        return {seed: value - mean for seed, value in self.values.items()}


@dataclass(frozen=True)
class Verdicts:
    """The verdicts of all arms of a comparison.

    tuned: whether every arm was tuned by the same list, apart from converted ones, which never are.
    n_seeds: the fewest that ended of an arm that is compared.
    level: of each family of tests; a declared look spends a part of it.
    design: what the power of this study depends on. notes: what could not be computed, and why.
    """

    declared: Declared
    tuned: bool
    arms: tuple[ArmVerdict, ...]
    n_seeds: int = 0
    level: float = contrasts.LEVEL
    design: contrasts.Design = field(default_factory=contrasts.Design)
    notes: tuple[str, ...] = ()

    def of(self, arm: Arm) -> ArmVerdict:
        return next(arm_verdict for arm_verdict in self.arms if arm_verdict.arm is arm)


def judge(comparison: Comparison, *, tuned: bool, read_at: Sequence[int] = ()) -> Verdicts:
    """Verdicts of a comparison.

    Args:
        tuned: whether every arm was tuned by the same list.
        read_at: numbers of seeds at which its report was read before.
    """
    declared = read_declared(comparison)
    bases = {arm.id: _measured(arm, None, declared) for arm in comparison.arms if declared.is_baseline(arm)}
    measured = []
    for arm in comparison.arms:
        base = _base_of(arm, comparison, declared)
        own = bases.get(base.id) or _measured(base, None, declared) if base else None
        measured.append(bases.get(arm.id) or _measured(arm, own, declared))
    compared = [one for one in measured if one.base is not None and one.values and one.base.values]
    n = min((one.n_ended for one in [*compared, *bases.values()]), default=0)
    declared = replace(declared, doubt=declared.doubt or _why_too_early(declared, n, read_at))
    level = contrasts.level_at(declared.looks, n) if n in declared.looks else contrasts.LEVEL
    n_arms = sum(len(one.values) > 1 for one in measured)
    luck = contrasts.TUNING_LUCK / max(1, _n_tuning_seeds(comparison)) if tuned else 0.0
    design = contrasts.Design(max(2, n_arms), level / max(1, len(compared)), luck)
    verdicts = Verdicts(declared, tuned, tuple(measured), n, level, design)
    tested = _tested(verdicts, compared)
    return replace(verdicts, arms=tuple(tested.get(one.arm.id) or _untested(one, verdicts) for one in measured))


def _base_of(arm: Arm, comparison: Comparison, declared: Declared) -> Arm | None:
    """The arm that an arm is compared with: of those with the declared label the closest.

    If that is `none`, an arm with ties and a joint vocabulary is compared with the untied arm of that vocabulary, if there is
    one: then the tie is all that differs. A converted arm is compared with arms of the same conversion alone, others with none.
    """
    begun = [other for other in comparison.arms if other.converted == arm.converted]
    bases = [other for other in begun if declared.is_baseline(other)]
    if declared.baseline == UNTIED and arm.ties:
        alike = [other for other in begun if not other.ties and same_vocabulary(other, arm)]
        bases = alike or bases
    return closest(arm, bases)


def _n_tuning_seeds(comparison: Comparison) -> int:
    return min((len(arm.tuning.seeds) for arm in comparison.arms if arm.tuning), default=1)


def _why_too_early(declared: Declared, n: int, read_at: Sequence[int]) -> str:
    """Why these seeds give no verdict although runs stated what is compared; empty if they do."""
    if declared.looks and n not in declared.looks:
        looks = join_words(list(map(str, declared.looks)))
        return f"the report was declared to be read at {looks} seeds, and the arms have {n}"
    earlier = [seeds for seeds in read_at if seeds < n]
    if earlier and not declared.looks:
        return f"seeds were added after the report had been read at {earlier[-1]} seeds, and report.looks declared no such look"
    return ""


def _tested(verdicts: Verdicts, compared: Sequence[ArmVerdict]) -> dict[str, ArmVerdict]:
    """Arm -> its verdict, for all arms with scores whose baseline has scores, and their baselines, judged together."""
    by_id = {one.base.arm.id: one.base for one in compared if one.base} | {one.arm.id: one for one in compared}
    everyone = list(by_id)
    if not compared:
        return {}
    scores = np.full((len(everyone), max(len(one.values) for one in by_id.values())), np.nan)
    for place, arm in enumerate(everyone):
        scores[place, : len(by_id[arm].values)] = list(by_id[arm].values.values())
    declared = verdicts.declared
    found = contrasts.contrast(
        scores,
        [everyone.index(one.arm.id) for one in compared],
        [everyone.index(one.base.arm.id) for one in compared if one.base],
        sign=declared.score.sign,
        luck=verdicts.design.luck,
        margin=declared.margin,
        level=verdicts.level,
        diverged=np.array([by_id[arm].n_diverged > 0 for arm in everyone]),
    )
    judged = {}
    for arm, row in zip(everyone, found.bad, strict=True):
        bad = tuple(seed for seed, is_bad in zip(by_id[arm].values, row, strict=False) if is_bad)
        judged[arm] = _untested(replace(by_id[arm], bad=bad), verdicts)
    for i, one in enumerate(compared):
        test = _test(found, i, declared.score) if np.isfinite(found.se[i]) else None
        words = _in_words(str(found.verdict[i]), verdicts, tuned=verdicts.tuned and not one.arm.converted)
        one = replace(judged[one.arm.id], difference=float(found.difference[i]), test=test, verdict=words)
        judged[one.arm.id] = _with_power(one, verdicts)
    return judged


def _test(found: contrasts.Contrasts, i: int, score: Score) -> Test:
    return Test(
        difference=float(found.difference[i]),
        low=score.clip_difference(float(found.low[i])),
        high=score.clip_difference(float(found.high[i])),
        sd=float(found.sd[i]),
        p=float(found.p[i]),
        p_equivalent=None if np.isnan(found.p_equivalent[i]) else float(found.p_equivalent[i]),
        p_not_worse=None if np.isnan(found.p_not_worse[i]) else float(found.p_not_worse[i]),
        equal_noise=bool(found.equal_noise[i]),
    )


def _in_words(verdict: str, verdicts: Verdicts, *, tuned: bool) -> str:
    """The verdict of the numbers, or why the study allows none."""
    if verdict == UNSTABLE:
        return verdict
    if verdict in (UNSTABLE_BASELINE, TOO_FEW, contrasts.NO_SPREAD):
        return f"no verdict ({verdict})"
    if verdicts.declared.doubt:
        return "no verdict (exploratory)"
    if tuned or verdict == contrasts.NO_DIFFERENCE:
        return verdict
    return DIFFERS_HERE if verdict in (BETTER, WORSE) else verdict + HERE


def _with_power(arm_verdict: ArmVerdict, verdicts: Verdicts) -> ArmVerdict:
    """With what the seeds could show."""
    test = arm_verdict.test
    if test is None:
        return arm_verdict
    n = min(len(arm_verdict.values), len(arm_verdict.base.values) if arm_verdict.base else 0)
    needed = verdicts.design.seeds_needed(verdicts.declared.margin or test.difference, test.sd)
    smallest = verdicts.design.smallest_effect(n, test.sd)
    return replace(arm_verdict, seeds_needed=needed, smallest_effect=smallest)


def _untested(arm_verdict: ArmVerdict, verdicts: Verdicts) -> ArmVerdict:
    if verdicts.declared.is_baseline(arm_verdict.arm):
        unstable = arm_verdict.n_diverged or arm_verdict.bad
        return replace(arm_verdict, verdict=f"{BASELINE}, {UNSTABLE}") if unstable else arm_verdict
    if arm_verdict.n_diverged:
        return replace(arm_verdict, verdict=UNSTABLE)
    why = "not scored"
    if arm_verdict.base is None:
        why = f"no arm {verdicts.declared.baseline}" + (f" {CONVERTED_ALIKE}" if arm_verdict.arm.converted else "")
    return replace(arm_verdict, verdict=f"no verdict ({why})")


def read_declared(comparison: Comparison) -> Declared:
    """What all runs stated alike; if they did not, the task's first score, on which no verdict can rest."""
    stated = [run.declared for arm in comparison.arms for run in arm.runs if run.status in ("done", "diverged")]
    declared = stated[0] if stated else {}
    name, split, baseline, margin = (declared.get(key) for key in ("metric", "split", "baseline", "margin"))
    score = find_score(str(name), comparison.signatures)
    doubt = ""
    if any(other != declared for other in stated):
        doubt = "the runs did not state one primary score, split, baseline and margin before training"
    elif score is None or not split or not baseline:
        doubt = "the runs did not state a primary score before training"
    if score is None or doubt:
        score = SCORES[COLUMNS.get(comparison.task, COLUMNS["mt"])[0]]
        split, baseline, margin = (comparison.splits or ["test"])[0], UNTIED, None
        declared = {}
    instead_of = None
    if score.per_token and len(comparison.vocabularies) > 1:
        instead_of = score
        score = SCORES[UNCUT.get(score.name, "bits_per_byte")]
        margin = None
    margin = margin if isinstance(margin, float) and margin > 0 else None
    looks = configured(declared.get("looks"))
    numbers = tuple(look for look in looks if isinstance(look, int)) if isinstance(looks, list) else ()
    return Declared(score, str(split), str(baseline), margin, numbers, doubt, instead_of)


def _measured(arm: Arm, base: ArmVerdict | None, declared: Declared) -> ArmVerdict:
    scores = {run.seed: run_score(run, declared.split, declared.score.name) for run in arm.done}
    values = {seed: value for seed, value in scores.items() if value is not None}
    n_diverged = len({run.seed for run in arm.runs if run.status == "diverged"} - scores.keys())
    return ArmVerdict(
        arm=arm,
        base=base,
        values=values,
        n_diverged=n_diverged,
        n_ended=len(scores) + n_diverged,
        median=median_with_diverged(list(values.values()), n_diverged, declared.score.sign),
    )


def median_with_diverged(values: Sequence[float], n_diverged: int, sign: int) -> float | None:
    """The median, diverged runs counted as infinitely bad.

    >>> median_with_diverged([1.0, 2.0], 1, -1), median_with_diverged([1.0], 2, -1), median_with_diverged([], 0, 1)
    (2.0, inf, None)
    """
    ended = [*values, *[-sign * math.inf] * n_diverged]
    return median(ended) if ended else None


def add_two_level(verdicts: Verdicts, directory: Path) -> Verdicts:
    """With intervals over seeds and documents for arms of at least MIN_SEEDS seeds; notes say why one is missing."""
    arms = []
    notes = list(verdicts.notes)
    for arm_verdict in verdicts.arms:
        base = arm_verdict.base
        if base is not None and min(len(arm_verdict.values), len(base.values)) >= statistics.MIN_SEEDS:
            try:
                interval = _two_level(arm_verdict.arm, base.arm, verdicts, directory)
                arm_verdict = replace(arm_verdict, two_level=interval)
            except DataError as e:
                name = code(arm_verdict.arm.name)
                notes.append(f"{name}: no interval over seeds and documents, {escape(e.problem)}.")
        arms.append(arm_verdict)
    return replace(verdicts, arms=tuple(arms), notes=tuple(notes))


def _two_level(arm: Arm, base: Arm, verdicts: Verdicts, directory: Path) -> tuple[float, float]:
    """Interval of the difference in bits per byte, which both arms must have."""
    split = verdicts.declared.split
    ours, theirs = ([run for run in x.done if run_score(run, split, "bits_per_byte") is not None] for x in (arm, base))
    fewest = min(len(ours), len(theirs))
    if fewest < statistics.MIN_SEEDS:
        raise DataError(
            f"{split}, {arm.name}", f"{fewest} seeds have bits per byte", f"run {statistics.MIN_SEEDS} of either arm"
        )
    nats, units = nats_and_bits(directory, split, [*ours, *theirs])
    return statistics.two_level_interval(nats[:, : len(ours)], nats[:, len(ours) :], units, verdicts.design.luck)
