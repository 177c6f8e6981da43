"""How far a run has come: everything the loop knows beside weights and optimizer, as plain numbers."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self


@dataclass
class Interval:
    """Sums since the last logged training row, so that a row is the same whether or not the run was interrupted."""

    objective: float = 0.0
    nll: float = 0.0
    tokens: int = 0
    seconds: float = 0.0


@dataclass
class TrainState:
    """Where training stands after `step` steps.

    epoch, index: of the next batch. tokens: scored target tokens; flops: the ledger's, in training; seconds: of
    training steps, without evaluation and saving. real_tokens, padded_tokens: positions of all stacks without and
    with padding. lr, grad_norm: of the last step. best: step and nats_per_token of the best evaluation so far;
    averaged: of those that train.average wants the mean of, in the order of their steps.
    """

    step: int = 0
    epoch: int = 0
    index: int = 0
    tokens: int = 0
    flops: int = 0
    seconds: float = 0.0
    real_tokens: int = 0
    padded_tokens: int = 0
    lr: float = 0.0
    grad_norm: float = 0.0
    interval: Interval = field(default_factory=Interval)
    best: dict[str, Any] | None = None
    averaged: list[dict[str, Any]] = field(default_factory=list)

    @property
    def used(self) -> dict[str, float]:
        """Budget unit -> amount used so far."""
        return {"steps": self.step, "tokens": self.tokens, "flops": self.flops, "seconds": self.seconds}

    def middle_of_step(self, n_tokens: int, flops: int) -> dict[str, float]:
        """Budget unit -> amount used half-way through the next step.

        Schedules are read there: at the start the first rate of a warm-up would be 0, at the end the last rate of a
        decay. Seconds assume a step of mean length.
        """
        seconds = self.seconds / self.step if self.step else 0.0
        share = {"steps": 1, "tokens": n_tokens, "flops": flops, "seconds": seconds}
        return {unit: amount + share[unit] / 2 for unit, amount in self.used.items()}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """The state `to_json` wrote; KeyError or TypeError if it is not one."""
        values = {f.name: body[f.name] for f in fields(cls)}
        state = cls(**{**values, "interval": Interval(**body["interval"])})
        for name, amount in {**state.used, "epoch": state.epoch, "index": state.index}.items():
            if not isinstance(amount, int | float) or not 0 <= amount < math.inf:
                raise TypeError(f"{name} is {amount!r}")
        return state
