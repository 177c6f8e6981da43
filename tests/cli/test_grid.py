"""Grids as users run them: what fails, is locked, is stopped or finished in one cell, and all others go on."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tietrain.cli.main import main
from tietrain.cli.status import read_status
from tietrain.errors import StorageError
from tietrain.runs import record as runs
from tietrain.train import loop

TINY = ["study=grid", "data.preset=tiny", "model=tiny", "model.vocab_size=400", "train.batch_tokens=256"]
TINY += ["train.max_steps=4", "train.checkpoint_every=1", "train.log_every=1", "train.eval_every=4"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def grid(tmp_path, monkeypatch, capfd, cache):
    """Runs a grid of tiny cells; its exit code and what it said."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = main(["-m", *TINY, f"data.cache={cache}", *words])
        return code, capfd.readouterr().err

    return run


def cells():
    """Seed -> run directory."""
    return {runs.read_record(path).seed: path for path in runs.find_runs("outputs/grid")}


def status(seed):
    return runs.read_record(cells()[seed]).status


def broken_in(monkeypatch, seed, error, seen=lambda: None):
    """Training raises at step 3 of one seed; `seen` is called at every step."""
    take = loop.train_step

    def step_of(*args, **options):
        seen()
        if (options["seed"], options["step"]) == (seed, 3):
            raise error
        return take(*args, **options)

    monkeypatch.setattr(loop, "train_step", step_of)


def test_a_failed_cell_is_recorded_at_once_and_run_again_only_when_asked(grid, monkeypatch):
    states = []
    with monkeypatch.context() as broken:
        broken_in(broken, 2, RuntimeError("boom"), lambda: states.append(2 in cells() and status(2)))
        code, said = grid("seed=1,2,3")
    assert code == 1
    assert states[-1] == "failed"  # while the third cell trained
    record, log = runs.read_record(cells()[2]), (cells()[2] / runs.LOG).read_text()
    assert (record.status, record.exit_code) == ("failed", 70)
    assert "boom" in record.reason
    assert "Traceback" in log and "RuntimeError: boom" in log
    assert "grid: 2 done, 1 failed\n" in said
    assert f"  failed: {cells()[2]} internal error, a bug of tietrain: RuntimeError: boom" in said

    code, said = grid("seed=1,2,3")
    assert code == 1
    assert "RuntimeError: boom" in said and "(as before; retry_failed=true runs it again)" in said
    assert "grid: 2 skipped, 1 failed\n" in said

    code, said = grid("seed=1,2,3", "retry_failed=true")
    assert code == 0
    assert status(2) == "done"


@pytest.mark.parametrize(
    ("error", "code"),
    [(MemoryError(), 7), (StorageError("writing x", "no space", "make room"), 5), (OSError(5, "Input error"), 5)],
)
def test_a_cell_without_room_goes_on_at_the_next_start(grid, monkeypatch, error, code):
    with monkeypatch.context() as broken:
        broken_in(broken, 1, error)
        assert grid("seed=1,2")[0] == 1
    assert runs.read_record(cells()[1]).exit_code == code
    code, said = grid("seed=1,2")
    assert code == 0
    assert "continuing after step 2" in said
    assert "grid: 1 done, 1 skipped\n" in said


def test_a_cell_of_another_process_is_listed_and_the_grid_goes_on(grid):
    assert grid("seed=2")[0] == 0
    record = runs.read_record(cells()[2])
    record.status = "running"
    runs.write_record(cells()[2], record)
    with runs.locked(cells()[2]):
        code, said = grid("seed=1,2,3")
    assert code == 6
    assert "grid: 2 done, 1 running elsewhere\n" in said
    assert f"  running elsewhere: {cells()[2]}" in said
    assert [status(seed) for seed in (1, 2, 3)] == ["done", "running", "done"]


def test_a_killed_grid_goes_on_where_it_was(grid, tmp_path, cache):
    command = [sys.executable, "-m", "tietrain", "-m", *TINY, f"data.cache={cache}", "seed=1,2"]
    process = subprocess.Popen([*command, "train.slow_step_seconds=0.5"], stderr=subprocess.DEVNULL)
    while not (2 in cells() and len(runs.read_metrics(cells()[2])) >= 2):
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [status(seed) for seed in (1, 2)] == ["done", "running"]
    code, said = grid("seed=1,2")
    assert code == 0
    assert "continuing after step" in said
    assert "grid: 1 skipped, 1 done\n" in said


def test_finished_cells_are_found_however_they_are_typed(grid):
    assert grid("tying=pre_softmax", "seed=1,2")[0] == 0
    before = {seed: (path / runs.RUN).stat().st_mtime_ns for seed, path in cells().items()}
    for words in (
        ["seed=2,1", "tying=pre_softmax"],
        ["seed=range(1,3)", "tying=pre_softmax", "task=lm", "optim.lr=0.002", "model.dropout=0.1", "init_from=null"],
        ["tying=alias/sockeye_trg_softmax", "seed=1,2"],
        ["tying=[pre_softmax]", "seed=1,2", "train.log_every=3", "data=grammar"],
    ):
        code, said = grid(*words)
        assert code == 0
        assert "grid: 2 skipped\n" in said
    assert {seed: (path / runs.RUN).stat().st_mtime_ns for seed, path in cells().items()} == before


def test_same_code_runs_again_what_another_version_finished(grid):
    assert grid("seed=1,2")[0] == 0
    for seed, change in ((1, {"torch": "1.0"}), (2, {"python": "3.0", "platform": "another"})):
        record = runs.read_record(cells()[seed])
        record.machine |= change
        runs.write_record(cells()[seed], record)
        (cells()[seed] / "eval_later.json").write_text("{}")
    scores = (cells()[1] / runs.EVAL).read_text()
    assert "grid: 2 skipped\n" in grid("seed=1,2")[1]
    code, said = grid("seed=1,2", "same_code=true")
    assert code == 0
    assert f"{cells()[1]} was finished with torch 1.0, now 2." in said
    assert "grid: 1 done, 1 skipped\n" in said
    assert runs.read_record(cells()[1]).machine["torch"].startswith("2.")
    assert json.loads((cells()[1] / runs.EVAL).read_text())["splits"] == json.loads(scores)["splits"]
    steps = [row["step"] for row in runs.read_metrics(cells()[1]) if row["split"] == "train"]
    assert steps == [1, 2, 3, 4]
    assert [(cells()[seed] / "eval_later.json").exists() for seed in (1, 2)] == [False, True]


def test_a_cell_that_is_no_configuration_is_recorded_too(grid, capfd):
    code, said = grid("model.n_heads=2,3")
    assert code == 1
    assert "grid: 1 done, 1 failed\n" in said
    (path,) = (path for path in runs.find_runs("outputs/grid") if path.name.startswith("refused-"))
    record = runs.read_record(path)
    assert (record.status, record.exit_code, record.settings["model.n_heads"]) == ("failed", 2, "3")
    assert "model.n_heads=3: it does not divide" in record.reason
    assert "Traceback" in (path / runs.LOG).read_text()
    assert main(["report", "outputs/grid"]) == 0
    assert "it does not divide" in capfd.readouterr().out
    assert [row.state for row in read_status(Path("outputs/grid"))] == ["done", "failed"]


def test_status_knows_the_cells_that_wait_from_the_first_step_on(grid, monkeypatch):
    seen = []

    def look():
        seen.append(Counter(row.state for row in read_status(Path("outputs/grid"))))

    with monkeypatch.context() as watched:
        broken_in(watched, 0, RuntimeError(), look)
        assert grid("tying=none,pre_softmax", "seed=1,2")[0] == 0
    assert [look["waiting"] for look in seen[::4]] == [3, 2, 1, 0]
    assert all(look["running"] == 1 and look.total() == 4 for look in seen)
    for words in (["seed=3,1,2"], ["seed=1,2", "tying=alias/sockeye_trg_softmax", "train.log_every=2"]):
        assert grid(*words)[0] == 0
    assert Counter(row.state for row in read_status(Path("outputs/grid"))) == {"done": 5}


def test_a_grid_whose_cells_lie_elsewhere_lists_none(grid, tmp_path):
    assert grid("study=one,two", "seed=1")[0] == 0
    assert not list(tmp_path.rglob(runs.GRID))
