"""What is learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from tietrain.config.data import TRANSLATION
from tietrain.config.setting import Condition, check, check_section, setting, when
from tietrain.runs.scores import METRICS, TOKENIZERS

# OmegaConf reads these annotations: Optional[...] is spelled out because it accepts no `X | None` of nested types.
# ruff: noqa: UP045

TASKS = ("lm", "mlm", "mt")

WINDOWS = when("task.name", "lm", "mlm")
SEVERAL_DIRECTIONS = Condition(
    lambda flat: len(flat.get("task.directions") or []) > 1, "task.directions", "task.directions names several"
)
SEARCH = Condition(lambda flat: flat.get("task.beam") != 1, "task.beam", "task.beam is above 1")
BLEU = Condition(lambda flat: "bleu" in (flat.get("task.metrics") or []), "task.metrics", "task.metrics has bleu")


@dataclass
class TaskConfig:
    """What is learned: a language model, a masked one or translation."""

    name: str = setting("lm", "Language model, masked language model or translation.", choices=TASKS)
    window: int = setting(
        128, "Tokens per training window; with train.batch_by=chars four times as many characters.", WINDOWS, at_least=2
    )
    eval_stride: Optional[int] = setting(
        None,
        "Tokens scored per window, the others are context; null scores whole windows.",
        when("task.name", "lm"),
        at_least=1,
        at_eval=True,
    )
    mask_rate: float = setting(
        0.15,
        "Share of the tokens of a window that a masked language model predicts.",
        when("task.name", "mlm"),
        at_least=0.01,
        at_most=1,
    )
    directions: Optional[list[str]] = setting(
        None,
        "Which columns are read and which is written: `en-de`, or `src+mt-pe` to read two together; null reads all columns"
        " but the last.",
        TRANSLATION,
    )
    zero_shot: list[str] = setting([], "Directions that are scored and never trained.", TRANSLATION)
    temperature: float = setting(
        1.0,
        "A direction of n training pairs is drawn in proportion to n ** (1 / temperature). Source: Arivazhagan et al. 2019.",
        SEVERAL_DIRECTIONS,
        above=0,
    )
    train_pairs: dict[str, int] = setting(
        {}, "Direction -> most pairs of it to train on, to imitate few resources.", TRANSLATION, at_least=1, open=True
    )
    disjoint: bool = setting(
        False,
        "Whether each row of train is a pair of one direction alone, so that zero_shot directions have no pivot.",
        SEVERAL_DIRECTIONS,
    )
    max_len: int = setting(
        256,
        "Pairs with more pieces on a side are left out of train and counted; with train.batch_by=chars, those with more"
        " than four times as many characters.",
        TRANSLATION,
        at_least=2,
    )
    label_smoothing: float = setting(
        0.0,
        "Mass spread over the vocabulary in the training objective, never in a score.",
        at_least=0,
        at_most=0.999,
        tunable=True,
    )
    beam: int = setting(
        1, "Hypotheses of the search that is scored; 1 is greedy.", TRANSLATION, at_least=1, at_eval=True
    )
    length_penalty: float = setting(
        0.0,
        "A hypothesis's score is divided by ((5 + tokens) / 6) ** length_penalty; fields use 0 to 1. Source: Wu et al."
        " 2016, equation 14.",
        SEARCH,
        at_least=0,
        at_eval=True,
    )
    max_output_ratio: float = setting(
        2.0,
        "A translation has at most ratio x source pieces + max_output_extra tokens, end mark included.",
        TRANSLATION,
        at_least=0,
        at_eval=True,
    )
    max_output_extra: int = setting(
        20, "The constant part of the longest translation, in tokens.", TRANSLATION, at_least=1, at_eval=True
    )
    metrics: list[str] = setting(["bleu", "chrf"], "Scores of the translations.", TRANSLATION, at_eval=True)
    bleu_tokenize: str = setting(
        "13a",
        "How BLEU cuts text: 13a for plain text, none for tokenized text, char for Japanese.",
        BLEU,
        choices=TOKENIZERS,
        at_eval=True,
    )

    def __post_init__(self) -> None:
        check_section(self, "task.")
        stride = self.eval_stride
        remedy = f"give a number from 1 to {self.window}"
        check(stride is None or stride <= self.window, f"task.eval_stride={stride}", "it is out of range", remedy)
        for name in self.metrics or [""]:
            check(
                name in METRICS and self.metrics.count(name) == 1,
                f"task.metrics=[{','.join(self.metrics)}]",
                f"{name} is listed twice" if name in METRICS else f"there is no metric {name!r}",
                f"choose one or more from {', '.join(METRICS)}",
            )
