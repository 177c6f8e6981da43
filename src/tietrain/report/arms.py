"""Runs -> arms -> comparisons: everything but the seed makes an arm; one task on one corpus makes a comparison."""

import hashlib
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import fsum, log, sqrt
from statistics import fmean

from tietrain.config.keys import as_meant, is_read
from tietrain.report.ties import shared_uses
from tietrain.report.tuning import POINTS, Tuning, group_of, is_trial, read_tuning
from tietrain.runs.view import Point, Run, Scalar

# The scheme that ties nothing: the default baseline.
UNTIED = "none"
TASK_TITLES = {"lm": "Language model", "mlm": "Masked language model", "mt": "Translation"}
MAX_NAME = 60
SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Stat:
    """Mean over seeds, sample standard deviation (None for one seed), and how many seeds."""

    mean: float
    sd: float | None
    n: int


def make_stat(values: Sequence[float]) -> Stat | None:
    """
    >>> make_stat([1, 2, 3])
    Stat(mean=2.0, sd=1.0, n=3)
    """
    if not values:
        return None
    mean = fmean(values)
    # `statistics.stdev` computes with fractions, which takes fifty times as long.
    sd = sqrt(fsum((x - mean) ** 2 for x in values) / (len(values) - 1)) if len(values) > 1 else None
    return Stat(mean, sd, len(values))


@dataclass(frozen=True)
class Arm:
    """Runs that differ only in their seed; trials: the tuning runs that chose their settings."""

    id: str
    name: str
    runs: tuple[Run, ...]
    trials: tuple[Run, ...] = ()

    @cached_property
    def done(self) -> tuple[Run, ...]:
        """Finished runs, one per seed: a seed that was run twice (two folders, two labels of one plan) counts once."""
        by_seed: dict[int, Run] = {}
        for run in self.runs:
            if run.status == "done":
                by_seed.setdefault(run.seed, run)
        return tuple(by_seed[seed] for seed in sorted(by_seed))

    @cached_property
    def repeated(self) -> tuple[Run, ...]:
        """Finished runs whose seed is already counted."""
        return tuple(run for run in self.runs if run.status == "done" and run not in self.done)

    @cached_property
    def first(self) -> Run:
        """A finished run, if there is one: what all seeds have in common is read from it."""
        return self.done[0] if self.done else max(self.runs, key=lambda r: r.params is not None)

    @cached_property
    def tuning(self) -> Tuning | None:
        """What the trials showed; None if the arm was not tuned."""
        return read_tuning(self.first, self.trials)

    @property
    def task(self) -> str:
        return self.first.task

    @property
    def label(self) -> str:
        return " = ".join(sorted({run.label for run in self.runs}))

    @cached_property
    def settings(self) -> dict[str, Scalar]:
        """What its runs recorded and what absence meant, in which the points of a tuning list are their hash."""
        settings = as_meant(self.first.settings)
        listed = {key: value for key, value in settings.items() if key.startswith(POINTS)}
        found = {key: value for key, value in settings.items() if key not in listed}
        if listed:
            found[POINTS.rstrip(".")] = hashlib.sha256(repr(sorted(listed.items())).encode()).hexdigest()
        return found

    @property
    def converted(self) -> str:
        """What its weights were converted from; empty for an arm that was trained from its initial values."""
        return str(self.first.settings.get("converted") or "")

    @property
    def corpus(self) -> str:
        return str(self.first.fingerprints.get("corpus", ""))

    @cached_property
    def target_vocabulary(self) -> str:
        return self.first.target_vocabulary

    @property
    def vocab_size(self) -> int | None:
        """Pieces of that vocabulary; None if there are several of different sizes."""
        shapes = {self.first.shapes.get(f"{stack}.embed.weight", ()) for stack in self.first.predictors}
        return next(iter(shapes))[0] if len(shapes) == 1 and all(shapes) else None

    @cached_property
    def ties(self) -> dict[str, list[str]]:
        """Owner -> the slots that use it, if there are several."""
        return shared_uses(self.first.owner)

    def stat(self, value: Callable[[Run], float | None]) -> Stat | None:
        """Of a number of each finished run; None if no run has it."""
        return make_stat([v for run in self.done if (v := value(run)) is not None])

    def total(self, name: str) -> Stat | None:
        """Of one of `view.TOTALS`."""
        return self.stat(lambda run: getattr(run, name))

    def score(self, split: str, name: str) -> Stat | None:
        """Of a score over finished runs."""
        return self.stat(lambda run: run_score(run, split, name))

    def reason(self, split: str, name: str) -> str:
        """Why a score is empty, as the runs recorded it."""
        if not self.done:
            return "no finished run"
        if name == "excess_bits_per_byte":
            known = any("generator_nats" in run.scores.get(split, {}) for run in self.done)
            return self.reason(split, "bits_per_byte") if known else ""
        whys = [run.reasons.get(f"{split}.{name}", run.reasons.get(name, "")) for run in self.done]
        return "; ".join(why for why in dict.fromkeys(whys) if why)


def count_statuses(runs: Iterable[Run]) -> dict[str, int]:
    """Status -> number of runs, `done` first."""
    statuses = [run.status for run in runs]
    return {status: statuses.count(status) for status in sorted(set(statuses), key=lambda s: (s != "done", s))}


def run_score(run: Run, split: str, name: str) -> float | None:
    """A score of a split; `excess_bits_per_byte` is computed here from nats, generator_nats and bytes.

    It is the excess over the generator in a unit that does not depend on the vocabulary, so it needs bits per byte.
    """
    scores = run.scores.get(split, {})
    if name != "excess_bits_per_byte":
        return scores.get(name)
    if not {"nats", "generator_nats", "bytes", "bits_per_byte"} <= scores.keys() or scores["bytes"] <= 0:
        return None
    return (scores["nats"] - scores["generator_nats"]) / (log(2) * scores["bytes"])


def common_points(runs: Sequence[Run]) -> list[list[Point]]:
    """The evaluations of all runs at each step at which every run was evaluated: [steps][runs]."""
    curves = [{point.step: point for point in run.curve} for run in runs]
    steps = [step for step in curves[0] if all(step in curve for curve in curves)] if curves else []
    return [[curve[step] for curve in curves] for step in steps]


@dataclass(frozen=True)
class Comparison:
    """The arms of one task on one corpus, untied first, then by stored parameters."""

    slug: str
    task: str
    arms: tuple[Arm, ...]

    @property
    def title(self) -> str:
        settings = as_meant(self.arms[0].first.settings)
        # Lists of settings arrive here as their JSON text.
        corpus = str(settings.get("data.dataset") or settings.get("data.splits.train", "")).strip("[]").replace('"', "")
        if not corpus:
            keys = ("data.format", "data.preset", "data.meanings")
            parts = [str(settings[key]) for key in keys if settings.get(key) and is_read(key, settings)]
            corpus = f"{' '.join(parts) or 'unknown'} corpus"
        return f"{TASK_TITLES.get(self.task, self.task)}, {corpus}"

    @cached_property
    def vocabularies(self) -> dict[str, str]:
        """Fingerprint of each target vocabulary -> a letter, in order of the arms."""
        contents = dict.fromkeys(arm.target_vocabulary for arm in self.arms)
        return {content: chr(ord("A") + i) if i < 26 else f"V{i}" for i, content in enumerate(contents)}

    @cached_property
    def splits(self) -> list[str]:
        """Scored splits: those stated as primary, then `order_splits`."""
        runs = [run for arm in self.arms for run in arm.done]
        primary = {run.declared.get("split") for run in runs}
        ordered = order_splits(dict.fromkeys(split for run in runs for split in run.scores))
        return sorted(ordered, key=lambda split: split not in primary)

    @cached_property
    def signatures(self) -> dict[str, str]:
        """Score -> its signature in a finished run."""
        found: dict[str, str] = {}
        for arm in self.arms:
            for run in arm.done:
                found |= run.signatures
        return found

    @property
    def seeds(self) -> tuple[int, int]:
        """Fewest and most finished seeds of an arm."""
        counts = [len(arm.done) for arm in self.arms]
        return min(counts), max(counts)

    @property
    def n_rates(self) -> int:
        """The largest number of learning rates that one way of tying was trained with."""
        rates: dict[str, set[Scalar]] = {}
        for arm in self.arms:
            rates.setdefault(arm.label, set()).add(arm.first.settings.get("optim.lr"))
        return max(len(found) for found in rates.values())

    @property
    def tuned(self) -> bool:
        """Whether all arms that were trained from the start share one list, tried every point of it, and report their best one."""
        tunings = [arm.tuning for arm in self.arms if not arm.converted]
        alike = len({tuning.budget for tuning in tunings if tuning}) == 1
        return alike and all(tuning and tuning.best == tuning.chosen is not None for tuning in tunings)


def order_splits(splits: Iterable[str]) -> list[str]:
    """Test first, valid last (it chose the checkpoint); of each split its mean over directions first. Train is left out.

    >>> order_splits(["valid.mean", "held.mean", "test.a-b", "test.mean", "train.a-b"])
    ['test.mean', 'test.a-b', 'held.mean', 'valid.mean']
    """

    def place(split: str) -> tuple[bool, bool, str, bool, str]:
        name, _, of = split.partition(".")
        return name == "valid", name != "test", name, of != "mean", of

    return sorted((split for split in splits if split.partition(".")[0] != "train"), key=place)


def make_arms(runs: Iterable[Run]) -> list[Arm]:
    """All arms, named so that no two of a task share a name. Runs that never became an arm are grouped by label.

    Tuning runs are in no arm: they are the trials of the arm whose point they chose.
    """
    groups: dict[tuple[str, ...], list[Run]] = {}
    trials: dict[Hashable, list[Run]] = {}
    for run in runs:
        if is_trial(run):
            trials.setdefault(group_of(run), []).append(run)
        else:
            key = (run.task, run.arm) if run.arm else (run.task, "", run.label or run.path, run.status)
            groups.setdefault(key, []).append(run)
    arms = [Arm(k[1], "", tuple(group), tuple(trials.get(group_of(group[0]), ()))) for k, group in groups.items()]
    alike: dict[tuple[str, str, str, bool], list[Arm]] = {}
    for arm in arms:
        alike.setdefault(_kind(arm), []).append(arm)
    return [replace(arm, name=_name(arm, alike[_kind(arm)])) for arm in arms]


def compare(arms: Iterable[Arm]) -> list[Comparison]:
    """Arms by task and corpus; arms without an id never reached their data and are in no comparison."""
    groups: dict[tuple[str, str], list[Arm]] = {}
    for arm in arms:
        if arm.id:
            groups.setdefault((arm.task, arm.corpus), []).append(arm)
    comparisons: list[Comparison] = []
    for (task, _), members in sorted(groups.items()):
        slug = task if task in TASK_TITLES else "task"
        n = sum(c.slug.startswith(slug) for c in comparisons)
        slug = f"{slug}{n + 1 if n else ''}"
        members.sort(key=lambda arm: (arm.label != UNTIED, arm.converted, -(arm.first.params or 0), arm.name))
        comparisons.append(Comparison(slug, task, tuple(members)))
    return comparisons


def _kind(arm: Arm) -> tuple[str, str, str, bool]:
    return arm.task, arm.corpus, arm.label, bool(arm.converted)


def _name(arm: Arm, alike: list[Arm]) -> str:
    """The label and, in brackets, the settings in which the arm differs from others of that label: the tie's first."""
    shown = arm.label or "(no label)"
    marks = ["converted"] if arm.converted else []
    if len(alike) > 1:
        marks.append(_apart(arm, alike))
    return f"{shown} ({', '.join(marks)})" if marks else shown


def _apart(arm: Arm, alike: list[Arm]) -> str:
    every = [other.settings for other in alike]
    keys = set().union(*every) - {"seed", "tune.point"}
    apart = [key for key in keys if len({repr(settings.get(key)) for settings in every}) > 1]
    apart.sort(key=lambda key: (not key.startswith("tying."), key))
    leaves = [key.rsplit(".", 1)[-1] for key in apart]
    named = {key: leaf if leaves.count(leaf) == 1 else key for key, leaf in zip(apart, leaves, strict=True)}
    texts = [", ".join(f"{named[k]}={show_value(settings[k])}" for k in apart if k in settings) for settings in every]
    own = texts[alike.index(arm)]
    clear = own and texts.count(own) == 1 and len(own) <= MAX_NAME
    return own if clear else arm.id[:6] or arm.first.status


def show_value(value: Scalar) -> str:
    """A setting as the command line writes it; of the hash of a file its first digits."""
    if value is None:
        return "null"
    if isinstance(value, str) and SHA256.fullmatch(value):
        return value[:12]
    return str(value).lower() if isinstance(value, bool) else str(value)
