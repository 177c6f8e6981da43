"""A translation model as CTranslate2, a library that decodes fast, describes models. It is loaded only here, if it is installed."""

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tietrain.config.hf_classes import MARIAN
from tietrain.model.hf_weights import to_hf
from tietrain.model.layers import sinusoids
from tietrain.model.transformer import Transformer

LIBRARY = "ctranslate2"


def make_spec(model: Transformer, n_positions: int) -> Any:
    """Weights of a model that MarianMTModel holds, in float32, without vocabularies; its embeddings are scaled.

    Args:
        n_positions: how many the encoder and the decoder know.
    """
    specs = importlib.import_module(f"{LIBRARY}.specs")
    shape = model.shape
    tensors = to_hf(model, MARIAN).tensors
    activation = getattr(specs.common_spec.Activation, shape.activation.upper())
    n_layers = tuple(shape.stack(name).n_layers for name in ("encoder", "decoder"))
    spec = specs.TransformerSpec.from_config(n_layers, shape.n_heads, pre_norm=False, activation=activation)
    assert model.tables.embed_scale == shape.d_model**0.5, "CTranslate2 knows no other factor"
    for name, stack in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        tables = stack.embeddings if name == "decoder" else stack.embeddings[0]
        tables.weight = _table(tensors, f"model.{name}.embed_tokens.weight")
        stack.scale_embeddings = True
        stack.position_encodings.encodings = sinusoids(torch.arange(n_positions), shape.d_model).numpy()
        for i, layer in enumerate(stack.layer):
            place = f"model.{name}.layers.{i}"
            _attention(tensors, f"{place}.self_attn", layer.self_attention, "qkv", "out")
            if name == "decoder":
                _attention(tensors, f"{place}.encoder_attn", layer.attention, "q", "kv", "out")
            _linear(tensors, layer.ffn.linear_0, f"{place}.fc1")
            _linear(tensors, layer.ffn.linear_1, f"{place}.fc2")
            _norm(tensors, layer.ffn.layer_norm, f"{place}.final_layer_norm")
    spec.decoder.projection.weight = _table(tensors, "lm_head.weight")
    spec.decoder.projection.bias = tensors["final_logits_bias"][0].numpy()
    return spec


def _table(tensors: Mapping[str, Tensor], name: str) -> np.ndarray:
    """A table, or the one that it is tied to."""
    names = (name, "model.decoder.embed_tokens.weight", "model.shared.weight")
    return next(tensors[other] for other in names if other in tensors).numpy()


def _attention(tensors: Mapping[str, Tensor], block: str, attention: Any, *products: str) -> None:
    for linear, leaves in zip(attention.linear, products, strict=True):
        parts = [leaves] if leaves == "out" else list(leaves)
        _linear(tensors, linear, *(f"{block}.{part}_proj" for part in parts))
    _norm(tensors, attention.layer_norm, f"{block}_layer_norm")


def _linear(tensors: Mapping[str, Tensor], linear: Any, *modules: str) -> None:
    """Modules side by side in one product."""
    linear.weight = np.concatenate([tensors[f"{module}.weight"].numpy() for module in modules])
    linear.bias = np.concatenate([tensors[f"{module}.bias"].numpy() for module in modules])


def _norm(tensors: Mapping[str, Tensor], norm: Any, module: str) -> None:
    norm.gamma = tensors[f"{module}.weight"].numpy()
    norm.beta = tensors[f"{module}.bias"].numpy()
