"""Promises about being stopped: by kill -9 at any moment, by signals, by a full disk, by others at the same time."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from itertools import cycle
from pathlib import Path

from cells import TIED, UNTIED, Attempt, Cell, Place, Row, difference, result, run, whole_steps, write_corpora

from tietrain import runs

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
# With them a run lies still long enough to be met in training.
SLOW = ("train.slow_step_seconds=0.2",)


def kill_at_any_moment(place: Place, n: int, draw: random.Random) -> list[Row]:
    """Promises 1 and 11: n kills, every other one of a tied run, each after a random part of a run's time."""
    lost, kept = Row("1 kill -9 loses no run"), Row("11 a whole checkpoint at every moment")
    for cells, n_kills in ((UNTIED, n - n // 2), (TIED, n // 2)):
        for i, cell in enumerate(cells):
            _kill(place, cell, len(range(i, n_kills, len(cells))), draw, lost, kept)
    return [lost, kept]


def _kill(place: Place, cell: Cell, n_kills: int, draw: random.Random, lost: Row, kept: Row) -> None:
    seconds = place.reference(cell)[1] if n_kills else 0.0
    while n_kills:
        directory, seen, n_before = place.fresh(), False, n_kills
        while n_kills:
            attempt = place.start(cell, directory)
            time.sleep(draw.uniform(0, seconds))
            if not attempt.kill():
                break
            n_kills -= 1
            kept.check(bool(whole_steps(directory)) or not seen, f"no whole checkpoint in {directory}")
            seen = seen or bool(whole_steps(directory))
            if (directory / runs.RUN).exists() and runs.read_record(directory).status == "done":
                break
        problem = place.ends_like_reference(cell, directory)
        lost.tried += n_before - n_kills
        lost.lost += [problem] if problem else []


def stop_by_signals(place: Place, n: int, draw: random.Random) -> Row:
    """Promise 2: the run ends with 128 + n after saving the step it logged, and goes on as if nothing had been."""
    row = Row("2 a signal loses no step")
    for i, cell in zip(range(n), cycle((*TIED, *UNTIED)), strict=False):
        number, directory = SIGNALS[i % len(SIGNALS)], place.fresh()
        n_rows = draw.randint(1, 10)
        attempt = place.start(cell, directory, *SLOW)
        while not attempt.poll() and len(_train_rows(directory)) < n_rows:
            time.sleep(0.01)
        attempt.signal(number)
        time.sleep(0.03)
        attempt.signal(draw.choice(SIGNALS))
        attempt.wait(30)
        steps, last = whole_steps(directory), max(row["step"] for row in _train_rows(directory))
        saved = bool(steps) and int(steps[-1].removeprefix("step_")) == last
        problem = "" if attempt.code == 128 + number and saved else f"exit {attempt.code}, {steps}, logged {last}"
        problem = problem or place.ends_like_reference(cell, directory)
        row.check(not problem, f"{signal.Signals(number).name} {cell.name}: {problem}")
    return row


def _train_rows(directory: Path) -> list[dict]:
    return [row for row in runs.read_metrics(directory) if row["split"] == "train"]


def limit_file_size(place: Place, n: int, draw: random.Random) -> Row:
    """Promise 4, by RLIMIT_FSIZE: a file that would grow beyond it cannot be written."""
    row = Row("4 file size limit: exit 5, then finished")
    for i in range(n):
        cell, directory = (*TIED, *UNTIED)[i % 9], place.fresh()
        ended = place.run(cell, directory, limits={resource.RLIMIT_FSIZE: draw.randint(200, 60_000)})
        problem = (
            "" if ended.code == 5 and str(directory.name) in ended.err else f"exit {ended.code}: {ended.err[-300:]}"
        )
        problem = problem or place.ends_like_reference(cell, directory)
        row.check(not problem, problem)
    return row


def race(place: Place, n: int, draw: random.Random) -> list[Row]:
    """Promise 7: of several processes that want one run directory one runs; those that want one cache all do."""
    one, cache = Row("7 one writer a run directory"), Row("7 racers for one cache")
    for i in range(n):
        cell, directory = TIED[i % len(TIED)], place.fresh()
        racers = [place.start(cell, directory) for _ in range(draw.randint(2, 5))]
        codes = sorted(racer.wait().code for racer in racers)
        # One that comes when another has ended finds it finished.
        ok = codes[0] == 0 and set(codes) <= {0, 6} and not difference(result(directory), place.reference(cell)[0])
        one.check(ok, f"{cell.name}: exits {codes}")
        shared = place.fresh("cache").name
        others = [(place.fresh(), c) for c in draw.sample(TIED, 2)]
        for attempt in [place.start(c, path, f"data.cache={shared}") for path, c in others]:
            attempt.wait()
        ends = [difference(result(path), place.reference(c)[0]) for path, c in others]
        cache.check(not any(ends), f"{shared}: {ends}")
    return [one, cache]


def disturb(place: Place, n: int) -> Row:
    """Promise 8: the same seed gives the same bits whatever surrounds the process."""
    row, cell = Row("8 same seed, same bits"), TIED[0]
    elsewhere = place.folder / "elsewhere"
    elsewhere.mkdir()
    write_corpora(elsewhere)
    disturbances = (
        {"PYTHONHASHSEED": "1"},
        {"LC_ALL": "tr_TR.UTF-8", "LANG": "C"},
        {"TZ": "Pacific/Chatham"},
        {"HOME": "/nonexistent"},
        {"PYTHONOPTIMIZE": "1"},
        {"PYTHONHASHSEED": "77", "COLUMNS": "20"},
        {"PYTHONDONTWRITEBYTECODE": "1", "MALLOC_PERTURB_": "85"},
        {"TIETRAIN_NOTHING": "x" * 10_000},
    )
    for i, environment in zip(range(n), disturbances, strict=False):
        directory = (elsewhere if i % 2 else place.folder) / place.fresh().name
        command = [sys.executable, "-m", "tietrain", *cell.command(directory.name)]
        env = {**os.environ, **environment}
        done = subprocess.run(command, cwd=directory.parent, env=env, capture_output=True, text=True, check=False)
        problem = done.stderr[-300:] if done.returncode else difference(result(directory), place.reference(cell)[0])
        row.check(not problem, f"{environment}: {problem}")
    return row


GRID = ["-m", "tying=none,pre_softmax,cycle", "seed=1,2"]


def kill_a_grid(place: Place, n: int, draw: random.Random) -> Row:
    """Promise 12: a grid killed n times is the grid that was not."""
    row = Row("12 a killed grid ends as an uninterrupted one")
    if not n:
        return row
    base = Cell("lm", "none").command("null")
    words = [*(w for w in base if not w.startswith(("tying=", "run_dir="))), "train.max_steps=6", *GRID]
    whole = run([*words, "study=whole"], place.folder, 600)
    seconds, n_killed = whole.seconds, 0
    while n_killed < n:
        attempt = Attempt([*words, "study=killed"], place.folder)
        time.sleep(draw.uniform(0, seconds))
        if not attempt.kill():
            break
        n_killed += 1
    ended = run([*words, "study=killed"], place.folder, 600)
    row.tried = n_killed
    outputs = place.folder / "outputs"
    found = {study: {p.name: result(p) for p in runs.find_runs(outputs / study)} for study in ("whole", "killed")}
    row.lost += [] if ended.code == 0 else [f"exit {ended.code}: {ended.err[-300:]}"]
    row.lost += [] if found["whole"].keys() == found["killed"].keys() else ["other cells"]
    row.lost += [f"{name} differs" for name, body in found["whole"].items() if found["killed"].get(name) != body]
    counted = json.loads(run(["report", "outputs/killed", "--json"], place.folder).err)
    row.lost += [] if sum(len(arm["seeds"]) for arm in counted) == 6 else ["the report counts other runs"]
    return row
