"""How a model is trained, and on what machine."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Optional

from tietrain.config.checks import check, check_choice, check_range

# OmegaConf reads these annotations: Optional[...] is spelled out because it accepts no `X | None` of nested types.
# ruff: noqa: UP045

DEFAULT_STEPS = 400
# What decides the pieces of a vocabulary, besides the text it is learned from.
VOCABULARY_KEYS = ("model.vocab_size", "data.kind", "data.byte_fallback")


@dataclass
class OptimConfig:
    """Optimizer and schedule; warm-up and decay are fractions of the stated budget.

    schedule: inverse_sqrt, cosine, wsd (warm-up, stable, linear decay) or constant (after warm-up).
    decay: share of the budget that wsd spends decaying; min_lr_ratio: where cosine and wsd end.
    clip_norm: None for no clipping.
    """

    name: str = "adamw"
    lr: float = 2e-3
    betas: list[float] = field(default_factory=lambda: [0.9, 0.98])
    eps: float = 1e-8
    weight_decay: float = 0.01
    momentum: float = 0.0
    schedule: str = "wsd"
    warmup: float = 0.1
    decay: float = 0.4
    min_lr_ratio: float = 0.0
    clip_norm: Optional[float] = 1.0

    def __post_init__(self) -> None:
        check_choice("optim.name", self.name, ("adamw", "adam", "sgd"))
        check_choice("optim.schedule", self.schedule, ("inverse_sqrt", "cosine", "wsd", "constant"))
        check(
            self.lr > 0 and math.isfinite(self.lr),
            f"optim.lr={self.lr}",
            "the rate is not a positive number",
            "give one, for example 2e-3",
        )
        for key in ("warmup", "decay", "min_lr_ratio", "momentum"):
            check_range(f"optim.{key}", getattr(self, key), 0, 1)
        check_range("optim.weight_decay", self.weight_decay, 0)
        check(
            self.momentum == 0 or self.name == "sgd",
            f"optim.momentum={self.momentum}",
            f"optim.name={self.name} has no such setting",
            "choose optim=sgd, or set the first of optim.betas",
        )
        check(self.eps > 0, f"optim.eps={self.eps}", "it is not positive", "give a small positive number")
        check(
            len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas),
            f"optim.betas={self.betas}",
            "they are not two numbers from 0 to below 1",
            "give for example [0.9,0.98]",
        )
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
        check(
            self.clip_norm is None or self.clip_norm > 0,
            f"optim.clip_norm={self.clip_norm}",
            "it is not positive",
            "give a norm or null",
        )


@dataclass
class TrainConfig:
    """How long and in which steps.

    max_steps, max_tokens, max_flops, max_seconds: budgets; training ends with the first one spent, and schedules
        follow the fraction spent. With none stated a run takes 400 steps. Tokens are target tokens; FLOPs are
        those of the ledger, forward and backward, over real lengths.
    batch_tokens: target tokens of one step, in the reference vocabulary for translation (see `data.batching`).
    batch_by: tokens, or chars: windows and lengths are counted in characters of the text, four as one token, so that
        arms of any vocabulary have the same text in the same batches. auto is chars in every cell of a grid that sweeps
        one of VOCABULARY_KEYS, else tokens; `compose.to_run_config` decides, so that a run is known by what it became.
    eval_every, checkpoint_every, log_every: in steps; None evaluates ten times a run.
    eval_sentences: lines of `valid` used while training; None for all. Final scores always use all.
    average, n_averaged: which weights are scored: none, those of the best evaluation; last or best, the mean of those of
        the last or best n_averaged evaluations (of all, where there were fewer). Best is lowest nats_per_token on valid.
    ema: decay of an exponential moving average of the weights, or None. It is what every evaluation sees, what is best,
        averaged and scored; training goes on from the weights themselves. See `train.averaging`.
    trackers: what else is told of a run as it trains, wandb and trackio, see `train.trackers`.
    slow_step_seconds: sleep after every step, for tests.
    """

    max_steps: Optional[int] = None
    max_tokens: Optional[float] = None
    max_flops: Optional[float] = None
    max_seconds: Optional[float] = None
    batch_tokens: int = 1024
    batch_by: str = "auto"
    eval_every: Optional[int] = None
    eval_sentences: Optional[int] = 500
    checkpoint_every: int = 100
    log_every: int = 10
    average: str = "none"
    n_averaged: int = 5
    ema: Optional[float] = None
    trackers: list[str] = field(default_factory=list)
    slow_step_seconds: float = 0.0

    def __post_init__(self) -> None:
        for key in ("max_steps", "max_tokens", "max_flops", "eval_every", "eval_sentences"):
            check_range(f"train.{key}", getattr(self, key), 1, optional=True)
        check(
            self.max_seconds is None or self.max_seconds > 0,
            f"train.max_seconds={self.max_seconds}",
            "it is not positive",
            "give seconds",
        )
        check_choice("train.batch_by", self.batch_by, ("auto", "tokens", "chars"))
        check_choice("train.average", self.average, ("none", "last", "best"))
        for name in self.trackers:
            check_choice("train.trackers", name, ("wandb", "trackio"))
        for key in ("batch_tokens", "checkpoint_every", "log_every", "n_averaged"):
            check_range(f"train.{key}", getattr(self, key), 1)
        check(
            self.ema is None or 0 < self.ema < 1,
            f"train.ema={self.ema}",
            "a decay lies between 0 and 1",
            "give for example 0.999, or null",
        )
        check_range("train.slow_step_seconds", self.slow_step_seconds, 0)

    @property
    def budgets(self) -> dict[str, float]:
        """Unit -> limit for every stated budget: steps, tokens, flops, seconds."""
        stated = {u: getattr(self, f"max_{u}") for u in ("steps", "tokens", "flops", "seconds")}
        return {u: v for u, v in stated.items() if v is not None} or {"steps": DEFAULT_STEPS}


@dataclass
class HardwareConfig:
    """Where and how fast; never what is computed, up to rounding.

    Of these only device and precision are part of a run's identity: with the others changed it goes on where it stood.

    device: auto, cpu or cuda. precision: auto (bf16 where the device computes it fast), fp32 or bf16.
    device_batch_tokens: padded tokens the device takes at once; a step is cut into micro-batches. None: whole steps.
    threads: of one process; None leaves the default. peak_flops: of the device, per second, with its source.
    """

    device: str = "auto"
    precision: str = "auto"
    compile: bool = False
    device_batch_tokens: Optional[int] = None
    threads: Optional[int] = None
    peak_flops: Optional[float] = None
    peak_flops_source: str = ""

    def __post_init__(self) -> None:
        check_choice("hardware.device", self.device, ("auto", "cpu", "cuda"))
        check_choice("hardware.precision", self.precision, ("auto", "fp32", "bf16"))
        for key in ("device_batch_tokens", "threads", "peak_flops"):
            check_range(f"hardware.{key}", getattr(self, key), 1, optional=True)
