"""What learns: the model, optimizer and moving average of a run, and where they are while it takes its steps."""

from collections.abc import Iterator
from contextlib import contextmanager

from tietrain.config import RunConfig
from tietrain.data.batches.batching import Batch
from tietrain.model.transformer import Transformer
from tietrain.train.averaging import smooth
from tietrain.train.hardware import Hardware
from tietrain.train.optim import Optimizer, StepSums, set_learning_rate, train_step
from tietrain.train.tasks.task import Task, compiled_for


class Learner:
    """All of it is whole in this process, which leads; other processes get the weights with each order.

    parts: what a checkpoint holds. evaluated: the model whose scores count, and evaluated_part, which of the parts it is: the
        average if there is one.
    is_whole: whether this process could save without the others.

    Args:
        model, optimizer, smoothed: whole, with their values of now; changed in place. smoothed: None without train.ema.
    """

    is_whole = True

    def __init__(
        self,
        model: Transformer,
        optimizer: Optimizer,
        smoothed: Transformer | None,
        task: Task,
        hardware: Hardware,
        config: RunConfig,
    ):
        self.model = model
        self.optimizer = optimizer
        self.smoothed = smoothed
        self.parts = ("model", "average", "optimizer") if smoothed else ("model", "optimizer")
        self.evaluated_part = "average" if smoothed else "model"
        self.evaluated = smoothed or model
        self.task = task
        self.hardware = hardware
        self.config = config
        self._compute = compiled_for(config, model) if hardware.compile else model

    def step(self, batch: Batch, *, epoch: int, index: int, step: int, rate: float) -> StepSums:
        """Take step number `step`, counted from 1, with the batch of that epoch and index.

        Raises:
            PeerError: another process is gone; if the learner is whole, the weights are those before the step.
        """
        with self.task.team.order("step", self.model, epoch=epoch, index=index, step=step):
            set_learning_rate(self.optimizer, rate)
            sums = train_step(
                self._compute,
                self.optimizer,
                batch,
                self.task.loss,
                hardware=self.hardware,
                clip_norm=self.config.optim.clip_norm,
                seed=self.config.seed,
                step=step,
                team=self.task.team,
            )
        if self.smoothed and self.config.train.ema:
            smooth(self.smoothed, self.model, self.config.train.ema, step)
        return sums

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Inside, every process has the whole evaluated model, and does its share of an evaluation."""
        with self.task.team.order("evaluate", self.evaluated):
            yield

    @contextmanager
    def whole(self, *parts: str) -> Iterator[None]:
        """Inside, these of the parts have their values of now, whole."""
        yield

    def finish(self) -> None:
        """Leave the model whole, after the last step."""


def learner_of(hardware: Hardware) -> type[Learner]:
    """Its class, by `hardware.shard`."""
    if not hardware.shard:
        return Learner
    from tietrain.train.slices import Slices  # it takes a second to load

    return Slices
