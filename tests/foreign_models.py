"""Small modules of ours whose parameters are named as those of other libraries, and folders of their weights."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

TRANSFORMERS = {
    "gpt2": ("transformer.wte", "lm_head", ("transformer.h.{}.attn.c_attn", "transformer.h.{}.mlp.c_fc")),
    "llama": ("model.embed_tokens", "lm_head", ("model.layers.{}.self_attn.q_proj", "model.layers.{}.mlp.up_proj")),
    "bert": (
        "bert.embeddings.word_embeddings",
        "cls.predictions.decoder",
        ("bert.encoder.layer.{}.attention.self.query",),
    ),
    "marian": (
        "model.decoder.embed_tokens",
        "lm_head",
        (
            "model.encoder.layers.{}.self_attn.q_proj",
            "model.encoder.layers.{}.fc1",
            "model.decoder.layers.{}.self_attn.q_proj",
            "model.decoder.layers.{}.encoder_attn.q_proj",
            "model.decoder.layers.{}.fc1",
        ),
    ),
    "t5": (
        "decoder.embed_tokens",
        "lm_head",
        (
            "encoder.block.{}.layer.0.SelfAttention.q",
            "encoder.block.{}.layer.0.layer_norm",
            "encoder.block.{}.layer.1.DenseReluDense.wi",
            "encoder.block.{}.layer.1.layer_norm",
            "decoder.block.{}.layer.0.SelfAttention.q",
            "decoder.block.{}.layer.0.layer_norm",
            "decoder.block.{}.layer.1.EncDecAttention.q",
            "decoder.block.{}.layer.1.layer_norm",
            "decoder.block.{}.layer.2.DenseReluDense.wi",
            "decoder.block.{}.layer.2.layer_norm",
        ),
    ),
}


class LanguageModel(nn.Module):
    """A table that reads, two layers, and a head that writes."""

    def __init__(self, tied: bool = False):
        super().__init__()
        self.embed = nn.Embedding(9, 4)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.head = nn.Linear(4, 9, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.head(x)


def named_as(kind: str, n_layers: int = 4) -> nn.Module:
    """A module whose parameters, each 2 x 2, have names of that family."""
    embed, output, layers = TRANSFORMERS[kind]
    names = [embed, output, *(layer.format(i) for layer in layers for i in range(n_layers))]
    if kind in ("marian", "t5"):
        names.append(embed.replace("decoder", "encoder"))
    root = nn.Module()
    for name in names:
        put(root, name, nn.Linear(2, 2, bias=False))
    return root


def put(root: nn.Module, name: str, layer: nn.Module) -> None:
    """Give a module a submodule under a dotted name."""
    *path, last = name.split(".")
    for part in path:
        if not hasattr(root, part):
            root.add_module(part, nn.Module())
        root = getattr(root, part)
    root.add_module(last, layer)


def write_folder(folder: Path, config: dict, files: dict[str, dict[str, Tensor]], index: dict | None = None) -> Path:
    """A folder in Hugging Face format."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    for name, tensors in files.items():
        save_file(tensors, folder / name)
    if index is not None:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return folder
