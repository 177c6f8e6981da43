"""Slots: every place of a model that reads one parameter tensor, listed in forward order.

A slot is named `stack.layer.part.leaf` or `stack.part.leaf`, for example `decoder.3.self_attn.q.weight` or
`encoder.embed.weight`. A stack is a name, not one of two words: a second encoder is another stack in the shape.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

# A second cross-attention is there where a stack has two memories.
CROSS = ("cross_attn", "cross_attn2")
PARTS = ("self_attn", *CROSS, "ffn")


@dataclass(frozen=True)
class Stack:
    """A tower of layers over one token stream.

    `vocabulary` names the content of the vocabulary the stack reads and writes: two tables can be one only where
    the names are equal, whatever their sizes.

    memories: what the stack attends to, a cross-attention each: the outputs, one after the other, of those of the named
        stacks that have read something. At most two. Source: Libovicky et al. 2018, flat and serial combination.
    n_features: width of the vectors a stack reads through a linear adapter in the place of pieces; 0 reads pieces.
    """

    name: str
    n_layers: int
    vocab_size: int
    vocabulary: str
    causal: bool = False
    memories: tuple[tuple[str, ...], ...] = ()
    has_output: bool = False
    n_features: int = 0

    @property
    def input_block(self) -> str:
        """The block that reads its tokens: `encoder.embed`, or `encoder.adapter` for vectors."""
        return f"{self.name}.{'adapter' if self.n_features else 'embed'}"

    @property
    def crossings(self) -> dict[str, tuple[str, ...]]:
        """Cross-attention -> the stacks it attends to."""
        return dict(zip(CROSS, self.memories, strict=False))

    @property
    def parts(self) -> tuple[str, ...]:
        """The sublayers of each layer, in forward order."""
        return ("self_attn", *self.crossings, "ffn")


@dataclass(frozen=True)
class ModelShape:
    """Everything that decides which parameters a Transformer has, and nothing else.

    routes: the stacks one sentence is read by, the one that predicts it last; every stack is on one. Without any,
        all stacks are one route.
    """

    stacks: tuple[Stack, ...]
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_ff: int
    max_len: int
    norm: str = "layer"
    norm_position: str = "pre"
    positions: str = "rotary"
    activation: str = "gelu"
    attn_bias: bool = False
    ffn_bias: bool = False
    norm_bias: bool = False
    output_bias: bool = False
    routes: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if not self.routes:
            object.__setattr__(self, "routes", (tuple(stack.name for stack in self.stacks),))

    @property
    def predictors(self) -> tuple[Stack, ...]:
        """The stacks that predict."""
        return tuple(stack for stack in self.stacks if stack.has_output)

    def stack(self, name: str) -> Stack:
        """The stack of that name; KeyError where there is none."""
        for stack in self.stacks:
            if stack.name == name:
                return stack
        raise KeyError(name)


@dataclass(frozen=True)
class Slot:
    """One use of one parameter tensor.

    `kind` is the role of the tensor: only equal kinds, shapes and vocabularies can be tied. The two readings of a
    `[V, D]` matrix, embedding and output projection, are one kind, `table`; query and key of an attention are one,
    `self_attn.qk.weight`; no kind joins self-attention and cross-attention.
    """

    stack: str
    layer: int | None
    part: str
    leaf: str
    shape: tuple[int, ...]
    kind: str
    vocabulary: str = ""

    @cached_property
    def block(self) -> str:
        """The name without its leaf: `decoder.3.self_attn`."""
        layer = "" if self.layer is None else f".{self.layer}"
        return f"{self.stack}{layer}.{self.part}"

    @cached_property
    def name(self) -> str:
        return f"{self.block}.{self.leaf}"

    @property
    def spec(self) -> tuple[str, tuple[int, ...], str]:
        """What a slot and its owner must have in common."""
        return self.kind, self.shape, self.vocabulary

    @property
    def size(self) -> int:
        """Numbers in the tensor."""
        return math.prod(self.shape)


class Slots:
    """The slots of a model in forward order, found by name or by prefix."""

    def __init__(self, shape: ModelShape):
        self.shape = shape
        self._slots = tuple(slot for stack in shape.stacks for slot in _stack_slots(shape, stack))
        self._under: dict[str, list[Slot]] = {}
        for slot in self._slots:
            for prefix in accumulate(slot.name.split("."), "{}.{}".format):
                self._under.setdefault(prefix, []).append(slot)

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots)

    def __len__(self) -> int:
        return len(self._slots)

    def named(self, name: str) -> Slot | None:
        """The slot of exactly that name, or None."""
        found = self._under.get(name, [])
        return found[0] if len(found) == 1 and found[0].name == name else None

    def under(self, prefix: str) -> list[Slot]:
        """The slots named by a prefix that ends at a dot or at the end of the name, in forward order."""
        return self._under.get(prefix, [])


def _stack_slots(shape: ModelShape, stack: Stack) -> Iterator[Slot]:
    d, table = shape.d_model, (stack.vocab_size, shape.d_model)
    if stack.n_features:
        yield Slot(stack.name, None, "adapter", "weight", (d, stack.n_features), "adapter.weight")
    else:
        yield Slot(stack.name, None, "embed", "weight", table, "table", stack.vocabulary)
    if shape.positions == "learned":
        yield Slot(stack.name, None, "positions", "weight", (shape.max_len, d), "positions")
    for layer in range(stack.n_layers):
        for part in stack.parts:
            leaves = list(_norm_leaves(shape, f"{part}_norm"))
            inner = list(_ffn_leaves(shape) if part == "ffn" else _attention_leaves(shape, part))
            ordered = leaves + inner if shape.norm_position == "pre" else inner + leaves
            for owner_part, leaf, extent in ordered:
                yield Slot(stack.name, layer, owner_part, leaf, extent, _kind(owner_part, leaf))
    if shape.norm_position == "pre":
        for part, leaf, extent in _norm_leaves(shape, "final_norm"):
            yield Slot(stack.name, None, part, leaf, extent, f"{part}.{leaf}")
    if stack.has_output:
        yield Slot(stack.name, None, "output", "weight", table, "table", stack.vocabulary)
        if shape.output_bias:
            yield Slot(stack.name, None, "output", "bias", table[:1], "output.bias", stack.vocabulary)


def _kind(part: str, leaf: str) -> str:
    projection, *rest = leaf.split(".")
    part = part.replace("cross_attn2", "cross_attn")  # both cross-attentions are of one kind
    return ".".join([part, "qk" if projection in ("q", "k") else projection, *rest])


def _norm_leaves(shape: ModelShape, part: str) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    yield part, "weight", (shape.d_model,)
    if shape.norm == "layer" and shape.norm_bias:
        yield part, "bias", (shape.d_model,)


def _attention_leaves(shape: ModelShape, part: str) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    d, d_q, d_kv = shape.d_model, shape.n_heads * shape.d_head, shape.n_kv_heads * shape.d_head
    for leaf, d_out, d_in in (("q", d_q, d), ("k", d_kv, d), ("v", d_kv, d), ("o", d, d_q)):
        yield part, f"{leaf}.weight", (d_out, d_in)
        if shape.attn_bias:
            yield part, f"{leaf}.bias", (d_out,)


def _ffn_leaves(shape: ModelShape) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    d, f = shape.d_model, shape.d_ff
    gate = (("gate", f, d),) if shape.activation == "swiglu" else ()
    for leaf, d_out, d_in in (*gate, ("in", f, d), ("out", d, f)):
        yield "ffn", f"{leaf}.weight", (d_out, d_in)
        if shape.ffn_bias:
            yield "ffn", f"{leaf}.bias", (d_out,)
