"""The scores of runs: how each is called and shown, and how sacrebleu computes those of translations."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric

# Scores of translations.
METRICS = ("bleu", "chrf", "chrf++", "ter")
# Teacher-forced nats of a text, per token or (in bits) per byte.
NATS = ("nats_per_token", "bits_per_byte")
# What cuts text into BLEU's tokens with no package or download besides sacrebleu.
TOKENIZERS = ("13a", "none", "char", "intl", "zh")


@dataclass(frozen=True)
class Score:
    """How a score is shown.

    decimals: of the score times `scale`; a difference of two scores has one more.
    per_token: whether the score depends on how the vocabulary cuts text into tokens.
    sign: 1 if more is better, -1 if less is. meaning: a sentence for readers who may not know the score.
    most: the largest value of a score from 0 on; infinite if it has no such bounds.
    """

    name: str
    title: str
    decimals: int
    meaning: str = ""
    per_token: bool = False
    scale: float = 1.0
    sign: int = -1
    most: float = math.inf

    def clip(self, value: float) -> float:
        """The nearest value that the score can have."""
        return value if math.isinf(self.most) else min(max(value, 0.0), self.most)

    def clip_difference(self, value: float) -> float:
        """The nearest difference that two scores can have."""
        return min(max(value, -self.most), self.most)


_EXCESS = "excess nats: the model's nats per token minus those of the generator of the corpus, which no model can beat"
_ORACLE = "oracle BLEU: the BLEU of the most probable spelling of the true meaning, the ceiling for BLEU"
_LENGTH = "length ratio: BLEU's tokens of the translations over those of the references"
_LEGAL = "legal: share of the translations that are a legal spelling of the true meaning"
_WORD = "ppl/word: perplexity per white-space word, with one end mark per line"
_SCORES = (
    Score("excess_nats", "excess nats/token", 3, _EXCESS, per_token=True),
    Score("excess_bits_per_byte", "excess bits/byte", 4, "excess bits/byte: the same excess whatever the vocabulary"),
    Score("bleu", "BLEU", 1, sign=1, most=100.0),
    Score("oracle_bleu", "oracle BLEU", 1, _ORACLE, sign=1, most=100.0),
    Score("chrf", "chrF", 1, sign=1, most=100.0),
    Score("chrf++", "chrF++", 1, sign=1, most=100.0),
    Score("ter", "TER", 1, "TER: edits per reference word, in percent; lower is better"),
    Score("length_ratio", "length ratio", 3, _LENGTH),
    Score("legal", "legal %", 1, _LEGAL, scale=100.0, sign=1, most=1.0),
    Score("nats_per_token", "nats/token", 3, per_token=True),
    Score("ppl_token", "ppl/token", 2, per_token=True),
    Score("ppl_word", "ppl/word", 2, _WORD),
    Score("bits_per_byte", "bits/byte", 3, "bits/byte: bits per UTF-8 byte of the raw text"),
)
SCORES = {score.name: score for score in _SCORES}
# A score that a package brings, as runs name it, and what its signature ends with.
FOREIGN = re.compile(r"[a-z0-9_]+\.[A-Za-z0-9_.-]+")
HIGHER, LOWER = "higher is better", "lower is better"
# Task -> the scores of its tables, the primary one first.
COLUMNS = {
    "lm": ("ppl_token", "ppl_word", "bits_per_byte", "excess_nats"),
    "mt": ("excess_nats", "bleu", "oracle_bleu", "chrf", "chrf++", "ter", "length_ratio", "legal", "ppl_token"),
}


def foreign_signature(package: str, higher_is_better: bool) -> str:
    """The signature of a score that a package, `NAME VERSION`, brings."""
    return f"{package}, {HIGHER if higher_is_better else LOWER}"


def find_score(name: str, signatures: Mapping[str, str]) -> Score | None:
    """How a score is shown: one of ours, or one that a package brought; None if there is none of the name.

    Args:
        signatures: of the scores of a run, which say whether more is better of those of packages.
    """
    if name in SCORES or not FOREIGN.fullmatch(name) or name not in signatures:
        return SCORES.get(name)
    is_higher = signatures[name].endswith(HIGHER)
    return Score(name, name, 3, f"{name}: {HIGHER if is_higher else LOWER}", sign=1 if is_higher else -1)


def make_metric(name: str, tokenize: str) -> "Metric":
    """One of METRICS as sacrebleu computes it; sacrebleu is imported here, on first use.

    Args:
        tokenize: one of TOKENIZERS, for BLEU; `none` for text that is tokenised already, `char` for Japanese.
    Source: Papineni et al. 2002 (BLEU); Popović 2015 (chrF), 2017 (chrF++); Snover et al. 2006 (TER); Post 2018.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.metrics.ter import TER

    if name == "bleu":
        # `force` silences sacrebleu's warning about text that is tokenised already: a note of the run says it, with our setting.
        return BLEU(tokenize=tokenize, force=True)
    return TER() if name == "ter" else CHRF(word_order=2 if name == "chrf++" else 0)


def count_tokens(lines: Iterable[str], tokenize: str) -> int:
    """Tokens that BLEU counts in these lines."""
    from sacrebleu.metrics.bleu import BLEU

    cut = BLEU(tokenize=tokenize).tokenizer
    return sum(len(cut(line.rstrip()).split()) for line in lines)
