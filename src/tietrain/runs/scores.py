"""Scores of translations by name, each sacrebleu's own with its signature. sacrebleu is loaded when one is made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric

METRICS = ("bleu", "chrf", "chrf++", "ter")
# What teacher-forced nats of a text are divided by.
NATS = ("nats_per_token", "bits_per_byte")
# What cuts text into BLEU's tokens with no package or download besides sacrebleu.
TOKENIZERS = ("13a", "none", "char", "intl", "zh")


def make_metric(name: str, tokenize: str) -> Metric:
    """One of METRICS as sacrebleu computes it.

    Args:
        tokenize: one of TOKENIZERS, for BLEU; `none` for text that is tokenised already, `char` for Japanese.
    Source: Papineni et al. 2002 (BLEU); Popović 2015 (chrF), 2017 (chrF++); Snover et al. 2006 (TER); Post 2018.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.metrics.ter import TER

    if name == "bleu":
        # Text that is scored as it is cut need not be warned of.
        return BLEU(tokenize=tokenize, force=tokenize in ("none", "char"))
    return TER() if name == "ter" else CHRF(word_order=2 if name == "chrf++" else 0)


def count_tokens(lines: Iterable[str], tokenize: str) -> int:
    """Tokens that BLEU counts in these lines."""
    from sacrebleu.metrics.bleu import BLEU

    cut = BLEU(tokenize=tokenize).tokenizer
    return sum(len(cut(line.rstrip()).split()) for line in lines)
