"""FLOP ledger: matmul FLOPs of every use, as coefficients in lengths. No tying flag enters any formula.

Convention (`matmul-full-square-3x`): two FLOPs a multiply-add; lookups, norms, softmax and element-wise work cost 0;
attention counts full squares, without causal halving; training is three times forward; a tied matrix costs as much
at every use as an untied one. Source: PaLM, appendix B, extended to uses and to encoder-decoders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tietrain.tying.slots import ModelShape

CONVENTION = "matmul-full-square-3x"

# A unit is what a term is proportional to: tokens of a stack (`decoder`) or a product of two (`decoder*encoder`).
Units = Mapping[str, int]


@dataclass(frozen=True)
class FlopTerm:
    """FLOPs of one matmul of one use: `per_unit` times the unit's sum over sentences."""

    slot: str
    unit: str
    per_unit: int


@dataclass(frozen=True)
class FlopLedger:
    """Every matmul of a forward pass."""

    terms: tuple[FlopTerm, ...]

    @property
    def coefficients(self) -> dict[str, int]:
        """Unit -> forward FLOPs per unit."""
        sums: dict[str, int] = {}
        for term in self.terms:
            sums[term.unit] = sums.get(term.unit, 0) + term.per_unit
        return sums

    def forward(self, units: Units) -> int:
        """Forward FLOPs for the given sums of lengths; see `length_units`."""
        return sum(per_unit * units[unit] for unit, per_unit in self.coefficients.items())

    def training(self, units: Units) -> int:
        """Forward and backward FLOPs: three times forward."""
        return 3 * self.forward(units)


def count_flops(shape: ModelShape) -> FlopLedger:
    """The ledger of a model; the plan is no argument, because tying changes no FLOPs."""
    terms: list[FlopTerm] = []
    for stack in shape.stacks:
        for layer in range(stack.n_layers):
            terms += _attention(shape, stack.name, layer, "self_attn", stack.name)
            if stack.attends_to:
                terms += _attention(shape, stack.name, layer, "cross_attn", stack.attends_to)
            matrices = 3 if shape.activation == "swiglu" else 2
            terms.append(FlopTerm(f"{stack.name}.{layer}.ffn", stack.name, 2 * matrices * shape.d_model * shape.d_ff))
        if stack.has_output:
            terms.append(FlopTerm(f"{stack.name}.output", stack.name, 2 * stack.vocab_size * shape.d_model))
    return FlopLedger(tuple(terms))


def _attention(shape: ModelShape, stack: str, layer: int, part: str, memory: str) -> list[FlopTerm]:
    d_attn, d_kv = shape.n_heads * shape.d_head, shape.n_kv_heads * shape.d_head
    block = f"{stack}.{layer}.{part}"
    return [
        FlopTerm(f"{block}.q", stack, 2 * shape.d_model * d_attn),
        FlopTerm(f"{block}.k", memory, 2 * shape.d_model * d_kv),
        FlopTerm(f"{block}.v", memory, 2 * shape.d_model * d_kv),
        FlopTerm(f"{block}.o", stack, 2 * shape.d_model * d_attn),
        FlopTerm(f"{block}.scores", pair_unit(stack, memory), 4 * d_attn),
    ]


def pair_unit(stack: str, memory: str) -> str:
    """The unit of products of two lengths.

    >>> pair_unit("decoder", "encoder")
    'decoder*encoder'
    """
    return f"{stack}*{memory}"


def length_units(shape: ModelShape, lengths: Mapping[str, list[int]]) -> dict[str, int]:
    """Sums of lengths and of their products over sentences, for every unit of the model.

    Args:
        lengths: stack -> tokens of each sentence, end mark included; sentence i of every stack belongs together.

    >>> from tietrain.tying.slots import Stack
    >>> lm = ModelShape((Stack("decoder", 1, 9, "v", causal=True, has_output=True),), 8, 2, 2, 4, 16, 64)
    >>> length_units(lm, {"decoder": [3, 4]})
    {'decoder': 7, 'decoder*decoder': 25}
    """
    units: dict[str, int] = {}
    for stack in shape.stacks:
        own = lengths[stack.name]
        units[stack.name] = sum(own)
        units[pair_unit(stack.name, stack.name)] = sum(n * n for n in own)
        if stack.attends_to:
            units[pair_unit(stack.name, stack.attends_to)] = sum(
                n * m for n, m in zip(own, lengths[stack.attends_to], strict=True)
            )
    return units
