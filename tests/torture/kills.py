"""Promises about being stopped: by kill -9 at any moment, by signals, by a limit, by others at the same time."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import cycle
from pathlib import Path

from cells import MAX_SECONDS, TIED, UNTIED, Attempt, Cell, Place, write_corpora
from promises import Table
from results import difference, differences, result, whole_steps

from tietrain.runs import record as runs
from tietrain.runs.metrics import read_metrics

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
# With them a run lies still long enough to be met in training.
SLOW = ("train.slow_step_seconds=0.2",)
SLICES = "hardware.shard=true"
# What kills must not change: part of a result -> its row.
PARTS = {
    "tensors": "1   after kills: every tensor stored, bit for bit",
    "logged rows": "1   after kills: every logged loss (row of metrics.jsonl)",
    "scores": "1   after kills: eval.json",
    "points of TensorBoard": "1   after kills: points of TensorBoard, none twice",
}


def kill_at_any_moment(place: Place, n: int, draw: random.Random, table: Table) -> None:
    """Promises 1 and 11: n kills, every other one of a tied run, each after a random part of a run's time."""
    kills: Counter[str] = Counter()
    for cells, n_kills in ((UNTIED, n - n // 2), (TIED, n // 2)):
        for i, cell in enumerate(cells):
            n_here = len(range(i, n_kills, len(cells)))
            while n_here > kills[cell.name]:
                kills[cell.name] += _kill_until_done(place, cell, n_here - kills[cell.name], draw, table)
    said = ", ".join(f"{name} {count}" for name, count in kills.items() if count)
    table.notes.append(f"kills of runs: {said}")


def _kill_until_done(place: Place, cell: Cell, most: int, draw: random.Random, table: Table) -> int:
    """Kill a run, again and again, until it is through or has been killed often enough; returns how often it was."""
    directory, n, kept = place.fresh(), 0, table.row("11 a whole checkpoint at every moment")
    seconds, seen, done = place.reference(cell)[1], False, False
    while n < most and not done:
        attempt = place.start(cell, directory)
        time.sleep(draw.uniform(0, seconds))
        if not attempt.kill():
            break
        n += 1
        kept.check(bool(whole_steps(directory)) or not seen, f"no whole checkpoint in {directory}")
        seen = seen or bool(whole_steps(directory))
        done = (directory / runs.RUN).exists() and runs.read_record(directory).status == "done"
    problem = place.ends_like_reference(cell, directory)
    table.row("1 kill -9 loses no run").check(not problem, f"{n} kills: {problem}", n)
    if n and (directory / runs.EVAL).exists():
        wanted = place.reference(cell)[0]
        wrong = differences(result(directory), wanted)
        for part, promise in PARTS.items():
            table.row(promise).check(part not in wrong, f"{cell.name} in {directory}", len(wanted[part]))
    return n


def kill_processes(place: Place, n: int, draw: random.Random, table: Table) -> None:
    """Promise 18: of runs on two and three processes some, or all, are killed at random moments; the others do not wait on."""
    row = table.row("18 kill -9 of some processes of a run loses nothing")
    kept = table.row("18 the others end in time")
    n_killed = 0
    for size, cell, *words in cycle(((2, TIED[0]), (3, TIED[1]), (2, TIED[1], SLICES), (3, TIED[0], SLICES))):
        if n_killed >= n:
            return
        whole, directory = place.fresh("reference"), place.fresh()
        seconds = _wait_for_all(place.start_several(size, cell, whole, *words))
        n_here, is_done = 0, False
        while not is_done and n_killed < n:
            attempts = place.start_several(size, cell, directory, *words)
            time.sleep(draw.uniform(0, seconds))
            hit = [attempt.kill() for attempt in draw.sample(attempts, draw.randint(1, size))]
            n_here += any(hit)
            n_killed += any(hit)
            _wait_for_all(attempts)
            codes = [attempt.code for attempt in attempts]
            kept.check(set(codes) <= {0, 8, -signal.SIGKILL} and attempts[0].seconds < MAX_SECONDS, f"exits {codes}")
            is_done = not any(hit)
        _wait_for_all(place.start_several(size, cell, directory, *words))
        problem = difference(result(directory), result(whole))
        row.check(not problem, f"{cell.name} on {size} {' '.join(words)}, {n_here} kills: {problem}", n_here)


def _wait_for_all(attempts: list[Attempt]) -> float:
    """Seconds until the last has ended."""
    return max(attempt.wait(MAX_SECONDS).seconds for attempt in attempts)


def stop_by_signals(place: Place, n: int, draw: random.Random, table: Table) -> None:
    """Promise 2: the run ends with 128 + n after saving the step it logged, and goes on as if nothing had been."""
    row = table.row("2 a signal loses no step")
    for i, cell in zip(range(n), cycle((*TIED, *UNTIED)), strict=False):
        number, directory = SIGNALS[i % len(SIGNALS)], place.fresh()
        n_rows = draw.randint(1, 10)
        attempt = place.start(cell, directory, *SLOW)
        while not attempt.poll() and len(_train_rows(directory)) < n_rows:
            time.sleep(0.01)
        sent = draw.choice(([number], [number, draw.choice(SIGNALS)]))
        attempt.signal(number)
        for second in sent[1:]:
            time.sleep(0.05)
            attempt.signal(second)
        attempt.wait(30)
        steps, last = whole_steps(directory), max(row["step"] for row in _train_rows(directory))
        saved = bool(steps) and int(steps[-1].removeprefix("step_")) == last
        # Of two that wait for a busy process the system does not say which came first.
        ok = attempt.code in [128 + one for one in sent] and saved
        problem = "" if ok else f"exit {attempt.code}, {steps}, logged {last}"
        problem = problem or place.ends_like_reference(cell, directory)
        row.check(not problem, f"{signal.Signals(number).name} {cell.name}: {problem}")


def _train_rows(directory: Path) -> list[dict]:
    return [row for row in read_metrics(directory) if row["split"] == "train"]


def limit_file_size(place: Place, n: int, draw: random.Random, table: Table) -> None:
    """Promise 4, by RLIMIT_FSIZE: a file that would grow beyond it cannot be written."""
    row = table.row("4 file size limit: exit 5, then finished")
    for i in range(n):
        cell, directory = (*TIED, *UNTIED)[i % 9], place.fresh()
        weights = place.reference(cell)[0]["tensors"]
        smallest = sum(len(value) for name, (_, _, value) in weights.items() if name.startswith("final"))
        ended = place.run(cell, directory, limits={resource.RLIMIT_FSIZE: draw.randint(200, smallest)})
        said = ended.code == 5 and directory.name in ended.err
        problem = "" if said else f"exit {ended.code}: {ended.err[-300:]}"
        problem = problem or place.ends_like_reference(cell, directory)
        row.check(not problem, problem)


def race(place: Place, n: int, draw: random.Random, table: Table) -> None:
    """Promise 7: of several processes that want one run directory one runs; those that want one cache all do."""
    for i in range(n):
        cell, directory = TIED[i % len(TIED)], place.fresh()
        racers = [place.start(cell, directory) for _ in range(draw.randint(2, 5))]
        codes = sorted(racer.wait().code for racer in racers)
        # One that comes when another has ended finds it finished.
        ok = codes[0] == 0 and set(codes) <= {0, 6} and not difference(result(directory), place.reference(cell)[0])
        table.row("7 one writer per run directory").check(ok, f"{cell.name}: exits {codes}", len(racers))
        shared = place.fresh("cache").name
        others = [(place.fresh(), c) for c in draw.sample(TIED, 2)]
        for attempt in [place.start(c, path, f"data.cache={shared}") for path, c in others]:
            attempt.wait()
        ends = [difference(result(path), place.reference(c)[0]) for path, c in others]
        table.row("7 racers for one cache").check(not any(ends), f"{shared}: {ends}", len(others))


def disturb(place: Place, n: int, draw: random.Random, table: Table) -> None:
    """Promise 8: the same seed gives the same bits whatever surrounds the process."""
    row, cell = table.row("8 same seed, same bits"), TIED[0]
    elsewhere = place.folder / "elsewhere"
    elsewhere.mkdir()
    write_corpora(elsewhere)
    disturbances = (
        {"PYTHONHASHSEED": "1"},
        {"LC_ALL": "tr_TR.UTF-8", "LANG": "C"},
        {"TZ": "Pacific/Chatham"},
        {"HOME": "/dev/null", "XDG_CACHE_HOME": ""},
        {"PYTHONUTF8": "1", "PYTHONMALLOC": "malloc"},
        {"PYTHONHASHSEED": "77", "COLUMNS": "20"},
        {"PYTHONDONTWRITEBYTECODE": "1", "MALLOC_PERTURB_": "85"},
        {"TIETRAIN_NOTHING": "x" * 10_000},
    )
    for i, environment in zip(range(n), disturbances, strict=False):
        directory = (elsewhere if i % 2 else place.folder) / place.fresh().name
        command = [sys.executable, "-m", "tietrain", *cell.command(directory.name)]
        env = {**os.environ, "XDG_CACHE_HOME": str(directory.parent / "caches"), **environment}
        done = subprocess.run(command, cwd=directory.parent, env=env, capture_output=True, text=True, check=False)
        problem = done.stderr[-300:] if done.returncode else difference(result(directory), place.reference(cell)[0])
        row.check(not problem, f"{environment}: {problem}")
