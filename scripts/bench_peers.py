"""Training steps of tietrain's peers, at the sizes of one configuration and with the same optimizer: what a step is compared with.

Each has one table for all readings. A peer that is not installed is named and left out; `make bench` installs them in an environment
of their own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tietrain.config import RunConfig
from tietrain.data.batches.batching import Batch
from tietrain.data.tokenizer import BOS_ID, EOS_ID, PAD_ID

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

# Takes one training step.
Step = Callable[[Batch], None]
# Sources [B, S] or None, and target pieces [B, T] -> logits [B, T, V].
Logits = Callable[[Tensor | None, Tensor], Tensor]


def plain_step(model: nn.Module, logits: Logits, config: RunConfig) -> Step:
    """The plainest fast loop: one cross-entropy over all logits, fused AdamW, clipping; bf16 is autocast.

    It runs where the model is; `hardware.compile` compiles model and loss.
    """
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    device = next(model.parameters()).device

    def objective(batch: Batch) -> Tensor:
        found = logits(batch.sources.get("encoder"), batch.tgt_in_ids)
        targets = batch.tgt_out_ids.flatten()
        smoothing = config.task.label_smoothing
        return F.cross_entropy(found.flatten(0, 1), targets, ignore_index=PAD_ID, label_smoothing=smoothing)

    if config.hardware.compile:
        objective = torch.compile(objective, dynamic=True if config.task.name == "mt" else None)

    def step(batch: Batch) -> None:
        batch = replace(batch.to(device), lengths={})
        with torch.autocast(device.type, torch.bfloat16, enabled=config.hardware.precision == "bf16"):
            loss = objective(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


class Block(nn.Module):
    """A pre-norm layer by hand: causal or masked self-attention, optional cross-attention, feed-forward."""

    def __init__(self, d: int, h: int, f: int, cross: bool):
        super().__init__()
        self.h = h
        self.norms = nn.ModuleList(nn.LayerNorm(d, bias=False) for _ in range(3 if cross else 2))
        self.qkv, self.o = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        if cross:
            self.q, self.kv, self.cross_o = (
                nn.Linear(d, d, bias=False),
                nn.Linear(d, 2 * d, bias=False),
                nn.Linear(d, d, bias=False),
            )
        self.up, self.down = nn.Linear(d, f, bias=False), nn.Linear(f, d, bias=False)

    def heads(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.h, -1).transpose(1, 2)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, **mask) -> Tensor:
        return (
            F.scaled_dot_product_attention(self.heads(q), self.heads(k), self.heads(v), **mask)
            .transpose(1, 2)
            .reshape(q.shape)
        )

    def forward(
        self, x: Tensor, mask: Tensor | None, memory: Tensor | None = None, memory_mask: Tensor | None = None
    ) -> Tensor:
        q, k, v = self.qkv(self.norms[0](x)).chunk(3, -1)
        x = x + self.o(self.attend(q, k, v, attn_mask=mask, is_causal=mask is None))
        if memory is not None:
            k, v = self.kv(memory).chunk(2, -1)
            x = x + self.cross_o(self.attend(self.q(self.norms[1](x)), k, v, attn_mask=memory_mask))
        return x + self.down(F.gelu(self.up(self.norms[-1](x))))


class ByHand(nn.Module):
    """The reference model: one table for all readings, learned positions, encoder where there are sources."""

    def __init__(self, config: RunConfig, vocab_size: int):
        super().__init__()
        m, cross = config.model, config.task.name == "mt"
        self.table = nn.Embedding(vocab_size, m.d_model)
        nn.init.normal_(self.table.weight, std=0.02)
        sides = 2 if cross else 1
        self.positions = nn.ModuleList(nn.Embedding(m.max_len, m.d_model) for _ in range(sides))
        self.final = nn.ModuleList(nn.LayerNorm(m.d_model, bias=False) for _ in range(sides))
        self.decoder = nn.ModuleList(Block(m.d_model, m.n_heads, m.d_ff, cross) for _ in range(m.n_layers))
        self.encoder = nn.ModuleList(
            Block(m.d_model, m.n_heads, m.d_ff, False) for _ in range(m.n_layers if cross else 0)
        )

    def embed(self, ids: Tensor, side: int) -> Tensor:
        return self.table(ids) * self.table.embedding_dim**0.5 + self.positions[side].weight[: ids.shape[1]]

    def forward(self, src_ids: Tensor | None, tgt_ids: Tensor) -> Tensor:
        memory = mask = None
        if src_ids is not None:
            mask = (src_ids != PAD_ID)[:, None, None]
            memory = self.embed(src_ids, 1)
            for block in self.encoder:
                memory = block(memory, mask)
            memory = self.final[1](memory)
        x = self.embed(tgt_ids, 0)
        for block in self.decoder:
            x = block(x, None, memory, mask)
        return F.linear(self.final[0](x), self.table.weight)


def by_hand(config: RunConfig, vocab_size: int) -> Step:
    """Fused query-key-value product, PyTorch's fused attention, no biases: what nanoGPT does."""
    model = ByHand(config, vocab_size)
    return plain_step(model, model, config)


def gpt2(config: RunConfig, vocab_size: int) -> Step:
    """GPT2LMHeadModel of transformers."""
    from transformers import GPT2Config, GPT2LMHeadModel

    m = config.model
    sizes = {"n_embd": m.d_model, "n_layer": m.n_layers, "n_head": m.n_heads, "n_inner": m.d_ff}
    dropouts = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    options = {"activation_function": "gelu", "use_cache": False}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=vocab_size, n_positions=m.max_len, **sizes, **dropouts, **options))
    return plain_step(model, lambda src_ids, tgt_ids: model(tgt_ids).logits, config)


def x_transformers(config: RunConfig, vocab_size: int) -> Step:
    """The decoder of x-transformers, with its fused attention."""
    from x_transformers import Decoder, TransformerWrapper

    m = config.model
    layers = Decoder(
        dim=m.d_model,
        depth=m.n_layers,
        heads=m.n_heads,
        attn_dim_head=m.d_model // m.n_heads,
        ff_mult=m.d_ff // m.d_model,
        attn_flash=True,
    )
    model = TransformerWrapper(num_tokens=vocab_size, max_seq_len=m.max_len, attn_layers=layers, tie_embedding=True)
    return plain_step(model, lambda src_ids, tgt_ids: model(tgt_ids), config)


def marian(config: RunConfig, vocab_size: int) -> Step:
    """MarianMTModel of transformers."""
    model = marian_model(config, vocab_size, dropout=0.0)

    def logits(src_ids: Tensor | None, tgt_ids: Tensor) -> Tensor:
        assert src_ids is not None
        mask = (src_ids != PAD_ID).long()
        return model(input_ids=src_ids, attention_mask=mask, decoder_input_ids=tgt_ids, use_cache=False).logits

    return plain_step(model, logits, config)


def marian_model(config: RunConfig, vocab_size: int, **options: float) -> nn.Module:
    """A MarianMTModel of the configuration's sizes; ImportError if transformers is not installed."""
    from transformers import MarianConfig, MarianMTModel

    m = config.model
    sides: dict[str, int] = {}
    for side in ("encoder", "decoder"):
        sides |= {f"{side}_layers": m.n_layers, f"{side}_attention_heads": m.n_heads, f"{side}_ffn_dim": m.d_ff}
    marian = MarianConfig(
        vocab_size=vocab_size,
        d_model=m.d_model,
        **sides,
        **options,
        activation_function=m.activation,
        scale_embedding=True,
        pad_token_id=PAD_ID,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        decoder_start_token_id=BOS_ID,
        forced_eos_token_id=None,
    )
    return MarianMTModel(marian)


def eole(config: RunConfig, vocab_size: int) -> Step:
    """EncoderDecoderModel of Eole, the successor of OpenNMT-py."""
    from eole.config.models import TransformerModelConfig
    from eole.models.model import EncoderDecoderModel

    m = config.model
    sizes = TransformerModelConfig(
        layers=m.n_layers,
        hidden_size=m.d_model,
        heads=m.n_heads,
        transformer_ff=m.d_ff,
        embeddings={"word_vec_size": m.d_model, "position_encoding_type": "SinusoidalInterleaved"},
        mlp_activation_fn="gelu",
        generator_bias=False,
        share_embeddings=True,
        share_decoder_embeddings=True,
    )
    pieces = {str(i): i for i in range(vocab_size)}
    vocabularies = {"src": pieces, "tgt": pieces, "specials": {"pad_token": str(PAD_ID)}}
    model = EncoderDecoderModel.build_blocks(sizes, vocabularies)
    model.build_generator(sizes, None, vocabularies)
    for tensor in model.parameters():  # Eole leaves them to its trainer
        nn.init.normal_(tensor, std=0.02) if tensor.ndim > 1 else nn.init.ones_(tensor)

    def logits(src_ids: Tensor | None, tgt_ids: Tensor) -> Tensor:
        assert src_ids is not None
        one_more = F.pad(tgt_ids, (0, 1))  # Eole cuts the last piece off
        return model.generator(model(src_ids, one_more, (src_ids != PAD_ID).sum(1)).dec_out)

    return plain_step(model, logits, config)


# Task -> peers by name.
PEERS: dict[str, dict[str, Callable[[RunConfig, int], Step]]] = {
    "lm": {"by hand": by_hand, "transformers GPT-2": gpt2, "x-transformers": x_transformers},
    "mt": {"by hand": by_hand, "transformers Marian": marian, "Eole": eole},
}
