"""Scores of text: perplexities and bits per byte from nats, BLEU and chrF from sacrebleu with their signatures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sacrebleu.metrics import BLEU, CHRF

Scores = dict[str, Any]
# Draws of the generated references that say how far chance alone moves BLEU.
N_REDRAWN = 5


@dataclass
class SplitScores:
    """Scores of one split; `reasons` say why a score is missing, `texts` are lists of lines to keep as files."""

    scores: Scores
    reasons: dict[str, str] = field(default_factory=dict)
    signatures: dict[str, str] = field(default_factory=dict)
    texts: dict[str, list[str]] = field(default_factory=dict)


def count_words(lines: Sequence[str]) -> int:
    """Whitespace-separated words plus one end mark a line, the unit of word perplexity."""
    return sum(len(line.split()) + 1 for line in lines)


def count_bytes(lines: Sequence[str]) -> int:
    """UTF-8 bytes of the raw text with one newline a line."""
    return sum(len(line.encode()) + 1 for line in lines)


def score_nats(nats: float, n_tokens: int, lines: Sequence[str], n_unknown: int, lossless: bool) -> SplitScores:
    """Perplexities and bits per byte of text that cost `nats` in all.

    Args:
        nats: summed over every target token, end marks included.
        n_tokens: how many those were.
        lines: the raw text.
        n_unknown: tokens that stand for text the vocabulary lacks; lossless: whether pieces spell the raw text.
    Returns:
        ppl_token = exp(nats / tokens); ppl_word = exp(nats / words) with one end mark a line;
        bits_per_byte = nats / (ln 2 x bytes), None with a reason where the tokens do not spell every byte.
    """
    n_words, n_bytes = count_words(lines), count_bytes(lines)
    scores: Scores = {
        "nats": nats,
        "tokens": n_tokens,
        "words": n_words,
        "bytes": n_bytes,
        "nats_per_token": nats / n_tokens,
        "ppl_token": _exp(nats / n_tokens),
        "ppl_word": _exp(nats / n_words),
        "bits_per_byte": nats / (math.log(2) * n_bytes),
    }
    result = SplitScores(scores)
    if n_unknown or not lossless:
        why = (
            f"{n_unknown} tokens are <unk> and spell no bytes"
            if n_unknown
            else "the vocabulary does not spell the raw text"
        )
        scores["bits_per_byte"] = None
        result.reasons["bits_per_byte"] = why
    return result


def add_generator(result: SplitScores, generator_nats: Sequence[float]) -> None:
    """Add what the generator of the corpus itself needs, and the model's excess over it, in nats a token."""
    scores = result.scores
    scores["generator_nats"] = math.fsum(generator_nats)
    scores["excess_nats"] = (scores["nats"] - scores["generator_nats"]) / scores["tokens"]


def score_translations(hypotheses: Sequence[str], references: Sequence[str]) -> tuple[Scores, dict[str, str]]:
    """Corpus BLEU and chrF of detokenised lines, and sacrebleu's signature of each.

    Raises:
        ValueError: the lists differ in length; sacrebleu would silently score the shorter.
    """
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
    scores, signatures = {}, {}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        scores[name] = float(metric.corpus_score(list(hypotheses), [list(references)]).score)
        signatures[name] = str(metric.get_signature())
    return scores, signatures


def oracle_scores(spellings: Sequence[str], references: Sequence[str], redrawn: Sequence[Sequence[str]]) -> Scores:
    """BLEU of the most probable spelling of the true meaning: what no system can be asked to pass.

    Args:
        redrawn: further draws of the references; their mean and standard deviation say how far chance moves BLEU.
    """
    again = [score_translations(spellings, draw)[0]["bleu"] for draw in redrawn]
    return {
        "oracle_bleu": score_translations(spellings, references)[0]["bleu"],
        "oracle_bleu_mean": statistics.fmean(again),
        "oracle_bleu_sd": statistics.stdev(again),
    }


def _exp(nats: float) -> float | None:
    """exp without overflow: JSON knows no infinity."""
    return math.exp(nats) if nats < 700 else None
