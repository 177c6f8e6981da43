"""CTranslate2 with the weights of one of tietrain's models: a peer that decodes faster than any other on a CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence

import ctranslate2
import numpy as np
import torch
from ctranslate2.specs import common_spec, transformer_spec

from tietrain.data.tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID
from tietrain.model.layers import sinusoids
from tietrain.model.transformer import Transformer

MARKS = {PAD_ID: "<blank>", UNK_ID: "<unk>", BOS_ID: "<s>", EOS_ID: "</s>"}
ACTIVATIONS = {"relu": common_spec.Activation.RELU, "gelu": common_spec.Activation.GELU}
N_POSITIONS = 512

# Pieces of sources, rows in a batch, beam, and most tokens to write, or exactly so many -> pieces of each output.
Decode = Callable[[Sequence[Sequence[int]], int, int, int, bool], list[list[int]]]


def converted(model: Transformer, compute_type: str) -> Decode:
    """A decoder of the same weights: two stacks, sinusoids, norms with biases after each part."""
    spec = _spec(model)
    n_pieces = len(model.output_weights()[0])
    names = [MARKS.get(i, str(i)) for i in range(n_pieces)]
    spec.register_source_vocabulary(names)
    spec.register_target_vocabulary(names)
    spec.validate()
    spec.optimize(quantization="float32")
    with tempfile.TemporaryDirectory() as folder:
        spec.save(folder)
        translator = ctranslate2.Translator(folder, compute_type=compute_type, inter_threads=1, intra_threads=1)
    numbers = {name: i for i, name in enumerate(names)}

    def decode(sources: Sequence[Sequence[int]], rows: int, beam: int, length: int, exactly: bool) -> list[list[int]]:
        found = translator.translate_batch(
            [[*(names[piece] for piece in source), MARKS[EOS_ID]] for source in sources],
            max_batch_size=rows,
            beam_size=beam,
            length_penalty=0,
            max_decoding_length=length,
            min_decoding_length=length if exactly else 1,
        )
        return [[numbers[name] for name in one.hypotheses[0]] for one in found]

    return decode


def _spec(model: Transformer) -> transformer_spec.TransformerSpec:
    shape = model.shape
    n_layers = tuple(shape.stack(name).n_layers for name in ("encoder", "decoder"))
    spec = transformer_spec.TransformerSpec.from_config(
        n_layers, shape.n_heads, pre_norm=False, activation=ACTIVATIONS[shape.activation]
    )
    for name, stack in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        tables = stack.embeddings if name == "decoder" else stack.embeddings[0]
        tables.weight = _array(model, f"{name}.embed.weight")
        assert model.tables.embed_scale == shape.d_model**0.5, "CTranslate2 knows no other factor"
        stack.scale_embeddings = True
        stack.position_encodings.encodings = sinusoids(torch.arange(N_POSITIONS), shape.d_model).numpy()
        for i, layer in enumerate(stack.layer):
            place = f"{name}.{i}"
            _attention(model, f"{place}.self_attn", layer.self_attention, "qkv", "o")
            if name == "decoder":
                _attention(model, f"{place}.cross_attn", layer.attention, "q", "kv", "o")
            _linear(model, f"{place}.ffn", layer.ffn.linear_0, "in")
            _linear(model, f"{place}.ffn", layer.ffn.linear_1, "out")
            _norm(model, f"{place}.ffn_norm", layer.ffn.layer_norm)
    weight, bias = model.output_weights()
    spec.decoder.projection.weight = weight.detach().numpy()
    if bias is not None:
        spec.decoder.projection.bias = bias.detach().numpy()
    return spec


def _attention(model: Transformer, block: str, attention: common_spec.LayerSpec, *products: str) -> None:
    for linear, leaves in zip(attention.linear, products, strict=True):
        _linear(model, block, linear, *leaves)
    _norm(model, f"{block}_norm", attention.layer_norm)


def _linear(model: Transformer, block: str, linear: common_spec.LinearSpec, *leaves: str) -> None:
    """Leaves side by side in one product; those of feed-forwards are whole words."""
    linear.weight = np.concatenate([_array(model, f"{block}.{leaf}.weight") for leaf in leaves])
    linear.bias = np.concatenate([_array(model, f"{block}.{leaf}.bias") for leaf in leaves])


def _norm(model: Transformer, block: str, norm: common_spec.LayerNormSpec) -> None:
    norm.gamma = _array(model, f"{block}.weight")
    norm.beta = _array(model, f"{block}.bias")


def _array(model: Transformer, slot: str) -> np.ndarray:
    return model.parameter(slot).detach().numpy()
