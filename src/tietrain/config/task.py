"""What is learned."""

from dataclasses import dataclass
from typing import Optional

from tietrain.config.data import TRANSLATION
from tietrain.config.setting import Condition, check, check_section, setting, when
from tietrain.plan.installed import is_foreign
from tietrain.runs.scores import METRICS, TOKENIZERS

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

    name: str = setting("lm", choices=TASKS)
    """Language model, masked language model or translation."""
    window: int = setting(128, WINDOWS, ge=2)
    """Tokens per training window; with train.batch_by=chars four times as many characters."""
    eval_stride: Optional[int] = setting(None, when("task.name", "lm"), ge=1, at_eval=True)
    """Tokens scored per window, the others are context; null scores whole windows."""
    mask_rate: float = setting(0.15, when("task.name", "mlm"), ge=0.01, le=1)
    """Share of the tokens of a window that a masked language model predicts."""
    directions: Optional[list[str]] = setting(None, TRANSLATION)
    """Which columns are read and which is written: `en-de`, or `src+mt-pe` to read two together; null reads all columns
    but the last."""
    zero_shot: list[str] = setting([], TRANSLATION)
    """Directions that are scored and never trained."""
    temperature: float = setting(1.0, SEVERAL_DIRECTIONS, ge=0.05)
    """A direction of n training pairs is drawn in proportion to n ** (1 / temperature). Source: Arivazhagan et al.
    2019."""
    train_pairs: dict[str, int] = setting({}, TRANSLATION, ge=1, open=True)
    """Direction -> most pairs of it to train on, to imitate few resources."""
    disjoint: bool = setting(False, SEVERAL_DIRECTIONS)
    """Whether each row of train is a pair of one direction alone, so that zero_shot directions have no pivot."""
    max_len: int = setting(256, TRANSLATION, ge=2)
    """Pairs with more pieces on a side are left out of train and counted; with train.batch_by=chars, those with more
    than four times as many characters."""
    label_smoothing: float = setting(0.0, ge=0, le=0.999, tunable=True)
    """Mass spread over the vocabulary in the training objective, never in a score."""
    beam: int = setting(1, TRANSLATION, ge=1, le=1000, at_eval=True)
    """Hypotheses of the search that is scored; 1 is greedy."""
    length_penalty: float = setting(0.0, SEARCH, ge=0, at_eval=True)
    """A hypothesis's score is divided by ((5 + tokens) / 6) ** length_penalty; fields use 0 to 1. Source: Wu et al.
    2016, equation 14."""
    max_output_ratio: float = setting(2.0, TRANSLATION, ge=0, le=100, at_eval=True)
    """A translation has at most ratio x source pieces + max_output_extra tokens, end mark included."""
    max_output_extra: int = setting(20, TRANSLATION, ge=1, le=1000, at_eval=True)
    """The constant part of the longest translation, in tokens."""
    metrics: list[str] = setting(["bleu", "chrf"], TRANSLATION, at_eval=True)
    """Scores of the translations: bleu, chrf, chrf++, ter, or PACKAGE.NAME of an installed package."""
    bleu_tokenize: str = setting("13a", BLEU, choices=TOKENIZERS, at_eval=True)
    """How BLEU cuts text: 13a for plain text, none for tokenized text, char for Japanese."""

    def __post_init__(self) -> None:
        check_section(self, "task.")
        stride = self.eval_stride
        remedy = f"give a number from 1 to {self.window}"
        check(stride is None or stride <= self.window, f"task.eval_stride={stride}", "it is out of range", remedy)
        for name in self.metrics or [""]:
            requested = f"task.metrics=[{','.join(self.metrics)}]"
            is_known = name in METRICS or is_foreign(name)
            problem = f"{name} is listed twice" if is_known else f"there is no metric {name!r}"
            remedy = f"choose one or more from {', '.join(METRICS)}, or PACKAGE.NAME of an installed package"
            check(is_known and self.metrics.count(name) == 1, requested, problem, remedy)
