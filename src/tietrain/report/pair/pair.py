"""Two finished runs on one test set, from their stored output: scores, and whether chance in its lines explains them."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tietrain.errors import DataError, SettingsError
from tietrain.report.arms import Arm, order_splits
from tietrain.report.contrasts import Numbers
from tietrain.report.differences import distinct_settings
from tietrain.report.pages.markup import join_words
from tietrain.report.statistics import Draws, PairedLines, compare_lines
from tietrain.runs import record as runs
from tietrain.runs.documents import Documents, read_documents, read_lines
from tietrain.runs.reading import is_there
from tietrain.runs.scores import METRICS, NATS, make_metric
from tietrain.runs.view import Run, read_run

# Characters of a line that a message quotes.
MOST_QUOTED = 60


class Side(NamedTuple):
    """One of the two runs, and the folder it is in."""

    directory: Path
    run: Run


Pair = tuple[Side, Side]


@dataclass(frozen=True)
class PairComparison:
    """What was compared, the result of each metric, and notes that a reader needs."""

    pair: Pair
    split: str
    n_lines: int
    results: dict[str, PairedLines]
    draws: Draws
    notes: list[str]


def compare_runs(a: Path, b: Path, split: str | None, metrics: Sequence[str], draws: Draws) -> PairComparison:
    """Compare two runs.

    Args:
        split: None for `test`, or else the first split that did not choose the weights.
        metrics: of METRICS and NATS; empty for those that both runs recorded.
    Raises:
        SettingsError: these two runs cannot be compared in this way.
        DataError: a run is unfinished or damaged, or the two were scored on different lines.
    """
    pair = _finished(a), _finished(b)
    tasks = [side.run.task for side in pair]
    if tasks[0] != tasks[1]:
        raise SettingsError(_both(pair), f"one is task={tasks[0]}, one task={tasks[1]}", "name two runs of one task")
    split = _common_split(pair, split)
    metrics = list(dict.fromkeys(metrics)) or _common_metrics(pair, split)
    of_texts = [name for name in metrics if name in METRICS]
    of_nats = [name for name in metrics if name in NATS]
    if of_texts and tasks[0] != "mt":
        remedy = f"choose from {', '.join(NATS)}"
        raise SettingsError(f"--metric {of_texts[0]}", "a language model translates nothing", remedy)
    results: dict[str, PairedLines] = {}
    notes = _differences(pair)
    if _chose_weights(split):
        notes.append(
            f"{split} also chose the weights of both runs, so their scores on it are better than on unseen text"
        )
    n_lines = 0
    if of_texts:
        n_lines, results, notes_of_texts = _compare_texts(pair, split, of_texts, draws)
        notes += notes_of_texts
    if of_nats:
        documents = [read_documents(side.directory, split, side.run) for side in pair]
        _check_same_text(pair, split, [[(row["sha256"], row["bytes"]) for row in rows] for rows in documents])
        n_lines = len(documents[0])
        results |= {name: _compare_nats(pair, split, name, documents, draws) for name in of_nats}
    return PairComparison(pair, split, n_lines, {name: results[name] for name in metrics}, draws, notes)


def _both(pair: Pair) -> str:
    return f"{pair[0].directory} and {pair[1].directory}"


def _differences(pair: Pair) -> list[str]:
    """In what the two models differ: the difference of their scores must be read together with it."""
    a, b = (Arm("", "", (side.run,)) for side in pair)
    found = distinct_settings(b, a) + ([] if a.first.seed == b.first.seed else ["seed"])
    return [f"B differs from A in {join_words(found)}".replace("`", "")] if found else []


def _finished(directory: Path) -> Side:
    if not is_there(directory / runs.RUN):
        problem = f"it is not a run directory: it has no {runs.RUN}"
        raise SettingsError(str(directory), problem, "name two run directories")
    run = read_run(directory, str(directory))
    if run.status != "done":
        problem = f"the run is {run.status.replace('_', ' ')}" + (f" ({run.reason})" if run.reason else "")
        raise DataError(str(directory), problem, "only finished runs are compared: let it finish, or name another")
    return Side(directory, run)


def _chose_weights(split: str) -> bool:
    return split.partition(".")[0] == "valid"


def _common_split(pair: Pair, requested: str | None) -> str:
    a, b = pair
    common = [split for split in a.run.scores if split in b.run.scores]
    if requested is None:
        what = _both(pair)
        with_lines = [split for split in order_splits(common) if split not in a.run.means]
        unseen = [split for split in with_lines if not _chose_weights(split)]
        requested = (unseen or with_lines or [""])[0]
    else:
        what = f"--split {requested}"
    if requested not in common:
        has = [f"{side.directory} has scores of {', '.join(side.run.scores)}" for side in pair]
        raise SettingsError(what, " and ".join(has), "name a split that both have with --split")
    if requested in a.run.means:
        remedy = f"name one of {', '.join(a.run.means[requested])}"
        raise SettingsError(what, "it is a mean over directions and has no lines of its own", remedy)
    return requested


def _common_metrics(pair: Pair, split: str) -> list[str]:
    """What both runs recorded; for language models, the score that their vocabularies allow."""
    a, b = pair
    if a.run.task != "mt":
        return ["nats_per_token" if a.run.target_vocabulary == b.run.target_vocabulary else "bits_per_byte"]
    found = [name for name in METRICS if all(name in side.run.scores[split] for side in pair)]
    if not found:
        raise SettingsError(_both(pair), "they recorded no score in common", "name one with --metric")
    return found


def _compare_texts(
    pair: Pair, split: str, metrics: Sequence[str], draws: Draws
) -> tuple[int, dict[str, PairedLines], list[str]]:
    """Number of lines, results of the scores of translations, and notes."""
    tokenize = _common_tokenizer(pair, metrics)
    paths = {what: [side.directory / f"{what}.{split}.txt" for side in pair] for what in ("hypotheses", "references")}
    hypotheses = [read_lines(path) for path in paths["hypotheses"]]
    references = [read_lines(path) for path in paths["references"]]
    for i in (0, 1):
        if len(hypotheses[i]) != len(references[i]):
            problem = f"it has {len(hypotheses[i])} lines, and {paths['references'][i].name} {len(references[i])}"
            raise DataError(str(paths["hypotheses"][i]), problem, "restore both files as the run wrote them")
    _check_same_text(pair, f"references.{split}.txt", references)
    results = {}
    for name in metrics:
        found = compare_translations(name, tokenize, (hypotheses[0], hypotheses[1]), references[0], draws)
        for side, path, score in zip(pair, paths["hypotheses"], (found.a, found.b), strict=True):
            recorded = side.run.scores[split].get(name)
            alike = side.run.signatures.get(name) == found.signature
            if alike and recorded is not None and abs(recorded - score) > 1e-6:
                problem = f"its {name} is {score:.4f}, and {runs.EVAL} says {recorded:.4f}"
                raise DataError(str(path), problem, "restore the run as it was written")
        results[name] = found
    notes = ["A and B wrote the same translations"] if hypotheses[0] == hypotheses[1] else []
    searches = [side.run.signatures.get("decoding", "") for side in pair]
    if searches[0] != searches[1]:
        notes.append(f"decoding is not the same and part of the difference: A {searches[0]}, B {searches[1]}")
    return len(references[0]), results, notes


def _common_tokenizer(pair: Pair, metrics: Sequence[str]) -> str:
    """BLEU's tokenizer of both; SettingsError if a metric is not the same score in both."""
    tokenizers = [str(side.run.settings.get("task.bleu_tokenize", "13a")) for side in pair]
    signed = [(name, [side.run.signatures.get(name) for side in pair]) for name in metrics]
    if "bleu" in metrics:
        signed.append(("bleu", [f"task.bleu_tokenize={name}" for name in tokenizers]))
    for name, (a, b) in signed:
        if a and b and a != b:
            remedy = "choose another score with --metric, or score one run again as the other was"
            raise SettingsError(f"{name} of {_both(pair)}", f"it is not one score: {a} and {b}", remedy)
    return tokenizers[0]


def _check_same_text(pair: Pair, where: str, texts: Sequence[Sequence[object]]) -> None:
    """DataError if the runs were scored on different lines, naming the first; texts: of each run, a value per line."""
    remedy = "compare runs that were scored on the same text"
    for i, (a, b) in enumerate(zip(*texts, strict=False), start=1):
        if a != b:
            what = f"{where}, line {i}, of {_both(pair)}"
            quoted = f": {_quoted(a)} and {_quoted(b)}" if isinstance(a, str) and isinstance(b, str) else ""
            raise DataError(what, f"the two runs were scored on different text{quoted}", remedy)
    if len(texts[0]) != len(texts[1]):
        counts = [f"{side.directory} has {len(lines)} lines" for side, lines in zip(pair, texts, strict=True)]
        raise DataError(where, " and ".join(counts), remedy)


def _quoted(line: str) -> str:
    return repr(line if len(line) <= MOST_QUOTED else line[:MOST_QUOTED] + "…")


def _compare_nats(pair: Pair, split: str, name: str, documents: Sequence[Documents], draws: Draws) -> PairedLines:
    a, b = pair
    what = f"{name} of {_both(pair)}"
    if a.run.windows != b.run.windows:
        problem = f"they were read in windows of {a.run.windows} and {b.run.windows}"
        raise SettingsError(what, problem, "score one run again as the other was")
    if name == "nats_per_token" and a.run.target_vocabulary != b.run.target_vocabulary:
        raise SettingsError(what, "their vocabularies differ", "compare with --metric bits_per_byte")
    for side in pair:
        if name not in side.run.scores[split]:
            why = side.run.reasons.get(f"{split}.{name}", "it is not recorded")
            raise SettingsError(what, f"{side.directory} has none: {why}", "choose another with --metric")
    units = _column(documents[0], "tokens")
    if name == "bits_per_byte":
        units = math.log(2) * _column(documents[0], "bytes")
    return compare_lines(_column(documents[0], "nats"), _column(documents[1], "nats"), units, draws)


def _column(rows: Documents, key: str) -> Numbers:
    return np.asarray([row[key] for row in rows], dtype=np.float64)


def compare_translations(
    name: str, tokenize: str, hypotheses: tuple[Sequence[str], Sequence[str]], references: Sequence[str], draws: Draws
) -> PairedLines:
    """One metric of two translations of the same lines, with sacrebleu's tests.

    Two null hypotheses: the lines are one of many test sets that could have been drawn (bootstrap, Koehn 2004), and the
    two models write alike, so that each line's outputs may be exchanged (approximate randomisation, Riezler & Maxwell 2005).
    Its bootstrap p is the share of samples whose absolute difference exceeds the mean one by more than the measured one:
    if all samples favour one model that is one tail, half of a two-sided p.
    """
    from sacrebleu.significance import PairedTest

    systems = list(zip("AB", hypotheses, strict=True))
    metric = make_metric(name, tokenize)

    def run(kind: str, n: int) -> list[Any]:
        """sacrebleu's results for both systems."""
        _, scores = PairedTest(systems, {name: metric}, [references], test_type=kind, n_samples=n)()
        return next(found for title, found in scores.items() if title != "System")

    with _sacrebleu_seed(draws.seed):
        a, b = run("bs", draws.n_bootstrap)
        _, exchanged = run("ar", draws.n_exchanged)
    # For two equal scores sacrebleu returns the smallest possible p, because no draw exceeds their difference of 0.
    is_same = a.score == b.score
    return PairedLines(
        a=a.score,
        b=b.score,
        a_ci=float(a.ci),
        b_ci=float(b.ci),
        p_bootstrap=1.0 if is_same else b.p_value,
        p_randomisation=1.0 if is_same else exchanged.p_value,
        signature=str(metric.get_signature()),
    )


@contextmanager
def _sacrebleu_seed(seed: int) -> Iterator[None]:
    """Set the seed that sacrebleu draws with; it reads it from this variable only."""
    before = os.environ.get("SACREBLEU_SEED")
    os.environ["SACREBLEU_SEED"] = str(seed)
    try:
        yield
    finally:
        del os.environ["SACREBLEU_SEED"]
        if before is not None:
            os.environ["SACREBLEU_SEED"] = before
