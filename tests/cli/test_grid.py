"""Grids as users run them: a cell that fails, is locked, stopped or finished, and all others go on."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from tietrain.cli.main import main
from tietrain.cli.status import read_status
from tietrain.config import hydra_parts
from tietrain.errors import StorageError
from tietrain.runs import record as runs
from tietrain.runs.metrics import read_metrics
from tietrain.train import learner

TINY = ["study=grid", "data.preset=tiny", "model=tiny", "model.vocab_size=400", "train.batch_tokens=256"]
TINY += ["train.max_steps=4", "train.checkpoint_every=1", "train.log_every=1", "train.eval_every=4"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a grid of two cells that has ended, seed=1,2, and with the cache of its text."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["-m", *TINY, f"data.cache={folder / 'cache'}", "tying=pre_softmax", "seed=1,2"]) == 0
    return folder


@pytest.fixture
def grid(finished, tietrain_cli):
    """Runs a grid of tiny cells in an empty folder, with a cache that is filled."""
    return lambda *words: tietrain_cli("-m", *TINY, f"data.cache={finished / 'cache'}", *words)


@pytest.fixture
def again(finished, grid, tmp_path):
    """Runs a grid of tiny cells in a folder where those of tying=pre_softmax seed=1,2 have ended."""
    shutil.copytree(finished / "outputs", tmp_path / "outputs")
    return lambda *words: grid("tying=pre_softmax", *words)


def cells():
    """Seed -> run directory."""
    return {runs.read_record(path).seed: path for path in runs.find_runs("outputs/grid")}


def status(seed):
    return runs.read_record(cells()[seed]).status


def break_step_3(monkeypatch, errors, look=lambda: None):
    """Training raises at step 3 of some seeds; `look` is called at every step."""
    take = learner.train_step

    def step_of(*args, **options):
        look()
        if options["step"] == 3 and options["seed"] in errors:
            raise errors[options["seed"]]
        return take(*args, **options)

    monkeypatch.setattr(learner, "train_step", step_of)


def test_failed_cell_is_recorded_at_once_and_runs_again_only_with_retry_failed(grid, monkeypatch):
    states = []
    with monkeypatch.context() as broken:
        break_step_3(broken, {2: RuntimeError("boom")}, lambda: states.append(2 in cells() and status(2)))
        ran = grid("seed=1,2,3")
    assert ran.code == 1 and "grid: 2 done, 1 failed\n" in ran.err
    assert states[-1] == "failed"  # while the third cell trained
    record = runs.read_record(cells()[2])
    log = (cells()[2] / runs.LOG).read_text()
    assert (record.status, record.exit_code) == ("failed", 70)
    assert "boom" in record.reason and "Traceback" in log and "RuntimeError: boom" in log
    assert f"  failed: {cells()[2]} {record.reason}\n" in ran.err

    ran = grid("seed=1,2,3")
    assert ran.code == 1 and "grid: 2 skipped, 1 failed\n" in ran.err
    assert "retry_failed=true" in ran.err

    assert grid("seed=1,2,3", "retry_failed=true").code == 0
    assert status(2) == "done"


def test_cell_that_ran_out_of_memory_or_disk_continues_at_the_next_start(grid, monkeypatch):
    errors = {1: MemoryError(), 2: StorageError("writing x", "no space", "make room"), 3: OSError(5, "Input error")}
    with monkeypatch.context() as broken:
        break_step_3(broken, errors)
        assert grid("seed=1,2,3").code == 1
    assert [runs.read_record(cells()[seed]).exit_code for seed in errors] == [7, 5, 5]
    ran = grid("seed=1,2,3")
    assert ran.code == 0 and "grid: 3 done\n" in ran.err
    assert ran.err.count("continuing after step 2\n") == 3


def test_cell_of_another_process_is_listed_as_running_elsewhere(again):
    record = runs.read_record(cells()[2])
    record.status = "running"
    runs.write_record(cells()[2], record)
    with runs.locked(cells()[2]):
        ran = again("seed=1,2,3")
    assert ran.code == 6 and "grid: 1 skipped, 1 running elsewhere, 1 done\n" in ran.err
    assert f"  running elsewhere: {cells()[2]}" in ran.err
    assert [status(seed) for seed in (1, 2, 3)] == ["done", "running", "done"]


def test_killed_grid_continues_where_it_was(again, finished):
    words = ["tying=pre_softmax", "seed=1,3", "train.slow_step_seconds=0.3"]
    command = [sys.executable, "-m", "tietrain", "-m", *TINY, f"data.cache={finished / 'cache'}", *words]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not (3 in cells() and len(read_metrics(cells()[3])) >= 3):
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [status(seed) for seed in (1, 3)] == ["done", "running"]
    ran = again("seed=1,3")
    assert ran.code == 0 and "grid: 1 skipped, 1 done\n" in ran.err
    assert "continuing after step" in ran.err


def test_finished_cells_are_found_however_they_are_typed(again, grid):
    before = {seed: (path / runs.RUN).stat().st_mtime_ns for seed, path in cells().items()}
    defaults = ["task=lm", "data=grammar", "optim.lr=0.002", "model.dropout=0.1", "init_from=null"]
    for words in (
        ["seed=2,1", "tying=alias/sockeye_trg_softmax"],
        ["seed=range(1,3)", "tying=[pre_softmax]", *defaults, "train.log_every=3"],
    ):
        ran = grid(*words)
        assert ran.code == 0 and "grid: 2 skipped\n" in ran.err
    assert {seed: (path / runs.RUN).stat().st_mtime_ns for seed, path in cells().items()} == before
    assert Counter(row.state for row in read_status(Path("outputs/grid"))) == {"done": 2}


def test_cells_that_differ_in_values_are_composed_of_files_that_are_merged_once(again, monkeypatch):
    merged = []
    merge = ConfigLoaderImpl._compose_config_from_defaults_list

    def watched(self, defaults, repo):
        merged.append(defaults)
        return merge(self, defaults, repo)

    monkeypatch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", watched)
    monkeypatch.setattr(hydra_parts, "_of_packages", hydra_parts._Compositions())
    assert again("seed=1,2").code == 0
    assert len(merged) == 1 and ConfigLoaderImpl._compose_config_from_defaults_list is watched


def test_same_code_runs_again_what_another_version_finished(again):
    for seed, change in ((1, {"torch": "1.0"}), (2, {"python": "3.0", "platform": "another"})):
        record = runs.read_record(cells()[seed])
        record.machine |= change
        record.seal = {}  # as if it had ended so
        runs.write_record(cells()[seed], record)
        (cells()[seed] / "eval_later.json").write_text('{"asked": []}')
    scores = runs.read_json(cells()[1] / runs.EVAL)
    assert "grid: 2 skipped\n" in again("seed=1,2").err
    ran = again("seed=1,2", "same_code=true")
    assert ran.code == 0 and "grid: 1 done, 1 skipped\n" in ran.err
    assert "torch 1.0" in ran.err and runs.read_record(cells()[1]).machine["torch"].startswith("2.")
    assert runs.read_json(cells()[1] / runs.EVAL)["splits"] == scores["splits"]
    steps = [row["step"] for row in read_metrics(cells()[1]) if row["split"] == "train"]
    assert steps == [1, 2, 3, 4]
    assert [(cells()[seed] / "eval_later.json").exists() for seed in (1, 2)] == [False, True]


@pytest.mark.parametrize("name", ["best", "final"])
def test_finished_cell_with_damaged_weights_is_damaged_and_made_again(again, grid, tietrain_cli, name):
    weights = cells()[1] / runs.CHECKPOINTS / name / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert Counter(row.state for row in read_status(Path("outputs/grid"))) == {"damaged": 1, "done": 1}
    previewed = tietrain_cli("plan", "-m", *TINY, "tying=pre_softmax", "seed=1,2", "--json").out
    assert [cell["state"] for cell in json.loads(previewed)] == ["damaged", "done"]
    assert "grid: 1 done, 1 skipped\n" in again("seed=1,2").err
    assert weights.read_bytes() == content
    assert Counter(row.state for row in read_status(Path("outputs/grid"))) == {"done": 2}


def test_cell_with_an_invalid_configuration_is_recorded_too(again, tietrain_cli):
    ran = again("model.n_heads=4,3", "seed=1")
    assert ran.code == 1 and "grid: 1 skipped, 1 failed\n" in ran.err
    (path,) = (path for path in runs.find_runs("outputs/grid") if path.name.startswith("refused-n_heads_3-"))
    record = runs.read_record(path)
    assert (record.status, record.exit_code, record.settings["model.n_heads"]) == ("failed", 2, "3")
    assert record.reason.startswith("model.n_heads=3: ")
    assert "Traceback" in (path / runs.LOG).read_text()
    assert Counter(row.state for row in read_status(Path("outputs/grid"))) == {"done": 2, "failed": 1}
    body = json.loads(tietrain_cli("report", "outputs/grid", "--json").out)
    assert record.reason in json.dumps(body)


def test_status_knows_the_waiting_cells_from_the_first_step_on(grid, monkeypatch):
    seen = []

    def look():
        seen.append(Counter(row.state for row in read_status(Path("outputs/grid"))))

    with monkeypatch.context() as watched:
        break_step_3(watched, {}, look)
        assert grid("tying=none,pre_softmax", "seed=1").code == 0
    assert [counts["waiting"] for counts in seen[::4]] == [1, 0]
    assert all(counts["running"] == 1 and counts.total() == 2 for counts in seen)
    assert grid("seed=1", "tying=alias/sockeye_trg_softmax,none", "train.log_every=2").code == 0
    assert Counter(row.state for row in read_status(Path("outputs/grid"))) == {"done": 2}


def test_prepare_lists_no_cells_of_several_studies(grid, configs, tmp_path):
    assert grid("study=one,two", "seed=1").code == 0
    assert len(configs) == 2 and not list(tmp_path.rglob(runs.GRID))


def test_grid_in_a_file_reads_no_environment(tietrain_cli, monkeypatch):
    monkeypatch.setenv("SECRET", "1,2")
    params = "hydra: {mode: MULTIRUN, sweeper: {params: {seed: '${oc.env:SECRET}'}}}"
    Path("mine.yaml").write_text(f"defaults: [config, _self_]\n{params}\n")
    ran = tietrain_cli("-cd", ".", "-cn", "mine", "data.preset=tiny")
    assert ran.code == 2 and ran.is_refusal() and "settings read no environment" in ran.err
