"""The training loop: steps until the budget is spent. Knows no task and no tying scheme."""

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from tietrain.config import TrainConfig
from tietrain.data.batches.batching import Batch
from tietrain.errors import DivergedError, PeerError
from tietrain.model.audit import audit_model, audit_optimizer
from tietrain.model.transformer import Transformer
from tietrain.plan.flops import length_units
from tietrain.train.anatomy import Anatomy
from tietrain.train.averaging import keep_weights, make_smoothed, note_evaluation, remove_unnamed
from tietrain.train.checkpoint import save_checkpoint
from tietrain.train.experiment import Experiment
from tietrain.train.hardware import Hardware
from tietrain.train.learner import learner_of
from tietrain.train.optim import StepSums, build_optimizer, fraction_spent, learning_rate, with_dropout
from tietrain.train.probe import Probe
from tietrain.train.resume import make_identity, resume
from tietrain.train.state import Interval, TrainState
from tietrain.train.stop import StopRequest
from tietrain.train.tables import are_due, keep_tables
from tietrain.train.tasks.task import Task
from tietrain.train.telemetry import Telemetry
from tietrain.train.trackers import Trackers

# Evaluations of a run if train.eval_every is not set.
N_EVALUATIONS = 10


def fit(
    experiment: Experiment,
    model: Transformer,
    task: Task,
    hardware: Hardware,
    fingerprints: Mapping[str, Any],
    *,
    log: Callable[[str], None],
    stop: StopRequest,
    trackers: Trackers,
) -> TrainState:
    """Train until the first budget is spent or a signal comes; continues if an earlier call in the directory stopped.

    Leaves the last two checkpoints, the best weights on valid, those for the mean of train.average, and one row of metrics
    per interval. An interrupted and continued run on a CPU leaves the same bytes as an uninterrupted one, except in
    wall-clock columns. With train.ema every evaluation, and so all that it chooses, is of the moving average.

    Args:
        experiment: with its real vocabularies.
        model: initialized, on the hardware's device; trained in place.
        task: batches, loss, evaluation.
        fingerprints: content hashes that a checkpoint must agree with.
        stop: the caller's, already listening. trackers: to be started here, and closed by the caller.
    Returns:
        Where training stands.
    Raises:
        DivergedError: a loss, gradient or weight is not finite; names the step. Nothing of it is saved.
        SettingsError, DataError: what is in the directory cannot be continued.
        StorageError: the disk refused; the last checkpoint is whole.
        PeerError: another process is gone; if that was in a step, all steps before are saved.
    """
    for note in hardware.notes:
        log(note)
    config, directory = experiment.config, experiment.directory
    optimizer = build_optimizer(model, config.optim)
    identity = make_identity(experiment, hardware, fingerprints)
    smoothed = make_smoothed(model, config.train)
    state = resume(directory, model, optimizer, smoothed, identity, log)
    audit_model(model)
    audit_model(smoothed or model)
    audit_optimizer(model, optimizer)

    learner = learner_of(hardware)(model, optimizer, smoothed, task, hardware, config)
    budgets = config.train.budgets
    saved = state.step  # the step of the newest checkpoint
    probe = Probe(model, task) if learner.is_whole else None
    anatomy = Anatomy(model, optimizer, task.loss, hardware, config.optim)
    unread: list[StepSums] = []  # of the steps since the device was last waited for
    if config.train.keep_tables and state.step == 0:
        with learner.whole("model"):
            keep_tables(directory, model, 0, task.batches.batch(0, 0))
    with Telemetry(experiment, hardware, log, trackers) as telemetry, _settled_heap():

        def save() -> None:
            nonlocal saved
            if saved != state.step:
                _read(unread, state)
                body = {"state": state.to_json(), "metrics": telemetry.sync(), **identity}
                with learner.whole(*learner.parts):
                    save_checkpoint(directory, state.step, model, optimizer, body, smoothed)
                remove_unnamed(directory)
                saved = state.step

        while fraction_spent(state.used, budgets) < 1 and stop.signal is None:
            began = time.perf_counter()
            before = fraction_spent(state.used, budgets)
            batch = task.batches.batch(state.epoch, state.index)
            flops = experiment.flops.training(length_units(model.shape, batch.lengths))
            state.lr = learning_rate(config.optim, fraction_spent(state.middle_of_step(batch.n_tokens, flops), budgets))
            seen = probe.before_step(state) if probe else {}
            is_looked_at = _is_due(state.step, config.train.probe_every)
            if is_looked_at:
                anatomy.before_step(with_dropout(batch, config.seed, state.step + 1), state.step)
            try:
                sums = learner.step(batch, epoch=state.epoch, index=state.index, step=state.step + 1, rate=state.lr)
            except PeerError:
                if learner.is_whole:
                    save()  # what stands is whole, and the step before
                raise
            task.team.pass_on_signal(stop)
            time.sleep(config.train.slow_step_seconds)
            unread.append(sums)
            _advance(state, batch, sums, flops, time.perf_counter() - began, task.batches.n_batches(state.epoch))

            if seen or is_looked_at:
                _read(unread, state)
            if probe and seen:
                telemetry.add_look(state, "probe", probe.after_step(seen))
            if is_looked_at:
                telemetry.add_look(state, "anatomy", anatomy.after_step(state.grad_norm))

            now = fraction_spent(state.used, budgets)
            is_last = now >= 1
            is_kept = False
            if is_last or state.step % config.train.log_every == 0:
                _read(unread, state)
                telemetry.add_train_row(state, now)
                state.interval = Interval()
            if is_last or _evaluation_is_due(config.train, state.step, before, now):
                _read(unread, state)
                with learner.evaluating():
                    found = _evaluate(learner.evaluated, task, state, telemetry)
                is_kept = note_evaluation(state, found, config.train)
            if config.train.keep_tables and are_due(before, now):
                _read(unread, state)
                with learner.whole("model"):
                    keep_tables(directory, model, state.step, task.batches.batch(0, 0))
            if is_last or state.step % config.train.checkpoint_every == 0:
                save()
            if is_kept:
                with learner.whole(learner.evaluated_part):
                    keep_weights(directory, learner.evaluated, state)
        if stop.signal is not None:
            save()
    learner.finish()
    return state


@contextmanager
def _settled_heap() -> Iterator[None]:
    """Inside, garbage collection passes over what is there already, all that was imported: it takes 10 ms and finds nothing."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _advance(state: TrainState, batch: Batch, sums: StepSums, flops: int, seconds: float, n_batches: int) -> None:
    """Count one step, and go to the next batch."""
    state.step += 1
    state.index += 1
    if state.index == n_batches:
        state.epoch, state.index = state.epoch + 1, 0
    state.tokens += batch.n_tokens
    state.flops += flops
    state.seconds += seconds
    state.real_tokens += sum(sum(lengths) for lengths in batch.lengths.values())
    state.padded_tokens += sums.padded_tokens
    state.interval.tokens += batch.n_tokens
    state.interval.seconds += seconds


def _read(unread: list[StepSums], state: TrainState) -> None:
    """Wait for the device once, and enter what the last steps say of loss and gradient; DivergedError if one is not finite."""
    if not unread:
        return
    began = time.perf_counter()
    numbers = torch.stack([sums.numbers for sums in unread]).tolist()
    waited = time.perf_counter() - began  # for steps that had only been asked for
    state.seconds += waited
    state.interval.seconds += waited
    first = state.step - len(unread) + 1
    unread.clear()
    for step, (objective, nll, grad_norm) in enumerate(numbers, start=first):
        for name, value in (("loss", objective), ("gradient norm", grad_norm)):
            if not math.isfinite(value):
                remedy = "lower optim.lr, raise optim.warmup or set optim.clip_norm; no later weights were saved"
                raise DivergedError(f"step {step}", f"the {name} is {value}", remedy)
        state.interval.objective += objective
        state.interval.nll += nll
        state.grad_norm = grad_norm


def _is_due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0


def _evaluation_is_due(train: TrainConfig, step: int, before: float, now: float) -> bool:
    """Every train.eval_every steps, or at each tenth of the budget."""
    if train.eval_every is not None:
        return step % train.eval_every == 0
    return math.floor(N_EVALUATIONS * now) > math.floor(N_EVALUATIONS * before)


def _evaluate(model: Transformer, task: Task, state: TrainState, telemetry: Telemetry) -> dict[str, Any]:
    """Step and nats_per_token on valid, logged. No random number is drawn, no weight is changed."""
    scores = task.evaluate(model)
    nats = float(scores["nats_per_token"])
    if not math.isfinite(nats):
        remedy = "lower optim.lr, raise optim.warmup or set optim.clip_norm; no later weights were saved"
        raise DivergedError(f"step {state.step}", f"the loss on valid is {nats}", remedy)
    telemetry.add_valid_row(state, scores)
    return {"step": state.step, "nats_per_token": nats}
