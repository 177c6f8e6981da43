"""Parameter and memory ledgers: every stored tensor counted once, from shapes and plan only."""

from collections.abc import Iterable
from dataclasses import dataclass

from tietrain.plan.plan import TyingPlan
from tietrain.plan.slots import Slot

TABLE_PARTS = ("embed", "output", "positions")
BYTES = 4


@dataclass(frozen=True)
class Load:
    """Tensors of one role that are read equally often: their number, and the numbers they hold in total.

    Source: Ge et al. 2022 (EdgeFormer), which balances uses per parameter.
    """

    role: str
    n_uses: int
    n_tensors: int
    n_numbers: int


@dataclass(frozen=True)
class ParameterLedger:
    """Counts of numbers, not bytes. What views bring is counted with the slot that brings it.

    params: stored.
    params_untied: what a model would store in which every slot has its own parameters.
    n_embedding: stored in embedding, output and position tables. The rest: n_once if a tensor has one use, n_repeated if
        it has several.
    by_part: stored, by `stack.part`. saved_by_part: what slots would have added, less what is stored for them.
    by_role: stored, by `role_of` of all uses of a tensor, joined: a shared table is `source+input+output`.
    saved_by_role: what slots would have added, less what is stored for them, each under its own role.
    uses: stored tensor -> number of slots that read it. loads: the same, grouped by role.
    """

    params: int
    params_untied: int
    n_embedding: int
    n_once: int
    n_repeated: int
    by_part: dict[str, int]
    saved_by_part: dict[str, int]
    by_role: dict[str, int]
    saved_by_role: dict[str, int]
    uses: dict[str, int]
    loads: tuple[Load, ...]

    @property
    def params_saved(self) -> int:
        return self.params_untied - self.params


def count_params(plan: TyingPlan) -> ParameterLedger:
    """The ledger of a plan."""
    stored = plan.stores
    saved = _saved(plan)
    layered = [slot for slot in stored if slot.part not in TABLE_PARTS]
    joined = _joined_roles(plan)
    return ParameterLedger(
        params=_total(stored),
        params_untied=_total(plan.slots) + _total(_of_inputs(plan)),
        n_embedding=_total(s for s in stored if s.part in TABLE_PARTS),
        n_once=_total(s for s in layered if len(plan.readers[s.name]) == 1),
        n_repeated=_total(s for s in layered if len(plan.readers[s.name]) > 1),
        by_part=_sums((_stack_part(slot), slot.size) for slot in stored),
        saved_by_part=_sums((_stack_part(slot), n) for slot, n in saved),
        by_role=_sums((joined[slot.name], slot.size) for slot in stored),
        saved_by_role=_sums((role_of(plan, slot), n) for slot, n in saved),
        uses={store: len(names) for store, names in plan.readers.items()},
        loads=_loads(plan, joined),
    )


def role_of(plan: TyingPlan, slot: Slot) -> str:
    """What a slot does in the model.

    Tables: `source` (embedding or adapter of a stack without output), `input` and `output` (of a stack that predicts),
    `positions`. Signals that are added to the inputs of layers: `step`. In layers: `attention`, `ffn`, `norm`; final norms are `norm` too. Biases have their own roles:
    `attention.bias`, `ffn.bias`, `norm.bias`, `output.bias`.
    """
    if slot.part in ("embed", "adapter"):
        return "input" if plan.slots.shape.stack(slot.stack).has_output else "source"
    part = "norm" if slot.part.endswith("norm") else "attention" if slot.part.endswith("attn") else slot.part
    return f"{part}.bias" if slot.leaf.endswith("bias") else part


def _joined_roles(plan: TyingPlan) -> dict[str, str]:
    """Stored tensor -> the roles of its uses, each once, in forward order."""
    places = {store: map(plan.slots.place, names) for store, names in plan.readers.items()}
    return {store: "+".join(dict.fromkeys(role_of(plan, slot) for slot in found)) for store, found in places.items()}


def _saved(plan: TyingPlan) -> list[tuple[Slot, int]]:
    """Slots with the numbers that tying spares them: what they hold untied, less what is stored for them first."""
    stored: dict[str, int] = {}
    for store in plan.stores:
        first = plan.readers[store.name][0]
        stored[first] = stored.get(first, 0) + store.size
    saved = [(slot, slot.size - stored.get(slot.name, 0)) for slot in plan.slots]
    return [(slot, n) for slot, n in saved if n]


def _of_inputs(plan: TyingPlan) -> list[Slot]:
    """Stored tensors that stand for no slot: those that views of layers' inputs bring."""
    return [store for store in plan.stores if plan.readers[store.name][0] not in plan.owner]


def _loads(plan: TyingPlan, roles: dict[str, str]) -> tuple[Load, ...]:
    found: dict[tuple[str, int], list[Slot]] = {}
    for slot in plan.stores:
        found.setdefault((roles[slot.name], len(plan.readers[slot.name])), []).append(slot)
    return tuple(Load(role, n_uses, len(slots), _total(slots)) for (role, n_uses), slots in found.items())


def _stack_part(slot: Slot) -> str:
    return f"{slot.stack}.{slot.part}"


def _total(slots: Iterable[Slot]) -> int:
    return sum(slot.size for slot in slots)


def _sums(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Key -> the sum of its numbers, in order of first appearance."""
    sums: dict[str, int] = {}
    for key, n in counts:
        sums[key] = sums.get(key, 0) + n
    return sums


@dataclass(frozen=True)
class MemoryLedger:
    """Bytes held by parameters, gradients, optimizer and the cache of decoding.

    Everything is float32, also with hardware.precision=bf16: autocast makes temporary bf16 copies of what it multiplies,
    and decoding runs without it. These copies and the activations of a step depend on the batch and are not counted. An
    owner is held once, however many slots read it. Keys and values belong to a layer's position in the stack, so shared
    layers save none of them.

    kv_per_token: cache of one sentence, per decoded target token. kv_per_source_token: per token of each source.
    """

    parameters: int
    gradients: int
    optimizer: int
    kv_per_token: int
    kv_per_source_token: int

    @property
    def training(self) -> int:
        """What a training step holds, without activations."""
        return self.parameters + self.gradients + self.optimizer


def count_memory(plan: TyingPlan, optimizer: str, momentum: float = 0.0) -> MemoryLedger:
    """The memory ledger of a plan; adamw and adam have a step counter for each owner."""
    parameters = BYTES * sum(slot.size for slot in plan.stores)
    counters = 0 if optimizer == "sgd" else len(plan.stores)
    shape = plan.slots.shape
    keys_values = BYTES * 2 * shape.d_kv
    *sources, last = shape.routes[0]
    target = shape.stack(last)
    return MemoryLedger(
        parameters=parameters,
        gradients=parameters,
        optimizer=n_moments(optimizer, momentum) * parameters + BYTES * counters,
        kv_per_token=keys_values * target.n_layers,
        kv_per_source_token=keys_values * target.n_layers * len(sources),
    )


def n_moments(optimizer: str, momentum: float) -> int:
    """How many numbers an optimizer keeps for each number of a parameter."""
    if optimizer != "sgd":
        return 2
    return int(momentum != 0)
