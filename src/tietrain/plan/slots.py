"""Slots: every place in a model that reads one parameter tensor, listed in forward order.

A slot is named `stack.layer.part.leaf` or `stack.part.leaf`, for example `decoder.3.self_attn.q.weight` or
`encoder.embed.weight`. Stacks have free names: a second encoder is one more stack in the shape.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import NamedTuple, Protocol

from tietrain.errors import SettingsError

# A stack with two memories has a second cross-attention.
CROSS = ("cross_attn", "cross_attn2")
PARTS = ("self_attn", *CROSS, "ffn")


@dataclass(frozen=True)
class Stack:
    """A tower of layers over one token stream.

    vocabulary: name of the vocabulary the stack reads and writes. Two tables can be shared only if these names are equal;
        equal sizes are not enough.
    memories: what the stack attends to, one entry per cross-attention, at most two. An entry names stacks; their outputs
        are concatenated, without those that read nothing. Source: Libovicky et al. 2018, flat and serial combination.
    n_features: width of the vectors that the stack reads through a linear adapter; 0 if it reads pieces.
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
        """The block that reads the stack's tokens: `encoder.embed`, or `encoder.adapter` for vectors."""
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
    """Everything that determines which parameters a Transformer has, and nothing else.

    routes: the stacks that one sentence runs through; the last one predicts. Every stack is on a route. Without routes,
        all stacks form one.
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

    @property
    def n_sublayers(self) -> int:
        """Sublayers of the deepest stack. One number for all, so that layers that two stacks share are nobody's own."""
        return max(stack.n_layers * len(stack.parts) for stack in self.stacks)

    def stack(self, name: str) -> Stack:
        """The stack with this name; KeyError if there is none."""
        for stack in self.stacks:
            if stack.name == name:
                return stack
        raise KeyError(name)

    @property
    def d_q(self) -> int:
        """Width of the queries of all heads together."""
        return self.n_heads * self.d_head

    @property
    def d_kv(self) -> int:
        """Width of the keys of all key heads together; values are as wide."""
        return self.n_kv_heads * self.d_head

    @property
    def ffn_matrices(self) -> tuple[str, ...]:
        """The matrices of a feed-forward layer, in forward order."""
        return ("gate", "in", "out") if self.activation == "swiglu" else ("in", "out")


class HasPositions(Protocol):
    """A model's shape or its settings."""

    @property
    def positions(self) -> str: ...
    @property
    def max_len(self) -> int: ...


def clip_length(model: HasPositions, n_tokens: int) -> int:
    """n_tokens, or fewer if a learned position table has fewer rows."""
    return min(n_tokens, model.max_len) if model.positions == "learned" else n_tokens


def check_length(model: HasPositions, n_tokens: int, what: str) -> None:
    """SettingsError if `what`, a sequence of n_tokens, is longer than a learned position table."""
    if clip_length(model, n_tokens) < n_tokens:
        problem = f"{what} has {n_tokens} tokens, and the learned position table has fewer rows"
        raise SettingsError(f"model.max_len={model.max_len}", problem, f"set model.max_len={n_tokens} or more")


class Place(NamedTuple):
    """The parts of a slot's name: `decoder`, 3, `self_attn`, `q.weight`; no layer for tables and final norms."""

    stack: str
    layer: int | None
    part: str
    leaf: str

    @property
    def in_layer(self) -> str:
        """The name below its layer: `self_attn.q.weight`."""
        return f"{self.part}.{self.leaf}"


def place_of(slot: str) -> Place:
    """The parts of a slot's name; ValueError if it is not the name of a slot.

    >>> place_of("decoder.3.self_attn.q.weight")
    Place(stack='decoder', layer=3, part='self_attn', leaf='q.weight')
    """
    stack, rest = slot.split(".", 1)
    first, after = rest.split(".", 1)
    if not first.isdigit():
        return Place(stack, None, first, after)
    part, leaf = after.split(".", 1)
    return Place(stack, int(first), part, leaf)


@dataclass(frozen=True)
class Slot:
    """One use of one parameter tensor.

    Only slots of equal kind, shape and vocabulary can be tied. Embedding and output projection, both `[V, D]`, are one
    kind, `table`. Query and key of an attention are one kind, `self_attn.qk.weight`. Self-attention and cross-attention
    are of different kinds.
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
        """What a slot and its owner have in common."""
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
        """The slot with exactly this name, or None."""
        return next((slot for slot in self.under(name) if slot.name == name), None)

    def place(self, name: str) -> Slot:
        """The slot with this name, or the input of a layer, which is not a parameter; KeyError if there is none."""
        found = self.named(name) or self._inputs.get(name)
        if found is None:
            raise KeyError(name)
        return found

    @cached_property
    def _inputs(self) -> dict[str, Slot]:
        inputs = [
            layer_input(self.shape, stack, layer) for stack in self.shape.stacks for layer in range(stack.n_layers)
        ]
        return {slot.name: slot for slot in inputs}

    def under(self, prefix: str) -> list[Slot]:
        """The slots below a prefix, in forward order; the prefix ends at a dot or at the end of the name."""
        return self._under.get(prefix, [])


@lru_cache(maxsize=16)
def slots_of(shape: ModelShape) -> Slots:
    """The slots of a model; made once for each of the shapes that were asked for last."""
    return Slots(shape)


def layer_input(shape: ModelShape, stack: Stack, layer: int) -> Slot:
    """The input of a layer, a vector of each token: `decoder.3.step.input`. It is not a parameter, but a view can change it."""
    return Slot(stack.name, layer, "step", "input", (shape.d_model,), "step.input")


def _stack_slots(shape: ModelShape, stack: Stack) -> Iterator[Slot]:
    d = shape.d_model
    table = (stack.vocab_size, d)
    if stack.n_features:
        yield Slot(stack.name, None, "adapter", "weight", (d, stack.n_features), "adapter.weight")
    else:
        yield Slot(stack.name, None, "embed", "weight", table, "table", stack.vocabulary)
    if shape.positions == "learned":
        yield Slot(stack.name, None, "positions", "weight", (shape.max_len, d), "positions")
    for layer in range(stack.n_layers):
        for part in stack.parts:
            norm = f"{part}_norm"
            for name in (norm, part) if shape.norm_position == "pre" else (part, norm):
                yield from _part_slots(shape, stack, layer, name)
    if shape.norm_position == "pre":
        yield from _part_slots(shape, stack, None, "final_norm")
    if stack.has_output:
        yield Slot(stack.name, None, "output", "weight", table, "table", stack.vocabulary)
        if shape.output_bias:
            yield Slot(stack.name, None, "output", "bias", table[:1], "output.bias", stack.vocabulary)


def _part_slots(shape: ModelShape, stack: Stack, layer: int | None, part: str) -> Iterator[Slot]:
    """The tensors of a norm, a feed-forward or an attention, each bias after its weight."""
    d = shape.d_model
    extents: dict[str, tuple[int, ...]]
    if part == "ffn":
        has_bias = shape.ffn_bias
        extents = {f"{leaf}.": (d, shape.d_ff) if leaf == "out" else (shape.d_ff, d) for leaf in shape.ffn_matrices}
    elif part.endswith("norm"):
        has_bias = shape.norm == "layer" and shape.norm_bias
        extents = {"": (d,)}
    else:
        has_bias = shape.attn_bias
        extents = {"q.": (shape.d_q, d), "k.": (shape.d_kv, d), "v.": (shape.d_kv, d), "o.": (d, shape.d_q)}
    kind = part.replace("cross_attn2", "cross_attn")  # both cross-attentions are of one kind
    for name, extent in extents.items():
        of_kind = f"{kind}.{'qk.' if name in ('q.', 'k.') else name}"
        yield Slot(stack.name, layer, part, f"{name}weight", extent, f"{of_kind}weight")
        if has_bias:
            yield Slot(stack.name, layer, part, f"{name}bias", extent[:1], f"{of_kind}bias")
