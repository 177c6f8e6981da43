"""What a grid adds to its cells: seconds between two of them, and a grid of tiny cells against one command per cell.

Run as a program it is a grid that watches itself: it prints one JSON line with the times of its cells.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

N_CELLS = 6
TINY = ["data.preset=tiny", "model=tiny", "train.max_steps=5", "train.log_every=5", "hardware.threads=1", "task=lm"]


def bench_grid(rounds: int) -> None:
    """Print, of a serial grid, how long a cell takes to start and to train, and how much faster it is than single commands."""
    times: dict[str, list[float]] = {"between": [], "start": [], "cpu start": [], "cell": []}
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        _run(folder, "-m", "tietrain", *TINY, "study=warm")  # corpus and vocabulary
        for i in range(rounds):
            seeds = [f"seed={seed}" for seed in range(1, N_CELLS + 1)]
            began = time.perf_counter()
            for seed in seeds:
                _run(folder, "-m", "tietrain", *TINY, seed, f"study=single{i}")
            single = time.perf_counter() - began
            began = time.perf_counter()
            swept = f"seed={','.join(seed.split('=')[1] for seed in seeds)}"
            watched = _run(folder, __file__, "-m", *TINY, swept, f"study=grid{i}")
            ratios.append(single / (time.perf_counter() - began))
            for name, values in json.loads(watched.splitlines()[-1]).items():
                times[name] += values
    print(f"grid: {N_CELLS} cells of 5 steps, model=tiny, one process, {rounds} rounds; medians and worst")
    titles = {
        "between": "s from the end of a cell to the start of the next",
        "start": "s from the end of a cell to the first step of the next",
        "cpu start": "the same in CPU seconds",
        "cell": "s of a whole cell",
    }
    for name, title in titles.items():
        print(f"  {title:<56} {statistics.median(times[name]):6.3f}   {max(times[name]):6.3f}")
    print(
        f"  {'one command per cell / one grid':<56} {statistics.median(ratios):6.2f}   {min(ratios):6.2f}", flush=True
    )


def watch(argv: list[str]) -> dict[str, list[float]]:
    """Times of the cells of a grid that runs in this process, the first one's start left out: it imports everything."""
    from tietrain.cli import grid
    from tietrain.cli import main as cli
    from tietrain.train import learner

    marks: list[tuple[str, float, float]] = []

    def marked(name: str, function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            marks.append((name, time.perf_counter(), time.process_time()))
            return function(*args, **kwargs)

        return call

    run_job = grid.job.run_job

    def run(config: Any) -> Any:
        outcome = marked("begin", run_job)(config)
        marks.append(("end", time.perf_counter(), time.process_time()))
        return outcome

    grid.job.run_job, learner.train_step = run, marked("step", learner.train_step)
    if code := cli.main(argv):
        sys.exit(code)
    begins = [i for i, mark in enumerate(marks) if mark[0] == "begin"]
    ends = [i for i, mark in enumerate(marks) if mark[0] == "end"]
    after = list(zip(ends, begins[1:], strict=False))
    return {
        "between": [marks[j][1] - marks[i][1] for i, j in after],
        "start": [marks[j + 1][1] - marks[i][1] for i, j in after],
        "cpu start": [marks[j + 1][2] - marks[i][2] for i, j in after],
        "cell": [marks[j][1] - marks[i][1] for i, j in zip(begins, ends, strict=True)][1:],
    }


def _run(folder: str, *words: str) -> str:
    words = (str(Path(words[0]).resolve()), *words[1:]) if words[0] != "-m" else words
    command = [sys.executable, *words]
    env = {**os.environ, "XDG_CACHE_HOME": folder}
    return subprocess.run(
        command, cwd=folder, env=env, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ).stdout


if __name__ == "__main__":
    print(json.dumps(watch(sys.argv[1:])))
