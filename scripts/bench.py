"""Speed and memory of tietrain's training step against a plain loop written by hand, as ratios from one run.

    python scripts/bench.py [lm] [mt] [ties] [start] [decode] [durable] [grid] [text]
        [--root DIR] [--rounds N] [--threads N] [--sentences N] [--megabytes N]

The reference is the plainest fast code: fused query-key-value product, PyTorch's fused attention, one cross-entropy
over all logits, AdamW, clipping. Both arms run the same batches in turn in one process; a ratio is the median over
rounds of (reference seconds / tietrain seconds), so above 1 tietrain is faster. Memory is the peak of a process of
its own for each arm. With --root, translation runs on multi30k_en_de from that folder, else on the generated corpus.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench_decoding import BEAM, N_TOKENS, bench_decoding, random_sources, real_sources
from bench_durable import bench_durable
from bench_grid import bench_grid
from bench_text import bench_text
from tietrain.config import RunConfig, TyingConfig
from tietrain.config.compose import compose_config
from tietrain.config.keys import tying_choices
from tietrain.config.layout import make_layout, make_shape
from tietrain.data.batches.batching import Batch, Batches
from tietrain.data.batches.windows import LmBatches
from tietrain.data.prepare import prepare
from tietrain.data.tokenizer import PAD_ID
from tietrain.model.loss import LossSum
from tietrain.model.transformer import Transformer
from tietrain.plan.catalogue import Scheme, load_scheme
from tietrain.plan.schemes import make_plan
from tietrain.train.hardware import resolve_hardware
from tietrain.train.optim import build_optimizer, train_step
from tietrain.train.tasks.mt import Translation
from tietrain.train.tasks.task import batch_loss

LM = [
    "task=lm",
    "model.d_model=256",
    "model.n_layers=6",
    "model.n_heads=8",
    "model.d_ff=1024",
    "model.vocab_size=8192",
    "task.window=256",
]
LM += ["train.batch_tokens=8192", "model.positions=learned", "model.max_len=257", "model.dropout=0"]
MT = ["task=mt", "model.d_model=256", "model.n_layers=3", "model.n_heads=4", "model.d_ff=1024", "model.vocab_size=8000"]
MT += ["train.batch_tokens=4096", "model.positions=learned", "model.max_len=257", "model.dropout=0"]
# The shape of a MarianMT: biases everywhere, norms after, sinusoids.
DECODE = ["model.positions=sinusoidal", "model.norm_position=post", "model.output_bias=true"]
DECODE += ["model.attn_bias=true", "model.ffn_bias=true", "model.norm_bias=true"]
PARTS = ("lm", "mt", "ties", "start", "decode", "durable", "grid", "text")


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


def hand_arm(config: RunConfig, vocab_size: int) -> Callable[[Batch], None]:
    """One training step of the reference."""
    model = ByHand(config, vocab_size).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01, fused=True)

    def step(batch: Batch) -> None:
        logits = model(batch.sources.get("encoder"), batch.tgt_in_ids)
        loss = F.cross_entropy(
            logits.flatten(0, 1),
            batch.tgt_out_ids.flatten(),
            ignore_index=PAD_ID,
            label_smoothing=config.task.label_smoothing,
        )
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def our_arm(config: RunConfig, vocab_size: int) -> Callable[[Batch], None]:
    """One training step of tietrain, as its loop takes it."""
    names = make_layout(config).stacks
    shape = make_shape(config, dict.fromkeys(names, vocab_size), dict.fromkeys(names, "joint"))
    plan = make_plan(shape, config.tying.ties)
    model = Transformer(plan, dropout=config.model.dropout, tables=config.model.table_values)
    model.initialize(config.seed)
    optimizer = build_optimizer(model, config.optim)
    hardware = resolve_hardware(config.hardware)

    def loss(model: nn.Module, batch: Batch) -> LossSum:
        return batch_loss(model, batch, config.task.label_smoothing)

    return lambda batch: train_step(model, optimizer, batch, loss, hardware=hardware, clip_norm=1.0, seed=1, step=1)


ARMS = {"by hand": hand_arm, "tietrain": our_arm}


def random_lm_batches(config: RunConfig) -> Callable[[int], Batch]:
    """Windows of a made-up stream with Zipf-like frequencies."""
    uniform = np.random.default_rng(0).random(400_000)
    stream = (4 + (config.model.vocab_size - 5) * uniform**3).astype(np.int32)
    batches = LmBatches(stream, config.task.window, config.train.batch_tokens, config.seed)
    return lambda i: batches.batch(0, i % batches.n_batches(0))


def padding_efficiency(batches: Batches) -> dict[str, float]:
    """Stack -> real tokens over padded ones in the first epoch, and `both` for the sum of all."""
    real: dict[str, int] = {}
    padded: dict[str, int] = {}
    for index in range(batches.n_batches(0)):
        batch = batches.batch(0, index)
        for stack, ids in {**batch.sources, batch.stack: batch.tgt_in_ids}.items():
            real[stack] = real.get(stack, 0) + sum(batch.lengths[stack])
            padded[stack] = padded.get(stack, 0) + ids.shape[0] * ids.shape[1]
    return {**{s: real[s] / padded[s] for s in real}, "both": sum(real.values()) / sum(padded.values())}


def corpus_batches(config: RunConfig) -> tuple[Callable[[int], Batch], int, dict[str, float]]:
    """Batches of a prepared translation corpus, its vocabulary size and its padding efficiency."""
    prepared = prepare(config)
    batches = Translation(config, prepared).batches
    size = prepared.vocabularies["decoder"].size
    return lambda i: batches.batch(0, i % batches.n_batches(0)), size, padding_efficiency(batches)


def paired_ratios(
    arms: dict[str, Callable[[Batch], None]], batch: Callable[[int], Batch], rounds: int
) -> dict[str, list[float]]:
    """Arm -> seconds of the first arm over seconds of this arm, one a round; all arms take the same batch in turn."""
    first = next(iter(arms))
    ratios: dict[str, list[float]] = {name: [] for name in arms}
    for i in range(-2, rounds):  # two rounds of warm-up
        seconds = {}
        # The order turns every round, so that no arm always runs on the other's warm caches.
        for name in list(arms) if i % 2 else reversed(arms):
            began = time.perf_counter()
            arms[name](batch(i))
            seconds[name] = time.perf_counter() - began
        if i >= 0:
            for name in arms:
                ratios[name].append(seconds[first] / seconds[name])
    return ratios


def show(title: str, ratios: list[float]) -> None:
    quarter = statistics.quantiles(ratios, n=4)
    print(
        f"  {title:<44} {statistics.median(ratios):6.3f}   (quartiles {quarter[0]:.3f} to {quarter[2]:.3f}, {len(ratios)} rounds)",
        flush=True,
    )


def peak_of_this_process() -> int:
    """Bytes; not getrusage, whose high-water mark a child inherits from the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024  # type: ignore[union-attr]


def peak_bytes(task: str, arm: str, options: argparse.Namespace) -> int:
    """Peak memory of a process that takes three steps of one arm."""
    words = [sys.executable, __file__, task, "--memory-of", arm, "--threads", str(options.threads)]
    words += ["--root", options.root] if options.root else []
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[-1])


def setting(
    task: str, options: argparse.Namespace, *overrides: str
) -> tuple[RunConfig, Callable[[int], Batch], int, dict[str, float]]:
    hardware = ["hardware.device=cpu", "hardware.precision=fp32", f"hardware.threads={options.threads}"]
    if task == "lm":
        config = compose_config([*LM, "tying=pre_softmax", *hardware, *overrides])
        return config, random_lm_batches(config), config.model.vocab_size, {}
    corpus = ["data=multi30k_en_de", f"data.root={options.root}"] if options.root else ["data=grammar"]
    config = compose_config([*MT, "tying=three_way", *corpus, *hardware, *overrides])
    return (config, *corpus_batches(config))


def bench_task(task: str, options: argparse.Namespace) -> None:
    config, batch, vocab_size, efficiency = setting(task, options)
    m = config.model
    print(
        f"{task}: d_model {m.d_model} x {m.n_layers}, {config.train.batch_tokens} tokens per step, fp32, {options.threads} threads"
    )
    ratios = paired_ratios({name: make(config, vocab_size) for name, make in ARMS.items()}, batch, options.rounds)
    show("speed, by hand = 1", ratios["tietrain"])
    peaks = {arm: peak_bytes(task, arm, options) for arm in ARMS}
    print(
        f"  {'peak memory, by hand = 1':<44} {peaks['tietrain'] / peaks['by hand']:6.3f}   ({peaks['tietrain'] / 2**20:.0f} MiB)"
    )
    for stack, share in efficiency.items():
        print(f"  {'padding efficiency, ' + stack:<44} {share:6.3f}")


def bench_ties(options: argparse.Namespace) -> None:
    """Every scheme against none at equal shape, each beside none on the same batches."""
    for task in ("lm", "mt"):
        base, batch, vocab_size, _ = setting(task, options, "model.n_layers=6", "train.batch_tokens=2048")

        def arm(scheme: Scheme, base: RunConfig = base, size: int = vocab_size) -> Callable[[Batch], None]:
            return our_arm(replace(base, tying=TyingConfig(scheme.example)), size)

        untied = arm(load_scheme("none"))
        print(f"{task}: each tie against none at equal shape, 6 layers per stack, above 1 is faster than none")
        for scheme in map(load_scheme, tying_choices()):
            if task in scheme.plans() and scheme.name != "none":
                show(scheme.name, paired_ratios({"none": untied, "tied": arm(scheme)}, batch, options.rounds)["tied"])


def bench_start(options: argparse.Namespace) -> None:
    """Seconds from process start to the end of the first step, corpus and vocabulary in the cache."""
    words = [
        "task=mt",
        "tying=three_way",
        "train.max_steps=1",
        "train.log_every=1",
        *([] if options.root else ["data.preset=small"]),
    ]
    words += ["data=multi30k_en_de", f"data.root={Path(options.root).resolve()}"] if options.root else []
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(4):
            began = time.perf_counter()
            with subprocess.Popen(
                [sys.executable, "-m", "tietrain", *words, f"run_dir=run{i}"],
                cwd=folder,
                env={**os.environ, "XDG_CACHE_HOME": folder},
                stderr=subprocess.PIPE,
                text=True,
            ) as process:
                assert process.stderr is not None
                for line in process.stderr:
                    if line.startswith("step 1:"):
                        break
                seconds.append(time.perf_counter() - began)
                process.kill()
    print(
        f"start: process start to first step, cached corpus: {', '.join(f'{s:.1f}' for s in seconds[1:])} s (first, uncached: {seconds[0]:.1f} s)"
    )


def bench_decode(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    corpus = ["data=multi30k_en_de", f"data.root={options.root}"] if options.root else []
    config = compose_config([*MT, *DECODE, "tying=three_way", *corpus])
    n = options.sentences
    sources = real_sources(config, n) if options.root else random_sources(n, config.model.vocab_size)
    m = config.model
    print(f"decode: d_model {m.d_model} x {m.n_layers}, beam {BEAM}, {N_TOKENS} tokens of {n} sources, fp32, 1 thread")
    bench_decoding(config, sources, min(options.rounds, 3))
    torch.set_num_threads(options.threads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS), choices=PARTS)
    parser.add_argument("--root", help="folder that holds multi30k/", default=os.environ.get("TIETRAIN_DATA"))
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sentences", type=int, default=1000, help="that are decoded")
    parser.add_argument("--megabytes", type=int, default=30, help="of the text that is prepared")
    parser.add_argument("--memory-of", choices=list(ARMS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        config, batch, vocab_size, _ = setting(options.parts[0], options)
        step = ARMS[options.memory_of](config, vocab_size)
        for i in range(3):
            step(batch(i))
        print(peak_of_this_process())
        return
    print(f"torch {torch.__version__}, load {os.getloadavg()[0]:.1f} before the start")
    for part in options.parts:
        others = {
            "ties": bench_ties,
            "start": bench_start,
            "decode": bench_decode,
            "durable": lambda o: bench_durable(o.threads),
            "grid": lambda o: bench_grid(min(o.rounds, 3)),
            "text": lambda o: bench_text(o.megabytes),
        }
        others.get(part, lambda o, part=part: bench_task(part, o))(options)


if __name__ == "__main__":
    main()
