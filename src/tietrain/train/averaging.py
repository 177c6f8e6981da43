"""Means of weights: over the last or best evaluations of a run, and exponential ones over its steps.

Both are over owners, each stored tensor once: a tie is the plan's, which travels with the weights, and no mean can undo it
or count it twice. Beside the checkpoints lie

    best/                  model.safetensors state.json manifest.json    lowest nats_per_token on valid
    best_before/           the same, of the newest checkpoint, while best/ is of a later evaluation
    evaluated_00000100/    model.safetensors state.json manifest.json    those train.average wants the mean of
    average/               model.safetensors state.json manifest.json    their mean, after the last step
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tietrain.config import TrainConfig
from tietrain.errors import DataError
from tietrain.model.audit import audit_model
from tietrain.model.transformer import Transformer
from tietrain.runs import record as runs
from tietrain.runs.durable import is_whole, remove_directory
from tietrain.runs.seal import AVERAGE, BEST
from tietrain.train.checkpoint import MODEL, STATE, load_model, read_weights, save_weights, step_checkpoints
from tietrain.train.state import TrainState

BEST_BEFORE, EVALUATED = "best_before", "evaluated_"

RESTORE = "restore it, or give another run_dir to start again"

# Step and nats_per_token of an evaluation on valid.
Evaluation = dict[str, Any]


def make_smoothed(model: Transformer, config: TrainConfig) -> Transformer | None:
    """The model whose weights are the exponential moving average, at its start; None if train.ema is not set."""
    return None if config.ema is None else deepcopy(model)


@torch.no_grad()
def smooth(smoothed: Transformer, model: Transformer, decay: float, step: int) -> None:
    """Move the average towards the weights after step number `step`, every owner once.

    average = d x average + (1 - d) x weights with d = min(decay, (1 + step) / (10 + step)), so that the average of a
    short run is not one of its initial values.

    Source: Marian's --exponential-smoothing (Junczys-Dowmunt et al. 2018) and TensorFlow's ExponentialMovingAverage.
    """
    decay = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(smoothed.parameters()), list(model.parameters()), 1 - decay)


def note_evaluation(state: TrainState, found: Evaluation, config: TrainConfig) -> bool:
    """Enter an evaluation into the state; whether its weights are to be kept, as the best or for the average."""
    is_best = state.best is None or found["nats_per_token"] < state.best["nats_per_token"]
    if is_best:
        state.best = found
    if config.average == "none":
        return is_best
    kept = [*state.averaged, found]
    if config.average == "best":
        kept = sorted(kept, key=lambda e: (e["nats_per_token"], e["step"]))[: config.n_averaged]
    state.averaged = sorted(kept, key=lambda e: e["step"])[-config.n_averaged :]
    return is_best or found in state.averaged


def keep_weights(directory: Path, model: Transformer, state: TrainState) -> None:
    """Store the weights of the evaluation just made wherever the state names its step.

    What the newest checkpoint names stays: a run that continues from there finds it, and makes the later ones again.
    """
    folder = directory / runs.CHECKPOINTS
    if state.best is not None and state.best["step"] == state.step:
        newest = list(_saved_states(directory))[-1:]
        if newest and newest[0].get("best") == _state_of(folder / BEST) is not None:
            remove_directory(folder / BEST_BEFORE)
            os.rename(folder / BEST, folder / BEST_BEFORE)
        save_weights(folder / BEST, model, state.best)
    for evaluation in state.averaged:
        if evaluation["step"] == state.step:
            save_weights(_evaluated(directory, state.step), model, evaluation)


def remove_unnamed(directory: Path) -> None:
    """Delete weights of evaluations that no checkpoint's state names any more, once one is saved or continued from.

    Of the average: had the newest one to be passed over as damaged, the one before would still find all of its own.
    """
    remove_directory(directory / runs.CHECKPOINTS / BEST_BEFORE)
    needed = {evaluation["step"] for state in _saved_states(directory) for evaluation in state["averaged"]}
    for step, path in step_checkpoints(directory / runs.CHECKPOINTS, EVALUATED).items():
        if step not in needed:
            remove_directory(path)


def restore_kept(directory: Path, model: Transformer, state: TrainState, log: Callable[[str], None]) -> None:
    """Make what is stored be what the state names: the best evaluation, and those of the average.

    They are there already, or they are those of the model just loaded. If some are gone all the same, the run logs it and
    continues without them.
    """
    folder = directory / runs.CHECKPOINTS
    if state.best is not None and _read(folder / BEST_BEFORE) == state.best:
        remove_directory(folder / BEST)
        os.rename(folder / BEST_BEFORE, folder / BEST)
    places = [(folder / BEST, state.best)] if state.best else []
    places += [(_evaluated(directory, evaluation["step"]), evaluation) for evaluation in state.averaged]
    for path, evaluation in places:
        if _read(path) == evaluation:
            continue
        if evaluation["step"] == state.step:
            save_weights(path, model, evaluation)
        elif path.name == BEST:
            log(f"the best weights, of step {evaluation['step']}, are gone; the best from here on will be kept")
            state.best = None
        else:
            log(f"the weights of step {evaluation['step']} are gone; the average will be without them")
            state.averaged = [e for e in state.averaged if e is not evaluation]
    remove_unnamed(directory)  # a kill can come between a save and its deletions


def save_average(directory: Path, model: Transformer, state: TrainState) -> None:
    """Write the mean of the weights the state names, in order of their steps; `model` is left with it.

    An average that is there already stays if it ends with the same step and includes weights that are gone by now.

    Raises:
        DataError: none of them is left, or one is damaged.
    """
    target, steps = directory / runs.CHECKPOINTS / AVERAGE, [evaluation["step"] for evaluation in state.averaged]
    there = _read(target)
    if there and steps and there["step"] == steps[-1] and set(steps) < set(there["averaged_steps"]):
        return
    paths = [_evaluated(directory, evaluation["step"]) for evaluation in state.averaged]
    lost = [path for path in paths if not is_whole(path)] or ([] if paths else [target])
    if lost:
        raise DataError(str(lost[0]), "it is missing or damaged", RESTORE)
    model.load_state_dict(mean_weights([partial(read_weights, path / MODEL, model.plan) for path in paths]))
    audit_model(model)
    save_weights(target, model, {"step": steps[-1], "averaged_steps": steps})


def mean_weights(reads: Sequence[Callable[[], Mapping[str, Tensor]]]) -> dict[str, Tensor]:
    """Mean of each owner's values, in their own type; sums are float64 and in the order given.

    So the mean of k equal weights is those weights, bit for bit: k times a float32 is a float64.

    Args:
        reads: each gives one set of weights; only one is held at a time.
    """
    sums: dict[str, Tensor] = {}
    for read in reads:
        weights = read()
        for name, values in weights.items():
            sums[name] = values.double() if name not in sums else sums[name].add_(values)
    return {name: (total / len(reads)).to(weights[name].dtype) for name, total in sums.items()}


def load_scored(directory: Path, model: Transformer, config: TrainConfig) -> dict[str, Any]:
    """Load the weights that a run is scored with; returns their step(s) and how they were chosen."""
    path, about = find_scored(directory, config)
    load_model(path / MODEL, model)
    return about


def find_scored(directory: Path, config: TrainConfig) -> tuple[Path, dict[str, Any]]:
    """Where the weights are that a run is scored with, their step(s) and how they were chosen.

    Raises:
        DataError: they are missing or damaged.
    """
    path = directory / runs.CHECKPOINTS / (BEST if config.average == "none" else AVERAGE)
    found = _read(path)
    if found is None:
        raise DataError(str(path), "it is missing or damaged", RESTORE)
    n_averaged = len(found.get("averaged_steps", []))
    chosen = {
        "none": "lowest nats_per_token on valid",
        "last": f"mean of the last {n_averaged} evaluations",
        "best": f"mean of the {n_averaged} evaluations with the lowest nats_per_token on valid",
    }[config.average]
    if config.ema is not None:
        chosen += f", of the exponential moving average (decay {config.ema:g})"
    return path, {**found, "chosen_by": chosen}


def _evaluated(directory: Path, step: int) -> Path:
    return directory / runs.CHECKPOINTS / f"{EVALUATED}{step:08d}"


def _read(path: Path) -> Evaluation | None:
    """Of which evaluation the weights stored there are; None if they are missing or damaged."""
    found = runs.read_json(path / STATE) if is_whole(path) else None
    return found if isinstance(found, dict) and isinstance(found.get("step"), int) else None


def _state_of(path: Path) -> Evaluation | None:
    """Of which evaluation weights claim to be, whole or not."""
    with suppress(DataError):
        found: Evaluation = runs.read_json(path / STATE)
        return found
    return None


def _saved_states(directory: Path) -> Iterator[dict[str, Any]]:
    """The states of the step checkpoints, in step order; a damaged one is never continued from."""
    for path in step_checkpoints(directory / runs.CHECKPOINTS).values():
        with suppress(DataError, KeyError, TypeError):
            state = runs.read_json(path / STATE)["state"]
            yield {"best": state["best"], "averaged": [{"step": e["step"]} for e in state["averaged"]]}
