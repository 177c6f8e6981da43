"""FLOP ledgers: matmul FLOPs of every use, as coefficients of lengths. No formula depends on tying, only on views.

Two FLOPs per multiply-add. Lookups, norms, softmax and element-wise work cost 0. A tied matrix costs as much at every use
as an untied one. Training costs three times forward. Attention counts full squares, or half of them under a causal mask:
the convention's name tells which. Source: Chowdhery et al. 2022 (PaLM), appendix B, extended to uses and to
encoder-decoders. If sentences take different routes, each costs what its own stacks cost.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from tietrain.plan.plan import TyingPlan
from tietrain.plan.slots import ModelShape, Stack
from tietrain.plan.views import split_reads

# Runs are counted by the first; an attention kernel may skip the half that the second leaves out.
CONVENTION = "matmul-full-square-3x"
CAUSAL = "matmul-causal-3x"
CONVENTIONS = (CONVENTION, CAUSAL)

# Projections are those of attention.
Kind = Literal["projections", "scores", "ffn", "logits"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# A unit is what a term is proportional to: tokens of a stack (`decoder`), products of two lengths (`decoder*encoder`),
# tokens of one stack that another reads if several could (`encoder->decoder_de`), or tokens that a masked model predicts
# (`encoder?`).
Units = Mapping[str, int]


@dataclass(frozen=True)
class FlopTerm:
    """FLOPs of one matmul of one use: `per_unit` times the unit's sum over sentences."""

    slot: str
    kind: Kind
    unit: str
    per_unit: int

    @property
    def stacks(self) -> set[str]:
        """The stack of the slot and those of the unit."""
        return {self.slot.split(".")[0], *self.unit.removesuffix("?").replace("->", "*").split("*")}


@dataclass(frozen=True)
class FlopLedger:
    """Every matmul of a forward pass.

    route: the first route of the model, whose costs describe it.
    once: what views cost in every pass that runs the stack of the unit, whatever its lengths.
    """

    terms: tuple[FlopTerm, ...]
    route: tuple[str, ...]
    once: tuple[FlopTerm, ...] = ()

    @property
    def coefficients(self) -> dict[str, int]:
        """Unit -> forward FLOPs per unit."""
        sums: dict[str, int] = {}
        for term in self.terms:
            sums[term.unit] = sums.get(term.unit, 0) + term.per_unit
        return sums

    def forward(self, units: Units) -> int:
        """Forward FLOPs of one pass for the given sums of lengths; see `length_units`."""
        return sum(per_unit * units[unit] for unit, per_unit in self.coefficients.items()) + self.of_pass(units)

    def of_pass(self, units: Units) -> int:
        """The forward FLOPs that do not depend on lengths."""
        return sum(term.per_unit for term in self.once if units[term.unit])

    def training(self, units: Units) -> int:
        """Forward and backward FLOPs: three times forward; twice for adapters, since no gradient flows into data."""
        adapters = sum(t.per_unit * units[t.unit] for t in self.terms if t.slot.endswith(".adapter"))
        return 3 * self.forward(units) - adapters

    def by_kind(self, units: Units) -> dict[str, int]:
        """Kind -> forward FLOPs."""
        sums: dict[str, int] = dict.fromkeys(KINDS, 0)
        for term in self.terms:
            sums[term.kind] += term.per_unit * units[term.unit]
        return sums

    @property
    def n_effective(self) -> int:
        """Matmul weights of the first route, counted at every use: N of 6 N D for models that share layers."""
        weights = [term for term in self.terms if term.kind != "scores"]
        return sum(term.per_unit for term in weights if term.stacks <= {*self.route}) // 2


def shape_of(model: ModelShape | TyingPlan) -> ModelShape:
    """The shape of a model, which a shape is itself."""
    return model if isinstance(model, ModelShape) else model.slots.shape


def count_flops(model: ModelShape | TyingPlan, convention: str = CONVENTION) -> FlopLedger:
    """The ledger of a model, of its shape if no slot has a view: tying changes no FLOPs.

    Args:
        convention: one of CONVENTIONS.
    """
    shape = shape_of(model)
    terms: list[FlopTerm] = []
    for stack in shape.stacks:
        if stack.n_features:
            per_vector = 2 * stack.n_features * shape.d_model
            terms.append(FlopTerm(f"{stack.name}.adapter", "projections", stack.name, per_vector))
        for layer in range(stack.n_layers):
            block = f"{stack.name}.{layer}"
            half = stack.causal and convention == CAUSAL
            terms += _attention(shape, f"{block}.self_attn", stack.name, {stack.name: stack.name}, half)
            for part, names in stack.crossings.items():
                terms += _attention(shape, f"{block}.{part}", stack.name, _read_units(shape, stack, names), False)
            ffn = 2 * len(shape.ffn_matrices) * shape.d_model * shape.d_ff
            terms.append(FlopTerm(f"{block}.ffn", "ffn", stack.name, ffn))
        if stack.has_output:
            per_token = 2 * stack.vocab_size * shape.d_model
            terms.append(FlopTerm(f"{stack.name}.output", "logits", predicted_unit(stack), per_token))
    ledger = FlopLedger(tuple(terms), shape.routes[0])
    return ledger if isinstance(model, ModelShape) else _with_views(ledger, model)


def _with_views(ledger: FlopLedger, plan: TyingPlan) -> FlopLedger:
    """The ledger with what views cost, once per pass or with the tokens of a table's use, which may then be narrower."""
    terms = list(ledger.terms)
    once = []
    for name, reads in plan.reads.items():
        slot = plan.slots.place(name)
        made, aside = split_reads(reads, slot)
        kind: Kind = "ffn" if slot.part == "ffn" else "logits" if slot.part == "output" else "projections"
        if per_pass := sum(read.view.once for read in made):
            once.append(FlopTerm(name.removesuffix(".weight"), kind, slot.stack, per_pass))
        per_token = sum(read.view.per_token for read in aside)
        if aside and slot.part == "output":
            (i,) = (i for i, term in enumerate(terms) if term.slot == slot.block)
            terms[i] = replace(terms[i], per_unit=per_token + 2 * math.prod(aside[0].stored))
        elif per_token:
            terms.append(FlopTerm(slot.block, kind, slot.stack, per_token))
    return FlopLedger(tuple(terms), ledger.route, tuple(once))


def _attention(shape: ModelShape, block: str, stack: str, memories: Mapping[str, str], half: bool) -> list[FlopTerm]:
    """The terms of one attention; memories: stack attended to -> unit of its tokens."""
    per_query = 2 * shape.d_model * shape.d_q
    per_key = 2 * shape.d_model * shape.d_kv
    per_pair = (2 if half else 4) * shape.d_q
    terms = [FlopTerm(f"{block}.{leaf}", "projections", stack, per_query) for leaf in ("q", "o")]
    for memory, unit in memories.items():
        terms += [FlopTerm(f"{block}.{leaf}", "projections", unit, per_key) for leaf in ("k", "v")]
        terms.append(FlopTerm(f"{block}.scores", "scores", pair_unit(stack, memory), per_pair))
    return terms


def _read_units(shape: ModelShape, stack: Stack, memories: tuple[str, ...]) -> dict[str, str]:
    """Stack attended to -> unit of the tokens that are read; all of its tokens if only one stack predicts."""
    one_reader = len(shape.predictors) == 1
    return {memory: memory if one_reader else f"{memory}->{stack.name}" for memory in memories}


def predicted_unit(stack: Stack) -> str:
    """The unit of the tokens that a stack predicts: all of them, except in a masked model."""
    return stack.name if stack.causal else f"{stack.name}?"


def pair_unit(stack: str, memory: str) -> str:
    """The unit of products of two lengths.

    >>> pair_unit("decoder", "encoder")
    'decoder*encoder'
    """
    return f"{stack}*{memory}"


def length_units(shape: ModelShape, lengths: Mapping[str, list[int]]) -> dict[str, int]:
    """Sums of lengths and of their products over sentences, for every unit of the model.

    Args:
        lengths: stack -> tokens of each sentence, including the end mark, without stacks that the sentences do not run
            through; sentence i is the same in every stack. For a masked model also `predicted_unit` -> predicted tokens.

    >>> lm = ModelShape((Stack("decoder", 1, 9, "v", causal=True, has_output=True),), 8, 2, 2, 4, 16, 64)
    >>> length_units(lm, {"decoder": [3, 4]})
    {'decoder': 7, 'decoder*decoder': 25}
    """

    def products(a: str, b: str) -> int:
        if a not in lengths or b not in lengths:
            return 0
        return sum(n * m for n, m in zip(lengths[a], lengths[b], strict=True))

    units: dict[str, int] = {}
    for stack in shape.stacks:
        units[stack.name] = sum(lengths.get(stack.name, ()))
        units[pair_unit(stack.name, stack.name)] = products(stack.name, stack.name)
        if stack.has_output:
            units[predicted_unit(stack)] = sum(lengths.get(predicted_unit(stack), ()))
        for names in stack.memories:
            for memory, unit in _read_units(shape, stack, names).items():
                units[pair_unit(stack.name, memory)] = products(stack.name, memory)
                units[unit] = sum(lengths.get(memory, ())) if stack.name in lengths else units.get(unit, 0)
    return units


def equal_lengths(shape: ModelShape, length: int) -> dict[str, int]:
    """`length_units` of one sentence with `length` tokens in every stack of the first route, S = T, all predicted."""
    requested = {predicted_unit(stack): [length] for stack in shape.predictors if stack.name in shape.routes[0]}
    return length_units(shape, requested | {name: [length] for name in shape.routes[0]})


@dataclass(frozen=True)
class DecodingLedger:
    """FLOPs of cached decoding: one target token after another, with keys and values of the past kept.

    Each generated token pays per_token, per_key for every position it attends to including its own, and per_source_key
    for every source token. Encoding the source, and projecting it to keys and values, costs per_source_token and
    per_source_pair (for every pair of source tokens) once per sentence; 0 without a source. Several sources have equal
    lengths, and their costs are summed.
    """

    per_token: int
    per_key: int
    per_source_key: int
    per_source_token: int
    per_source_pair: int

    def token(self, n_past: int, n_source: int = 0) -> int:
        """FLOPs of the token that follows n_past others, including its logits, after the source was read."""
        return self.per_token + self.per_key * (n_past + 1) + self.per_source_key * n_source

    def source(self, n_source: int) -> int:
        """FLOPs of reading the source."""
        return self.per_source_token * n_source + self.per_source_pair * n_source**2

    def sentence(self, n_tokens: int, n_source: int = 0) -> int:
        """FLOPs of reading the source and generating n_tokens."""
        n_keys = n_tokens * (n_tokens + 1) // 2
        attention = self.per_key * n_keys + self.per_source_key * n_source * n_tokens
        return self.source(n_source) + self.per_token * n_tokens + attention


def count_decoding(model: ModelShape | TyingPlan) -> DecodingLedger:
    """The decoding ledger of a model's first route, without what views cost once per pass; tying changes nothing in it."""
    shape = shape_of(model)
    coefficients = count_flops(model).coefficients
    *names, last = shape.routes[0]
    target = shape.stack(last)
    sources = names if target.memories else []
    read_once = {*sources, *(f"{source}->{last}" for source in sources)}
    logits = 0 if target.causal else coefficients[predicted_unit(target)]
    return DecodingLedger(
        per_token=coefficients[last] + logits,
        per_key=coefficients[pair_unit(last, last)],
        per_source_key=sum(coefficients[pair_unit(last, source)] for source in sources),
        per_source_token=sum(n for unit, n in coefficients.items() if unit in read_once),
        per_source_pair=sum(coefficients[pair_unit(source, source)] for source in sources),
    )
