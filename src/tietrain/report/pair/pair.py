"""Two finished runs on one test set, from their stored output: scores, and whether chance in its lines could explain them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tietrain.errors import DataError, SettingsError
from tietrain.report.arms import Arm, order_splits
from tietrain.report.differences import things
from tietrain.report.pages.markup import join_words
from tietrain.report.pair.significance import Draws, Numbers, Paired, compare_nats, compare_translations
from tietrain.report.pair.stored import (
    Documents,
    check_documents,
    check_recorded,
    check_references,
)
from tietrain.runs import record as runs
from tietrain.runs.documents import read_documents, read_lines
from tietrain.runs.scores import METRICS, NATS
from tietrain.runs.view import Run, read_run


class Side(NamedTuple):
    """One of the two runs, and the folder it is in."""

    directory: Path
    run: Run


Pair = tuple[Side, Side]


@dataclass(frozen=True)
class Comparison:
    """What was compared, how each metric came out, and notes a reader needs."""

    pair: Pair
    split: str
    n_lines: int
    results: dict[str, Paired]
    draws: Draws
    notes: list[str]


def compare_runs(a: Path, b: Path, split: str | None, metrics: Sequence[str], draws: Draws) -> Comparison:
    """Compare two runs.

    Args:
        split: None for `test`, or the first other one that did not choose the weights.
        metrics: of METRICS and NATS; none for those that both runs recorded.
    Raises:
        SettingsError: the two cannot be compared so.
        DataError: a run is unfinished or damaged, or the two were scored on other lines.
    """
    pair = _finished(a), _finished(b)
    tasks = [side.run.task for side in pair]
    if tasks[0] != tasks[1]:
        raise SettingsError(f"{a} and {b}", f"one is task={tasks[0]}, one task={tasks[1]}", "name runs of one task")
    split = _common_split(pair, split)
    metrics = list(dict.fromkeys(metrics)) or _common_metrics(pair, split)
    of_texts, of_nats = ([name for name in metrics if name in names] for names in (METRICS, NATS))
    if of_texts and tasks[0] != "mt":
        problem = "a language model translates nothing"
        raise SettingsError(f"--metric {of_texts[0]}", problem, f"choose from {', '.join(NATS)}")
    results: dict[str, Paired] = {}
    notes: list[str] = []
    n_lines = 0
    if of_texts:
        n_lines, results, notes = _compare_texts(pair, split, of_texts, draws)
    if of_nats:
        documents = [read_documents(side.directory, split, side.run) for side in pair]
        check_documents((a, b), split, documents)
        n_lines = len(documents[0])
        results |= {name: _compare_nats(pair, split, name, documents, draws) for name in of_nats}
    notes = _differences(pair) + notes
    return Comparison(pair, split, n_lines, {name: results[name] for name in metrics}, draws, notes)


def _differences(pair: Pair) -> list[str]:
    """What the two models differ in: the line the difference of their scores is to be read with."""
    a, b = (Arm("", "", (side.run,)) for side in pair)
    found = things(b, a) + ([] if a.first.seed == b.first.seed else ["seed"])
    return [f"B differs from A in {join_words(found)}".replace("`", "")] if found else []


def _finished(directory: Path) -> Side:
    if not (directory / runs.RUN).exists():
        problem = f"it is no run directory: there is no {runs.RUN}"
        raise SettingsError(str(directory), problem, "name two run directories")
    run = read_run(directory, str(directory))
    if run.status != "done":
        problem = f"the run is {run.status.replace('_', ' ')}" + (f" ({run.reason})" if run.reason else "")
        raise DataError(str(directory), problem, "only finished runs are compared: let it finish, or name another")
    return Side(directory, run)


def _common_split(pair: Pair, requested: str | None) -> str:
    a, b = pair
    common = [split for split in a.run.scores if split in b.run.scores]
    if requested is None:
        unseen = [s for s in order_splits(common) if s.partition(".")[0] != "valid" and s not in a.run.means]
        requested, what = (unseen[0] if unseen else ""), f"{a.directory} and {b.directory}"
    else:
        what = f"--split {requested}"
    if requested not in common:
        has = [f"{side.directory} has scores of {', '.join(side.run.scores)}" for side in pair]
        raise SettingsError(what, " and ".join(has), "name a split of both with --split")
    if requested in a.run.means:
        remedy = f"name one of {', '.join(a.run.means[requested])}"
        raise SettingsError(what, "it is a mean over directions and has no lines of its own", remedy)
    return requested


def _common_metrics(pair: Pair, split: str) -> list[str]:
    """What both runs recorded; of language models what their vocabularies allow."""
    a, b = pair
    if a.run.task != "mt":
        return ["nats_per_token" if a.run.target_vocabulary == b.run.target_vocabulary else "bits_per_byte"]
    found = [name for name in METRICS if all(name in side.run.scores[split] for side in pair)]
    if not found:
        requested = f"{a.directory} and {b.directory}"
        raise SettingsError(requested, "they recorded no score in common", "name one with --metric")
    return found


def _compare_texts(
    pair: Pair, split: str, metrics: Sequence[str], draws: Draws
) -> tuple[int, dict[str, Paired], list[str]]:
    """Lines, results of the scores of translations, and notes."""
    tokenize = _check_signatures(pair, metrics)
    paths = {what: [side.directory / f"{what}.{split}.txt" for side in pair] for what in ("hypotheses", "references")}
    hypotheses, references = ([read_lines(path) for path in paths[what]] for what in paths)
    for i in (0, 1):
        if len(hypotheses[i]) != len(references[i]):
            problem = f"it has {len(hypotheses[i])} lines, and {paths['references'][i].name} {len(references[i])}"
            raise DataError(str(paths["hypotheses"][i]), problem, "restore both as the run wrote them")
    check_references(paths["references"], references)
    results = {}
    for name in metrics:
        found = compare_translations(name, tokenize, (hypotheses[0], hypotheses[1]), references[0], draws)
        for side, path, score in zip(pair, paths["hypotheses"], (found.a, found.b), strict=True):
            check_recorded(side.run, path, split, name, score, found.signature)
        results[name] = found
    notes = ["A and B wrote the same translations"] if hypotheses[0] == hypotheses[1] else []
    how = [side.run.signatures.get("decoding", "") for side in pair]
    if how[0] != how[1]:
        notes.append(f"decoding is not the same and part of the difference: A {how[0]}, B {how[1]}")
    return len(references[0]), results, notes


def _check_signatures(pair: Pair, metrics: Sequence[str]) -> str:
    """How both cut text for BLEU; SettingsError where a metric is not the same score in both."""
    cut, other = (str(side.run.settings.get("task.bleu_tokenize", "13a")) for side in pair)
    said = [(name, *(side.run.signatures.get(name) for side in pair)) for name in metrics]
    said += [("bleu", f"task.bleu_tokenize={cut}", f"task.bleu_tokenize={other}")] if "bleu" in metrics else []
    for name, here, there in said:
        if here and there and here != there:
            requested = f"{name} of {pair[0].directory} and {pair[1].directory}"
            remedy = "choose another score with --metric, or score one again as the other was"
            raise SettingsError(requested, f"it is not one score: {here} and {there}", remedy)
    return cut


def _compare_nats(pair: Pair, split: str, name: str, documents: Sequence[Documents], draws: Draws) -> Paired:
    a, b = pair
    requested = f"{name} of {a.directory} and {b.directory}"
    if a.run.windows != b.run.windows:
        problem = f"they were read in windows of {a.run.windows} and {b.run.windows}"
        raise SettingsError(requested, problem, "score one again as the other was")
    if name == "nats_per_token" and a.run.target_vocabulary != b.run.target_vocabulary:
        raise SettingsError(requested, "their tokens are of other vocabularies", "compare with --metric bits_per_byte")
    for side in pair:
        if name not in side.run.scores[split]:
            why = side.run.reasons.get(f"{split}.{name}", "it is not recorded")
            raise SettingsError(requested, f"{side.directory} has none: {why}", "choose another with --metric")
    units = _column(documents[0], "tokens")
    if name == "bits_per_byte":
        units = math.log(2) * _column(documents[0], "bytes")
    return compare_nats(_column(documents[0], "nats"), _column(documents[1], "nats"), units, draws)


def _column(rows: Documents, key: str) -> Numbers:
    return np.asarray([row[key] for row in rows], dtype=np.float64)
