"""Parameter and memory ledgers: every owner counted once, from shapes and plan only."""

from collections.abc import Callable, Iterable
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
    """Counts of numbers, not bytes.

    params: stored.
    params_untied: what a model would store in which every slot has its own parameters.
    n_embedding: stored in embedding, output and position tables. The rest: n_once if an owner has one use, n_repeated if
        it has several.
    by_part: stored, by `stack.part`. saved_by_part: what the slots that read another one would have added.
    by_role: stored, by `role_of` of all uses of an owner, joined: a shared table is `source+input+output`.
    saved_by_role: what the slots that read another one would have added, each under its own role.
    uses: owner -> number of slots that read it. loads: the same, grouped by role.
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
    stored = plan.owners
    borrowed = [slot for slot in plan.slots if plan.owner[slot.name] != slot.name]
    layered = [slot for slot in stored if slot.part not in TABLE_PARTS]
    joined = _joined_roles(plan)
    return ParameterLedger(
        params=_total(stored),
        params_untied=_total(plan.slots),
        n_embedding=_total(s for s in stored if s.part in TABLE_PARTS),
        n_once=_total(s for s in layered if s.name not in plan.groups),
        n_repeated=_total(s for s in layered if s.name in plan.groups),
        by_part=_sums(stored, _stack_part),
        saved_by_part=_sums(borrowed, _stack_part),
        by_role=_sums(stored, lambda slot: joined[slot.name]),
        saved_by_role=_sums(borrowed, lambda slot: role_of(plan, slot)),
        uses={owner: len(names) for owner, names in plan.uses.items()},
        loads=_loads(plan, joined),
    )


def role_of(plan: TyingPlan, slot: Slot) -> str:
    """What a slot does in the model.

    Tables: `source` (embedding or adapter of a stack without output), `input` and `output` (of a stack that predicts),
    `positions`. In layers: `attention`, `ffn`, `norm`; final norms are `norm` too. Biases have their own roles:
    `attention.bias`, `ffn.bias`, `norm.bias`, `output.bias`.
    """
    if slot.part in ("embed", "adapter"):
        return "input" if plan.slots.shape.stack(slot.stack).has_output else "source"
    part = "norm" if slot.part.endswith("norm") else "attention" if slot.part.endswith("attn") else slot.part
    return f"{part}.bias" if slot.leaf.endswith("bias") else part


def _joined_roles(plan: TyingPlan) -> dict[str, str]:
    """Owner -> the roles of its uses, each once, in forward order."""
    roles: dict[str, dict[str, None]] = {}
    for slot in plan.slots:
        roles.setdefault(plan.owner[slot.name], {})[role_of(plan, slot)] = None
    return {owner: "+".join(found) for owner, found in roles.items()}


def _loads(plan: TyingPlan, roles: dict[str, str]) -> tuple[Load, ...]:
    found: dict[tuple[str, int], list[Slot]] = {}
    for slot in plan.owners:
        found.setdefault((roles[slot.name], len(plan.uses[slot.name])), []).append(slot)
    return tuple(Load(role, n_uses, len(slots), _total(slots)) for (role, n_uses), slots in found.items())


def _stack_part(slot: Slot) -> str:
    return f"{slot.stack}.{slot.part}"


def _total(slots: Iterable[Slot]) -> int:
    return sum(slot.size for slot in slots)


def _sums(slots: Iterable[Slot], key: Callable[[Slot], str]) -> dict[str, int]:
    """Key -> numbers of its slots, in order of first appearance."""
    sums: dict[str, int] = {}
    for slot in slots:
        sums[key(slot)] = sums.get(key(slot), 0) + slot.size
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
    """The memory ledger of a plan.

    Args:
        optimizer: adamw or adam have two moments and a step counter for each owner; sgd has one moment if momentum is
            not 0.
    """
    parameters = BYTES * sum(slot.size for slot in plan.owners)
    adaptive = optimizer != "sgd"
    moments = 2 if adaptive else int(momentum != 0)
    counters = len(plan.owners) if adaptive else 0
    shape = plan.slots.shape
    keys_values = BYTES * 2 * shape.d_kv
    *sources, last = shape.routes[0]
    target = shape.stack(last)
    return MemoryLedger(
        parameters=parameters,
        gradients=parameters,
        optimizer=moments * parameters + BYTES * counters,
        kv_per_token=keys_values * target.n_layers,
        kv_per_source_token=keys_values * target.n_layers * len(sources),
    )
