"""hardware.shard: every process holds a slice of each parameter, gradient and moment, and updates it.

FSDP2 brings a unit of the model (`plan.units`) together when a layer needs it, and sums its gradients into slices. A unit that
several layers read stays together for a step. Every stored tensor belongs to one unit, so no tie reaches from one to another.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from tietrain.data.batches.batching import Batch, rows_of
from tietrain.data.tokenizer import PAD_ID
from tietrain.model.transformer import Scope, Transformer
from tietrain.plan.slots import Stack
from tietrain.plan.units import Layer, units_of
from tietrain.train.averaging import smooth
from tietrain.train.checkpoint import optimizer_tensors
from tietrain.train.learner import Learner
from tietrain.train.optim import StepSums, add_gradients, build_optimizer, set_learning_rate, update, with_dropout
from tietrain.train.processes import Alone, Team

T = TypeVar("T", bound=Transformer)


class Slices(Learner):
    """Every process has one and calls its methods: the first on its own account, the others because it ordered that.

    Between two steps the model, optimizer and average that it was made of are empty.

    Args:
        model, optimizer, smoothed: as in `Learner`; the first process's values count.
    """

    is_whole = False

    @torch.no_grad()
    def __init__(self, *of_learner: Any):
        super().__init__(*of_learner)
        assert isinstance(self.task.team, Team), "one process has nobody to share with"
        self._team = self.task.team
        self._parts = {"model": self.model} | ({"average": self.smoothed} if self.smoothed else {})
        with self._team.order("slice"), self._team.talking(beside_work=True):
            self._sharded = _sharded(self.model, self.hardware.device)
            self._team.wait_for_all()  # FSDP2 takes seconds to load
            self._places = {name: p for name, p in self._sharded.named_parameters() if isinstance(p, DTensor)}
            self._slices = {part: self._sliced(whole) for part, whole in self._parts.items()}
            for p, piece in zip(self._places.values(), self._slices["model"].parameters(), strict=True):
                p.to_local().copy_(piece)
                piece.data = p.to_local()
            self._updates = build_optimizer(self._slices["model"], self.config.optim)
            self._slice_moments()
        self._empty(*self.parts)
        self._sharing = _Sharing(self._team, self._sharded, self._slices["model"])

    def step(self, batch: Batch, *, epoch: int, index: int, step: int, rate: float) -> StepSums:
        order = self._team.order("step", epoch=epoch, index=index, step=step, rate=rate)
        with order, self._team.talking(beside_work=True):
            set_learning_rate(self._updates, rate)
            seeded = with_dropout(batch, self.config.seed, step)
            sums, padded_tokens = add_gradients(self._sharded, seeded, self.task.loss, self.hardware, self._sharing)
            numbers = update(self._slices["model"], self._updates, sums, self.config.optim.clip_norm, self._sharing)
        if self.smoothed and self.config.train.ema:
            smooth(self._slices["average"], self._slices["model"], self.config.train.ema, step)
        return StepSums(numbers, padded_tokens)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        with self._team.order("evaluate"):
            self._fill(self.evaluated_part)
            yield
            self._empty(self.evaluated_part)

    @contextmanager
    def whole(self, *parts: str) -> Iterator[None]:
        with self._team.order("whole", parts=parts):
            self._fill(*parts, to_save=True)
        yield
        self._empty(*parts)

    def finish(self) -> None:
        with self._team.order("finish"):
            self._fill("model")

    @torch.no_grad()
    def _fill(self, *parts: str, to_save: bool = False) -> None:
        """Make these whole on the device; to_save: in the first process alone, in the memory of its host."""
        with self._team.talking(beside_work=True):
            for part in parts:
                for key, piece in self._pieces(part).items():
                    field, _, name = key.rpartition("/")
                    whole = self._whole(name, piece) if piece.ndim else piece  # a step count has no dimension
                    if to_save and self._team.rank:
                        continue
                    whole = whole.cpu() if to_save else whole
                    if part == "optimizer":
                        self.optimizer.state.setdefault(self.model.get_parameter(name), {})[field] = whole
                    else:
                        self._parts[part].get_parameter(name).data = whole

    def _pieces(self, part: str) -> dict[str, Tensor]:
        """Name, of a moment `field/name` -> this process's slice."""
        if part == "optimizer":
            return optimizer_tensors(self._slices["model"], self._updates)
        return {name: p.detach() for name, p in self._slices[part].named_parameters()}

    def _empty(self, *parts: str) -> None:
        for part in parts:
            if part == "optimizer":
                self.optimizer.state.clear()
                continue
            for p in self._parts[part].parameters():
                p.data = p.data.new_empty(0)

    def _sliced(self, whole: Transformer) -> Transformer:
        """A model that never computes, of this process's slices of a whole one."""
        sliced = _without_memory(Transformer, whole)
        for name, p in whole.named_parameters():
            holder, _, leaf = name.rpartition(".")
            sliced.get_submodule(holder).register_parameter(leaf, nn.Parameter(self._slice(name, p.detach())))
        return sliced

    def _slice_moments(self) -> None:
        """Give this process's optimizer its slices of what the first process has loaded."""
        found = optimizer_tensors(self.model, self.optimizer) if self._team.rank == 0 else {}
        lines = [json.dumps([key, None if value.ndim else value.item()]) for key, value in found.items()]
        for key, number in map(json.loads, self._team.gather(lines)):
            field, _, name = key.partition("/")
            p = self._slices["model"].get_parameter(name)
            if number is None:
                value = self._slice(name, found.get(key, self.model.get_parameter(name).detach()))
            else:
                value = torch.tensor(number, device=p.device)
            self._updates.state.setdefault(p, {})[field] = value

    def _slice(self, name: str, whole: Tensor) -> Tensor:
        """This process's slice of what the first process has of a stored tensor, or of its moment."""
        place = self._places[name]
        whole = whole.to(self.hardware.device)
        return distribute_tensor(whole, place.device_mesh, place.placements).to_local()

    def _whole(self, name: str, piece: Tensor) -> Tensor:
        """What the slices of all processes make, of a stored tensor, its average or its moment."""
        place = self._places[name]
        whole = DTensor.from_local(
            piece, place.device_mesh, place.placements, shape=place.shape, stride=place.stride()
        ).full_tensor()
        return whole


class _Sharing(Alone):
    """What the processes of a step share if each has slices.

    Layers bring their units together, so all processes take the same number of parts; who has fewer adds parts without a target.
    """

    def __init__(self, team: Team, sharded: "_Sharded", slices: Transformer):
        self._team = team
        self._sharded = sharded
        self._slices = slices

    def parts(self, batch: Batch, device_batch_tokens: int | None) -> list[Batch]:
        team = self._team
        of_all = [team.parts_of(rank, batch, device_batch_tokens) for rank in range(team.size)]
        mine = of_all[team.rank]
        blank = rows_of(batch, slice(1))
        blank = replace(blank, tgt_out_ids=torch.full_like(blank.tgt_out_ids, PAD_ID), n_tokens=0)
        return mine + [blank] * (max(map(len, of_all)) - len(mine))

    @torch.no_grad()
    def add_up(self, model: nn.Module, sums: Tensor, count: int) -> int:
        for group in self._sharded.groups():
            group.reshard()  # units that several layers read are whole until now
        for p, piece in zip(self._sharded.parameters(), self._slices.parameters(), strict=True):
            piece.grad = p.grad.to_local() if isinstance(p.grad, DTensor) else None
            p.grad = None
        dist.all_reduce(sums)
        return self._team.add_up_counts(count)

    def whole_norm(self, norm: Tensor) -> Tensor:
        square = norm.double().square()
        dist.all_reduce(square)
        return square.sqrt().to(norm.dtype)


class _Sharded(Transformer):
    """The model that computes. Each layer runs inside calls of the units that it reads: there FSDP2 brings them together."""

    around: Mapping[Layer, Iterable[nn.Module]] = {}

    def _layer(self, x: Tensor, stack: Stack, layer: int, scope: Scope) -> Tensor:
        run = super()._layer

        def compute(x: Tensor, memory: Any) -> Tensor:
            return run(x, stack, layer, scope._replace(memory=memory))

        for unit in self.around.get((stack.name, layer), ()):
            compute = partial(unit, compute)
        # FSDP2 waits for the gradients of the arguments: then those of the unit are complete.
        return compute(x, scope.memory)

    def groups(self) -> Iterator[FSDPModule]:
        """The units, and the model for what is in none."""
        return (module for module in self.modules() if isinstance(module, FSDPModule))


def _sharded(model: Transformer, device: torch.device) -> _Sharded:
    """A model like another one, each process with a slice of each tensor, without values yet."""
    sharded = _without_memory(_Sharded, model)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # where FSDP2 puts its tensors
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    around: dict[Layer, list[nn.Module]] = {}
    for name, layers in units_of(model.plan).items():
        unit = sharded.get_submodule(name)
        fully_shard(unit, mesh=mesh, reshard_after_forward=len(layers) == 1)
        assert isinstance(unit, FSDPModule)
        unit.set_reshard_after_backward(len(layers) == 1)
        for layer in layers:
            around.setdefault(layer, []).append(unit)
    fully_shard(sharded, mesh=mesh, reshard_after_forward=False)
    for group in sharded.groups():  # their gradients are summed: the objective is per token of all rows already
        group.set_gradient_divide_factor(1.0)
        group.set_force_sum_reduction_for_comms(True)
    sharded.to_empty(device=device)
    sharded.around = around
    return sharded


def _without_memory(kind: type[T], model: Transformer) -> T:
    """A model of a kind like another one, whose tensors are not there."""
    with torch.device("meta"):
        return kind(model.plan, dropout=model.dropout, tables=model.tables).to(next(model.parameters()).dtype)
