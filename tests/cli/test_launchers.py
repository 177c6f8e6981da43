"""Grids side by side: every launcher and sweeper by a real run; jobs x threads stay within the cores."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.errors import HydraException
from omegaconf import OmegaConf, open_dict

import fake_slurm
from tietrain.cli import grid, launchers
from tietrain.cli.ray_launcher import RayLauncher
from tietrain.cli.status import read_status
from tietrain.config.compose import compose_grid
from tietrain.config.hydra_errors import hydra_error
from tietrain.errors import SettingsError
from tietrain.runs import record as runs
from tietrain.runs.metrics import read_metrics
from tietrain.train.outcome import Outcome

TINY = ["study=grid", "data.preset=tiny", "model=tiny", "model.vocab_size=400", "train.batch_tokens=256"]
TINY += ["train.max_steps=4", "train.checkpoint_every=2", "train.log_every=1", "train.eval_every=4"]


def needs(plugin):
    if plugin == "ray":
        return pytest.importorskip("ray", reason="pip install 'tietrain[ray]'")
    return pytest.importorskip(f"hydra_plugins.hydra_{plugin}", reason=f"pip install hydra-{plugin}")


def wait_for_step(step, n_runs, process):
    """Return once some runs of the grid have taken a step."""
    while sum(f"step {step}:" in path.read_text() for path in Path("outputs/grid").glob("*/train.log")) < n_runs:
        time.sleep(0.1)
        assert process.poll() is None


def weights(study):
    """Name of each run -> the bytes of its last weights."""
    return {
        path.name: (path / runs.CHECKPOINTS / "final/model.safetensors").read_bytes() for path in runs.find_runs(study)
    }


# Words -> the override that is added, and the threads of each cell, on a machine with 8 cores.
SHARED = {
    "hardware.threads=8": ([], 8),
    "hydra/launcher=joblib": (["hydra.launcher.n_jobs=8"], 1),
    "hydra/launcher=joblib hardware.threads=3": (["hydra.launcher.n_jobs=2"], 3),
    "hydra/launcher=joblib hydra.launcher.n_jobs=3": ([], 2),
    "hydra/launcher=submitit_local": (["hydra.sweeper.max_batch_size=8"], 1),
    "hydra/launcher=submitit_local hydra.launcher.tasks_per_node=2": (["hydra.sweeper.max_batch_size=4"], 1),
    "hydra/launcher=submitit_local hydra/sweeper=optuna": ([], 4),
    "hydra/launcher=submitit_slurm": ([], None),
}


def test_shared_cores_fits_jobs_and_threads_into_the_cores(monkeypatch):
    for plugin in ("submitit_launcher", "optuna_sweeper"):
        needs(plugin)
    monkeypatch.setattr(launchers, "n_cores", lambda: 8)
    for line, (added, threads) in SHARED.items():
        words = line.split()
        assert launchers.shared_cores(compose_grid(words)) == added, line
        common = compose_grid([*words, *added])
        assert launchers.threads_of_cell(common.hydra, common.hardware.threads) == threads, line
    with pytest.raises(SettingsError) as e:
        launchers.shared_cores(compose_grid(["hydra/launcher=joblib", "hydra.launcher.n_jobs=3", "hardware.threads=3"]))
    assert e.value.setting == "hydra.launcher.n_jobs=3"


def test_hydra_error_names_the_extra_of_a_plugin_that_is_not_installed():
    hints = {"launcher/submitit_slurm": "launchers", "launcher/ray": "ray", "sweeper/optuna": "search"}
    for name, remedy in hints.items():
        error = hydra_error(HydraException(f"In 'hydra/config': Could not find 'hydra/{name}'"), [])
        assert error.exit_code == 2 and error.setting == f"hydra/{name.replace('/', '=')}"
        assert f"tietrain[{remedy}]" in error.remedy


@pytest.mark.parametrize(
    ("line", "setting"),
    [
        ("hydra/sweeper=optuna tune=rates model.d_ff=choice(64,128)", "hydra/sweeper=optuna"),
        ("hydra/launcher=slurm seed=1,2", "hydra/launcher=slurm"),
    ],
)
def test_prepare_refuses_before_any_cell(tietrain_cli, tmp_path, line, setting):
    if "optuna" in line:
        needs("optuna_sweeper")
    ran = tietrain_cli("-m", *line.split())
    assert ran.is_refusal() and ran.code == 2 and ran.err.startswith(f"tietrain: {setting}: ")
    assert list(tmp_path.iterdir()) == []


def test_run_app_ends_with_1_if_a_launcher_gives_up(tietrain_cli, monkeypatch):
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

    def launch(self, job_overrides, initial_job_idx):
        raise RuntimeError("a worker was killed")

    monkeypatch.setattr(BasicLauncher, "launch", launch)
    ran = tietrain_cli("-m", "seed=1,2")
    assert ran.code == 1 and "RuntimeError: a worker was killed" in ran.err


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts a grid of tiny cells in another process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def popen(*words, command=(sys.executable, "-m", "tietrain"), **options):
        return subprocess.Popen([*command, "-m", *TINY, *words], stderr=subprocess.PIPE, text=True, **options)

    return popen


def test_submitit_slurm_writes_the_settings_into_its_script(start, tmp_path, monkeypatch):
    """Only its text is tested: no job begins."""
    needs("submitit_launcher")
    fake_slurm.install(tmp_path / "bin")
    (tmp_path / "bin" / "sbatch").write_text(f"#!/bin/sh\ncp $1 {tmp_path}/copied && mv copied script; echo job 7\n")
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
        "signal=USR2@120",
    ):
        assert f"#SBATCH --{option}" in script
    (log,) = [line for line in script if line.startswith("#SBATCH --output=")]
    assert f"{tmp_path}/outputs/grid/.submitit/%A_%a/" in log
    assert "submitit.core._submit" in script[-1]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "tasks"), [(signal.SIGUSR2, 2), (signal.SIGTERM, 1)])
def test_job_of_slurm_that_is_preempted_saves_and_goes_on_where_it_stood(start, tmp_path, monkeypatch, number, tasks):
    """Slurm sends SIGUSR2 some time before the end, which submitit answers with a requeue; or SIGTERM, and requeues itself."""
    needs("submitit_launcher")
    state = tmp_path / "slurm"
    for name, value in fake_slurm.install(state).items():
        monkeypatch.setenv(name, value)
    words = ["seed=1,2", "train.max_steps=24", "train.checkpoint_every=1000", "train.eval_every=1000"]
    words += ["hardware.threads=1"]
    options = ["hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=600"]
    tasks_of_cell = [f"hydra.launcher.tasks_per_node={tasks}"]
    options += [*tasks_of_cell, "train.slow_step_seconds=0.3"]
    with start(*words, *options) as process:
        wait_for_step(5, 2, process)
        for task in state.glob("task-*"):
            if number == signal.SIGTERM:
                (state / f"requeue-{task.name.split('-')[1]}").touch()
            os.kill(int(task.read_text()), number)
        said = process.communicate(timeout=300)[1]
    assert "grid: 2 done\n" in said and process.returncode == 0
    assert all("continuing after step" in (path / runs.LOG).read_text() for path in runs.find_runs("outputs/grid"))
    options = ["hydra/launcher=submitit_local", "hydra.sweeper.max_batch_size=1", *tasks_of_cell]
    with start(*words, *options, "study=whole") as process:
        process.communicate(timeout=300)
    assert weights("outputs/grid") == weights("outputs/whole")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "plugin", "tasks"),
    [
        ("basic", None, 1),
        ("joblib", None, 1),
        ("submitit_local", "submitit_launcher", 1),
        ("submitit_local", "submitit_launcher", 2),
        ("ray", "ray", 1),
    ],
)
def test_every_launcher_runs_all_cells_although_some_fail(start, launcher, plugin, tasks):
    if plugin:
        needs(plugin)
    words = ["task=lm", "tying=none,three_way,cycle:n_unique:1", "model.n_heads=2,3", f"hydra/launcher={launcher}"]
    words += [f"hydra.launcher.tasks_per_node={tasks}"] if tasks > 1 else []
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
    assert {record.label for record in done} == {"none", "cycle"}
    assert {record.machine["processes"] for record in done} == {tasks}
    if launcher != "basic":
        assert {record.machine["threads"] for record in done} == {1}
    # The same cells again are all found.
    with start(*words) as process:
        said = process.communicate(timeout=900)[1]
    assert "2 skipped" in said and "done" not in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "launcher"), [(signal.SIGTERM, "joblib"), (signal.SIGINT, "joblib"), (signal.SIGTERM, "ray")]
)
def test_signal_to_a_grid_lets_every_cell_save_and_begins_no_other(start, number, launcher):
    """The signal goes to the leading process only, as when a container stops."""
    if launcher == "ray":
        needs("ray")
    words = ["seed=1,2,3,4", "train.max_steps=400", "train.slow_step_seconds=0.2", "train.checkpoint_every=1000"]
    words += ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    with start(*words, "train.eval_every=1000", f"hydra/launcher={launcher}") as process:
        wait_for_step(2, 2, process)
        process.send_signal(number)
        said = process.communicate(timeout=300)[1]
    assert process.returncode == 128 + number
    assert "grid: 2 interrupted" in said
    assert len(runs.find_runs("outputs/grid")) == 2
    for path in runs.find_runs("outputs/grid"):
        saved = sorted((path / runs.CHECKPOINTS).glob("step_*"))
        assert int(saved[-1].name.removeprefix("step_")) == max(row["step"] for row in read_metrics(path))


@pytest.mark.slow
def test_workers_end_after_their_cell_if_the_grid_is_killed(start):
    words = ["seed=1,2,3,4", "train.max_steps=10", "train.slow_step_seconds=0.2"]
    with start(*words, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2") as process:
        wait_for_step(2, 2, process)
        process.kill()
        process.communicate(timeout=120)  # its workers write to the same pipe: it closes when the last of them ends
    study = Path("outputs/grid")
    assert [runs.read_record(path).status for path in runs.find_runs(study)] == ["done", "done"]
    assert list(study.glob(".grid-*"))
    end = time.monotonic() + 60
    while any(str(process.pid) in name for name in os.listdir("/dev/shm")):  # the library's own tracker ends last
        time.sleep(0.1)
        assert time.monotonic() < end
    with start(*words, "train.slow_step_seconds=0") as process:
        assert "grid: 2 skipped, 2 done\n" in process.communicate(timeout=300)[1]
    assert not list(study.glob(".grid-*"))


# Six cells of two processes each.
PAIRS = ["hydra.launcher.tasks_per_node=2", "hardware.threads=1", "seed=1,2,3,4,5,6"]
PAIRS += ["train.max_steps=8", "train.checkpoint_every=3", "train.eval_every=1000"]


@pytest.fixture
def on_two_cores():
    """Cells of two processes run one after another."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:2])
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture(scope="module")
def weights_of_pairs(tmp_path_factory):
    """Of a grid that nothing interrupts."""
    needs("submitit_launcher")
    folder = tmp_path_factory.mktemp("pairs")
    words = [*TINY, *PAIRS, "hydra/launcher=submitit_local", "hydra.sweeper.max_batch_size=1"]
    subprocess.run([sys.executable, "-m", "tietrain", "-m", *words], cwd=folder, check=True)
    return weights(folder / "outputs/grid")


def processes_of_cells(grid_process):
    """Ids of the processes that carry out cells."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    parent = {int(pid): int(of) for pid, of, _ in rows}
    found = [int(pid) for pid, _, words in rows if "ray::_run" in words or "submitit.core._submit" in words]

    def is_below(pid):
        while pid in parent and pid != grid_process.pid:
            pid = parent[pid]
        return pid == grid_process.pid

    return sorted(filter(is_below, found))


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["grid", "worker"])
@pytest.mark.parametrize("launcher", ["submitit_local", "ray"])
def test_grid_of_cells_of_two_processes_loses_nothing_if_killed(
    start, on_two_cores, weights_of_pairs, launcher, killed
):
    needs("ray" if launcher == "ray" else "submitit_launcher")
    words = [f"hydra/launcher={launcher}", *PAIRS]
    with start(*words, "train.slow_step_seconds=1", start_new_session=True) as process:
        wait_for_step(5, 2, process)
        if killed == "grid":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(processes_of_cells(process)[-1], signal.SIGKILL)
        process.communicate(timeout=300)
    assert process.returncode == (-signal.SIGKILL if killed == "grid" else 1)
    done = [path for path in runs.find_runs("outputs/grid") if runs.read_record(path).status == "done"]
    assert done
    with start(*words) as process:
        said = process.communicate(timeout=900)[1]
    assert f"grid: {len(done)} skipped, {6 - len(done)} done\n" in said and process.returncode == 0
    found = runs.find_runs("outputs/grid")
    assert sum("continuing after step" in (path / runs.LOG).read_text() for path in found) == 1
    for path in found:
        assert runs.read_record(path).machine["processes"] == 2
        assert [row["step"] for row in read_metrics(path) if row["split"] == "train"] == list(range(1, 9))
    assert weights("outputs/grid") == weights_of_pairs


@pytest.mark.parametrize(
    ("in_cluster", "device", "sharing", "requested", "gpus"),
    [
        (8, "auto", 1, None, 1),
        (8, "auto", 4, None, 0.25),
        (8, "cpu", 1, None, 0),
        (0, "auto", 1, None, 0),
        (8, "auto", 1, 2, 2),
    ],
)
def test_ray_is_asked_for_the_cores_and_gpus_of_each_process(monkeypatch, in_cluster, device, sharing, requested, gpus):
    monkeypatch.setenv(grid.VARIABLE, "outcomes.jsonl")
    tasks, groups = [], []

    def remote(scheduling_strategy, **options):
        tasks.append((scheduling_strategy, options))
        return lambda function: SimpleNamespace(remote=lambda *args: function)

    strategies = SimpleNamespace(PlacementGroupSchedulingStrategy=lambda group, process: process)
    util = SimpleNamespace(placement_group=lambda *args, **kept: groups.append(args), scheduling_strategies=strategies)
    ray = SimpleNamespace(cluster_resources=lambda: {"GPU": in_cluster}, remote=remote, util=util)
    settings = {"launcher": {"tasks_per_node": 2}, "runtime": {"choices": {"hydra/launcher": "ray"}}}
    cell = OmegaConf.create({"hydra": settings, "hardware": {"device": device, "threads": 3, "runs_per_gpu": sharing}})
    launcher = RayLauncher(None, 2, requested)
    launcher.setup(hydra_context=None, task_function=None, config=None)
    launcher._begin(ray, cell)
    assert groups == [([{"CPU": 3, **({"GPU": gpus} if gpus else {})}] * 2,)]
    needed = {"num_cpus": 3, "num_gpus": gpus, "max_retries": 0}
    assert tasks == [(0, {"num_cpus": 0}), (0, needed), (1, needed)]


def test_a_cell_on_ray_needs_no_more_cores_than_there_are(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(launchers, "n_cores", lambda: 8)
    common = compose_grid(["hardware.threads=9"])
    common.hydra.runtime.choices["hydra/launcher"] = "ray"
    with open_dict(common.hydra.launcher):
        common.hydra.launcher.address = None
    with pytest.raises(SettingsError, match="needs 9 cores"):
        launchers.shared_cores(common)
    common.hydra.launcher.address = "auto"
    assert launchers.shared_cores(common) == []


@pytest.mark.slow
def test_workers_of_ray_load_no_module_from_the_current_folder(start, tmp_path):
    needs("ray")
    for name in ("omegaconf", "torch", "yaml"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('code of a data folder')\n")
    with start("hydra/launcher=ray", "seed=1,2", command=[Path(sys.executable).with_name("tietrain")]) as process:
        said = process.communicate(timeout=300)[1]
    assert "grid: 2 done\n" in said and process.returncode == 0


@pytest.mark.slow
def test_ray_waits_for_helpers_of_its_own_that_are_slow(start, tmp_path, monkeypatch):
    """As on a busy machine. Ray by itself gives up when one needs 15 seconds."""
    needs("ray")
    (tmp_path / "modules").mkdir()
    is_helper = "any(word.endswith(('dashboard/agent.py', 'agent/main.py')) for word in sys.orig_argv)"
    (tmp_path / "modules" / "sitecustomize.py").write_text(f"import sys, time\ntime.sleep(20 * {is_helper})\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'modules'}:{os.environ.get('PYTHONPATH', '')}")
    with start("hydra/launcher=ray", "seed=1,2") as process:
        said = process.communicate(timeout=300)[1]
    assert "grid: 2 done\n" in said and process.returncode == 0


def test_cell_that_outlives_its_grid_ends_as_it_would_have(monkeypatch, tmp_path):
    """Its grid was killed, and the next one has removed the folder."""
    monkeypatch.setenv(grid.VARIABLE, str(tmp_path / "gone" / "outcomes.jsonl"))
    grid.Outcomes().add(Outcome("x", "done"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore")  # of the plugin
def test_search_whose_trials_all_diverge_says_that_none_has_a_value(tietrain_cli, monkeypatch):
    needs("optuna_sweeper")
    diverged = Outcome("x", "diverged", 4, "step 1: the loss is nan")
    monkeypatch.setattr("tietrain.train.job.run_job", lambda *_: diverged)
    ran = tietrain_cli("-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "optim.lr=interval(1e-4,1e-2)")
    assert ran.code == 1
    assert "grid: 2 diverged; no trial has a value\n" in ran.err
    assert "float-castable" not in ran.err and "ended early" not in ran.err


@pytest.mark.filterwarnings("ignore")  # of the plugin
def test_search_over_schemes_with_options(tietrain_cli, monkeypatch):
    needs("optuna_sweeper")
    drawn = []

    def run_job(config, words):
        drawn.append(config)
        return Outcome("", "done", valid=1.0)

    monkeypatch.setattr("tietrain.train.job.run_job", run_job)
    search = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "hydra.sweeper.sampler.seed=1"]
    assert tietrain_cli("-m", *search, "tying=none,cycle:n_unique:1", "optim.lr=interval(1e-4,1e-2)").code == 0
    ties = {config.swept[0]: config.tying.ties for config in drawn}
    assert ties.keys() == {"tying=none", "tying=cycle:n_unique:1"}
    assert ties["tying=cycle:n_unique:1"]["cycle"]["n_unique"] == 1


@pytest.mark.slow
def test_optuna_lowers_the_loss_on_valid_and_finds_its_trials_again(start):
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
