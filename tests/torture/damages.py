"""Promises about damage: of every file of a run directory, of settings and texts, and of directories made to do harm."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

from cells import TIED, Attempt, Cell, Place, run
from promises import Table
from results import differences, result, tensors, whole_steps

from tietrain.runs import record as runs
from tietrain.runs.durable import is_whole


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes()) or bytearray(1)
    content[random.Random(len(content)).randrange(len(content))] ^= 4
    path.write_bytes(content)


def nest(path: Path) -> None:
    path.write_bytes(b'{"a":' * 50_000)


def grow(path: Path) -> None:
    os.truncate(path, 2**40)  # takes no room


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def lead_astray(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


DAMAGES: tuple[Callable[[Path], None], ...] = (
    Path.unlink, truncate, empty, flip, nest, grow, make_folder, make_pipe, make_loop, lead_astray,
)  # fmt: skip


def files_of(directory: Path) -> list[Path]:
    """Every file of a run directory."""
    return [path for path in sorted(directory.rglob("*")) if path.is_file()]


def is_clear(attempt: Attempt, codes: tuple[int, ...], most_lines: int = 25) -> bool:
    """Whether it ended by itself with one of the codes, in few lines and without a traceback."""
    said = attempt.err
    return attempt.code in codes and "Traceback" not in said and (not attempt.code or said.count("\n") <= most_lines)


def damage_a_stopped_run(place: Place, n: int, draw: random.Random, table: Table) -> None:
    """Promise 3: each file of a run that stopped, each damage: the same end, or a refusal that touches no checkpoint."""
    row, cell, stopped = table.row("3 a damaged file: same end, or said"), TIED[2], place.fresh("stopped")
    attempt = place.start(cell, stopped, "train.slow_step_seconds=0.2")
    # Late, so that the little that is left is soon done.
    while not attempt.poll() and not {"step_00000008", "step_00000010"} <= set(whole_steps(stopped)):
        time.sleep(0.01)
    attempt.signal(signal.SIGTERM)
    attempt.wait()
    every = [(path.relative_to(stopped), damage) for path, damage in product(files_of(stopped), DAMAGES)]
    for name, damage in every if n >= len(every) else draw.sample(every, n):
        directory = place.fresh()
        shutil.copytree(stopped, directory)
        damage(directory / name)
        ended = place.run(cell, directory)
        if ended.code == 0:
            problem = _unsaid(result(directory), place.reference(cell)[0], name, ended.err)
        else:
            clear = is_clear(ended, (2, 3, 5), 200) and runs_left(directory)
            problem = "" if clear else f"exit {ended.code}: {ended.err[-200:]}"
        row.check(not problem, f"{damage.__name__} {name}: {problem}")
        shutil.rmtree(directory)


def _unsaid(found: dict, wanted: dict, damaged: Path, said: str) -> str:
    """In what a run ends otherwise without having said so; empty where in nothing."""
    wrong = set(differences(found, wanted))
    if damaged.name == runs.METRICS and f"{runs.METRICS} is not as the checkpoint left it" in said:
        wrong -= {"logged rows", "points of TensorBoard"}  # rows that cannot be had again
    if "are gone" in said:  # weights of an evaluation that the average, and so the scores, do without
        wrong -= {"scores", "texts", "points of TensorBoard", "kept"}
        if _trained(found) == _trained(wanted):
            wrong -= {"tensors"}
    return f"{', '.join(sorted(wrong))} differ" if wrong else ""


def _trained(found: dict) -> dict[str, tuple]:
    """Last weights, and the newest checkpoint."""
    return {name: value for name, value in found["tensors"].items() if name.startswith(("final", "step_00000012"))}


def runs_left(directory: Path) -> bool:
    """Whether no run claims to be done."""
    try:
        return runs.read_record(directory).status != "done"
    except Exception:
        return True


def damage_a_finished_run(place: Place, n: int, draw: random.Random, table: Table) -> None:
    """Promise 13: of damaged finished runs every reading command says what it says of the whole one, or refuses."""
    row, cell = table.row("13 damaged run directories, 4 commands"), TIED[0]
    finished, other = place.fresh("study") / "run", place.fresh("other")
    finished.parent.mkdir()
    for directory in (finished, other):
        Attempt(cell.command(str(directory)), place.folder).wait()
    scores, weights = _scores(run(reading(finished, other)[3], place.folder)), _weights(finished)
    for _ in range(n):
        study = place.fresh("damaged")
        shutil.copytree(finished.parent, study)
        damaged = []
        for _ in range(draw.choice((1, 1, 2))):
            names = [path for path in files_of(study / "run") if not path.is_symlink()]
            path, damage = draw.choice(names), draw.choice(DAMAGES)
            damage(path)
            damaged.append(f"{damage.__name__} {path.relative_to(study)}")
        for words in reading(study / "run", other):
            ended = run(words, place.folder)
            ok = is_clear(ended, (0, 2, 3)) and (words[0] != "eval" or ended.code or _scores(ended) == scores)
            row.check(ok, f"{words[0]} {damaged}: {ended.code} {ended.err[-200:]}")
        if any("/checkpoints/final/" in said or "/checkpoints/best/" in said for said in damaged):
            ended = run(cell.command(str(study / "run")), place.folder)
            # 5: a folder that damage put where a file is to be written
            ok = is_clear(ended, (0, 2, 3, 5), 200) and (ended.code or _weights(study / "run") == weights)
            again = table.row("13 finished runs with damaged weights, run again")
            again.check(ok, f"{damaged}: {ended.code} {ended.err[-200:]}")
        shutil.rmtree(study)


def _weights(directory: Path) -> list[dict[str, tuple] | None]:
    """The tensors of the weights that a finished run offers; None in the place of damaged ones."""
    folders = [directory / runs.CHECKPOINTS / name for name in ("final", "best")]
    return [tensors(folder / "model.safetensors") if is_whole(folder) else None for folder in folders]


def _scores(ended: Attempt) -> list[str]:
    """The lines of `tietrain eval` that say scores."""
    return [line for line in ended.err.splitlines() if "ppl" in line]


def reading(directory: Path, other: Path) -> list[list[str]]:
    """Commands that open a run directory."""
    return [
        ["report", str(directory.parent), "--json"],
        ["compare", str(directory), str(other), "--samples", "20"],
        ["plan", "--against", str(directory), *Cell("mt", "none").command("null")[:-1]],
        ["eval", str(directory), "--name", "again", "hardware.device=cpu"],
    ]
