"""Learning rates as functions of the fraction of the budget spent, and which longer budget leaves them as they were."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tietrain.config import OptimConfig, TrainConfig
from tietrain.errors import DataError, SettingsError
from tietrain.runs import record as runs

# The first step of a run bounded by seconds alone has no known length: warm-up starts here instead of at 0.
MIN_WARMUP_RATIO = 1e-3
# Settings that a longer budget may come with: warm-up and decay are shares of it.
BUDGETS = tuple(f"train.max_{unit}" for unit in ("steps", "tokens", "flops", "seconds"))
OF_BUDGET = frozenset([*BUDGETS, "optim.warmup", "optim.decay"])
# Places at which the rates of two schedules are compared.
N_COMPARED = 1000


def learning_rate(config: OptimConfig, fraction: float) -> float:
    """The rate at a fraction of the stated budget, 0 to 1.

    Linear warm-up over the first `warmup` of the budget to `lr`, then: constant; inverse_sqrt, lr x sqrt(warmup /
    fraction); cosine, half a period down to min_lr_ratio x lr; wsd, constant until the last `decay` of the budget,
    then linear to min_lr_ratio x lr.

    Source: Vaswani et al. 2017, section 5.3 (inverse_sqrt); Loshchilov & Hutter 2017, section 3 (cosine); Hu et al.
    2024, section 4 (wsd).
    """
    if fraction < config.warmup:
        return config.lr * max(fraction / config.warmup, MIN_WARMUP_RATIO)
    lowest, fraction = config.lr * config.min_lr_ratio, min(fraction, 1.0)
    if config.schedule == "inverse_sqrt":
        return config.lr * math.sqrt(config.warmup / fraction)
    if config.schedule == "cosine" and config.warmup < 1:
        turn = math.pi * (fraction - config.warmup) / (1 - config.warmup)
        return lowest + (config.lr - lowest) * (1 + math.cos(turn)) / 2
    if config.schedule == "wsd" and fraction > 1 - config.decay:
        return lowest + (config.lr - lowest) * (1 - fraction) / config.decay
    return config.lr


def fraction_spent(used: Mapping[str, float], budgets: Mapping[str, float]) -> float:
    """The largest share spent of any stated budget; training ends at 1.

    Args:
        used, budgets: unit -> amount, of steps, tokens, flops and seconds.
    """
    return max(used[unit] / limit for unit, limit in budgets.items())


def check_longer_budget(before: Mapping[str, Any], now: Mapping[str, Any], used: Mapping[str, float]) -> None:
    """SettingsError unless the budget is longer, in its own unit, and every rate used so far is what it was.

    That can be so for a constant rate, inverse_sqrt, and wsd before its decay, where the warm-up is as long as before.

    Args:
        before, now: full key -> value, which differ in keys of OF_BUDGET.
        used: unit -> amount used so far.
    """
    try:
        old, new, schedules = _budgets(before), _budgets(now), (_optim(before), _optim(now))
    except TypeError as e:
        raise DataError(runs.RUN, f"its settings are not those of a run ({e})", "give another run_dir") from None
    (unit, limit), *more = new.items()
    remedy = "give another run_dir"
    if old == new:
        key = next(key for key in sorted(OF_BUDGET) if before.get(key) != now.get(key))
        raise SettingsError(f"{key}={now.get(key)}", f"the run was made with {before.get(key)}", remedy)
    requested = f"train.max_{unit}={limit}"
    if more or list(old) != [unit] or limit <= old[unit]:
        problem = f"the run was made with {', '.join(f'max_{u}={v}' for u, v in old.items())}"
        raise SettingsError(
            requested, problem, "a run goes on with the same budget or one of the same unit that is longer"
        )
    for i in range(N_COMPARED + 1):
        amount = used[unit] * i / N_COMPARED
        rates = [learning_rate(s, amount / b[unit]) for s, b in zip(schedules, (old, new), strict=True)]
        if not math.isclose(*rates, rel_tol=1e-9):
            warmup = schedules[0].warmup * old[unit] / limit
            if schedules[0].schedule != "cosine" and not math.isclose(warmup, schedules[1].warmup):
                remedy = f"try optim.warmup={warmup!r}, or give another run_dir"
            problem = f"with optim.schedule={schedules[0].schedule} other rates would have been used so far"
            raise SettingsError(requested, problem, remedy)


def _budgets(settings: Mapping[str, Any]) -> dict[str, float]:
    stated: dict[str, Any] = {key.removeprefix("train."): settings.get(key) for key in BUDGETS}
    return TrainConfig(**stated).budgets


def _optim(settings: Mapping[str, Any]) -> OptimConfig:
    return OptimConfig(**{k.removeprefix("optim."): v for k, v in settings.items() if k.startswith("optim.")})
