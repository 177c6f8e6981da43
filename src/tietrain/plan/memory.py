"""Memory ledger: bytes that parameters, gradients, optimizer and the cache of decoding hold.

Everything is kept in float32, under hardware.precision=bf16 too: autocast makes temporary bf16 copies of what it
multiplies, and decoding runs outside it. Those copies and the activations of a step are not counted: they depend on the
batch. An owner is held once, whatever reads it; keys and values belong to a depth, so sharing layers saves none of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from tietrain.plan.plan import TyingPlan

BYTES = 4


@dataclass(frozen=True)
class MemoryLedger:
    """Bytes; of the cache, for one sentence: per target token decoded, and per token of each source read."""

    parameters: int
    gradients: int
    optimizer: int
    kv_per_token: int
    kv_per_source_token: int

    @property
    def training(self) -> int:
        """What a step holds before its activations."""
        return self.parameters + self.gradients + self.optimizer

    def kv_cache(self, n_tokens: int, n_source: int = 0) -> int:
        """Keys and values of a sentence of n_tokens decoded from n_source; what of the cache is in use."""
        return self.kv_per_token * n_tokens + self.kv_per_source_token * n_source


def count_memory(plan: TyingPlan, optimizer: str, momentum: float = 0.0) -> MemoryLedger:
    """The memory ledger of a plan.

    Args:
        optimizer: adamw or adam, with two moments and a counter of steps for each owner; sgd, with one moment where
            momentum is not 0.
    """
    parameters = BYTES * sum(slot.size for slot in plan.owners)
    adaptive = optimizer != "sgd"
    moments = 2 if adaptive else int(momentum != 0)
    counters = len(plan.owners) if adaptive else 0
    shape = plan.slots.shape
    keys_values = BYTES * 2 * shape.n_kv_heads * shape.d_head
    *sources, last = shape.routes[0]
    target = shape.stack(last)
    return MemoryLedger(
        parameters=parameters,
        gradients=parameters,
        optimizer=moments * parameters + BYTES * counters,
        kv_per_token=keys_values * target.n_layers,
        kv_per_source_token=keys_values * target.n_layers * len(sources),
    )
