"""Units: which parts of a model are brought together when a layer needs them, if its parameters lie in slices."""

import math
from dataclasses import dataclass
from itertools import accumulate

from tietrain.plan.params import BYTES, count_memory, n_moments
from tietrain.plan.plan import TyingPlan

# Stack and number.
Layer = tuple[str, int]


def units_of(plan: TyingPlan) -> dict[str, frozenset[Layer]]:
    """Unit -> the layers that read it.

    A unit is the longest branch of the tree of names, `decoder.3` or `decoder.0.self_attn.q`, all of whose stored tensors are
    read by the same layers. What is read outside layers, tables, positions and final norms, is in no unit, and neither is a
    tensor beside which another one of its block is read by other layers.
    """
    readers: dict[str, set[frozenset[tuple[str, int | None]]]] = {}
    for store in plan.stores:
        slots = map(plan.slots.place, plan.readers[store.name])
        layers = frozenset((slot.stack, slot.layer) for slot in slots)
        _stack, *branches, _tensor = accumulate(store.name.split("."), "{}.{}".format)
        for branch in branches:
            readers.setdefault(branch, set()).add(layers)
    units: dict[str, frozenset[Layer]] = {}
    for branch, (layers, *others) in readers.items():
        inside = any(branch.startswith(f"{unit}.") for unit in units)
        known = frozenset((stack, layer) for stack, layer in layers if layer is not None)
        if not inside and not others and known == layers:
            units[branch] = known
    return units


@dataclass(frozen=True)
class ProcessMemory:
    """Bytes of each of several processes that train one model, of what `MemoryLedger` counts.

    whole: held if every process has all of it. sent: more while weights or gradients go from one process to another.
    slices: held if each has slices (`hardware.shard`). together: more within a step, weights and gradients, at most.
    evaluating: more in an evaluation.
    """

    whole: int
    sent: int
    slices: int
    together: int
    evaluating: int


def count_process_memory(plan: TyingPlan, optimizer: str, momentum: float, processes: int) -> ProcessMemory:
    """The memory of each process; every slice of a tensor takes the rows of the largest one: smaller ones are padded.

    Within a step, tensors in no unit and units that several layers read stay together. Of the other units two are together at most:
    that of the layer that computes, and that of the next one.
    """
    held = count_memory(plan, optimizer, momentum)
    sizes: dict[str, int] = {}
    sliced = 0
    units = units_of(plan)
    for store in plan.stores:
        unit = next((unit for unit in units if store.name.startswith(f"{unit}.")), "")
        sizes[unit] = sizes.get(unit, 0) + BYTES * store.size
        sliced += BYTES * math.ceil(store.shape[0] / processes) * (store.size // store.shape[0])
    passing = sorted(n for unit, n in sizes.items() if len(units.get(unit, ())) == 1)
    staying = held.parameters - sum(passing)
    n_copies = 2 + n_moments(optimizer, momentum)  # the parameters, their gradients, the moments
    return ProcessMemory(
        whole=held.training,
        sent=held.parameters,
        slices=n_copies * sliced + held.training - n_copies * held.parameters,
        together=2 * (staying + sum(passing[-2:])),
        evaluating=held.parameters,
    )
