"""FLOP ledger: matmul FLOPs of every use, as coefficients in lengths. No tying flag enters any formula.

Two FLOPs a multiply-add; lookups, norms, softmax and element-wise work cost 0; a tied matrix costs as much at every use
as an untied one; training is three times forward. Attention counts full squares, or half of those a causal mask hides:
the convention's name says which. Source: Chowdhery et al. 2022 (PaLM), appendix B, extended to uses and to
encoder-decoders. Where sentences take different routes, each costs what its own stacks cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tietrain.plan.slots import ModelShape, Stack

# What runs are counted by, and what an actual attention kernel may skip of it.
CONVENTION, CAUSAL = "matmul-full-square-3x", "matmul-causal-3x"
CONVENTIONS = (CONVENTION, CAUSAL)
KINDS = ("projections", "scores", "ffn", "logits")

# A unit is what a term is proportional to: tokens of a stack (`decoder`), a product of two (`decoder*encoder`), tokens of
# one that another reads, where several could (`encoder->decoder_de`), or those that a masked model is asked for
# (`encoder?`).
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
    """Every matmul of a forward pass. route: the stacks by which a model is described, the first of its routes."""

    terms: tuple[FlopTerm, ...]
    route: tuple[str, ...]

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
        """Forward and backward FLOPs: three times forward, and twice where vectors are read: no gradient flows into data."""
        adapters = sum(t.per_unit * units[t.unit] for t in self.terms if t.slot.endswith(".adapter"))
        return 3 * self.forward(units) - adapters

    def by_kind(self, units: Units) -> dict[str, int]:
        """Kind -> forward FLOPs: projections (of attention), scores, ffn, logits."""
        sums = dict.fromkeys(KINDS, 0)
        for term in self.terms:
            sums[term.kind] += term.per_unit * units[term.unit]
        return sums

    @property
    def n_effective(self) -> int:
        """Matmul weights of the first route, each counted at every use: N of 6 N D for stacks that share."""
        used = [term for term in self.terms if {term.slot.split(".")[0], *_stacks_of(term.unit)} <= {*self.route}]
        return sum(term.per_unit for term in used if term.kind != "scores") // 2


def count_flops(shape: ModelShape, convention: str = CONVENTION) -> FlopLedger:
    """The ledger of a model; the plan is no argument, because tying changes no FLOPs.

    Args:
        convention: one of CONVENTIONS.
    """
    terms: list[FlopTerm] = []
    for stack in shape.stacks:
        if stack.n_features:
            per_vector = 2 * stack.n_features * shape.d_model
            terms.append(FlopTerm(f"{stack.name}.adapter", "projections", stack.name, per_vector))
        for layer in range(stack.n_layers):
            block, half = f"{stack.name}.{layer}", stack.causal and convention == CAUSAL
            terms += _attention(shape, f"{block}.self_attn", stack.name, {stack.name: stack.name}, half)
            for part, names in stack.crossings.items():
                terms += _attention(shape, f"{block}.{part}", stack.name, _read_units(shape, stack, names), False)
            matrices = 3 if shape.activation == "swiglu" else 2
            terms.append(FlopTerm(f"{block}.ffn", "ffn", stack.name, 2 * matrices * shape.d_model * shape.d_ff))
        if stack.has_output:
            per_token = 2 * stack.vocab_size * shape.d_model
            terms.append(FlopTerm(f"{stack.name}.output", "logits", asked_unit(stack), per_token))
    return FlopLedger(tuple(terms), shape.routes[0])


def _attention(shape: ModelShape, block: str, stack: str, memories: Mapping[str, str], half: bool) -> list[FlopTerm]:
    """The terms of one attention of a stack over stacks, each with the unit of its tokens."""
    d_attn, d_kv = shape.n_heads * shape.d_head, shape.n_kv_heads * shape.d_head
    terms = [FlopTerm(f"{block}.{leaf}", "projections", stack, 2 * shape.d_model * d_attn) for leaf in ("q", "o")]
    for memory, unit in memories.items():
        terms += [FlopTerm(f"{block}.{leaf}", "projections", unit, 2 * shape.d_model * d_kv) for leaf in ("k", "v")]
        terms.append(FlopTerm(f"{block}.scores", "scores", pair_unit(stack, memory), (2 if half else 4) * d_attn))
    return terms


def _read_units(shape: ModelShape, stack: Stack, memories: tuple[str, ...]) -> dict[str, str]:
    """Stack -> the unit of its tokens that another stack reads: all of them where no other could."""
    alone = len(shape.predictors) == 1
    return {memory: memory if alone else f"{memory}->{stack.name}" for memory in memories}


def asked_unit(stack: Stack) -> str:
    """The unit of the tokens a stack is asked for: all, unless it sees them."""
    return stack.name if stack.causal else f"{stack.name}?"


def _stacks_of(unit: str) -> list[str]:
    return unit.removesuffix("?").replace("->", "*").split("*")


def pair_unit(stack: str, memory: str) -> str:
    """The unit of products of two lengths.

    >>> pair_unit("decoder", "encoder")
    'decoder*encoder'
    """
    return f"{stack}*{memory}"


def length_units(shape: ModelShape, lengths: Mapping[str, list[int]]) -> dict[str, int]:
    """Sums of lengths and of their products over sentences, for every unit of the model.

    Args:
        lengths: stack -> tokens of each sentence, end mark included; sentence i of every stack belongs together. Stacks
            the sentences do not run through are not there. `asked_unit` -> asked tokens, of a masked model.

    >>> lm = ModelShape((Stack("decoder", 1, 9, "v", causal=True, has_output=True),), 8, 2, 2, 4, 16, 64)
    >>> length_units(lm, {"decoder": [3, 4]})
    {'decoder': 7, 'decoder*decoder': 25}
    """

    def products(a: str, b: str) -> int:
        there = a in lengths and b in lengths
        return sum(n * m for n, m in zip(lengths[a], lengths[b], strict=True)) if there else 0

    units: dict[str, int] = {}
    for stack in shape.stacks:
        units[stack.name] = sum(lengths.get(stack.name, ()))
        units[pair_unit(stack.name, stack.name)] = products(stack.name, stack.name)
        if stack.has_output:
            units[asked_unit(stack)] = sum(lengths.get(asked_unit(stack), ()))
        for memory, unit in (pair for names in stack.memories for pair in _read_units(shape, stack, names).items()):
            units[pair_unit(stack.name, memory)] = products(stack.name, memory)
            units[unit] = sum(lengths.get(memory, ())) if stack.name in lengths else units.get(unit, 0)
    return units


def equal_lengths(shape: ModelShape, length: int) -> dict[str, int]:
    """`length_units` of one sentence with `length` tokens in every stack of the first route, S = T, all asked for."""
    requested = {asked_unit(stack): [length] for stack in shape.predictors if stack.name in shape.routes[0]}
    return length_units(shape, requested | {name: [length] for name in shape.routes[0]})
