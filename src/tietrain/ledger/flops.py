"""FLOP ledger: matmul FLOPs of every use, as coefficients in lengths. No tying flag enters any formula.

Two FLOPs a multiply-add; lookups, norms, softmax and element-wise work cost 0; a tied matrix costs as much at every use
as an untied one; training is three times forward. Attention counts full squares, or half of those a causal mask hides:
the convention's name says which. Source: Chowdhery et al. 2022 (PaLM), appendix B, extended to uses and to
encoder-decoders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tietrain.tying.slots import ModelShape

# What runs are counted by, and what an actual attention kernel may skip of it.
CONVENTION, CAUSAL = "matmul-full-square-3x", "matmul-causal-3x"
CONVENTIONS = (CONVENTION, CAUSAL)
KINDS = ("projections", "scores", "ffn", "logits")

# A unit is what a term is proportional to: tokens of a stack (`decoder`) or a product of two (`decoder*encoder`).
Units = Mapping[str, int]


@dataclass(frozen=True)
class FlopTerm:
    """FLOPs of one matmul of one use: `per_unit` times the unit's sum over sentences; its kind is one of KINDS."""

    slot: str
    kind: str
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

    def by_kind(self, units: Units) -> dict[str, int]:
        """Kind -> forward FLOPs: projections (of attention), scores, ffn, logits."""
        sums = dict.fromkeys(KINDS, 0)
        for term in self.terms:
            sums[term.kind] += term.per_unit * units[term.unit]
        return sums

    @property
    def n_effective(self) -> int:
        """Matmul weights, each counted at every use: N of 6 N D for stacks that share."""
        return sum(term.per_unit for term in self.terms if term.kind != "scores") // 2


def count_flops(shape: ModelShape, convention: str = CONVENTION) -> FlopLedger:
    """The ledger of a model; the plan is no argument, because tying changes no FLOPs.

    Args:
        convention: one of CONVENTIONS.
    """
    terms: list[FlopTerm] = []
    for stack in shape.stacks:
        for layer in range(stack.n_layers):
            block, half = f"{stack.name}.{layer}", stack.causal and convention == CAUSAL
            terms += _attention(shape, f"{block}.self_attn", stack.name, stack.name, half)
            if stack.attends_to:
                terms += _attention(shape, f"{block}.cross_attn", stack.name, stack.attends_to, False)
            matrices = 3 if shape.activation == "swiglu" else 2
            terms.append(FlopTerm(f"{block}.ffn", "ffn", stack.name, 2 * matrices * shape.d_model * shape.d_ff))
        if stack.has_output:
            terms.append(FlopTerm(f"{stack.name}.output", "logits", stack.name, 2 * stack.vocab_size * shape.d_model))
    return FlopLedger(tuple(terms))


def _attention(shape: ModelShape, block: str, stack: str, memory: str, half: bool) -> list[FlopTerm]:
    d_attn, d_kv = shape.n_heads * shape.d_head, shape.n_kv_heads * shape.d_head
    return [
        FlopTerm(f"{block}.q", "projections", stack, 2 * shape.d_model * d_attn),
        FlopTerm(f"{block}.k", "projections", memory, 2 * shape.d_model * d_kv),
        FlopTerm(f"{block}.v", "projections", memory, 2 * shape.d_model * d_kv),
        FlopTerm(f"{block}.o", "projections", stack, 2 * shape.d_model * d_attn),
        FlopTerm(f"{block}.scores", "scores", pair_unit(stack, memory), (2 if half else 4) * d_attn),
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


def equal_lengths(shape: ModelShape, length: int) -> dict[str, int]:
    """`length_units` of one sentence with `length` tokens in every stack: S = T."""
    return length_units(shape, {stack.name: [length] for stack in shape.stacks})
