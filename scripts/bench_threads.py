"""What threads are worth: steps per second of a small language model alone, beside other load, and of two runs at once.

Run as a program it trains for some seconds and prints its steps per second.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 10.0
# What is tried: threads of a run, and whether threads that wait spin or sleep.
WAYS = [(2, "active"), (2, "passive"), (1, "passive")]
BURN = "while True: pass"


def bench_threads() -> None:
    """Print a table of the three ways; two processes that only burn time are the other load."""
    print(f"threads: steps per second of d_model 128 x 3, 1,024 tokens per step, {os.cpu_count()} cores")
    print(f"  {'':<20} {'alone':>7} {'beside two others':>18} {'two runs, both':>15}")
    for threads, policy in WAYS:
        alone = sum(rates(1, threads, policy))
        with burning(2):
            beside = sum(rates(1, threads, policy))
        both = sum(rates(2, threads, policy))
        print(f"  {f'{threads} threads, {policy}':<20} {alone:7.1f} {beside:18.1f} {both:15.1f}", flush=True)


def rates(n_runs: int, threads: int, policy: str) -> list[float]:
    """Steps per second of runs that train at the same time."""
    env = {**os.environ, "OMP_WAIT_POLICY": policy}
    command = [sys.executable, __file__, str(threads)]
    runs = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(n_runs)]
    return [float(run.communicate()[0].split()[-1]) for run in runs]


@contextmanager
def burning(n: int) -> Iterator[None]:
    """Processes that keep as many cores busy."""
    burners = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(n)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def train(threads: int) -> float:
    """Steps per second of this process."""
    import torch

    from bench import our_arm, random_lm_batches
    from tietrain.config.compose import compose_config

    torch.set_num_threads(threads)
    config = compose_config(["task=lm", "tying=pre_softmax", "hardware.precision=fp32", f"hardware.threads={threads}"])
    step = our_arm(config, config.model.vocab_size)
    batch = random_lm_batches(config)
    for i in range(3):
        step(batch(i))
    n_steps = 0
    began = time.perf_counter()
    while (took := time.perf_counter() - began) < SECONDS:
        step(batch(n_steps))
        n_steps += 1
    return n_steps / took


if __name__ == "__main__":
    print(train(int(sys.argv[1])))
