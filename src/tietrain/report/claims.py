"""Published claims as cards: what a grid of runs says of one, with the power that it had and the controls that it passed.

The numbers are those of `contrasts.contrast`, the code of every report. A card has no verdict unless an effect as large as its margin
would have been found in this grid, and unless arms that are alike were not called different.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tietrain.config.keys import as_meant
from tietrain.errors import DataError
from tietrain.report import contrasts
from tietrain.report.arms import Arm, Comparison, compare, make_arms, run_score
from tietrain.report.contrasts import BETTER, EQUIVALENT, LEVEL, NOT_WORSE, POWER, WORSE, Numbers
from tietrain.report.likeness import output_likeness
from tietrain.runs.scores import SCORES
from tietrain.runs.view import Run, Scalar, collect, configured

CONFIRMED, NOT_REPRODUCED, NOT_CONFIRMED = "confirmed", "direction not reproduced", "not confirmed"
NO_DIFFERENCE, NOT_TESTABLE, NOT_RUN = "no difference shown", "not testable at this budget", "not run"
# Verdicts of a pair on which no card can rest.
UNFIT = (contrasts.UNSTABLE, contrasts.UNSTABLE_BASELINE, contrasts.NO_SPREAD, contrasts.TOO_FEW)
# Halves of an arm need two seeds each.
MIN_SEEDS = 4
# Simulated repeats of a grid, and how often identical arms may be called different in them, beyond chance.
REPEATS = 1000
MOST_FALSE = 0.06


@dataclass(frozen=True)
class Relation:
    """What a card expects of an arm against another: the verdicts that say so and the opposite, and the test that decides."""

    holds: tuple[str, ...]
    opposite: tuple[str, ...]
    p: str


# `lower` and `higher` are of measures that are neither good nor bad.
RELATIONS = {
    "better": Relation((BETTER,), (WORSE,), "p"),
    "higher": Relation((BETTER,), (WORSE,), "p"),
    "lower": Relation((WORSE,), (BETTER,), "p"),
    "equal": Relation((EQUIVALENT,), (BETTER, WORSE), "p_equivalent"),
    "not worse": Relation((BETTER, EQUIVALENT, NOT_WORSE), (WORSE,), "p_not_worse"),
}


def output_share(run: Run) -> float | None:
    """Part of the output in the updates of a tied table, on rows that are read, mean over the first third of the looks.

    Of `adam_read` (docs/anatomy.md). Source: Lopardo et al. 2026.
    """
    looks = [{k: v for k, v in look.items() if "/adam_read/" in k} for look in run.anatomy]
    shares = [
        sum(v for k, v in look.items() if k.endswith(".output")) / sum(look.values())
        for look in looks
        if any(look.values())
    ]
    return fmean(shares[: math.ceil(len(shares) / 3)]) if shares else None


Measure = Callable[[Run], float | None]
# What cards measure besides the scores of runs: of the runs of a folder.
MEASURES: dict[str, Callable[[Path, Sequence[Run]], Measure]] = {
    "output_share": lambda directory, runs: output_share,
    "output_likeness": output_likeness,
    "output_likeness_less_ceilings": partial(output_likeness, less_ceilings=True),
}


@dataclass(frozen=True)
class Text:
    """A text on which a card was run, if it is not the card's own.

    name: of the preset, with a hash of text and settings. words: those of the command line that choose it. content: sha256 of its
    lines, as `tietrain data` shows it; empty before a run.
    """

    name: str
    words: tuple[str, ...]
    content: str = ""


@dataclass(frozen=True)
class Card:
    """A claim and how it is tested; see docs/claims/README.md for each field.

    figure: whether the source's figure was read, is second-hand, or none. arms: name -> settings that its runs have, `label` among
    them, or `{value: NUMBER}` for a constant. expect: [arm, relation, base], all of which the claim needs. margin: the smallest
    effect that would matter, in the unit of the metric. paired: whether seeds are compared one by one, for arms that should be the
    same run but for rounding. hash: of the card and of the experiments that its grid names.
    """

    name: str
    claim: str
    source: str
    figure: str
    reported: str
    budget: str
    hash: str
    exact: str = ""
    study: str = ""
    grid: tuple[tuple[str, ...], ...] = ()
    arms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    expect: tuple[tuple[str, str, str], ...] = ()
    metric: str = "bits_per_byte"
    split: str = "test"
    margin: float = math.inf
    paired: bool = False
    source_params: float | None = None
    leaves_out: str = ""
    text: Text | None = None

    @property
    def sign(self) -> int:
        """1 if more is better or higher."""
        return SCORES[self.metric].sign if self.metric in SCORES else 1


@dataclass(frozen=True)
class Pair:
    """One expectation of a card and what was found: difference arm minus base, its 95 % interval.

    p: of the relation's test. p_different: two-sided, of no difference. power: see `Finding`.
    """

    arm: str
    relation: str
    base: str
    means: tuple[float, float]
    difference: float
    low: float
    high: float
    p: float
    p_different: float
    found: str
    power: float


@dataclass(frozen=True)
class Finding:
    """What is known of a card; all plain values.

    alone: the verdict before other cards are counted, see `settle`. p: of the whole claim, the largest of its pairs, or the smallest of those
    that show the opposite. power: share of simulated repeats in which an effect of the margin is found, of the weakest pair.
    false: share in which identical arms are called different. doubts: why there is no verdict. scope: of which runs.
    rows: of an exact check, what was computed and what the card says.
    """

    name: str
    hash: str
    alone: str
    verdict: str = ""
    scope: str = ""
    p: float | None = None
    q: float | None = None
    power: float | None = None
    false: float | None = None
    pairs: tuple[Pair, ...] = ()
    doubts: tuple[str, ...] = ()
    rows: tuple[tuple[str, str, str], ...] = ()
    text: Text | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Finding":
        """The finding that `to_json` made a value of."""
        pairs = tuple(Pair(**{**pair, "means": tuple(pair["means"])}) for pair in body["pairs"])
        rows = tuple((what, expected, got) for what, expected, got in body["rows"])
        made = {**body, "pairs": pairs, "rows": rows, "doubts": tuple(body["doubts"])}
        if text := body.get("text"):
            made["text"] = Text(**{**text, "words": tuple(text["words"])})
        return cls(**made)


def judge_card(card: Card, directory: Path) -> Finding:
    """What the runs of a card's grid say of it.

    Raises:
        DataError: there are no runs, or a setting of the card fits no arm, or several.
    """
    found = collect(directory)
    comparison, chosen = _find_arms(card, compare(make_arms(found)))
    of_runs = MEASURES.get(card.metric, lambda *_: lambda run: run_score(run, card.split, card.metric))
    measure = of_runs(directory, found)
    values = {name: _values(arm, measure, card.arms[name]) for name, arm in chosen.items()}
    arms = [arm for arm in chosen.values() if arm]
    finding = Finding(card.name, card.hash, NOT_TESTABLE, scope=_scope(arms, comparison))
    if card.text:
        text = replace(card.text, content=comparison.arms[0].corpus)
        finding = replace(finding, scope=f"{finding.scope}, on {text.name}", text=text)
    few = [name for name, of_arm in values.items() if len(of_arm) < MIN_SEEDS]
    if few:
        doubt = f"fewer than {MIN_SEEDS} seeds of {', '.join(few)} have {card.metric} on {card.split}"
        return replace(finding, doubts=(doubt,))
    rows = [[*of_arm.values()] for of_arm in values.values()]
    if card.paired:
        first, second = values.values()
        rows = [[first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())], [0.0] * len(second)]
    else:
        rest = [_values(arm, measure, {}) for arm in comparison.arms if arm not in arms]
        rows += [[*of_arm.values()] for of_arm in rest if len(of_arm) > 1]
    scores = np.full((len(rows), max(map(len, rows))), np.nan)
    for place, row in enumerate(rows):
        scores[place, : len(row)] = row
    places = {name: place for place, name in enumerate(chosen)}
    pairs = [(places[arm], relation, places[base]) for arm, relation, base in card.expect]
    grid = _Grid(scores, pairs, card.sign, card.margin, _luck(comparison))
    doubts = [
        f"{arm.name} has seeds that diverged" for arm in arms if any(run.status == "diverged" for run in arm.runs)
    ]
    means = {name: fmean(of_arm.values()) for name, of_arm in values.items()}
    return _judged(finding, card, grid, means, doubts)


def _judged(finding: Finding, card: Card, grid: "_Grid", means: Mapping[str, float], doubts: list[str]) -> Finding:
    """With its pairs, p, controls, and the verdict that it has alone."""
    found, powers, false = grid.judge(grid.scores), grid.powers(), grid.false()
    pairs = tuple(
        Pair(
            *expected,
            means=(means[expected[0]], means[expected[2]]),
            difference=float(of_pair.difference[0]),
            low=float(of_pair.low[0]),
            high=float(of_pair.high[0]),
            p=float(getattr(of_pair, RELATIONS[expected[1]].p)[0]),
            p_different=float(of_pair.p[0]),
            found=str(of_pair.verdict[0]),
            power=power,
        )
        for expected, of_pair, power in zip(card.expect, found, powers, strict=True)
    )
    # That all pairs hold needs no adjustment; that one of them shows the opposite does.
    different = contrasts.adjust_holm(np.array([pair.p_different for pair in pairs]))
    against = [
        p
        for pair, p in zip(pairs, different, strict=True)
        if pair.found in RELATIONS[pair.relation].opposite and p < LEVEL
    ]
    holds = all(pair.found in RELATIONS[pair.relation].holds for pair in pairs)
    doubts += [f"{p.arm} against {p.base}: {p.found}" for p in pairs if p.found in UNFIT]
    if min(powers) < POWER:
        doubts.append(
            f"an effect of the margin is found in {100 * min(powers):.0f} % of repeats; a verdict needs {100 * POWER:.0f} %"
        )
    if false > stats.binom.ppf(0.999, REPEATS, MOST_FALSE) / REPEATS:
        doubts.append(f"arms that are alike are called different in {100 * false:.1f} % of repeats")
    if grid.halves_differ():
        doubts.append("two halves of the seeds of one arm are called different")
    verdict = NOT_TESTABLE if doubts else CONFIRMED if holds else NOT_REPRODUCED if against else NO_DIFFERENCE
    p = float(min(against)) if against else max(pair.p for pair in pairs)
    return replace(finding, alone=verdict, p=p, power=min(powers), false=false, pairs=pairs, doubts=tuple(doubts))


def settle(findings: Sequence[Finding]) -> list[Finding]:
    """Findings with q and with the verdict that holds if all cards with a p are counted together (Benjamini & Hochberg 1995)."""
    ps = {finding.name: finding.p for finding in findings if finding.p is not None and not finding.doubts}
    qs = dict(zip(ps, stats.false_discovery_control([*ps.values()]).tolist(), strict=True)) if ps else {}
    settled = []
    for finding in findings:
        q = qs.get(finding.name)
        settled.append(replace(finding, q=q, verdict=finding.alone if q is None or q < LEVEL else NO_DIFFERENCE))
    return settled


@dataclass(frozen=True)
class _Grid:
    """The scores of all arms of a grid [A, N], and the pairs (arm, relation, base) that a card compares."""

    scores: Numbers
    pairs: Sequence[tuple[int, str, int]]
    sign: int
    margin: float
    luck: float

    def judge(self, scores: Numbers) -> list[contrasts.Contrasts]:
        """The report's own verdict of each pair, alone."""
        judge = partial(contrasts.contrast, scores, sign=self.sign, luck=self.luck, margin=self.margin)
        return [judge(arms=[arm], bases=[base]) for arm, _, base in self.pairs]

    def powers(self) -> list[float]:
        """Share of simulated repeats in which what a pair expects is found if it is so, by as much as the margin.

        Of a relation that allows no effect, the smaller of two: no effect is found to be none, and one of the margin to be one.
        """
        powers = []
        for k, (arm, relation, _) in enumerate(self.pairs):
            shares = [(self._simulated(arm, -self.margin)[k] == WORSE).mean()]  # the test is symmetric
            if RELATIONS[relation].p != "p":
                shares.append(np.isin(self._simulated(arm, 0.0)[k], RELATIONS[relation].holds).mean())
            powers.append(float(min(shares)))
        return powers

    def false(self) -> float:
        """Largest share, over pairs, of simulated repeats without any effect in which the pair is called different."""
        return float(max(np.isin(found, (BETTER, WORSE)).mean() for found in self._simulated(0, 0.0)))

    def halves_differ(self) -> bool:
        """Whether every second seed of some arm is called different from the others: they are the same arm."""
        own = self.scores[np.nanvar(self.scores, axis=1) > 0]  # a constant has no seeds
        n = own.shape[1] // 2 * 2
        halves = np.concatenate([own[:, 0:n:2], own[:, 1:n:2]])
        arms = range(len(own))
        bases = [len(own) + arm for arm in arms]
        return bool(np.isin(contrasts.contrast(halves, arms, bases, sign=self.sign).verdict, (BETTER, WORSE)).any())

    def _simulated(self, arm: int, effect: float) -> list[NDArray[np.str_]]:
        """Verdicts of each pair [REPEATS] in grids drawn with the spread of this one's seeds; one arm is better by `effect`.

        With few seeds the spread of an arm is hardly known: it is that of all arms, as in the verdict.
        """
        variance = np.nanvar(self.scores, axis=1, ddof=1)
        if np.isfinite(self.scores).sum(axis=1).min() < contrasts.ENOUGH_SEEDS:
            variance[:] = variance.mean()
        sd = np.sqrt(variance)[:, None]
        rng = np.random.default_rng(0)
        drawn = sd * rng.standard_normal((REPEATS, *self.scores.shape))
        drawn += math.sqrt(self.luck) * sd * rng.standard_normal((REPEATS, len(sd), 1))
        drawn[:, arm] += self.sign * effect
        return [of_pair.verdict[:, 0] for of_pair in self.judge(np.where(np.isfinite(self.scores), drawn, np.nan))]


def _find_arms(card: Card, comparisons: Sequence[Comparison]) -> tuple[Comparison, dict[str, Arm | None]]:
    """The comparison that has all arms of a card, and name -> arm; None for a constant."""
    for comparison in comparisons:
        found = {name: [a for a in comparison.arms if _fits(a, want)] for name, want in card.arms.items()}
        if all(len(arms) == 1 or "value" in card.arms[name] for name, arms in found.items()):
            return comparison, {name: arms[0] if arms else None for name, arms in found.items()}
    counts = [
        f"{name} fits {sum(_fits(a, want) for c in comparisons for a in c.arms)} arms"
        for name, want in card.arms.items()
    ]
    raise DataError(
        f"claim {card.name}", f"no comparison of study {card.study} has its arms: {', '.join(counts)}", "run its grid"
    )


def _fits(arm: Arm, want: Mapping[str, Any]) -> bool:
    if "value" in want:
        return False
    labels = {run.label for run in arm.runs}
    has: Mapping[str, Scalar] = as_meant(arm.first.settings)
    return all(value in labels if key == "label" else configured(has.get(key)) == value for key, value in want.items())


def _values(arm: Arm | None, measure: Measure, want: Mapping[str, Any]) -> dict[int, float]:
    """Seed -> what a card measures; a constant is itself for as many seeds as decide by an arm's own noise."""
    if arm is None:
        return dict.fromkeys(range(contrasts.ENOUGH_SEEDS), float(want["value"]))
    return {run.seed: value for run in arm.done if (value := measure(run)) is not None}


def _luck(comparison: Comparison) -> float:
    """Variance that tuning adds to the mean of an arm, in variances of one seed."""
    seeds = [len(arm.tuning.seeds) for arm in comparison.arms if arm.tuning]
    return contrasts.TUNING_LUCK / min(seeds) if seeds else 0.0


def _scope(arms: Sequence[Arm], comparison: Comparison) -> str:
    """Of which runs a finding is: parameters, target tokens, seeds and rate."""
    sizes = sorted(arm.first.params for arm in arms if arm.first.params)
    shown = dict.fromkeys(f"{n / 1e6:.2f}" for n in (*sizes[:1], *sizes[-1:]))
    tokens = max((total.mean for arm in arms if (total := arm.total("tokens"))), default=0.0)
    seeds = min((len(arm.done) for arm in arms), default=0)
    tuned = "each arm tuned by the same list" if comparison.tuned else "one learning rate, not tuned"
    return f"{' to '.join(shown)} M parameters, {tokens / 1e6:.2f} M tokens, {seeds} seeds, {tuned}"
