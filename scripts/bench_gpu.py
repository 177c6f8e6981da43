"""What a GPU reaches: one command of less than ten minutes, for whoever has one. No GPU has run it yet.

    python scripts/bench_gpu.py [lm] [mt] [shared] [cells] [decode] [idle]
        [--device cuda] [--peak TFLOPS] [--minutes N] [--seconds N] [--tiny]

lm: GPT-2 124M at 1,024 tokens beside a loop by hand and transformers. mt: the base model of Vaswani et al. 2017 on pairs of
like lengths. shared: one layer read twelve times, and the same without sharing. cells: several small runs at once on one
device, as with hardware.runs_per_gpu. decode: beam search. idle: with and without what keeps a GPU busy. A line that cannot
be run says why. `of peak` is the ledger's FLOPs over --peak, 989 for an H100 or H200 in bf16; `graphs` is how many torch
compiled. --tiny makes everything small, to try the script on a CPU.
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._dynamo.utils import counters
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench import plan_of, random_lm_batches
from bench_decoding import BEAM, NEVER, batches_of, build_model, random_sources, read
from bench_peers import PEERS, ByHand, marian_model
from tietrain.config import RunConfig
from tietrain.config.compose import compose_config
from tietrain.data.batches.batching import Batch
from tietrain.data.batches.pairs import MtBatches, Pairs, Sources, TrainingPairs
from tietrain.data.encoded import EncodedLines
from tietrain.data.tokenizer import EOS_ID, PAD_ID
from tietrain.model import layers
from tietrain.model.beam import Search, search
from tietrain.model.loss import LossSum
from tietrain.model.transformer import Transformer
from tietrain.plan.flops import count_flops, length_units, shape_of
from tietrain.train.hardware import resolve_hardware
from tietrain.train.optim import build_optimizer, train_step
from tietrain.train.tasks.task import batch_loss, compiled_for

# Of every model.
COMMON = ["model.positions=learned", "model.dropout=0"]
GPT2 = [
    *COMMON,
    "task=lm",
    "tying=pre_softmax",
    "model.d_model=768",
    "model.n_layers=12",
    "model.n_heads=12",
    "model.d_ff=3072",
]
GPT2 += ["model.vocab_size=50257", "task.window=1024", "model.max_len=1025", "train.batch_tokens=16384"]
BASE = [
    *COMMON,
    "task=mt",
    "tying=three_way",
    "model.d_model=512",
    "model.n_layers=6",
    "model.n_heads=8",
    "model.d_ff=2048",
]
BASE += ["model.vocab_size=37000", "model.max_len=257", "train.batch_tokens=25000"]
CELL = [
    *COMMON,
    "task=lm",
    "tying=pre_softmax",
    "model.d_model=256",
    "model.n_layers=4",
    "model.n_heads=4",
    "model.d_ff=1024",
]
CELL += ["model.vocab_size=8192", "task.window=256", "model.max_len=257", "train.batch_tokens=4096"]
# The shape of a MarianMT.
DECODE = ["model.positions=sinusoidal", "model.norm_position=post", "model.output_bias=true"]
DECODE += ["model.attn_bias=true", "model.ffn_bias=true", "model.norm_bias=true"]
TINY = ["model.d_model=32", "model.n_heads=2", "model.d_ff=64", "model.n_layers=2", "model.vocab_size=300"]
TINY += ["train.batch_tokens=128"]
PER_LINE = 10  # steps of a process between two words with the script

# Does the i-th piece of work; returns its tokens and its FLOPs, 0 if nobody counts them.
Work = Callable[[int], tuple[int, int]]


@dataclass
class Bench:
    """The device, its peak in FLOPs per second, and how long to measure; `end`: when to begin nothing more, monotonic."""

    device: torch.device
    peak: float
    seconds: float
    end: float
    is_tiny: bool

    def config(self, words: list[str], *overrides: str) -> RunConfig:
        hardware = [f"hardware.device={self.device.type}", f"hardware.precision={self.precision}", "hardware.threads=1"]
        small = [*TINY, *(["task.window=32"] if "task=lm" in words else [])] if self.is_tiny else []
        return compose_config([*words, *small, *hardware, *overrides])

    @property
    def precision(self) -> str:
        return "bf16" if self.device.type == "cuda" else "fp32"

    @property
    def at_once(self) -> tuple[int, ...]:
        return (1, 2) if self.is_tiny else (1, 4, 8)

    def autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def wait(self) -> None:
        """Until the device has done what it was asked to."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def title(self, text: str) -> None:
        print(f"\n{text}\n  {'':<44} {'tokens/s':>12} {'of peak':>8} {'peak GiB':>9} {'graphs':>7}", flush=True)

    def line(self, name: str, make: Callable[[], Work]) -> None:
        """Measure what `make` makes and print it, or why that cannot be."""
        if time.monotonic() > self.end:
            print(f"  {name:<44} left out: no time is left; ask for fewer parts, or for more --minutes", flush=True)
            return
        torch._dynamo.reset()
        counters.clear()
        gc.collect()  # what is left of other lines would count as memory of this one
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        try:
            tokens, flops, seconds = self.measure(make())
        except ImportError as e:
            print(f"  {name:<44} left out: {e}", flush=True)
            return
        except Exception as e:  # the other lines are worth having
            reason = next(iter(str(e).splitlines()), "")
            print(f"  {name:<44} failed: {type(e).__name__}: {reason[:200]}", flush=True)
            return
        share = f"{flops / seconds / self.peak:8.1%}" if flops else f"{'-':>8}"
        peak = torch.cuda.max_memory_allocated() if self.device.type == "cuda" else 0
        memory = f"{peak / 2**30:9.1f}" if peak else f"{'-':>9}"  # that of other processes is not known
        graphs = counters["stats"]["unique_graphs"]
        print(f"  {name:<44} {tokens / seconds:12,.0f} {share} {memory} {graphs:7}", flush=True)

    def measure(self, work: Work) -> tuple[int, int, float]:
        """Tokens, FLOPs and seconds of about as many seconds as are asked for, after three pieces to warm up."""
        for i in range(3):
            work(i)
        self.wait()
        began = time.perf_counter()
        n, tokens, flops = 3, 0, 0
        while time.perf_counter() - began < self.seconds:
            for _ in range(4):
                more_tokens, more_flops = work(n)
                tokens += more_tokens
                flops += more_flops
                n += 1
            self.wait()
        return tokens, flops, time.perf_counter() - began


def counted(config: RunConfig, batch: Callable[[int], Batch], step: Callable[[Batch], object]) -> Work:
    """A step as work, with what the ledger counts."""
    plan = plan_of(config, config.model.vocab_size)
    ledger = count_flops(plan)
    shape = shape_of(plan)

    def work(i: int) -> tuple[int, int]:
        found = batch(i)
        step(found)
        return found.n_tokens, ledger.training(length_units(shape, found.lengths))

    return work


def our_step(config: RunConfig) -> Callable[[Batch], object]:
    """One step of tietrain, as its loop takes it."""
    hardware = resolve_hardware(config.hardware)
    plan = plan_of(config, config.model.vocab_size)
    model = Transformer(plan, dropout=config.model.dropout, tables=config.model.table_values)
    model.initialize(config.seed)
    model.to(hardware.device)
    optimizer = build_optimizer(model, config.optim)
    compute = compiled_for(config, model) if hardware.compile else model

    def objective(model: Transformer, batch: Batch) -> LossSum:
        return batch_loss(model, batch, config.task.label_smoothing)

    return lambda batch: train_step(
        compute, optimizer, batch, objective, hardware=hardware, clip_norm=1.0, seed=1, step=1
    )


def random_pairs(config: RunConfig) -> Callable[[int], Batch]:
    """Batches of made-up pairs, of like lengths, which are spread about as those of WMT."""
    draw = np.random.default_rng(0)

    def lines() -> EncodedLines:
        lengths = np.clip(draw.gamma(2.5, 12, 20_000), 3, 200).astype(int)
        return EncodedLines.of([draw.integers(4, config.model.vocab_size, n).astype(np.int32) for n in lengths])

    sources, targets = lines(), lines()
    pairs = Pairs(Sources({"encoder": sources}), "decoder", targets)
    direction = TrainingPairs("src-tgt", pairs, np.arange(len(targets)), sources.lengths, targets.lengths)
    batches = MtBatches([direction], config.train.batch_tokens, config.seed)
    return lambda i: batches.batch(0, i % batches.n_batches(0))


def bench_training(
    bench: Bench, task: str, words: list[str], batches: Callable[[RunConfig], Callable[[int], Batch]]
) -> None:
    """Lines of one model: tietrain compiled, with dropout and eager, then its peers compiled."""
    config = bench.config(words, "hardware.compile=true")
    batch = batches(config)
    for name, settings in {
        "tietrain, compiled": ["hardware.compile=true"],
        "tietrain, compiled, dropout 0.1": ["hardware.compile=true", "model.dropout=0.1"],
        "tietrain, eager": [],
    }.items():
        own = bench.config(words, *settings)
        bench.line(name, lambda own=own: counted(own, batch, our_step(own)))
    for name, make in PEERS[task].items():

        def peer(make: Callable[[RunConfig, int], Callable[[Batch], None]] = make) -> Work:
            with torch.device(bench.device):
                step = make(config, config.model.vocab_size)
            return counted(config, batch, step)

        bench.line(f"{name}, compiled", peer)


def bench_shared(bench: Bench) -> None:
    """Lines of one model with and without shared layers."""
    for tying in ("none", "universal"):
        for compile in ("true", "false"):
            config = bench.config(GPT2, f"tying={tying}", f"hardware.compile={compile}")
            name = f"{tying}, {'compiled' if config.hardware.compile else 'eager'}"
            bench.line(name, lambda c=config: counted(c, random_lm_batches(c), our_step(c)))


def bench_cells(bench: Bench) -> None:
    """Lines of several equal runs at once: threads with a stream each, processes, and one batched computation."""
    for n in bench.at_once:
        bench.line(f"{n} in one process, a stream each", lambda n=n: streams(bench, n))
    for n in bench.at_once:
        with ExitStack() as stack:
            bench.line(f"{n} processes ({mps()})", lambda n=n, stack=stack: processes(bench, n, stack))
    for n in bench.at_once:
        bench.line(f"{n} by hand, batched by torch.func", lambda n=n: batched(bench, n))


def cell(bench: Bench) -> Work:
    """One step of a small run."""
    config = bench.config(CELL)
    return counted(config, random_lm_batches(config), our_step(config))


def summed(found: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return sum(tokens for tokens, _ in found), sum(flops for _, flops in found)


def streams(bench: Bench, n: int) -> Work:
    """Each thread takes one step of its own run."""
    cells = [cell(bench) for _ in range(n)]
    kept = [torch.cuda.Stream() if bench.device.type == "cuda" else None for _ in range(n)]
    pool = ThreadPoolExecutor(n)
    bench.wait()  # the streams do not wait for the one on which all was made

    def one(i: int, work: Work, stream: torch.cuda.Stream | None) -> tuple[int, int]:
        with torch.cuda.stream(stream):
            return work(i)

    return lambda i: summed(list(pool.map(one, [i] * n, cells, kept)))


def mps() -> str:
    """Whether NVIDIA's service that lets processes share a GPU at one time runs; the script starts none."""
    control = shutil.which("nvidia-cuda-mps-control")
    if not control:
        return "MPS is not installed"
    found = subprocess.run([control], input="get_server_list\n", capture_output=True, text=True)
    return "MPS is off" if found.returncode else "MPS is on"


def processes(bench: Bench, n: int, stack: ExitStack) -> Work:
    """Each process takes some steps of its own run; they live as long as the stack."""
    words = [sys.executable, "-W", "ignore", __file__, "--cell", "--device", bench.device.type]
    words += ["--tiny"] if bench.is_tiny else []
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    cells = [stack.enter_context(subprocess.Popen(words, **pipes)) for _ in range(n)]

    def work(i: int) -> tuple[int, int]:
        for process in cells:
            process.stdin.write(f"{i}\n")
        return summed([json.loads(process.stdout.readline()) for process in cells])

    return work


def serve(bench: Bench) -> None:
    """In a process of its own: take some steps for each line that comes."""
    work = cell(bench)
    for line in sys.stdin:
        found = summed([work(int(line) * PER_LINE + i) for i in range(PER_LINE)])
        bench.wait()
        print(json.dumps(found), flush=True)


def batched(bench: Bench, n: int) -> Work:
    """One step of n models by hand, their parameters side by side in one tensor per name."""
    config = bench.config(CELL)
    with torch.device(bench.device):
        models = [ByHand(config, config.model.vocab_size) for _ in range(n)]
    parameters, _ = stack_module_state(models)
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-3, fused=True)

    def objective(own: dict[str, Tensor], ids: Tensor, targets: Tensor) -> Tensor:
        logits = functional_call(models[0], own, (None, ids))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PAD_ID)

    gradients = vmap(grad(objective), in_dims=(0, None, None))

    def step(batch: Batch) -> None:
        batch = batch.to(bench.device)
        with bench.autocast(), sdpa_kernel(SDPBackend.MATH):  # which has a rule for batches of models
            found = gradients(parameters, batch.tgt_in_ids, batch.tgt_out_ids)
        for name, p in parameters.items():
            p.grad = found[name]
        optimizer.step()

    work = counted(config, random_lm_batches(config), step)

    def all_of_them(i: int) -> tuple[int, int]:
        tokens, flops = work(i)
        return n * tokens, n * flops

    return all_of_them


def bench_decode(bench: Bench) -> None:
    """Lines of beam search by tietrain and transformers, from equal shapes."""
    config = bench.config(BASE, *DECODE)
    n = 2 if bench.is_tiny else 512
    n_tokens = 4 if bench.is_tiny else 32
    sources = random_sources(n, config.model.vocab_size)

    def ours(*, compile: bool) -> Work:
        model = build_model(config).to(bench.device)
        if compile:
            model.compile_steps()
        read_sources = read(sources)

        def work(i: int) -> tuple[int, int]:
            with bench.autocast():
                list(search(model, read_sources, [[]] * n, [n_tokens] * n, Search(beam=BEAM)))
            return n * n_tokens, 0

        return work

    def transformers() -> Work:
        model = marian_model(config, config.model.vocab_size).eval().to(bench.device)
        model.final_logits_bias[0, EOS_ID] = NEVER
        batches = [ids.to(bench.device) for ids in batches_of(sources)]
        options = {"num_beams": BEAM, "max_new_tokens": n_tokens, "do_sample": False}

        def work(i: int) -> tuple[int, int]:
            with bench.autocast():
                for ids in batches:
                    model.generate(input_ids=ids, attention_mask=(ids != PAD_ID).long(), **options)
            return n * n_tokens, 0

        return work

    bench.line("tietrain, steps compiled", lambda: ours(compile=True))
    bench.line("tietrain, eager", lambda: ours(compile=False))
    with unpadded():
        bench.line("tietrain, eager, vocabulary as it is", lambda: ours(compile=False))
    bench.line("transformers, eager", transformers)


def bench_idle(bench: Bench) -> None:
    """Lines of a short language model, with and without what would keep a GPU idle."""
    for name, settings, context in (
        ("compiled", ["hardware.compile=true"], nullcontext()),
        ("compiled, vocabulary as it is", ["hardware.compile=true"], unpadded()),
        ("compiled, dropout 0.1", ["hardware.compile=true", "model.dropout=0.1"], nullcontext()),
        ("eager", [], nullcontext()),
        ("eager, vocabulary as it is", [], unpadded()),
        ("eager, dropout 0.1", ["model.dropout=0.1"], nullcontext()),
        ("eager, fp32", ["hardware.precision=fp32"], nullcontext()),
        ("eager, tf32", ["hardware.precision=tf32"], nullcontext()),
    ):
        config = bench.config([*GPT2, "model.n_layers=2"], *settings)
        with context:
            bench.line(name, lambda c=config: counted(c, random_lm_batches(c), our_step(c)))


@contextmanager
def unpadded() -> Iterator[None]:
    """Inside, the output product has the columns of the vocabulary alone."""
    before = layers.DEVICE_COLUMNS
    layers.DEVICE_COLUMNS = 1
    yield
    layers.DEVICE_COLUMNS = before


PARTS: dict[str, tuple[str, Callable[[Bench], None]]] = {
    "lm": (
        "GPT-2 124M, windows of 1,024 tokens",
        lambda bench: bench_training(bench, "lm", GPT2, random_lm_batches),
    ),
    "mt": ("base model of Vaswani et al. 2017", lambda bench: bench_training(bench, "mt", BASE, random_pairs)),
    "shared": ("GPT-2 124M with twelve layers of its own, and with one", bench_shared),
    "cells": ("small runs at once, d_model 256 x 4, eager", bench_cells),
    "decode": (f"beam {BEAM}, 32 tokens for each of 512 sentences, base model", bench_decode),
    "idle": ("GPT-2 with two layers; columns of logits, dropout, precision", bench_idle),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*")  # some versions of argparse check choices for an empty list too
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--peak", type=float, default=989.0, help="TFLOP/s that the device reaches at best in bf16")
    parser.add_argument("--minutes", type=float, default=9.0, help="after which no other line begins")
    parser.add_argument("--seconds", type=float, default=5.0, help="that a line is measured")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--cell", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {unknown.pop()}; the parts are {', '.join(PARTS)}")
    end = time.monotonic() + 60 * options.minutes
    bench = Bench(torch.device(options.device), options.peak * 1e12, options.seconds, end, options.tiny)
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch finds no GPU here; to try the script without one: --device cpu --tiny")
    if options.cell:
        serve(bench)
        return
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU, whose memory is not measured"
    how = f"{bench.precision}, {options.seconds:g} s per line" + ", everything tiny" * options.tiny
    print(f"torch {torch.__version__}, {name}, peak {options.peak:,.0f} TFLOP/s, {how}")
    for part in options.parts or PARTS:
        title, run = PARTS[part]
        bench.title(f"{part}: {title}")
        run(bench)


if __name__ == "__main__":
    main()
