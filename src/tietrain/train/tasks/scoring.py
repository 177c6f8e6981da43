"""Scores of text: perplexities and bits per byte from nats, those of translations with sacrebleu's signatures."""

import hashlib
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tietrain.plan.installed import is_foreign
from tietrain.runs.scores import count_tokens, make_metric
from tietrain.train.foreign_metrics import find_metric

Scores = dict[str, Any]
# Draws of the generated references, which show how far chance alone moves BLEU.
N_REDRAWN = 5


@dataclass
class SplitScores:
    """Scores of one split; `reasons` say why a score is missing, `texts` are lists of lines to keep as files.

    documents: nats, tokens and bytes (UTF-8, with newline) of each line, whose sums are those of `scores`, and a hash.
    """

    scores: Scores
    documents: list[Scores]
    reasons: dict[str, str] = field(default_factory=dict)
    signatures: dict[str, str] = field(default_factory=dict)
    texts: dict[str, Sequence[str]] = field(default_factory=dict)


def count_words(lines: Sequence[str]) -> int:
    """Whitespace-separated words plus one end mark per line, the unit of word perplexity."""
    return sum(len(line.split()) + 1 for line in lines)


def score_nats(
    nats: Iterable[float], tokens: Iterable[int], lines: Sequence[str], n_unknown: int, lossless: bool
) -> SplitScores:
    """Perplexities and bits per byte of a text.

    Args:
        nats: what each line cost, summed over its target tokens, end mark included. tokens: how many those were.
        lines: the raw text.
        n_unknown: tokens that stand for text the vocabulary lacks; lossless: whether pieces spell the raw text.
    Returns:
        ppl_token = exp(nats / tokens); ppl_word = exp(nats / words) with one end mark per line;
        bits_per_byte = nats / (ln 2 x bytes), None with a reason if the tokens do not spell every byte.
    """
    documents: list[Scores] = []
    for n, t, line in zip(nats, tokens, lines, strict=True):
        raw = line.encode()
        short_hash = hashlib.sha256(raw).hexdigest()[:16]
        documents.append({"nats": float(n), "tokens": int(t), "bytes": len(raw) + 1, "sha256": short_hash})
    # Correctly rounded, so that whoever adds up the documents again gets this very number.
    total, n_tokens = math.fsum(d["nats"] for d in documents), sum(d["tokens"] for d in documents)
    n_words, n_bytes = count_words(lines), sum(d["bytes"] for d in documents)
    scores: Scores = {
        "nats": total,
        "tokens": n_tokens,
        "words": n_words,
        "bytes": n_bytes,
        "nats_per_token": total / n_tokens,
        "ppl_token": _exp(total / n_tokens),
        "ppl_word": _exp(total / n_words),
        "bits_per_byte": total / (math.log(2) * n_bytes),
    }
    result = SplitScores(scores, documents)
    if n_unknown or not lossless:
        unknown = f"{n_unknown} tokens are <unk> and spell no bytes"
        scores["bits_per_byte"] = None
        result.reasons["bits_per_byte"] = unknown if n_unknown else "the vocabulary does not spell the raw text"
    return result


def add_generator(result: SplitScores, generator_nats: Sequence[float]) -> None:
    """Add what the generator of the corpus itself needs, and the model's excess over it, in nats per token."""
    scores = result.scores
    scores["generator_nats"] = math.fsum(generator_nats)
    scores["excess_nats"] = (scores["nats"] - scores["generator_nats"]) / scores["tokens"]


def score_translations(
    hypotheses: Sequence[str], references: Sequence[str], metrics: Sequence[str], tokenize: str
) -> tuple[Scores, dict[str, str]]:
    """Corpus scores of detokenised lines, and the signature of each.

    Args:
        metrics, tokenize: see `metrics.make_metric`.
    Returns:
        Scores by metric and `length_ratio`, BLEU's tokens of the hypotheses over those of the references; signatures.
    Raises:
        ValueError: the lists differ in length; sacrebleu would silently score the shorter.
        SettingsError: the metric of a package is missing or fails.
    """
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
    scores: Scores = {}
    signatures = {}
    for name in metrics:
        if is_foreign(name):
            foreign = find_metric(name)
            scores[name] = foreign.score(hypotheses, references)
            signatures[name] = foreign.signature
            continue
        metric = make_metric(name, tokenize)
        found = metric.corpus_score(list(hypotheses), [list(references)])
        scores[name] = float(found.score)
        signatures[name] = str(metric.get_signature())
        if name == "bleu":  # which has cut them already
            n_written, n_wanted = found.sys_len, found.ref_len
    if "bleu" not in metrics:
        n_written, n_wanted = count_tokens(hypotheses, tokenize), count_tokens(references, tokenize)
    scores["length_ratio"] = n_written / n_wanted if n_wanted else None
    return scores, signatures


def oracle_scores(
    spellings: Sequence[str], references: Sequence[str], redrawn: Sequence[Sequence[str]], tokenize: str
) -> Scores:
    """BLEU of the most probable spelling of the true meaning: no system can be expected to pass it.

    Args:
        redrawn: further draws of the references; their mean and standard deviation say how far chance moves BLEU.
        tokenize: of the BLEU it is the ceiling of.
    """
    bleus = [score_translations(spellings, draw, ["bleu"], tokenize)[0]["bleu"] for draw in [references, *redrawn]]
    return {
        "oracle_bleu": bleus[0],
        "oracle_bleu_mean": statistics.fmean(bleus[1:]),
        "oracle_bleu_sd": statistics.stdev(bleus[1:]),
    }


def _exp(nats: float) -> float | None:
    """exp without overflow: JSON knows no infinity."""
    return math.exp(nats) if nats < 700 else None
