"""Several processes for one run, as torchrun starts them: the first leads, the others do their share of what it orders.

The leader alone has a state and a directory. Its weights go out with every order, gradients and sums come back to it, and no
other process updates, chooses or writes. So a step has the same rows, dropout and update for every number of processes,
and a run that stopped with two of them goes on with one or three. With hardware.shard `slices` trains in another way; no third
module knows torch.distributed.
"""

import json
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import timedelta
from itertools import chain, islice, zip_longest
from typing import Any, Self, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from tietrain.data.batches.batching import Batch, rows_of, split_batch
from tietrain.errors import AGAIN, PeerError, SettingsError, first_line
from tietrain.train.outcome import Outcome, is_memory_full
from tietrain.train.stop import StopRequest

T = TypeVar("T")

# An order is JSON of at most this many bytes, so that it takes one message.
ORDER_BYTES = 4096
# How long the others wait for an order, while their leader prepares data, saves, or looks at the model alone.
WITHOUT_LIMIT = timedelta(days=365)
# Where a process that fails writes why, before its connections close.
FAILURE = "tietrain/failure"
# Whether to wait for an exchange by NCCL is to wait for the device; torch then watches over no exchange in a thread of its own.
NCCL_WAITS = "TORCH_NCCL_BLOCKING_WAIT"
# What torchrun sets, besides WORLD_SIZE.
VARIABLES = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


class Alone:
    """A run of one process: every row, part and line is its own, and it has nobody to order."""

    rank = 0
    size = 1

    @contextmanager
    def order(self, work: str, model: nn.Module | None = None, **details: Any) -> Iterator[None]:
        """Let the others do a piece of work, which this process does inside.

        Args:
            model: whose weights they get first; None for work without weights.
            details: what else they must know, as JSON.
        Raises:
            PeerError: one of them failed, ended, or did not answer in time.
        """
        yield

    def connect(self, device: torch.device) -> None:
        """Return when every process has come here with its device, however long it takes to prepare its data."""

    def parts(self, batch: Batch, device_batch_tokens: int | None) -> list[Batch]:
        """This process's rows of a batch, in parts of at most so many padded tokens; None for one part."""
        return split_batch(batch, device_batch_tokens) if device_batch_tokens else [batch]

    def deal(self, parts: Iterable[T]) -> Iterable[T]:
        """This process's of some parts."""
        return parts

    def add_up(self, model: nn.Module, sums: Tensor, count: int) -> int:
        """Make the leader's gradients and sums those of all processes, in place; returns the sum of their counts."""
        return count

    def whole_norm(self, norm: Tensor) -> Tensor:
        """That of all gradients, of the norm of those that this process holds."""
        return norm

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum over all processes; its bits are those of the values if no two processes have one that is not 0."""
        return values

    def gather(self, lines: Sequence[str]) -> list[str]:
        """The lines of all processes, in the order in which they were dealt."""
        return list(lines)

    def pass_on_signal(self, stop: StopRequest) -> None:
        """Stop if a signal came to another process by the last step."""


ALONE = Alone()


class Team(Alone):
    """The processes that torchrun started; entered for as long as a run takes.

    What they share is dealt in turn: process r has the rows, parts and lines r, r + size, r + 2 size and so on.

    Args:
        max_wait: seconds that processes wait for one another in work that they share.
        in_slices: whether each will hold a slice of the model.
    Raises:
        SettingsError: the variables of torchrun are not all set. PeerError: the others did not come in time.
    """

    def __init__(self, max_wait: float, *, in_slices: bool = False):
        for name in VARIABLES:
            if name not in os.environ:
                requested = f"WORLD_SIZE={os.environ['WORLD_SIZE']}"
                raise SettingsError(requested, f"{name} is not set", "start with torchrun, or unset WORLD_SIZE")
        self.rank = int(os.environ["RANK"])
        self.size = int(os.environ["WORLD_SIZE"])
        self.stop = StopRequest()
        self._is_signalled = False
        self._all_wait = True  # for the leader's next order
        self._store: Any = None
        limit = timedelta(seconds=max_wait)
        self._limit = limit
        # A thread of NCCL's would end this process when an exchange fails, before it can save. Slices save nothing then.
        os.environ[NCCL_WAITS] = str(int(not in_slices))
        with self.talking():
            self._store = next(iter(rendezvous("env://", timeout=limit)))[0]
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            dist.init_process_group(backend, store=self._store, rank=self.rank, world_size=self.size, timeout=limit)
            self._orders = dist.new_group(backend="gloo", timeout=WITHOUT_LIMIT if self.rank else limit)
            self._start = dist.new_group(backend="gloo", timeout=WITHOUT_LIMIT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._let_go()  # of NCCL: to leave it in order takes all processes
        dist.destroy_process_group()

    @contextmanager
    def order(self, work: str, model: nn.Module | None = None, **details: Any) -> Iterator[None]:
        if self.rank:  # it does what the leader has ordered
            yield
            return
        self._all_wait = False
        self._send({"work": work, **details})
        if model is not None:
            self._broadcast(_flat([p.detach() for p in model.parameters()]))
        yield
        self._all_wait = True

    def next_order(self, model: nn.Module | None = None) -> dict[str, Any]:
        """What to do next, once the leader says so; the model then has the leader's weights."""
        message = torch.empty(ORDER_BYTES, dtype=torch.uint8)
        with self.talking():
            dist.broadcast(message, 0, group=self._orders)
        order: dict[str, Any] = json.loads(message.numpy().tobytes())
        if model is not None and order["work"] != "end":
            owners = [p.detach() for p in model.parameters()]
            weights = _flat(owners)
            self._broadcast(weights)
            torch._foreach_copy_(owners, _like(owners, weights))
        return order

    def end(self, outcome: Outcome) -> None:
        """Tell the others how the run ended if they wait for an order; those in shared work see that their leader is gone."""
        if self._all_wait:
            with suppress(PeerError):
                self._send({"work": "end", "status": outcome.status, "exit_code": outcome.exit_code})

    def fail(self, outcome: Outcome, trace: str) -> None:
        """Let the leader know why this process ends."""
        if self._store is not None:
            self._store.set(FAILURE, json.dumps([self.rank, asdict(outcome), trace]))

    def connect(self, device: torch.device) -> None:
        self.wait_for_all()
        # NCCL connects at the first exchange, and waits for ever for a process that fails before: now all are here.
        self._broadcast(torch.zeros((), device=device))

    def wait_for_all(self) -> None:
        """Return when every process has come here, however long that takes."""
        with self.talking():
            dist.barrier(group=self._start)

    def parts(self, batch: Batch, device_batch_tokens: int | None) -> list[Batch]:
        return self.parts_of(self.rank, batch, device_batch_tokens)

    def parts_of(self, rank: int, batch: Batch, device_batch_tokens: int | None) -> list[Batch]:
        """What `parts` is in the process of a rank."""
        if rank >= len(batch.tgt_in_ids):
            return []
        return super().parts(rows_of(batch, slice(rank, None, self.size)), device_batch_tokens)

    def deal(self, parts: Iterable[T]) -> Iterable[T]:
        return islice(parts, self.rank, None, self.size)

    def add_up(self, model: nn.Module, sums: Tensor, count: int) -> int:
        owners = list(model.parameters())
        gradients = _flat([torch.zeros_like(p) if p.grad is None else p.grad for p in owners])
        with self.talking():
            exchanges = [dist.reduce(tensor, 0, async_op=True) for tensor in (gradients, sums)]
        total = self.add_up_counts(count, exchanges)
        for p, whole in zip(owners, _like(owners, gradients), strict=True):
            if p.grad is not None:
                p.grad.copy_(whole)
        return total

    def add_up_counts(self, count: int, exchanges: Sequence[dist.Work] = ()) -> int:
        """The sum of all processes' counts, in the leader; it learns too whether a signal came to one of them.

        Args:
            exchanges: of other numbers, to be waited for.
        """
        with self.talking():
            total, n_signals = self._complete(exchanges, count, self.stop.signal is not None)
        self._is_signalled = n_signals > 0
        return total

    def _complete(self, exchanges: Sequence[dist.Work], *numbers: int) -> list[int]:
        """Return once all processes have done these exchanges; in the leader with the sums of the numbers that they give.

        NCCL does not notice that a process is gone, and what it then leaves undone holds up all that the device is asked for
        later. So each process says by gloo that it has done them, where a connection that closes interrupts the leader at once,
        and the leader waits for its own device last.
        """
        mine = torch.tensor(numbers)
        said = [] if self.rank else [torch.empty_like(mine) for _ in range(self.size)]
        if self.rank:
            self._wait(exchanges)
        dist.gather(mine, said, group=self._orders)
        if self.rank == 0:
            self._wait(exchanges)
            mine = torch.stack(said).sum(dim=0)
        found: list[int] = mine.tolist()
        return found

    def _wait(self, exchanges: Sequence[dist.Work]) -> None:
        """Wait for the device, so that nothing is used that was not exchanged in full."""
        for exchange in exchanges:
            exchange.wait(self._limit)

    def _broadcast(self, tensor: Tensor) -> None:
        """Give a tensor the leader's numbers; return once all have them."""
        with self.talking():
            self._complete([dist.broadcast(tensor, 0, async_op=True)], 0)

    def _let_go(self) -> None:
        """End the exchanges that NCCL has not done: the device, and who ends it in order, would wait for the other processes."""
        if dist.group.WORLD is not None:
            with suppress(RuntimeError):  # in max_wait seconds it could not
                dist.group.WORLD.abort()

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        with self.talking():
            dist.all_reduce(torch.from_numpy(values))
        return values

    def gather(self, lines: Sequence[str]) -> list[str]:
        content = torch.frombuffer(bytearray(json.dumps(list(lines)).encode()), dtype=torch.uint8)
        sizes = torch.zeros(self.size, dtype=torch.int64)
        sizes[self.rank] = len(content)
        with self.talking():
            dist.all_reduce(sizes)
            padded = content.new_zeros(int(sizes.max()))
            padded[: len(content)] = content
            parts = [torch.empty_like(padded) for _ in range(self.size)]
            dist.all_gather(parts, padded)
        found = [json.loads(part.numpy().tobytes()[:size]) for part, size in zip(parts, sizes.tolist(), strict=True)]
        return [line for line in chain.from_iterable(zip_longest(*found)) if line is not None]

    def pass_on_signal(self, stop: StopRequest) -> None:
        if self._is_signalled and stop.signal is None:
            stop.ask(signal.SIGTERM)

    def _send(self, order: dict[str, Any]) -> None:
        message = json.dumps(order).ljust(ORDER_BYTES).encode()
        with self.talking():
            dist.broadcast(torch.frombuffer(bytearray(message), dtype=torch.uint8), 0, group=self._orders)

    @contextmanager
    def talking(self, *, beside_work: bool = False) -> Iterator[None]:
        """PeerError if the exchange inside breaks off; it says why, if the process that failed has told. Full memory stays as it is.

        Args:
            beside_work: whether there is anything else inside: what torch raises if the memory is full is a RuntimeError too.
        """
        try:
            yield
        except RuntimeError as e:
            if is_memory_full(e) or (beside_work and not isinstance(e, dist.DistError) and "gloo" not in str(e)):
                raise
            self._let_go()
            found = None
            with suppress(RuntimeError):
                if self._store is not None and self._store.check([FAILURE]):
                    found = json.loads(self._store.get(FAILURE))
            if found is None:
                problem = f"another of its {self.size} processes ended, or did not answer in time ({first_line(e)})"
                raise PeerError("torchrun", problem, AGAIN) from e
            rank, outcome, trace = found
            error = PeerError(f"process {rank} of {self.size}", outcome["message"], AGAIN)
            error.status = outcome["status"]
            error.exit_code = outcome["exit_code"]
            error.add_note(trace)
            raise error from e


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    """All numbers of some tensors in one: a single message."""
    return torch.cat([tensor.flatten() for tensor in tensors])


def _like(tensors: Sequence[Tensor], flat: Tensor) -> list[Tensor]:
    """Parts of what `_flat` made, each in the shape of its tensor."""
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]
