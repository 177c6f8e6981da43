"""Grids side by side: every launcher and sweeper by a real run; jobs x threads stay within the cores."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra.errors import HydraException
from omegaconf import OmegaConf

from tietrain.cli import launchers
from tietrain.cli.main import main
from tietrain.cli.status import read_status
from tietrain.config.compose import compose_grid
from tietrain.config.hydra_errors import hydra_error
from tietrain.errors import SettingsError
from tietrain.runs import record as runs

TINY = ["study=grid", "data.preset=tiny", "model=tiny", "model.vocab_size=400", "train.batch_tokens=256"]
TINY += ["train.max_steps=4", "train.checkpoint_every=2", "train.log_every=1", "train.eval_every=4"]


def needs(launcher):
    return pytest.importorskip(f"hydra_plugins.hydra_{launcher}", reason=f"pip install hydra-{launcher}")


@pytest.mark.parametrize(
    ("words", "added", "threads"),
    [
        ([], [], None),
        (["hardware.threads=8"], [], 8),
        (["hydra/launcher=joblib"], ["hydra.launcher.n_jobs=8"], 1),
        (["hydra/launcher=joblib", "hardware.threads=3"], ["hydra.launcher.n_jobs=2"], 3),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=3"], [], 2),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=8"], [], 1),
        (["hydra/launcher=submitit_local"], ["hydra.sweeper.max_batch_size=8"], 1),
        (["hydra/launcher=submitit_local", "hydra.sweeper.max_batch_size=2"], [], 4),
        (["hydra/launcher=submitit_local", "hydra/sweeper=optuna"], [], 4),
        (["hydra/launcher=submitit_slurm"], [], None),
    ],
)
def test_jobs_and_threads_share_the_cores(monkeypatch, words, added, threads):
    for plugin in ("joblib_launcher", "submitit_launcher", "optuna_sweeper"):
        needs(plugin)
    monkeypatch.setattr(launchers, "n_cores", lambda: 8)
    assert launchers.shared_cores(compose_grid(words)) == added
    common = compose_grid([*words, *added])
    assert launchers.threads_of_cell(common.hydra, common.hardware.threads) == threads


def test_more_jobs_times_threads_than_cores_are_refused(monkeypatch):
    needs("joblib_launcher")
    monkeypatch.setattr(launchers, "n_cores", lambda: 8)
    with pytest.raises(SettingsError, match=r"n_jobs=3: with hardware.threads=3 they take 9 cores, and there are 8"):
        launchers.shared_cores(compose_grid(["hydra/launcher=joblib", "hydra.launcher.n_jobs=3", "hardware.threads=3"]))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("launcher/joblib", r"pip install 'tietrain\[launchers\]'"),
        ("sweeper/optuna", r"pip install 'tietrain\[search\]'"),
        ("launcher/ray", "choose from basic, joblib"),
    ],
)
def test_a_plugin_that_is_not_installed_is_named_with_its_extra(name, said):
    error = hydra_error(HydraException(f"In 'hydra/config': Could not find 'hydra/{name}'"), [])
    with pytest.raises(SettingsError, match=said):
        raise error


def test_a_search_over_tuned_arms_is_refused_before_any_cell(tmp_path, monkeypatch, capsys):
    needs("optuna_sweeper")
    monkeypatch.chdir(tmp_path)
    words = ["-m", "hydra/sweeper=optuna", "tune=rates", "model.d_ff=choice(64,128)"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "hydra/sweeper=optuna: tune=rates gives every arm the same trials" in said and said.count("\n") == 1
    assert not (tmp_path / "outputs").exists()


def test_an_unknown_launcher_is_refused_before_any_cell(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["-m", "hydra/launcher=ray", "seed=1,2"]) == 2
    assert "no package that is installed brings the launcher ray" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_launcher_that_gives_up_ends_with_1_and_a_summary(tmp_path, monkeypatch, capsys):
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

    def launch(self, job_overrides, initial_job_idx):
        raise RuntimeError("a worker was killed")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(BasicLauncher, "launch", launch)
    assert main(["-m", "seed=1,2"]) == 1
    assert "the grid ended early, RuntimeError: a worker was killed" in capsys.readouterr().err


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts a grid of tiny cells as a process of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def popen(*words):
        return subprocess.Popen(
            [sys.executable, "-m", "tietrain", "-m", *TINY, *words], stderr=subprocess.PIPE, text=True
        )

    return popen


def test_the_script_for_slurm_asks_for_what_is_set(start, tmp_path, monkeypatch):
    """Its text alone: no Slurm has run it."""
    needs("submitit_launcher")
    (tmp_path / "bin").mkdir()
    for name, text in (
        ("sbatch", f"cp $1 {tmp_path}/copied && mv copied script; echo Submitted batch job 7"),
        ("srun", ""),
    ):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    requested = ["partition=gpu", "timeout_min=600", "cpus_per_task=8", "gpus_per_node=1", "array_parallelism=2"]
    words = [f"hydra.launcher.{word}" for word in requested]
    with start("hydra/launcher=submitit_slurm", "seed=1,2,3", *words) as process:
        while not (tmp_path / "script").exists() and process.poll() is None:
            time.sleep(0.1)
        process.kill()
        script = (tmp_path / "script").read_text().splitlines()
    for option in (
        "partition=gpu",
        "time=600",
        "cpus-per-task=8",
        "gpus-per-node=1",
        "array=0-2%2",
        "job-name=tietrain",
    ):
        assert f"#SBATCH --{option}" in script
    (log,) = [line for line in script if line.startswith("#SBATCH --output=")]
    assert f"{tmp_path}/outputs/grid/.submitit/%A_%a/" in log
    assert "submitit.core._submit" in script[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "plugin"), [("basic", None), ("joblib", "joblib_launcher"), ("submitit_local", "submitit_launcher")]
)
def test_every_launcher_runs_all_cells_beside_those_that_fail(start, launcher, plugin):
    if plugin:
        needs(plugin)
    words = ["task=lm", "tying=none,three_way,pre_softmax", "model.n_heads=2,3", f"hydra/launcher={launcher}"]
    with start(*words) as process:
        said = process.communicate(timeout=900)[1]
    assert process.returncode == 1
    assert sorted(said[said.index("grid: ") :].splitlines()[0].removeprefix("grid: ").split(", ")) == [
        "1 not applicable",
        "2 done",
        "3 failed",
    ]
    records = [runs.read_record(path) for path in runs.find_runs("outputs/grid")]
    done = [record for record in records if record.status == "done"]
    assert len(read_status(Path("outputs/grid"))) == len(records) == 6  # none waits
    assert {record.label for record in done} == {"none", "pre_softmax"}
    if plugin:
        assert {record.machine["threads"] for record in done} == {1}
    # The same cells again are all found.
    with start(*words) as process:
        said = process.communicate(timeout=900)[1]
    assert "2 skipped" in said and "done" not in said


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_a_grid_side_by_side_lets_every_cell_save_and_begins_no_other(start, number):
    """To the leading process alone, as a container's stop sends it."""
    needs("joblib_launcher")
    words = ["seed=1,2,3,4", "train.max_steps=400", "train.slow_step_seconds=0.2", "train.checkpoint_every=1000"]
    with start(*words, "train.eval_every=1000", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2") as process:
        logs = Path("outputs/grid")
        while sum("step 2:" in path.read_text() for path in logs.glob("*/train.log")) < 2:
            time.sleep(0.1)
            assert process.poll() is None
        process.send_signal(number)
        said = process.communicate(timeout=300)[1]
    assert process.returncode == 128 + number
    assert "grid: 2 interrupted" in said
    assert len(runs.find_runs(logs)) == 2
    for path in runs.find_runs(logs):
        saved = sorted((path / runs.CHECKPOINTS).glob("step_*"))
        assert int(saved[-1].name.removeprefix("step_")) == max(row["step"] for row in runs.read_metrics(path))


@pytest.mark.slow
def test_optuna_searches_by_the_loss_on_valid_and_finds_its_trials_again(start):
    needs("optuna_sweeper")
    words = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=1"]
    words += ["hydra.sweeper.sampler.seed=1", "optim.lr=interval(1e-4,1e-2)"]
    with start(*words) as process:
        said = process.communicate(timeout=900)[1]
    assert process.returncode == 0
    assert "grid: 3 done\n" in said
    losses = {
        runs.read_record(path).settings["optim.lr"]: runs.read_json(path / runs.EVAL)["splits"]["valid"][
            "nats_per_token"
        ]
        for path in runs.find_runs("outputs/grid")
    }
    best = OmegaConf.load("outputs/grid/optimization_results.yaml")
    assert best.best_value == min(losses.values())
    assert losses[best.best_params["optim.lr"]] == best.best_value
    with start(*words) as process:
        said = process.communicate(timeout=900)[1]
    assert "grid: 3 skipped\n" in said
    assert not Path("outputs/grid", runs.GRID).exists()
