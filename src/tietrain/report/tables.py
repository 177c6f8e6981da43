"""The tables that runs of a folder kept: what each tied arm's resemble, at each point and in each band of the vocabulary."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean

import numpy as np

from tietrain.errors import DataError
from tietrain.report.arms import UNTIED, Arm, Comparison, compare, make_arms
from tietrain.report.similarity import (
    MEASURES,
    NEIGHBOURS,
    ROLES,
    Resemblance,
    Seeds,
    agreement,
    bands,
    prepared,
    purity,
    resemblance,
)
from tietrain.runs.tables import Table, kept_tables, read_tables
from tietrain.runs.view import Run, collect

# A control: rows of the untied tables in another order.
PERMUTED = "rows permuted"


@dataclass(frozen=True)
class Finding:
    """What a tied table of a stack was like at a point of the runs.

    point: which of the kept ones, from 0 for the start. step: after which, in the first run of the tied arm. band: of the vocabulary, or PERMUTED.
    """

    task: str
    arm: str
    untied: str
    stack: str
    point: int
    n_points: int
    step: int
    band: str
    measure: str
    found: Resemblance


@dataclass(frozen=True)
class Purity:
    """How often the nearest rows of a table of an arm, at the end of its runs, are words of one class.

    share, chance: means over seeds. n_words: rows whose class is known.
    """

    task: str
    arm: str
    stack: str
    role: str
    share: float
    chance: float
    n_words: int


@dataclass(frozen=True)
class Agreement:
    """How far the scores of words that may stand for each other agree at the end of the runs of an arm, and those of one class.

    exchangeable, of_class: mean correlations over contexts, means over seeds; of_class: pairs of one class that are not exchangeable.
    """

    task: str
    arm: str
    stack: str
    role: str
    exchangeable: float
    of_class: float
    n_pairs: int


@dataclass(frozen=True)
class Words:
    """What is known of the words that rows of a table stand for. classes: row -> class. exchangeable: pairs of rows."""

    classes: Mapping[int, str]
    exchangeable: Sequence[tuple[int, int]]


# Folder of a run and a stack -> what is known of the rows of its tables.
WordsOf = Callable[[Path, str], Words]


def read_words(directory: Path, words_of: WordsOf) -> tuple[list[Purity], list[Agreement]]:
    """Of every arm whose runs kept tables and whose words are known; a tied table counts once.

    Raises:
        DataError: tables are damaged.
    """
    purities: list[Purity] = []
    agreements: list[Agreement] = []
    for comparison in compare(make_arms(collect(directory))):
        for arm in comparison.arms:
            for stack in arm.first.predictors:
                kept = _kept(arm, directory)
                words = words_of(_place(directory, arm.first), stack) if kept else Words({}, ())
                last = {seed: read_tables(points[-1][1]) for seed, points in kept.items()}
                if len(words.classes) > NEIGHBOURS:
                    purities += _purities(arm, stack, last, words.classes)
                if words.exchangeable and all(f"{stack}.contexts" in tables for tables in last.values()):
                    agreements += _agreements(arm, stack, last, words)
    return purities, agreements


def _agreements(arm: Arm, stack: str, last: Mapping[int, Mapping[str, Table]], words: Words) -> list[Agreement]:
    known = {*words.exchangeable}
    of_class = [
        pair
        for pair in combinations(sorted(words.classes), 2)
        if words.classes[pair[0]] == words.classes[pair[1]] and pair not in known and pair[::-1] not in known
    ]
    if not of_class:
        return []
    means = []
    for pairs in (words.exchangeable, of_class):
        of_seeds = [agreement(t[f"{stack}.output"], t[f"{stack}.contexts"], pairs) for t in last.values()]
        means.append(fmean(of_seeds))
    role = "tied" if _is_tied(arm, stack) else "output"
    return [Agreement(arm.task, arm.name, stack, role, means[0], means[1], len(words.exchangeable))]


def _purities(arm: Arm, stack: str, last: Mapping[int, Mapping[str, Table]], known: Mapping[int, str]) -> list[Purity]:
    found = []
    for role in ROLES[:1] if _is_tied(arm, stack) else ROLES:
        shares = [purity(prepared(tables[f"{stack}.{role}"]), known) for tables in last.values()]
        name = "tied" if _is_tied(arm, stack) else role
        means = (fmean(share for share, _ in shares), fmean(chance for _, chance in shares))
        found.append(Purity(arm.task, arm.name, stack, name, *means, len(known)))
    return found


def find_resemblances(directory: Path) -> list[Finding]:
    """Every tied arm below a folder beside the untied one of its comparison, where the runs of both kept tables.

    Raises:
        DataError: nothing there can be compared, with what is missing; or tables are damaged.
    """
    findings = [finding for c in compare(make_arms(collect(directory))) for finding in _compare(c, directory)]
    if not findings:
        problem = "no tied arm and untied arm of one corpus, with two seeds of the untied one, kept their token tables"
        remedy = "run both with train.keep_tables=true and seed=1,2,3"
        raise DataError(str(directory), problem, remedy)
    return findings


def _compare(comparison: Comparison, directory: Path) -> list[Finding]:
    findings = []
    for stack in comparison.arms[0].first.predictors:
        untied = [arm for arm in comparison.arms if not _is_tied(arm, stack) and _kept(arm, directory)]
        if not untied:
            continue
        other = next((arm for arm in untied if arm.label == UNTIED), untied[0])
        for arm in comparison.arms:
            if _is_tied(arm, stack) and arm.target_vocabulary == other.target_vocabulary:
                findings += _compare_arms(arm, other, stack, directory)
    return findings


def _is_tied(arm: Arm, stack: str) -> bool:
    """Whether one table is the stack's input and output."""
    owner = arm.first.owner
    return owner.get(f"{stack}.embed.weight", "input") == owner.get(f"{stack}.output.weight", "output")


def _kept(arm: Arm, directory: Path) -> dict[int, list[tuple[int, Path]]]:
    """Seed -> step and folder of each point, of the finished runs that kept tables."""
    found = {run.seed: list(kept_tables(_place(directory, run)).items()) for run in arm.done}
    return {seed: points for seed, points in found.items() if points}


def _place(directory: Path, run: Run) -> Path:
    return directory / run.path


def _compare_arms(tied: Arm, untied: Arm, stack: str, directory: Path) -> list[Finding]:
    ours, others = _kept(tied, directory), _kept(untied, directory)
    n_points = min((len(points) for points in (*ours.values(), *others.values())), default=0)
    findings = []
    for point in range(n_points):
        tables = [_read(kept, point, stack) for kept in (ours, others)]
        step = next(iter(ours.values()))[point][0]
        names = (tied.task, tied.name, untied.name, stack, point, n_points, step)
        n_pieces = min(len(table) for seeds in tables for roles in seeds.values() for table in roles.values())
        for band, rows in bands(n_pieces).items():
            if band == "all" or point == n_points - 1:
                findings += _findings(names, band, *(_cut(seeds, rows) for seeds in tables))
        if point == n_points - 1:
            everything = [_cut(seeds, bands(n_pieces)["all"]) for seeds in tables]
            findings += _findings(names, PERMUTED, everything[0], _permuted(everything[1]))
    return findings


def _read(kept: dict[int, list[tuple[int, Path]]], point: int, stack: str) -> Seeds:
    found: dict[int, dict[str, np.ndarray]] = {}
    for seed, points in kept.items():
        folder = points[point][1]
        tables = read_tables(folder)
        missing = [role for role in ROLES if f"{stack}.{role}" not in tables]
        if missing:
            raise DataError(str(folder), f"it holds no {stack}.{missing[0]}", "run the arm again")
        found[seed] = {role: tables[f"{stack}.{role}"] for role in ROLES}
    return found


def _cut(seeds: Seeds, rows: slice) -> Seeds:
    return {seed: {role: prepared(table[rows]) for role, table in roles.items()} for seed, roles in seeds.items()}


def _permuted(seeds: Seeds) -> Seeds:
    """Rows in an order of each run's own."""
    found: dict[int, dict[str, np.ndarray]] = {}
    for seed, roles in seeds.items():
        random = np.random.default_rng(seed)
        found[seed] = {role: random.permutation(table) for role, table in roles.items()}
    return found


def _findings(names: tuple[str, str, str, str, int, int, int], band: str, tied: Seeds, untied: Seeds) -> list[Finding]:
    found = {measure: resemblance(tied, untied, measure) for measure in MEASURES}
    return [Finding(*names, band, measure, one) for measure, one in found.items() if one]
