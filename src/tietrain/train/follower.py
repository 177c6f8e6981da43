"""What a process that does not lead does of a run: its share of what the leader orders, until the run has ended."""

import traceback
from typing import Any

from tietrain.config import RunConfig
from tietrain.config.identity import config_hash
from tietrain.data.prepare import prepare
from tietrain.errors import DataError, PeerError, eprint
from tietrain.model.transformer import Transformer
from tietrain.train.averaging import make_smoothed
from tietrain.train.devices import leased
from tietrain.train.experiment import Experiment
from tietrain.train.hardware import Hardware, resolve_hardware
from tietrain.train.learner import learner_of
from tietrain.train.optim import add_gradients, build_optimizer, with_dropout
from tietrain.train.outcome import Outcome, outcome_of_error
from tietrain.train.processes import Team
from tietrain.train.tasks import make_task
from tietrain.train.tasks.task import Task, compiled_for


def follow(experiment: Experiment, team: Team) -> Outcome:
    """Do this process's share of a run; returns how the run ended, without a message, which the leader prints."""
    try:
        with team.stop:
            ended = _follow(experiment, team)
        return Outcome(str(experiment.directory), ended["status"], ended["exit_code"])
    except Exception as e:
        outcome = outcome_of_error(e, experiment)
        if not isinstance(e, PeerError):
            team.fail(outcome, "".join(traceback.format_exception(e)))
        outcome.message = ""
        return outcome


def _follow(experiment: Experiment, team: Team) -> dict[str, Any]:
    """Prepare what the leader has prepared, and obey; returns the last order."""
    order = team.next_order()
    if order["work"] == "end":
        return order
    config = experiment.config
    prepared = prepare(config)
    experiment = experiment.with_vocabularies(prepared.vocabularies)
    task = make_task(config, prepared, team)
    contents = prepared.fingerprints | {"source": experiment.corpus_key, "batches": task.batches.fingerprint}
    hardware = resolve_hardware(config.hardware, order["precision"])
    if [config_hash(config), experiment.arm(contents), hardware.shard] != order["same"]:
        problem = "its settings, text or vocabularies are not those of process 0"
        raise DataError(f"process {team.rank}", problem, "give all hosts the same files and the same command")
    if hardware.device.type != order["device"]:
        problem = f"it computes on {hardware.device.type}, and process 0 on {order['device']}"
        raise DataError(f"process {team.rank}", problem, "give each a GPU of its own, or hardware=cpu to all")
    with leased(hardware, eprint, waits=False) as hardware:
        model = experiment.unfilled_model()
        if hardware.compile:
            model.compile_steps()
        if not hardware.shard:
            model.to(hardware.device)
        team.connect(hardware.device)
        return obey(team, task, model, hardware, config)


def obey(team: Team, task: Task, model: Transformer, hardware: Hardware, config: RunConfig) -> dict[str, Any]:
    """Carry out orders; returns the last, which says how the run ended.

    Args:
        model: gets the leader's weights with each order.
    """
    if hardware.shard:
        order = _train_in_slices(team, task, model, hardware, config)
        if order["work"] == "end":
            return order
    compute = compiled_for(config, model) if hardware.compile else model
    while True:
        order = team.next_order(model)
        match order["work"]:
            case "step":
                batch = with_dropout(task.batches.batch(order["epoch"], order["index"]), config.seed, order["step"])
                add_gradients(compute, batch, task.loss, hardware, team)
                model.zero_grad(set_to_none=True)
            case "evaluate":
                task.evaluate(model)
            case "score":
                task.score(model, order["split"])
            case "samples":
                task.samples(model)
            case "end":
                return order


def _train_in_slices(
    team: Team, task: Task, model: Transformer, hardware: Hardware, config: RunConfig
) -> dict[str, Any]:
    """Carry out orders until training has ended; returns the last."""
    order = team.next_order()
    if order["work"] == "end":
        return order
    optimizer = build_optimizer(model, config.optim)
    smoothed = make_smoothed(model, config.train)
    learner = learner_of(hardware)(model, optimizer, smoothed, task, hardware, config)
    while True:
        order = team.next_order()
        match order["work"]:
            case "step":
                place = {name: value for name, value in order.items() if name != "work"}
                learner.step(task.batches.batch(order["epoch"], order["index"]), **place)
            case "evaluate":
                with learner.evaluating():
                    task.evaluate(learner.evaluated)
            case "whole":
                with learner.whole(*order["parts"]):
                    pass
            case "finish":
                learner.finish()
                return order
            case "end":
                return order
