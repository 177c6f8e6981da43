"""Small models of several encoders and decoders, for tests of the model and the ledgers."""

from dataclasses import replace

import torch

from tietrain.model.transformer import Transformer
from tietrain.plan.schemes import make_plan
from tietrain.plan.slots import ModelShape, Stack
from tietrain.plan.tables import Tables

A, B = "encoder_a", "encoder_b"
_A = Stack(A, 2, 23, "joint")
_B, _VECTORS = replace(_A, name=B), Stack(B, 2, 0, "", n_features=5)
_DECODER = Stack("decoder", 2, 23, "joint", causal=True, memories=((A, B),), has_output=True)
_TO_A, _TO_B = replace(_DECODER, name="decoder_a"), replace(_DECODER, name="decoder_b")

# kind -> stacks and routes
KINDS: dict[str, tuple[tuple[Stack, ...], tuple[tuple[str, ...], ...]]] = {
    "joined": ((_A, _B, _DECODER), ()),
    "one after the other": ((_A, _B, replace(_DECODER, memories=((A,), (B,)))), ()),
    "vectors": ((_A, _VECTORS, _DECODER), ()),
    "languages": ((_A, _B, _TO_A, _TO_B), ((A, "decoder_b"), (B, "decoder_a"), (A, B, "decoder_b"))),
}
ROUTES = [(kind, route) for kind, (stacks, routes) in KINDS.items() for route in routes or [[s.name for s in stacks]]]


def shape_of(kind: str, **options) -> ModelShape:
    """A model of d_model 16; options are fields of ModelShape."""
    stacks, routes = KINDS[kind]
    fields = {"d_model": 16, "n_heads": 4, "n_kv_heads": 4, "d_head": 4, "d_ff": 24, "max_len": 32} | options
    return ModelShape(**{"stacks": stacks, "routes": routes, **fields})


def build_several(kind: str, ties=None, **options) -> Transformer:
    """An initialized model of a kind of KINDS."""
    model = Transformer(make_plan(shape_of(kind, **options), ties or {}), tables=Tables(embed_scale=2.0))
    model.initialize(1)
    return model


def only(kind: str, source: str, target: str, **options) -> Transformer:
    """The model that has, of a kind, one source and one decoder, and these under the names they have there."""
    stacks = {stack.name: stack for stack in KINDS[kind][0]}
    pair = stacks[source], replace(stacks[target], memories=((source,),))
    return build_several(kind, stacks=pair, routes=(), **options)


def draw(model: Transformer, stack: str, rows: int, length: int) -> torch.Tensor:
    """What a stack reads: pieces [B, S], or vectors [B, S, F] in the model's precision."""
    if n_features := model.shape.stack(stack).n_features:
        return torch.randn(rows, length, n_features, dtype=next(model.parameters()).dtype)
    return torch.randint(4, 23, (rows, length))
