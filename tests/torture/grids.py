"""Promises about grids: killed forty times one ends as an uninterrupted one, and its report counts what is done."""

import json
import random
import time
from pathlib import Path

from cells import Attempt, Cell, Place, run
from promises import Row, Table
from results import difference, result

from tietrain.runs import record as runs

GRID = ["-m", "tying=none,pre_softmax,cycle", "seed=1,2"]
MORE = ["train.max_steps=6", "train.checkpoint_every=1", "train.slow_step_seconds=0.1"]
# Kills fall in the first so many of the seconds that an uninterrupted grid takes.
SHARE = 0.15


def kill_a_grid(place: Place, n: int, draw: random.Random, table: Table) -> None:
    """Promises 12 and 14: a grid killed n times is the grid that was not; one that is through too early is begun anew."""
    row, honest = (
        table.row("12 a killed grid ends as an uninterrupted one"),
        table.row("14 a table counts what is done"),
    )
    base = [word for word in Cell("lm", "none").command("null") if not word.startswith(("tying=", "run_dir="))]
    words, outputs = [*GRID, *base, *MORE], place.folder / "outputs"
    whole = run([*words, "study=whole"], place.folder)
    if whole.code:
        raise RuntimeError(f"the uninterrupted grid ends with {whole.code}: {whole.err[-2000:]}")
    kills: list[int] = []
    while sum(kills) < n:
        study, n_kills = f"killed{len(kills)}", 0
        while sum(kills) + n_kills < n:
            attempt = Attempt([*words, f"study={study}"], place.folder)
            time.sleep(draw.uniform(0, SHARE * whole.seconds))
            if not attempt.kill():
                break
            n_kills += 1
            _check_report(outputs / study, place.folder, honest)
        ended = run([*words, f"study={study}"], place.folder)
        problem = f"exit {ended.code}: {ended.err[-300:]}" if ended.code else _differs(outputs, study)
        row.check(not problem, f"{study}: {problem}", n_kills)
        _check_report(outputs / study, place.folder, honest)
        kills.append(n_kills)
    table.notes.append(f"kills of grids of six runs: {' + '.join(map(str, kills))}")


def _differs(outputs: Path, study: str) -> str:
    whole, killed = ({p.name: result(p) for p in runs.find_runs(outputs / name)} for name in ("whole", study))
    if whole.keys() != killed.keys():
        return f"runs {sorted(killed)}, not {sorted(whole)}"
    found = {name: difference(killed[name], whole[name]) for name in whole}
    return "; ".join(f"{name}: {said}" for name, said in found.items() if said)


def _check_report(study: Path, place: Path, row: Row) -> None:
    """The report's means are over the runs whose own record says that they are done, and the others are listed."""
    records = {path.parent.name: json.loads(path.read_text()) for path in study.glob("*/" + runs.RUN)}
    done = {name for name, record in records.items() if record["status"] == "done"}
    ended = run(["report", str(study), "--json"], place)
    if not records:
        row.check(ended.code == 3, f"a report without runs ends with {ended.code}: {ended.err[-300:]}")
        return
    if ended.code:
        row.check(False, f"a report of {len(records)} runs ends with {ended.code}: {ended.err[-300:]}")
        return
    arms = json.loads(ended.err)
    listed = {Path(one["path"]).name: one["status"] for arm in arms for one in arm["runs"]}
    counted = {name for name, status in listed.items() if status == "done"}
    means = [stat["n"] for arm in arms for scores in arm["scores"].values() for stat in scores.values()]
    of_arms = [len(arm["seeds"]) for arm in arms for scores in arm["scores"].values() for _ in scores]
    row.check(counted == done, f"the report counts {sorted(counted)}, done are {sorted(done)}")
    row.check(listed.keys() >= records.keys(), f"the report lists {sorted(listed)} of {sorted(records)}")
    row.check(sum(len(arm["seeds"]) for arm in arms) == len(done) and means == of_arms, f"means of {means}: {of_arms}")
