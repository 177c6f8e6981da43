"""How a model is trained, and on what machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from tietrain.config.setting import check, check_section, setting, when

# OmegaConf reads these annotations: Optional[...] is spelled out because it accepts no `X | None` of nested types.
# ruff: noqa: UP045

DEFAULT_STEPS = 400
# Units of a training budget, each a key train.max_UNIT.
BUDGET_UNITS = ("steps", "tokens", "flops", "seconds")

ADAM = when("optim.name", "adamw", "adam")


@dataclass
class OptimConfig:
    """Optimizer and schedule; warm-up and decay are fractions of the stated budget."""

    name: str = setting("adamw", "Optimizer.", choices=("adamw", "adam", "sgd"), tunable=True)
    lr: float = setting(2e-3, "Peak learning rate.", above=0, tunable=True)
    betas: list[float] = setting([0.9, 0.98], "Decay of the two moments.", ADAM, at_least=0, below=1, tunable=True)
    eps: float = setting(1e-8, "Added to the root of the second moment.", ADAM, above=0, tunable=True)
    weight_decay: float = setting(0.01, "Decay of matrices, never of vectors.", at_least=0, tunable=True)
    momentum: float = setting(0.0, "Momentum.", when("optim.name", "sgd"), at_least=0, at_most=1, tunable=True)
    schedule: str = setting(
        "wsd",
        "Learning rate over the budget; wsd: warm-up, stable, linear decay; constant: after warm-up.",
        choices=("inverse_sqrt", "cosine", "wsd", "constant"),
        tunable=True,
    )
    warmup: float = setting(
        0.1, "Share of the budget spent warming up.", at_least=0, at_most=1, tunable=True, budget=True
    )
    decay: float = setting(
        0.4,
        "Share of the budget that wsd spends decaying.",
        when("optim.schedule", "wsd"),
        at_least=0,
        at_most=1,
        tunable=True,
        budget=True,
    )
    min_lr_ratio: float = setting(
        0.0,
        "Final rate, as a share of the peak.",
        when("optim.schedule", "wsd", "cosine"),
        at_least=0,
        at_most=1,
        tunable=True,
    )
    clip_norm: Optional[float] = setting(1.0, "Largest norm of a gradient; null does not clip.", above=0, tunable=True)

    def __post_init__(self) -> None:
        check_section(self, "optim.")
        check(
            self.momentum == 0 or self.name == "sgd",
            f"optim.momentum={self.momentum}",
            f"optim.name={self.name} has no such setting",
            "choose optim=sgd, or set the first of optim.betas",
        )
        remedy = "give for example [0.9,0.98]"
        check(len(self.betas) == 2, f"optim.betas={self.betas}", "they are not two numbers", remedy)
        check(
            self.schedule != "wsd" or self.warmup + self.decay <= 1,
            f"optim.warmup={self.warmup}",
            f"with optim.decay={self.decay} it exceeds the whole budget",
            "make their sum at most 1",
        )
        check(
            self.schedule != "inverse_sqrt" or self.warmup > 0,
            f"optim.warmup={self.warmup}",
            "optim.schedule=inverse_sqrt is measured in warm-ups",
            "give a positive optim.warmup",
        )


@dataclass
class TrainConfig:
    """How long and in which steps.

    Training ends with the first of the budgets spent, and schedules follow the fraction spent. Without a budget a run takes
    DEFAULT_STEPS steps.
    """

    max_steps: Optional[int] = setting(None, "Budget in steps.", at_least=1, budget=True)
    max_tokens: Optional[float] = setting(None, "Budget in target tokens.", at_least=1, budget=True)
    max_flops: Optional[float] = setting(
        None, "Budget in FLOPs of the ledger, forward and backward, over real lengths.", at_least=1, budget=True
    )
    max_seconds: Optional[float] = setting(None, "Budget in seconds of training.", above=0, budget=True)
    batch_tokens: int = setting(
        1024, "Target tokens of one step; of translation, in the reference vocabulary.", at_least=1, at_eval=True
    )
    batch_by: str = setting(
        "auto",
        "Unit of windows and lengths: tokens, or characters (four as one token), so that arms of any vocabulary have the"
        " same text in the same batches. auto is chars in each cell of a grid that sweeps the pieces, else tokens.",
        choices=("auto", "tokens", "chars"),
    )
    eval_every: Optional[int] = setting(
        None, "Steps between two evaluations on valid; null evaluates ten times.", at_least=1
    )
    eval_sentences: Optional[int] = setting(
        500, "Lines of valid that are used while training; null for all. Final scores use all.", at_least=1
    )
    checkpoint_every: int = setting(100, "Steps between two checkpoints.", at_least=1, identity=False)
    log_every: int = setting(10, "Steps between two rows of metrics.jsonl.", at_least=1, identity=False)
    average: str = setting(
        "none",
        "Weights that are scored: those of the best evaluation, or the mean of those of the last or best n_averaged."
        " Best is lowest nats per token on valid.",
        choices=("none", "last", "best"),
        tunable=True,
    )
    n_averaged: int = setting(
        5, "Evaluations whose weights are averaged.", when("train.average", "last", "best"), at_least=1
    )
    ema: Optional[float] = setting(
        None,
        "Decay of an exponential moving average of the weights, which is what is evaluated and scored; null for none.",
        above=0,
        below=1,
        tunable=True,
    )
    trackers: list[str] = setting(
        [], "Loggers that receive the metrics besides TensorBoard.", identity=False, choices=("wandb", "trackio")
    )
    slow_step_seconds: float = setting(0.0, "Sleep after each step, for tests.", at_least=0, identity=False)

    def __post_init__(self) -> None:
        check_section(self, "train.")

    @property
    def budgets(self) -> dict[str, float]:
        """Unit -> limit for each stated budget."""
        stated = {unit: getattr(self, f"max_{unit}") for unit in BUDGET_UNITS}
        return {unit: limit for unit, limit in stated.items() if limit is not None} or {"steps": DEFAULT_STEPS}


@dataclass
class HardwareConfig:
    """The device and its speed; results differ by rounding at most."""

    device: str = setting("auto", "Device.", choices=("auto", "cpu", "cuda"), at_eval=True)
    precision: str = setting(
        "auto",
        "Numbers of the forward pass; auto is bf16 if the device computes it fast.",
        choices=("auto", "fp32", "bf16"),
        at_eval=True,
    )
    compile: bool = setting(False, "Whether the model is compiled.", identity=False, at_eval=True)
    device_batch_tokens: Optional[int] = setting(
        None,
        "Padded tokens that the device takes at once; a step is cut into micro-batches. null takes whole steps.",
        at_least=1,
        identity=False,
        at_eval=True,
    )
    threads: Optional[int] = setting(
        None, "Threads of the process; null leaves torch's default.", at_least=1, identity=False, at_eval=True
    )
    peak_flops: Optional[float] = setting(
        None, "FLOPs per second that the device reaches at best.", at_least=1, identity=False, at_eval=True
    )
    peak_flops_source: str = setting("", "Source of peak_flops.", identity=False, at_eval=True)

    def __post_init__(self) -> None:
        check_section(self, "hardware.")
