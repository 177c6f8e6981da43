"""Speed and memory of tietrain's training step against a plain loop written by hand, as ratios from one run.

    python scripts/bench.py [lm] [mt] [ties] [start] [--root DIR] [--rounds N] [--threads N]

The reference is the plainest fast code: fused query-key-value product, PyTorch's fused attention, one cross-entropy
over all logits, AdamW, clipping. Both arms run the same batches in turn in one process; a ratio is the median over
rounds of (reference seconds / tietrain seconds), so above 1 tietrain is faster. Memory is the peak of a process of
its own for each arm. With --root, translation runs on multi30k_en_de from that folder, else on the generated corpus.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tietrain.compose import compose_config
from tietrain.config import RunConfig, make_shape
from tietrain.data.batching import Batch, LmBatches
from tietrain.data.tokenizer import PAD_ID
from tietrain.tasks.task import batch_loss
from tietrain.train.loop import train_step
from tietrain.train.optim import build_optimizer

LM = "task=lm model.d_model=256 model.n_layers=6 model.n_heads=8 model.d_ff=1024 model.vocab_size=8192 task.window=256".split()
LM += "train.batch_tokens=8192 model.positions=learned model.max_len=256 model.dropout=0".split()
MT = "task=mt model.d_model=256 model.n_layers=3 model.n_heads=4 model.d_ff=1024 model.vocab_size=8000".split()
MT += "train.batch_tokens=4096 model.positions=learned model.max_len=256 model.dropout=0".split()


class Block(nn.Module):
    """A pre-norm layer by hand: causal or masked self-attention, optional cross-attention, feed-forward."""

    def __init__(self, d: int, h: int, f: int, cross: bool):
        super().__init__()
        self.h = h
        self.norms = nn.ModuleList(nn.LayerNorm(d, bias=False) for _ in range(3 if cross else 2))
        self.qkv, self.o = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        if cross:
            self.q, self.kv, self.cross_o = nn.Linear(d, d, bias=False), nn.Linear(d, 2 * d, bias=False), nn.Linear(d, d, bias=False)
        self.up, self.down = nn.Linear(d, f, bias=False), nn.Linear(f, d, bias=False)

    def heads(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.h, -1).transpose(1, 2)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, **mask) -> Tensor:
        return F.scaled_dot_product_attention(self.heads(q), self.heads(k), self.heads(v), **mask).transpose(1, 2).reshape(q.shape)

    def forward(self, x: Tensor, mask: Tensor | None, memory: Tensor | None = None, memory_mask: Tensor | None = None) -> Tensor:
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
        self.encoder = nn.ModuleList(Block(m.d_model, m.n_heads, m.d_ff, False) for _ in range(m.n_layers if cross else 0))

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


def hand_arm(config: RunConfig, vocab_size: int) -> Callable[[Batch], None]:
    """One training step of the reference."""
    model = ByHand(config, vocab_size).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)

    def step(batch: Batch) -> None:
        logits = model(batch.src_ids, batch.tgt_in_ids)
        loss = F.cross_entropy(
            logits.flatten(0, 1), batch.tgt_out_ids.flatten(), ignore_index=PAD_ID, label_smoothing=config.task.label_smoothing
        )
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step
