"""What is learned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from tietrain.config.checks import check, check_choice, check_range
from tietrain.runs.scores import METRICS, TOKENIZERS

# OmegaConf reads these annotations: Optional[...] is spelled out because it accepts no `X | None` of nested types.
# ruff: noqa: UP045

TASKS = ("lm", "mlm", "mt")


@dataclass
class TaskConfig:
    """What is learned: a language model (`lm`), a masked one (`mlm`) or translation (`mt`).

    window: tokens a training window of a language model; with train.batch_by=chars four times as many characters.
    eval_stride: tokens scored per window; the rest of a window is context. None scores whole windows. Of lm alone.
    mask_rate: share of the tokens of a window that a masked language model is asked for.
    directions: which columns are read and which is written, `en-de`, or `src+mt-pe` where two are read together; None
        reads all columns but the last. zero_shot: directions that are scored and never trained.
    temperature: a direction of n training pairs is drawn as often as n ** (1 / temperature) says; 1 as often as it has
        pairs. Source: Arivazhagan et al. 2019.
    train_pairs: direction -> most pairs of it to train on, to make it one of few resources. disjoint: whether every row
        of train is a pair of one direction alone, drawn by its number, so that zero_shot directions have no pivot.
    max_len: translation pairs with more pieces than this on a side are left out of train and counted; with
        train.batch_by=chars those with more than four times as many characters.
    label_smoothing: mass spread over the vocabulary in the training objective, never in a score.
    beam, length_penalty: of the translations that are scored; beam 1 is greedy. A score is divided by
        ((5 + tokens) / 6) ** length_penalty (Wu et al. 2016, equation 14); fields use 0 to 1.
    max_output_ratio, max_output_extra: a translation has at most ratio x source pieces + extra tokens, end mark included.
    metrics: scores of the translations, of `metrics.METRICS`. bleu_tokenize: how BLEU cuts text: 13a for plain text,
        none for text that is tokenised already, char for Japanese; no other score depends on it.
    """

    name: str = "lm"
    window: int = 128
    eval_stride: Optional[int] = None
    mask_rate: float = 0.15
    directions: Optional[list[str]] = None
    zero_shot: list[str] = field(default_factory=list)
    temperature: float = 1.0
    train_pairs: dict[str, int] = field(default_factory=dict)
    disjoint: bool = False
    max_len: int = 256
    label_smoothing: float = 0.0
    beam: int = 1
    length_penalty: float = 0.0
    max_output_ratio: float = 2.0
    max_output_extra: int = 20
    metrics: list[str] = field(default_factory=lambda: ["bleu", "chrf"])
    bleu_tokenize: str = "13a"

    def __post_init__(self) -> None:
        check_choice("task.name", self.name, TASKS)
        check_range("task.window", self.window, 2)
        check_range("task.eval_stride", self.eval_stride, 1, self.window, optional=True)
        check_range("task.mask_rate", self.mask_rate, 0.01, 1)
        check(self.temperature > 0, f"task.temperature={self.temperature}", "it is not positive", "give 1 or more")
        for name, n in self.train_pairs.items():
            check_range(f"task.train_pairs.{name}", n, 1)
        check_range("task.max_len", self.max_len, 2)
        check_range("task.label_smoothing", self.label_smoothing, 0, 0.999)
        check_range("task.beam", self.beam, 1)
        check_range("task.length_penalty", self.length_penalty, 0)
        check_range("task.max_output_ratio", self.max_output_ratio, 0)
        check_range("task.max_output_extra", self.max_output_extra, 1)
        for name in self.metrics or [""]:
            check(
                name in METRICS and self.metrics.count(name) == 1,
                f"task.metrics=[{','.join(self.metrics)}]",
                f"{name} stands there twice" if name in METRICS else f"there is no metric {name!r}",
                f"choose one or more from {', '.join(METRICS)}",
            )
        check_choice("task.bleu_tokenize", self.bleu_tokenize, TOKENIZERS)
