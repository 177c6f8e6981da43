"""Matched arms: the size or budget with which a model has as much as a baseline has, solved from the ledgers.

It is solved before training, and before a run gets its name: the configuration then holds what was found, and in
`match.solved` what it was matched to, so that a run is known by both.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from tietrain.config import RunConfig, TyingConfig
from tietrain.config.layout import make_layout, make_shape, requested_sizes
from tietrain.config.model import MAX_WIDTH
from tietrain.errors import SettingsError, TyingError
from tietrain.plan.flops import count_flops, length_units, predicted_unit
from tietrain.plan.params import count_params
from tietrain.plan.plan import TyingPlan
from tietrain.plan.schemes import make_plan

# A remainder above this percentage of the baseline gives a warning.
WARN_PERCENT = 2.0
# The most layers that are tried, deeper than anyone compares, and the largest budget.
MOST_LAYERS = 128
LARGEST = 2**40


@dataclass(frozen=True)
class Match:
    """What a matched model has of a unit, and what its baseline has; `varied`, a full key, from `was` to `is_now`."""

    unit: str
    value: float
    target: float
    varied: str
    was: float
    is_now: float

    @property
    def percent(self) -> float:
        """What it has more than the baseline, in percent of the baseline's."""
        return 100 * (self.value - self.target) / self.target

    @property
    def change(self) -> str:
        """What was varied, in words."""
        if self.was == self.is_now:
            return f"{self.varied} stays {_number(self.was)}"
        return f"{self.varied} from {_number(self.was)} to {_number(self.is_now)}"


def solve(config: RunConfig, ties: Mapping[str, Any], model: Mapping[str, Any]) -> RunConfig:
    """The configuration with the admissible size or budget that comes nearest to its baseline.

    A configuration that has exactly what the baseline has stays as it is. Else sizes are the multiples of
    `match.multiple_of`, for d_model also of what n_heads, which stays, and rotary positions need.

    Args:
        ties, model: of the baseline, and fields of model.* in which it is not the configured one.
    Raises:
        TyingError: the arm or the baseline is not a valid model, or no depth gives the arm as much as the baseline.
        SettingsError: the stated budgets contradict match.by, or no size is admissible.
    """
    _check_budgets(config)
    key, was = _varied(config)
    solved = {"ties": dict(ties), "model": dict(model), "was": was}
    config = replace(config, match=replace(config.match, solved=solved))
    try:
        target = _measure(baseline_of(config))
    except SettingsError as e:
        raise type(e)(f"match.baseline={config.match.baseline}", f"{e.setting}: {e.problem}", e.remedy) from None
    solved["target"] = target
    return config if _measure(config) == target else _with(config, key, _nearest(config, key, target))


def baseline_of(config: RunConfig) -> RunConfig:
    """What a solved configuration was matched to."""
    key, _ = _varied(config)
    solved = config.match.solved
    before = _with(config, key, solved["was"])
    return replace(before, tying=TyingConfig(solved["ties"]), model=replace(before.model, **solved["model"]))


def compare_match(config: RunConfig, vocab_sizes: Mapping[str, int] | None = None) -> Match:
    """A solved configuration beside its baseline.

    Args:
        vocab_sizes: stack -> real size, of both; None takes model.vocab_size.
    """
    key, size = _varied(config)
    value, target = (_measure(c, vocab_sizes) for c in (config, baseline_of(config)))
    return Match(MEASURES[str(config.match.by)][0], value, target, key, config.match.solved["was"], size)


def _check_budgets(config: RunConfig) -> None:
    match = config.match
    budgets = config.train.budgets
    stated = ", ".join(f"train.max_{unit}={limit:g}" for unit, limit in budgets.items())
    requested = f"match.by={match.by}"
    if match.by == "seconds" and set(budgets) != {"seconds"}:
        remedy = "state train.max_seconds and leave the others null"
        raise SettingsError(requested, f"the run ends by {stated}", remedy)
    if match.by != "flops":
        return
    if "seconds" in budgets:
        problem = f"with {stated} the FLOPs of a run are not known in advance"
        raise SettingsError(requested, problem, "state train.max_steps or train.max_tokens alone")
    if match.vary == "steps" and len(budgets) > 1:
        raise SettingsError("match.vary=steps", f"the run ends by the first of {stated}", "state one of them")
    if match.vary != "steps" and "flops" in budgets:
        problem = f"with {stated} all runs take the same FLOPs, whatever their shape"
        raise SettingsError(requested, problem, "set match.vary=steps, or state train.max_steps")


def _varied(config: RunConfig) -> tuple[str, float]:
    """The full key of what is varied, and its value; of several budgets the first."""
    if config.match.vary != "steps":
        return f"model.{config.match.vary}", getattr(config.model, config.match.vary)
    unit, limit = next(iter(config.train.budgets.items()))
    return f"train.max_{unit}", limit


def _with(config: RunConfig, key: str, value: float) -> RunConfig:
    section, _, name = key.partition(".")
    return replace(config, **{section: replace(getattr(config, section), **{name: value})})


def _measure(config: RunConfig, vocab_sizes: Mapping[str, int] | None = None) -> float:
    """What match.by names, of one configuration."""
    plan = make_plan(make_shape(config, vocab_sizes), config.tying.ties)
    return MEASURES[str(config.match.by)][1](plan, config)


def _flops(plan: TyingPlan, config: RunConfig) -> float:
    """Training FLOPs of the whole run at typical lengths, the mean over routes."""
    budgets = config.train.budgets
    shape = plan.slots.shape
    length = config.typical_length
    if "flops" in budgets:
        return budgets["flops"]
    n_predicted = max(1, round(length * config.task.mask_rate)) if config.task.name == "mlm" else length
    ledger = count_flops(shape)
    of_routes = []
    for route in shape.routes:
        lengths = {predicted_unit(shape.stack(route[-1])): [n_predicted]} | {name: [length] for name in route}
        of_routes.append(ledger.training(length_units(shape, lengths)))
    steps = budgets.get("steps", math.inf)
    tokens = budgets.get("tokens", math.inf)
    n_sentences = min(steps * config.train.batch_tokens / length, tokens / n_predicted)
    return n_sentences * sum(of_routes) / len(of_routes)


def _depth(plan: TyingPlan, config: RunConfig) -> float:
    """Layers that a sentence runs through, each time a shared one is run. Source: Schwethelm et al. 2026, iso-depth."""
    shape = plan.slots.shape
    return sum(shape.stack(name).n_layers for name in shape.routes[0])


# match.by -> what it counts, and the count.
MEASURES: dict[str, tuple[str, Callable[[TyingPlan, RunConfig], float]]] = {
    "params": ("stored parameters", lambda plan, config: count_params(plan).params),
    "flops": ("training FLOPs", _flops),
    "depth": ("layers run", _depth),
    "seconds": ("seconds of training", lambda plan, config: config.train.budgets["seconds"]),
}


def _nearest(config: RunConfig, key: str, target: float) -> int:
    """The admissible size that comes nearest to the target, the smaller of two that do, by bisection."""
    step = _step(config)
    name = key.partition(".")[2]
    most = {"n_layers": MOST_LAYERS, "d_model": MAX_WIDTH, "d_ff": MAX_WIDTH}.get(name, LARGEST)

    @cache
    def value(size: int) -> float | None:
        """What the arm has at this size; None if it is not a valid model."""
        try:
            return _measure(_with(config, key, size))
        except SettingsError:
            return None

    top = step
    while top <= most // 2 and (value(top) or 0) < target:
        top *= 2
    sizes = range(step, min(top, most) + 1, step)
    high = first_not_below(value, sizes, target)
    below = next((size for size in reversed(sizes[:high]) if value(size) is not None), None)
    above = next((size for size in sizes[high:] if value(size) is not None), None)
    if above is None and name == "n_layers":
        problem = f"no depth up to {most} layers gives it the {MEASURES[str(config.match.by)][0]} of {target:,.0f}"
        raise TyingError(f"tying={config.tying_label} match.vary=n_layers", problem, "set match.vary=d_ff")
    found = [size for size in (below, above) if size is not None]
    if not found:
        raise SettingsError(f"match.multiple_of={step}", f"no multiple of it fits {key}", "give a smaller one")
    return min(found, key=lambda size: abs((value(size) or 0) - target))


def first_not_below(value: Callable[[int], float | None], sizes: range, target: float) -> int:
    """The index of the first size whose value is at least the target; the end if none is.

    Args:
        value: does not fall with the size; None has no say.
    """

    def is_enough(i: int) -> bool:
        found = next((found for found in map(value, sizes[i:]) if found is not None), None)
        return found is None or found >= target

    return bisect_left(range(len(sizes)), True, key=is_enough)


def _step(config: RunConfig) -> int:
    """What every size is a multiple of."""
    model = config.model
    match = config.match
    step = match.multiple_of or (8 if match.vary in ("d_ff", "d_model") else 1)
    if match.vary == "d_model" and model.d_head is None:
        step = math.lcm(step, model.n_heads * (2 if model.positions == "rotary" else 1))
    return step


def describe_match(config: RunConfig, vocab_sizes: Mapping[str, int] | None = None) -> list[str]:
    """What was matched to what, by what, and what is left, as lines of text; none if nothing is matched.

    Args:
        vocab_sizes: stack -> real size; adds the remainder with these.
    """
    if config.match.by is None:
        return []
    found = compare_match(config)
    base = baseline_of(config)
    lines = [f"match: {found.change}, {_against(found)} of {config.match.baseline}"]
    if abs(found.percent) > WARN_PERCENT:
        lines.append(_warning(f"no admissible size comes nearer than {found.percent:+.2f} %"))
    if vocab_sizes is not None and config.match.by in ("params", "flops"):
        lines += _real_lines(config, base, vocab_sizes)
    if config.model != base.model:
        lines.append("match: shapes differ from the baseline's; initial values are equal only if name and shape are")
    if config.match.vary == "steps" and found.was != found.is_now:
        now = _number(found.is_now)
        lines.append(f"match: warm-up and decay are shares of the budget, so they are now shares of {now}")
    if config.match.by == "flops":
        lines.append(f"match: FLOPs are counted at {config.typical_length} tokens per sequence, in whole batches")
    if config.match.by == "seconds":
        lines.append("match: how far a run gets in its seconds depends on the machine and on its load")
    return lines


def _warning(problem: str) -> str:
    return f"match: warning: {problem}; these arms are not matched"


def _against(found: Match) -> str:
    signed = f"{found.value - found.target:+,.0f}, {found.percent:+.2f} %"
    return f"{_number(found.value)} {found.unit} ({signed}) against the {_number(found.target)}"


def _number(x: float) -> str:
    return f"{x:,.0f}" if x == int(x) or x > 1000 else f"{x:,}"


def _real_lines(config: RunConfig, base: RunConfig, vocab_sizes: Mapping[str, int]) -> list[str]:
    sizes = ", ".join(f"{size:,}" for size in dict.fromkeys(vocab_sizes.values()))
    if make_layout(config).vocabularies != make_layout(base).vocabularies:
        text = f"the real vocabulary has {sizes} pieces; the baseline has other vocabularies, whose sizes are not known here"
    elif vocab_sizes == requested_sizes(config):
        return []
    else:
        real = compare_match(config, vocab_sizes)
        text = f"with the real {sizes} pieces, {_against(real)}"
        if abs(real.percent) > WARN_PERCENT:
            problem = f"model.vocab_size={config.model.vocab_size}, with which sizes were solved, is not the real size"
            return [f"match: {text}", _warning(problem)]
    return [f"match: {text}"]
