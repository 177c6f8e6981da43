"""One Transformer for all tasks: stacks of which some predict, and attend to what others have read.

A language model is the shape whose only stack predicts; several sources or languages are more stacks.

Every parameter lives once, under its owner's slot name, in a tree of holder modules that compute nothing. The forward
pass walks all slots and reads each one's tensor from its owner's holder, through the slot's views if it has any. A slot that
owns nothing has nothing of its own but what its views bring, so no copy, cast, load or rebuild of the module can break a tie.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tietrain.data.tokenizer import PAD_ID
from tietrain.model.cache import Cache, KeysValues
from tietrain.model.layers import (
    StillWeights,
    Weights,
    attend,
    causal_mask,
    dropout,
    feed_forward,
    linear,
    normalize,
    project,
    rotate,
    rotation,
    sinusoids,
    split_heads,
    token_seeds,
)
from tietrain.plan.plan import TyingPlan
from tietrain.plan.slots import Slot, Stack, check_length
from tietrain.plan.tables import Tables, table_role
from tietrain.plan.views import Read, View, split_reads

# A parameter by its holder and attribute, and a view with what it takes.
_Held = tuple[nn.Module, str]
_HeldRead = tuple[View, list[_Held]]


class Memory(NamedTuple):
    """What a stack that predicts attends to: cross-attention -> hidden [B, S, D], and which of it is text [B, 1, 1, S]."""

    stack: str
    hidden: dict[str, Tensor]
    mask: dict[str, Tensor]

    def select(self, rows: Tensor) -> Memory:
        """These rows of the batch, in this order."""
        hidden, mask = ({k: v.index_select(0, rows) for k, v in kept.items()} for kept in self[1:])
        return Memory(self.stack, hidden, mask)

    @staticmethod
    def joined(memories: Sequence[Memory]) -> Memory:
        """The rows of all of them, one below the other, padded to the longest."""
        hidden: dict[str, Tensor] = {}
        mask: dict[str, Tensor] = {}
        for part in memories[0].hidden:
            longest = max(memory.hidden[part].shape[1] for memory in memories)
            missing = [longest - memory.hidden[part].shape[1] for memory in memories]
            pairs = list(zip(memories, missing, strict=True))
            hidden[part] = torch.cat([F.pad(memory.hidden[part], (0, 0, 0, n)) for memory, n in pairs])
            mask[part] = torch.cat([F.pad(memory.mask[part], (0, n)) for memory, n in pairs])
        return Memory(memories[0].stack, hidden, mask)


class Scope(NamedTuple):
    """What all layers of one pass share."""

    causal: bool
    mask: Tensor | None
    turn: Tensor | None
    memory: Memory | None
    cache: Cache | None
    seeds: Tensor | None


class Holder(nn.Module):
    """Holds parameters. The forward pass reads them without a call; a call computes something with them."""

    def forward(self, compute: Callable[..., Tensor], *args: Any) -> Tensor:
        """compute of the arguments."""
        return compute(*args)


class Transformer(nn.Module):
    """The stacks of the plan's shape.

    Args:
        plan: which slot reads whose parameters.
        dropout: rate on embeddings and on every sublayer's output, wherever a pass is given row seeds and nowhere else.
            Attention weights are not dropped: that would disable the fused kernel on a CPU.
        tables: initial values of the token tables, and the factors they are read with; None is d_model ** -0.5, unscaled.

    Parameters are uninitialized memory until `initialize` or `load_state_dict`.
    """

    def __init__(self, plan: TyingPlan, *, dropout: float = 0.0, tables: Tables | None = None):
        super().__init__()
        self.plan = plan
        self.shape = plan.slots.shape
        self.dropout = dropout
        self.tables = tables or Tables()
        for store in plan.stores:
            holder, leaf = self._holder(store.name)
            holder.register_parameter(leaf, nn.Parameter(torch.empty(store.shape)))
        # block -> leaf -> (holder, attribute): the only place where a slot meets its owner.
        self._blocks: dict[str, dict[str, tuple[nn.Module, str]]] = {}
        for slot in plan.slots:
            self._blocks.setdefault(slot.block, {})[slot.leaf] = self._holder(plan.owner[slot.name])
        # block -> leaf -> views that make the tensor; block of a table -> those that its use computes the cheap way.
        self._views: dict[str, dict[str, list[_HeldRead]]] = {}
        self._aside: dict[str, list[_HeldRead]] = {}
        for name, reads in plan.reads.items():
            slot = plan.slots.place(name)
            made, aside = split_reads(reads, slot)
            self._views.setdefault(slot.block, {})[slot.leaf] = self._held(made)
            self._aside[slot.block] = self._held(aside)
        self._kept: dict[str, StillWeights] | None = None
        # Steps of decoding, and what they were compiled to; None for a model that computes them as they are written.
        self.graphs: dict[Callable[..., Any], Callable[..., Any]] | None = None
        self._apart: Mapping[str, Tensor] = {}
        # Where dropout is, by name: layers that share parameters drop other numbers, arms with other ties the same.
        self._places = {
            name: int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], signed=True) for name in self._blocks
        }

    def _holder(self, slot_name: str) -> tuple[nn.Module, str]:
        """The module that holds a slot's tensor, made if it is missing, and the attribute."""
        *path, leaf = slot_name.split(".")
        module: nn.Module = self
        for name in path:
            if name not in module._modules:
                module.add_module(name, Holder())
            module = module.get_submodule(name)
        return module, leaf

    @torch.no_grad()
    def initialize(self, seed: int) -> None:
        """Draw every stored tensor's values from (seed, its name), in float32 on the CPU.

        The distribution depends on kind, shape and the model's depth, and a table's scale on its role, so a tied and an
        untied model start from the same numbers wherever both have them.
        """
        for store in self.plan.stores:
            parameter = self.get_parameter(store.name)
            extra = self.plan.extras.get(store.name)
            std = extra.std if extra else self._init_std(store)
            if std is None:
                parameter.fill_(0.0 if store.leaf.endswith("bias") else 1.0)
                continue
            digest = hashlib.sha256(f"{seed} {store.name}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:8]))
            mean = extra.mean if extra else 0.0
            parameter.copy_(torch.empty(store.shape).normal_(mean, std, generator=generator))

    def _init_std(self, slot: Slot) -> float | None:
        """Standard deviation of a slot's initial values; None where they are constant (norms 1, biases 0)."""
        if slot.kind == "table":
            return self.tables.std_of(table_role(self.plan, slot.name), self.shape.d_model)
        if slot.kind == "positions":
            return self.tables.std_of("positions", self.shape.d_model)
        if len(slot.shape) < 2:
            return None
        std = float(slot.shape[1] ** -0.5)
        if slot.leaf in ("o.weight", "out.weight"):
            # What a stack adds to its residual stream keeps its variance at any depth. Source: Radford et al. 2019, 2.3
            std /= math.sqrt(self.shape.n_sublayers)
        return std

    def tensor(self, slot_name: str) -> Tensor:
        """What a slot reads: its owner's parameter, through its views by their definition."""
        return _read(self.parameter(slot_name), self._held(self.plan.reads.get(slot_name, ())))

    def parameter(self, slot_name: str) -> nn.Parameter:
        """The parameter a slot reads: its owner's."""
        slot = self.plan.slots.named(slot_name)
        if slot is None:
            raise KeyError(slot_name)
        holder, attribute = self._blocks[slot.block][slot.leaf]
        return holder.get_parameter(attribute)

    def _weights(self, block: str) -> Weights:
        if self._kept is None:
            return self._read_weights(block)
        if block not in self._kept:
            self._kept[block] = StillWeights(self._read_weights(block), packs=self.graphs is None)
        return self._kept[block]

    def _read_weights(self, block: str) -> Weights:
        weights = {leaf: getattr(holder, attribute) for leaf, (holder, attribute) in self._blocks[block].items()}
        if self._apart:
            weights = {leaf: self._apart.get(f"{block}.{leaf}", weight) for leaf, weight in weights.items()}
        for leaf, reads in self._views.get(block, {}).items():
            weights[leaf] = _read(weights[leaf], reads)
        return weights

    def _held(self, reads: Sequence[Read]) -> list[_HeldRead]:
        return [(read.view, [self._holder(extra) for extra in read.extras]) for read in reads]

    def compile_steps(self) -> None:
        """From now on a step of a search or of sampling is one graph of the compiler, see `graph.step_of`."""
        self.graphs = {}

    @contextmanager
    def keeping(self, kept: dict[str, StillWeights]) -> Iterator[None]:
        """Inside, what a block reads is made once and kept in `kept`, for models whose weights do not change meanwhile."""
        self._kept = kept
        try:
            yield
        finally:
            self._kept = None

    @contextmanager
    def apart(self, tensors: Mapping[str, Tensor]) -> Iterator[None]:
        """Inside, each of these slots reads its own tensor in the place of its owner's parameter, through the same views."""
        self._apart = tensors
        try:
            yield
        finally:
            self._apart = {}

    def output_weights(self, stack: str | None = None) -> tuple[Tensor, Tensor | None]:
        """The output projection of a stack, None for the only one: matrix [V, D], and bias [V] if the shape has one.

        It multiplies what `output_side` gives; of a factorised table it is the narrow one [V, E].
        """
        weights = self._weights(f"{self._predictor(stack).name}.output")
        return weights["weight"], weights.get("bias")

    def output_side(self, hidden: Tensor, stack: str | None = None) -> Tensor:
        """Hidden states as the output projection of a stack multiplies them: [..., D], or [..., E] if that is narrow."""
        for view, extras in reversed(self._aside.get(f"{self._predictor(stack).name}.output", ())):
            assert view.side is not None
            hidden = view.side(hidden, *_values(extras))
        return hidden

    def _predictor(self, stack: str | None) -> Stack:
        if stack is not None:
            return self.shape.stack(stack)
        (only,) = self.shape.predictors
        return only

    def forward(
        self,
        sources: Mapping[str, Tensor] | None,
        tgt_in_ids: Tensor,
        row_seeds: Tensor | None = None,
        stack: str | None = None,
    ) -> Tensor:
        """Hidden states of every target position, [B, T, D].

        Args:
            sources: see `encode`; None for a model without sources.
            tgt_in_ids: [B, T], right-padded.
            row_seeds: int32 [B], what each row's dropout is drawn from; None for no dropout.
            stack: which one predicts; None for the only one that can.
        """
        memory = self.encode(sources, row_seeds, stack) if sources else None
        return self.decode(tgt_in_ids, memory, row_seeds=row_seeds, stack=stack)

    def encode(
        self, sources: Mapping[str, Tensor], row_seeds: Tensor | None = None, stack: str | None = None
    ) -> Memory:
        """What the sources' stacks make of them, joined for the stack that predicts.

        Args:
            sources: stack -> pieces [B, S], right-padded with PAD_ID, or feature vectors [B, S, F], right-padded with
                NaN; no row is empty.
            row_seeds, stack: as in `forward`.
        """
        read: dict[str, Tensor] = {}
        real: dict[str, Tensor] = {}
        for name, values in sources.items():
            is_text = (values != PAD_ID) if values.ndim == 2 else ~values[..., 0].isnan()  # [B, S]
            real[name] = is_text[:, None, None]  # [B, 1, 1, S]
            read[name] = self._run(self.shape.stack(name), values, row_seeds, mask=real[name])
        predictor = self._predictor(stack)
        memory = Memory(predictor.name, {}, {})
        for part, names in predictor.crossings.items():
            there = [name for name in names if name in read]
            memory.hidden[part] = _joined([read[name] for name in there], dim=1)  # [B, sum of S, D]
            memory.mask[part] = _joined([real[name] for name in there], dim=3)  # [B, 1, 1, sum of S]
        return memory

    def decode(
        self,
        tgt_in_ids: Tensor,
        memory: Memory | None = None,
        cache: Cache | None = None,
        row_seeds: Tensor | None = None,
        stack: str | None = None,
    ) -> Tensor:
        """Hidden states of the stack that predicts, [B, T, D], ready for `logits`.

        Args:
            tgt_in_ids: [B, T]; with a cache, the tokens that follow those it holds; side by side if it has branched.
            memory: from `encode`, which knows the stack; None for a model without sources.
            cache: extended by these tokens; memory must be the same at every step.
            row_seeds, stack: as in `forward`.
        """
        predictor = self._predictor(memory.stack if memory else stack)
        assert (memory is None) == (not predictor.memories), "memory is for a stack that attends to one"
        mask = None if predictor.causal else (tgt_in_ids != PAD_ID)[:, None, None]  # [B, 1, 1, T]
        hidden = self._run(predictor, tgt_in_ids, row_seeds, mask=mask, memory=memory, cache=cache)
        if cache is not None:
            cache.advance(tgt_in_ids.shape[1])
        return hidden if self.tables.output_scale == 1.0 else hidden * self.tables.output_scale

    def logits(self, hidden: Tensor, stack: str | None = None) -> Tensor:
        """Scores of every piece: [..., D] -> [..., V]."""
        predictor = self._predictor(stack)
        columns = project(self.output_side(hidden, stack), self._weights(f"{predictor.name}.output"))
        return columns[..., : predictor.vocab_size]

    def _run(
        self,
        stack: Stack,
        ids: Tensor,
        row_seeds: Tensor | None,
        *,
        mask: Tensor | None = None,
        memory: Memory | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        if cache is not None:
            cache.reserve(ids.shape[1])
        start = 0 if cache is None else cache.position
        visible = None if cache is None else cache.visible  # [B, T, length + T] of tokens side by side
        end = start + (ids.shape[1] if visible is None else 1)
        positions = torch.arange(start, end, device=ids.device)
        if visible is not None:
            mask = visible[:, None]  # [B, 1, T, length + T]
        elif stack.causal and start and ids.shape[1] > 1:
            mask = causal_mask(ids.shape[1], end, ids.device)  # [T, S]
        # Without a past the kernel needs no mask; one new position attends to all of it.
        causal = stack.causal and not start
        turn = rotation(positions, self.shape.d_head) if self.shape.positions == "rotary" else None
        seeds = token_seeds(row_seeds, positions) if row_seeds is not None and self.dropout else None
        scope = Scope(causal, mask, turn, memory, cache, seeds)
        x = self._drop(self._embed(stack, ids, positions, end), stack.input_block, scope)  # [B, T, D]
        for layer in range(stack.n_layers):
            x = self._layer(x, stack, layer, scope)
        return self._norm(x, f"{stack.name}.final_norm") if self.shape.norm_position == "pre" else x

    def _embed(self, stack: Stack, ids: Tensor, positions: Tensor, end: int) -> Tensor:
        matrix = self._weights(stack.input_block)["weight"]
        if stack.n_features:
            x = linear(ids.nan_to_num().to(matrix.dtype), matrix)  # [B, T, F] -> [B, T, D]
        else:
            x = F.embedding(ids, matrix)  # [B, T] -> [B, T, D]
            x = _read(x, self._aside.get(stack.input_block, ()))
            if self.tables.embed_scale != 1.0:
                x = x * self.tables.embed_scale
        if self.shape.positions == "learned":
            check_length(self.shape, end, "a sequence")
            x = x + self._weights(f"{stack.name}.positions")["weight"][end - len(positions) : end]
        elif self.shape.positions == "sinusoidal":
            x = x + sinusoids(positions, self.shape.d_model).to(x.dtype)
        return x

    def _layer(self, x: Tensor, stack: Stack, layer: int, scope: Scope) -> Tensor:
        """x after a layer: [B, T, D]."""
        if inputs := self._views.get(f"{stack.name}.{layer}.step"):
            x = _read(x, inputs["input"])
        for part in stack.parts:
            x = self._sublayer(x, stack, layer, part, scope)
        return x

    def _sublayer(self, x: Tensor, stack: Stack, layer: int, part: str, scope: Scope) -> Tensor:
        """x plus the part's output, normalized before or after: [B, T, D]."""
        block = f"{stack.name}.{layer}.{part}"
        pre = self.shape.norm_position == "pre"
        inner = self._norm(x, f"{block}_norm") if pre else x
        if part == "ffn":
            out = feed_forward(inner, self._weights(block), self.shape.activation)
        elif part == "self_attn":
            out = self._self_attention(inner, stack, layer, scope)
        else:
            out = self._cross_attention(inner, stack, layer, part, scope)
        x = x + self._drop(out, block, scope)
        return x if pre else self._norm(x, f"{block}_norm")

    def _self_attention(self, x: Tensor, stack: Stack, layer: int, scope: Scope) -> Tensor:
        shape = self.shape
        weights = self._weights(f"{stack.name}.{layer}.self_attn")
        widths = [n * shape.d_head for n in (shape.n_heads, shape.n_kv_heads, shape.n_kv_heads)]
        parts = project(x, weights, "q", "k", "v").split(widths, dim=-1)  # each [B, T, H K]
        q, k, v = (split_heads(part, shape.d_head) for part in parts)  # each [B, T, H, K]
        if scope.turn is not None:
            q, k = rotate(q, scope.turn), rotate(k, scope.turn)
        if scope.cache is not None:
            k, v = scope.cache.extend((stack.name, layer, "self_attn"), k, v)  # [B, S, H_kv, K]
        return project(attend(q, k, v, mask=scope.mask, causal=scope.causal), weights, "o")

    def _cross_attention(self, x: Tensor, stack: Stack, layer: int, part: str, scope: Scope) -> Tensor:
        weights = self._weights(f"{stack.name}.{layer}.{part}")
        d_head = self.shape.d_head
        memory = scope.memory
        assert memory is not None

        def keys_values() -> KeysValues:
            k, v = project(memory.hidden[part], weights, "k", "v").chunk(2, dim=-1)  # each [B, S, H K]
            return split_heads(k, d_head), split_heads(v, d_head)

        place = (stack.name, layer, part)
        k, v = keys_values() if scope.cache is None else scope.cache.memory(place, keys_values)
        q = split_heads(project(x, weights, "q"), d_head)  # [B, T, H, K]
        return project(attend(q, k, v, mask=memory.mask[part]), weights, "o")

    def _norm(self, x: Tensor, block: str) -> Tensor:
        return normalize(x, self._weights(block), self.shape.norm)

    def _drop(self, x: Tensor, block: str, scope: Scope) -> Tensor:
        return x if scope.seeds is None else dropout(x, self.dropout, scope.seeds, self._places[block])


def _read(x: Tensor, reads: Sequence[_HeldRead]) -> Tensor:
    """x through views, in their order."""
    for view, extras in reads:
        x = view.tensor(x, *_values(extras))
    return x


def _values(extras: Sequence[_Held]) -> list[Tensor]:
    return [getattr(holder, attribute) for holder, attribute in extras]


def _joined(tensors: list[Tensor], dim: int) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim=dim)


def device_of(model: Transformer) -> torch.device:
    """Where the model's parameters are."""
    return next(model.parameters()).device
