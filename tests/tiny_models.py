"""Small shapes and every first scheme, for tests of the plan, the ledgers and the model."""

import pytest
import torch

from tietrain.model.transformer import Transformer
from tietrain.plan.plan import TyingPlan
from tietrain.plan.schemes import make_plan
from tietrain.plan.slots import ModelShape, Stack
from tietrain.plan.tables import Tables

N_LAYERS = 4


def cross(**options):
    return {"cross_layer": {"rule": "cross_layer", **options}}


_LAYERED = {
    "sequence-1": cross(),
    "sequence-3": cross(n_unique=3),
    "cycle-2": cross(order="cycle", n_unique=2),
    "cycle-2-no-norms": cross(order="cycle", n_unique=2, norms=False),
    "cycle_rev-2": cross(order="cycle_rev", n_unique=2),
    "ffn-only": cross(parts=["ffn"]),
    "attention-only": cross(parts=["self_attn"], norms=False),
}
_TABLES = {"none": {"none": {"rule": "none"}}, "pre_softmax": {"pre_softmax": {"rule": "pre_softmax"}}}
_JOINT = {name: {name: {"rule": name}} for name in ("shared_vocab", "embeddings", "three_way")}

# task -> label -> ties
SCHEMES = {
    "lm": {**_TABLES, **_LAYERED, "pre_softmax+cycle_rev-2": _TABLES["pre_softmax"] | _LAYERED["cycle_rev-2"]},
    "mt": {
        **_TABLES,
        **_JOINT,
        **_LAYERED,
        "decoder-cross_attn": cross(stacks=["decoder"], parts=["cross_attn"]),
        "three_way+cycle-2": _JOINT["three_way"] | _LAYERED["cycle-2"],
    },
}
CASES = [(task, scheme) for task, schemes in SCHEMES.items() for scheme in schemes]
# One for each way to tie: nothing, tables, layers, parts of layers, layers in mirrored order, several at once.
MECHANISMS = [("lm", "none"), ("lm", "pre_softmax"), ("lm", "cycle_rev-2"), ("lm", "ffn-only"), ("mt", "sequence-3")]
MECHANISMS += [("mt", "decoder-cross_attn"), ("mt", "three_way+cycle-2")]
MECHANISMS_FIRST = [case if case in MECHANISMS else pytest.param(*case, marks=pytest.mark.slow) for case in CASES]


def make_shape(task: str, *, vocab_size: int = 23, n_layers: int = N_LAYERS, **options) -> ModelShape:
    """A model of d_model 16; options are fields of ModelShape."""
    fields = {"d_model": 16, "n_heads": 4, "n_kv_heads": 4, "d_head": 4, "d_ff": 24, "max_len": 32} | options
    decoder = Stack(
        "decoder",
        n_layers,
        vocab_size,
        "joint",
        causal=True,
        memories=(("encoder",),) if task == "mt" else (),
        has_output=True,
    )
    encoder = Stack("encoder", n_layers, vocab_size, "joint")
    return ModelShape((encoder, decoder) if task == "mt" else (decoder,), **fields)


def plan_of(task: str, scheme: str, **options) -> TyingPlan:
    return make_plan(make_shape(task, **options), SCHEMES[task][scheme])


def build(task: str, scheme: str, *, seed: int = 1, dropout: float = 0.0, **options) -> Transformer:
    """An initialized model."""
    model = Transformer(plan_of(task, scheme, **options), dropout=dropout, tables=Tables(0.02, embed_scale=4.0))
    model.initialize(seed)
    return model


def sources_of(model: Transformer, source: torch.Tensor) -> dict[str, torch.Tensor] | None:
    """What the model's encoder reads; None for a language model."""
    return {"encoder": source} if len(model.shape.stacks) > 1 else None
