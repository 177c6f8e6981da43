"""A run of seconds for tests: a small real model, real batches over random ids, a loss and an evaluation."""

import itertools
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tietrain.config import (
    HardwareConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    TaskConfig,
    TrainConfig,
    TyingConfig,
)
from tietrain.data.batches.pairs import MtBatches, Pairs, Sources, TrainingPairs
from tietrain.data.batches.windows import LmBatches
from tietrain.data.encoded import EncodedLines
from tietrain.model.transformer import Transformer
from tietrain.train.checkpoint import save_final
from tietrain.train.experiment import Experiment
from tietrain.train.hardware import resolve_hardware
from tietrain.train.loop import fit
from tietrain.train.processes import ALONE
from tietrain.train.state import TrainState
from tietrain.train.stop import StopRequest
from tietrain.train.tasks.task import batch_loss, device_of
from tietrain.train.trackers import Trackers

V = 24
TIES = {name: {name: {"rule": name}} for name in ("none", "pre_softmax", "three_way", "cross_layer")}
# Columns of wall clock or machine state; all others of a row are reproducible.
WALL_CLOCK = ("seconds", "_per_second", "_bytes")


def tiny_config(
    tying: str = "none", task: str = "lm", dropout: float = 0.1, seed: int = 1, hardware=None, optim=None, **train
) -> RunConfig:
    """A configuration of few steps; keywords are those of TrainConfig."""
    return RunConfig(
        task=TaskConfig(name=task, window=12),
        model=ModelConfig(d_model=16, n_heads=2, d_ff=24, n_layers=2, vocab_size=V, dropout=dropout),
        tying=TyingConfig(TIES[tying]),
        optim=OptimConfig(**(optim or {})),
        train=TrainConfig(
            **{"batch_tokens": 48, "max_steps": 12, "log_every": 3, "checkpoint_every": 4, "eval_every": 5, **train}
        ),
        hardware=HardwareConfig(**{"device": "cpu", "threads": 1, "precision": "fp32", **(hardware or {})}),
        seed=seed,
    )


def build_model(config: RunConfig) -> Transformer:
    """The initialized model of a configuration."""
    model = Transformer(Experiment(config).plan, dropout=config.model.dropout, tables=config.model.table_values)
    model.initialize(config.seed)
    return model


def experiment_in(directory: Path, config: RunConfig) -> Experiment:
    """The experiment of a configuration that is run in a directory."""
    return Experiment(replace(config, run_dir=str(directory)))


class RandomTask:
    """Random but fixed ids to learn; `evaluate` scores a batch of a later epoch."""

    team = ALONE

    def __init__(self, config: RunConfig):
        draw = np.random.default_rng(0)
        if config.task.name == "lm":
            self.batches = LmBatches(
                draw.integers(4, V, 400).astype(np.int32), 12, config.train.batch_tokens, config.seed
            )
            return
        src, tgt = (
            EncodedLines.of([draw.integers(4, V, n).astype(np.int32) for n in draw.integers(1, 9, 40)])
            for _ in range(2)
        )
        pairs = Pairs(Sources({"encoder": src}), "decoder", tgt)
        direction = TrainingPairs("src-tgt", pairs, np.arange(len(tgt)), src.lengths, tgt.lengths)
        self.batches = MtBatches([direction], config.train.batch_tokens, config.seed)

    def loss(self, model, batch):
        return batch_loss(model, batch, 0.1)

    @torch.inference_mode()
    def evaluate(self, model):
        torch.rand(3)  # what an evaluation draws must not reach training
        batch = self.batches.batch(7, 0).to(device_of(model))
        return {"nats_per_token": float(batch_loss(model, batch, 0.0).nll) / batch.n_tokens}


def train(
    directory: Path,
    config: RunConfig,
    *,
    stop_after: int | None = None,
    task=None,
    fingerprints=None,
    log: Callable[[str], None] = lambda line: None,
) -> tuple[TrainState, Transformer]:
    """Fit a fresh model in a directory; goes on where the directory stands.

    Args:
        stop_after: SIGTERM comes during this step of this call.
    """
    directory.mkdir(parents=True, exist_ok=True)
    experiment = experiment_in(directory, config)
    hardware = resolve_hardware(config.hardware)
    model, task = build_model(config).to(hardware.device), task or RandomTask(config)
    learn, steps = task.loss, itertools.count(1)
    with StopRequest() as stop, Trackers(experiment, log) as trackers:

        def counted(model, batch):
            if next(steps) == stop_after:
                stop.ask(signal.SIGTERM)
            return learn(model, batch)

        task.loss = counted
        contents = fingerprints or {"corpus": "c", "batches": task.batches.fingerprint}
        state = fit(experiment, model, task, hardware, contents, log=log, stop=stop, trackers=trackers)
    return state, model


def reproducible(rows: list[dict]) -> list[dict]:
    """Rows of metrics without their wall-clock columns."""
    return [{k: v for k, v in row.items() if not any(mark in k for mark in WALL_CLOCK)} for row in rows]


def final_bytes(directory: Path, model: Transformer) -> bytes:
    """The bytes of a model's final weights file."""
    save_final(directory, model)
    return (directory / "checkpoints" / "final" / "model.safetensors").read_bytes()
