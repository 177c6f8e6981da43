"""Speed of tietrain beside its peers, from one run: a table per task, the machine's ceilings, and growth with size.

    python scripts/bench.py [lm] [mt] [decode] [growth] [ties] [start] [durable] [grid] [text] [threads]
        [--root DIR] [--rounds N] [--threads N] [--sentences N] [--run RUN] [--megabytes N]

The first four are the default. All arms take the same batches in turn in one process; a ratio is the median over rounds of
(peer's CPU seconds / tietrain's), so above 1 tietrain is faster. Memory is the peak of a process of its own for each arm.
With --root, translation runs on multi30k_en_de from that folder, else on the generated corpus. With --run, `decode` takes the
weights and the test sentences of a trained run.
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
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from bench_decoding import BEAM, N_TOKENS, bench_decoding, bench_run, random_sources, real_sources
from bench_durable import bench_durable
from bench_grid import bench_grid
from bench_peers import PEERS, Step
from bench_text import bench_text
from bench_threads import bench_threads
from tietrain.config import RunConfig, TyingConfig
from tietrain.config.compose import compose_config
from tietrain.config.keys import tying_choices
from tietrain.config.layout import make_layout, make_shape
from tietrain.data.batches.batching import Batch, Batches
from tietrain.data.batches.windows import LmBatches
from tietrain.data.prepare import prepare
from tietrain.model.loss import LossSum
from tietrain.model.transformer import Transformer
from tietrain.plan.catalogue import Scheme, load_scheme
from tietrain.plan.flops import count_flops, length_units, shape_of
from tietrain.plan.plan import TyingPlan
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
TABLES = ("lm", "mt", "decode", "growth")
PARTS = (*TABLES, "ties", "start", "durable", "grid", "text", "threads")
PRECISIONS = ("fp32", "bf16")


def plan_of(config: RunConfig, vocab_size: int) -> TyingPlan:
    names = make_layout(config).stacks
    shape = make_shape(config, dict.fromkeys(names, vocab_size), dict.fromkeys(names, "joint"))
    return make_plan(shape, config.tying.ties)


def our_arm(config: RunConfig, vocab_size: int) -> Step:
    """One training step of tietrain, as its loop takes it."""
    model = Transformer(plan_of(config, vocab_size), dropout=config.model.dropout, tables=config.model.table_values)
    model.initialize(config.seed)
    optimizer = build_optimizer(model, config.optim)
    hardware = resolve_hardware(config.hardware)

    def loss(model: torch.nn.Module, batch: Batch) -> LossSum:
        return batch_loss(model, batch, config.task.label_smoothing)

    return lambda batch: train_step(model, optimizer, batch, loss, hardware=hardware, clip_norm=1.0, seed=1, step=1)


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


def seconds_in_turn(arms: dict[str, Step], batch: Callable[[int], Batch], rounds: int) -> dict[str, list[float]]:
    """Arm -> CPU seconds of each round; all arms take the same batch in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for i in range(-2, rounds):  # two rounds of warm-up
        # The order turns every round, so that no arm always runs on the other's warm caches.
        for name in list(arms) if i % 2 else reversed(arms):
            began = time.process_time()
            arms[name](batch(i))
            if i >= 0:
                seconds[name].append(time.process_time() - began)
    return seconds


def ratios_of(seconds: list[float], ours: list[float]) -> str:
    """Median and quartiles of a peer's seconds over ours."""
    ratios = [a / b for a, b in zip(seconds, ours, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:5.2f} ({low:.2f} to {high:.2f})"


@dataclass
class Ceilings:
    """What this machine reaches. product: precision -> FLOP per CPU second of a matrix product. copied: bytes per second."""

    product: dict[str, float]
    copied: float


def measure_ceilings() -> Ceilings:
    """With as many threads as torch has now; the best of ten."""

    def best(action: Callable[[], object]) -> float:
        seconds = []
        for _ in range(10):
            began = time.process_time()
            action()
            seconds.append(time.process_time() - began)
        return min(seconds)

    size, product = 2048, {}
    for precision, dtype in zip(PRECISIONS, (torch.float32, torch.bfloat16), strict=True):
        matrix = torch.randn(size, size, dtype=dtype)
        product[precision] = 2 * size**3 / best(lambda matrix=matrix: matrix @ matrix)
    source = torch.zeros(2**26)
    target = torch.empty_like(source)
    return Ceilings(product, source.nbytes / best(lambda: target.copy_(source)))


def peak_of_this_process() -> int:
    """Bytes; not getrusage, whose high-water mark a child inherits from the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024  # type: ignore[union-attr]


def peak_bytes(task: str, arm: str, precision: str, options: argparse.Namespace) -> int:
    """Peak memory of a process that takes three steps of one arm."""
    words = [sys.executable, __file__, task, "--memory-of", arm, precision, "--threads", str(options.threads)]
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


def bench_task(task: str, options: argparse.Namespace, ceilings: Ceilings) -> None:
    """Print a table: every arm in every precision, with its share of what a matrix product reaches."""
    for precision in PRECISIONS:
        config, batch, vocab_size, efficiency = setting(task, options, f"hardware.precision={precision}")
        m = config.model
        print(
            f"\n{task}, {precision}: d_model {m.d_model} x {m.n_layers}, about {config.train.batch_tokens} tokens per step,"
            f" {options.threads} threads, {options.rounds} rounds"
        )
        arms = {"tietrain": our_arm(config, vocab_size)}
        for name, make in PEERS[task].items():
            try:
                arms[name] = make(config, vocab_size)
            except ImportError as e:
                print(f"  {name} is left out: {e}")
        seconds = seconds_in_turn(arms, batch, options.rounds)
        plan = plan_of(config, vocab_size)
        ledger = count_flops(plan)
        flops = sum(ledger.training(length_units(shape_of(plan), batch(i).lengths)) for i in range(options.rounds))
        tokens = sum(batch(i).n_tokens for i in range(options.rounds))
        print(f"  {'':<22} {'tokens/CPU s':>12} {'of product':>10} {'peak MiB':>8}   its seconds, tietrain = 1")
        for name, took in seconds.items():
            share = flops / sum(took) / ceilings.product[precision]
            peak = peak_bytes(task, name, precision, options) / 2**20
            ratio = ratios_of(took, seconds["tietrain"])
            print(f"  {name:<22} {tokens / sum(took):12,.0f} {share:10.0%} {peak:8,.0f}   {ratio}", flush=True)
    for stack, share in efficiency.items():
        print(f"  real share of positions, {stack}: {share:.3f}")


# Dimension -> settings of ever larger models; the others stay as in `LM`.
GROWTH = {
    "width": [[f"model.d_model={d}", f"model.d_ff={4 * d}"] for d in (128, 256, 512, 768)],
    "depth": [[f"model.n_layers={n}"] for n in (2, 4, 8, 16)],
    "length": [[f"task.window={n}", f"model.max_len={n + 1}"] for n in (128, 256, 512, 1024)],
    "vocabulary": [[f"model.vocab_size={n}"] for n in (2048, 8192, 16384, 32768)],
}


def bench_growth(options: argparse.Namespace) -> None:
    """Print how the least seconds of a step grow with the ledger's FLOPs: the exponent of a power law, fitted to each dimension."""
    print(f"\ngrowth: seconds of a step of 4096 tokens against FLOPs, fp32, {options.threads} threads, least of 4")
    everything = []
    for dimension, sizes in GROWTH.items():
        points = []
        for size in sizes:
            config, batch, vocab_size, _ = setting("lm", options, "train.batch_tokens=4096", *size)
            plan = plan_of(config, vocab_size)
            ledger = count_flops(plan)
            took = seconds_in_turn({"tietrain": our_arm(config, vocab_size)}, batch, 4)["tietrain"]
            points.append((ledger.training(length_units(shape_of(plan), batch(0).lengths)), min(took)))
        everything += points
        shown = ", ".join(f"{flops:.1e}: {took:.2f} s" for flops, took in points)
        print(f"  {dimension:<11} exponent {exponent(points):.3f}   {shown}", flush=True)
    print(f"  {'all':<11} exponent {exponent(everything):.3f}")


def exponent(points: list[tuple[float, float]]) -> float:
    """Slope of log seconds over log FLOPs by least squares."""
    flops, seconds = np.log(np.array(points)).T
    return float(np.polyfit(flops, seconds, 1)[0])


def bench_ties(options: argparse.Namespace) -> None:
    """Every scheme against none at equal shape, each beside none on the same batches."""
    for task in ("lm", "mt"):
        base, batch, vocab_size, _ = setting(task, options, "model.n_layers=6", "train.batch_tokens=2048")

        def arm(scheme: Scheme, base: RunConfig = base, size: int = vocab_size) -> Step:
            return our_arm(replace(base, tying=TyingConfig(scheme.example)), size)

        untied = arm(load_scheme("none"))
        print(f"{task}: each tie against none at equal shape, 6 layers per stack, above 1 is faster than none")
        for scheme in map(load_scheme, tying_choices()):
            if task in scheme.plans() and scheme.name != "none":
                seconds = seconds_in_turn({"tied": arm(scheme), "none": untied}, batch, options.rounds)
                print(f"  {scheme.name:<22} {ratios_of(seconds['none'], seconds['tied'])}", flush=True)


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
    if options.run:
        print(f"decode: {options.run}, beam {BEAM}, {options.sentences} sentences, 1 thread")
        return bench_run(options.run, options.sentences, options.rounds)
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
    parser.add_argument("parts", nargs="*")  # some versions of argparse check choices for an empty list too
    parser.add_argument("--root", help="folder that holds multi30k/", default=os.environ.get("TIETRAIN_DATA"))
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sentences", type=int, default=1000, help="that are decoded")
    parser.add_argument("--run", type=Path, help="whose weights are decoded with, of a shape that MarianMT has")
    parser.add_argument("--megabytes", type=int, default=30, help="of the text that is prepared")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {unknown.pop()}; the parts are {', '.join(PARTS)}")
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print(memory_of(options.parts[0], *options.memory_of, options))
        return
    ceilings = measure_ceilings()
    print(
        f"torch {torch.__version__}, load {os.getloadavg()[0]:.1f} before the start; a CPU second: product"
        f" {', '.join(f'{name} {flops / 1e9:.0f} GFLOP' for name, flops in ceilings.product.items())}, copy {ceilings.copied / 1e9:.1f} GB"
    )
    for part in options.parts or TABLES:
        others = {
            "growth": bench_growth,
            "ties": bench_ties,
            "start": bench_start,
            "decode": bench_decode,
            "durable": lambda o: bench_durable(o.threads),
            "grid": lambda o: bench_grid(min(o.rounds, 3)),
            "text": lambda o: bench_text(o.megabytes),
            "threads": lambda o: bench_threads(),
        }
        others.get(part, lambda o, part=part: bench_task(part, o, ceilings))(options)


def memory_of(task: str, arm: str, precision: str, options: argparse.Namespace) -> int:
    """Peak bytes of this process after three steps of one arm."""
    config, batch, vocab_size, _ = setting(task, options, f"hardware.precision={precision}")
    step = {"tietrain": our_arm, **PEERS[task]}[arm](config, vocab_size)
    for i in range(3):
        step(batch(i))
    return peak_of_this_process()


if __name__ == "__main__":
    main()
