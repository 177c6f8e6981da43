"""What a large text costs to prepare and to begin training on: seconds, peak memory, and the size of its cache."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from itertools import accumulate
from pathlib import Path

SMALL = ["model.vocab_size=8000", "model.d_model=64", "model.n_layers=2", "model.n_heads=4", "model.d_ff=128"]
SMALL += ["hardware.device=cpu", "train.max_steps=1"]
# Words drawn at a time, and different ones there are, with Zipf-like frequencies.
DRAWN, N_WORDS = 50_000, 200_000


def bench_text(megabytes: int) -> None:
    """Print what `tietrain data` and a first step cost for a text of so many megabytes of made-up words."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        n_bytes = _write_text(folder / "train", megabytes * 10**6, seed=1)
        _write_text(folder / "valid", 300_000, seed=2)
        splits = f"data.splits={{train: [{folder}/train], valid: [{folder}/valid]}}"
        words = ["task=lm", "data=text", splits, f"data.cache={folder}/cache", *SMALL]
        print(f"text: {n_bytes / 1e6:,.0f} MB of one language, in 8,000 pieces")
        _show("tietrain data", ["data", *words])
        cached = sum(path.stat().st_size for path in (folder / "cache").rglob("*") if path.is_file())
        print(f"  {'cache, text = 1':<44} {cached / n_bytes:6.3f}   ({cached / 1e6:,.0f} MB)")
        _show("a run of one step, text in the cache", [*words, f"run_dir={folder}/run"])


def _write_text(path: Path, n_bytes: int, seed: int) -> int:
    """Sentences of made-up words in lines; returns the bytes of the file."""
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    vocabulary = ["".join(random.Random(i).choices(syllables, k=2 + i % 4)) for i in range(N_WORDS)]
    weights = list(accumulate(1 / (rank + 10) for rank in range(N_WORDS)))
    draw = random.Random(seed)
    with open(path, "w", encoding="utf-8") as file:
        while file.tell() < n_bytes:
            words = draw.choices(vocabulary, cum_weights=weights, k=DRAWN)
            while words:
                n = draw.randrange(4, 30)
                file.write(" ".join(words[-n:]) + "\n")
                del words[-n:]
    return path.stat().st_size


def _show(title: str, words: list[str]) -> None:
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "tietrain", *words], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    seconds = f"({time.perf_counter() - began:,.0f} s, {used.ru_utime + used.ru_stime:,.0f} s of processors)"
    print(f"  {title + ', peak GB of memory':<44} {used.ru_maxrss / 1e6:6.3f}   {seconds}")
