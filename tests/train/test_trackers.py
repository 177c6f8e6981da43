"""wandb and trackio: every point once, one run a run directory, nothing but what is logged, never a reason to stop."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from types import SimpleNamespace

import pytest

from tietrain.cli.main import main
from tietrain.config.identity import config_hash, result_settings
from tietrain.errors import SettingsError
from tietrain.runs import record as runs
from tietrain.runs.metrics import read_metrics
from tietrain.train import trackers
from tietrain.train.job import run_job
from tietrain.train.trackers import WANDB_SETTINGS, Trackers, check_installed
from tiny_run import experiment_in, tiny_config, train

FINALS = {"final/params": 999, "final/bleu": 30.0}


class Fake:
    """A tracker that stores what it is sent, a step again where it is sent again; its run has what any earlier one had."""

    Settings = dict
    __spec__ = SimpleNamespace(origin="here")

    def __init__(self, broken=()):
        self.requested, self.points, self.broken, self.finished = [], [], broken, 0

    def _next(self):
        return 1 + max((step for step, _ in self.points), default=-1)

    def init(self, **requested):
        self._try("init")
        self.requested.append(requested)
        print("an advertisement")
        first = self._next()
        return SimpleNamespace(
            log=self.log, finish=self.finish, define_metric=self.define, step=first, _next_step=first
        )

    def define(self, name, step_metric):
        assert (name, step_metric) == ("*", "tokens")

    def log(self, values, step):
        self._try("log")
        self.points.append((step, values))

    def finish(self):
        self._try("finish")
        self.finished += 1

    def _try(self, name):
        if name in self.broken:
            raise OSError(f"no {name} today")


@pytest.fixture
def fake(monkeypatch):
    """Puts a fake in the place of both."""

    def put(**options):
        module = Fake(**options)
        for name in trackers.OPEN:
            monkeypatch.setitem(sys.modules, name, module)
        return module

    return put


def with_trackers(*names, **changes):
    return replace(tiny_config("pre_softmax", trackers=list(names), **changes), study="mine")


def expected(rows):
    """Step -> what a tracker has of it."""
    points = {}
    for row in rows:
        scores = {k: v for k, v in row.items() if k not in ("split", "step", "tokens", "flops", "seconds")}
        where = {k: row[k] for k in ("tokens", "flops", "seconds")}
        points.setdefault(row["step"], {}).update(where | {f"{row['split']}/{k}": v for k, v in scores.items()})
    return points


@pytest.mark.parametrize(
    ("name", "stops"), [("wandb", ()), ("wandb", (4, 3)), ("trackio", (4, 3)), ("trackio", (1, 1, 1))]
)
def test_trackers_get_one_point_per_step_of_a_continued_run(tmp_path, fake, capsys, name, stops):
    module, config = fake(), with_trackers(name)
    for stop_after in stops:
        train(tmp_path / "run", config, stop_after=stop_after)
    state, _ = train(tmp_path / "run", config)
    rows = read_metrics(tmp_path / "run")
    assert [step for step, _ in module.points] == sorted({row["step"] for row in rows})
    reproducible = [({k: v for k, v in p.items() if "second" not in k}) for _, p in module.points]
    assert reproducible == [{k: v for k, v in p.items() if "second" not in k} for p in expected(rows).values()]
    assert {type(value) for _, values in module.points for value in values.values()} == {float}
    assert module.finished == len(module.requested) == len(stops) + 1
    requested = module.requested[-1]
    assert module.requested == [requested] * len(module.requested)
    assert (requested["project"], requested["group"], requested["name"], requested["resume"]) == (
        "mine",
        "pre_softmax",
        "run",
        "allow",
    )
    assert requested["config"] == result_settings(config)
    assert "advertisement" not in capsys.readouterr().out
    assert state.step == 12


def test_trackers_lose_no_score_to_a_kill_while_evaluating(tmp_path, fake):
    module, config = fake(), with_trackers("trackio")
    train_rows = [
        {"step": i, "split": "train", "tokens": i, "flops": i, "seconds": 1.0, "ppl": 2.0} for i in range(1, 10)
    ]
    valid_row = {**train_rows[7], "split": "valid"}
    killed = Trackers(experiment_in(tmp_path, config), print)
    killed.start([])
    for row in train_rows[:8]:
        killed.add_row(row)
    with Trackers(experiment_in(tmp_path, config), print) as continued:
        continued.start(train_rows[:4])
        for row in (*train_rows[4:8], valid_row, train_rows[8]):
            continued.add_row(row)
    assert [step for step, _ in module.points] == list(range(1, 10))
    assert module.points[7][1].keys() == {"tokens", "flops", "seconds", "train/ppl", "valid/ppl"}


def test_trackers_get_final_scores_once_after_the_last_step(tmp_path, fake):
    module, config = fake(), with_trackers("wandb")
    totals = {"steps": 7, "tokens": 70, "flops": 7e19, "seconds": 3.0}
    for _ in range(2):
        with Trackers(experiment_in(tmp_path, config), print) as tracker:
            tracker.start([])
            tracker.add_results(FINALS, totals)
    assert module.points == [(8, {**FINALS, "tokens": 70.0, "flops": 7e19, "seconds": 3.0})]


@pytest.mark.parametrize("broken", ["init", "log", "finish"])
def test_trackers_log_a_failure_once_and_stop_nothing(tmp_path, fake, broken):
    fake(broken=(broken,))
    lines = []
    state, _ = train(tmp_path, with_trackers("wandb"), log=lines.append)
    assert state.step == 12
    assert [line for line in lines if "wandb" in line] == [f"wandb is off for this run: no {broken} today"]
    assert len(read_metrics(tmp_path)) == 9


def test_trackers_that_fail_leave_the_others(tmp_path, fake, monkeypatch):
    module = fake()
    monkeypatch.setitem(sys.modules, "wandb", Fake(broken=("log",)))
    lines = []
    train(tmp_path, with_trackers("wandb", "trackio"), log=lines.append)
    assert len(module.points) == 8 and module.finished == 1
    assert len([line for line in lines if " is off" in line]) == 1


@pytest.mark.parametrize("found", [None, ModuleSpec("trackio", None)], ids=["nothing", "a folder"])
def test_check_installed_refuses_before_any_work(tmp_path, monkeypatch, found):
    monkeypatch.setattr(trackers, "find_spec", {"wandb": Fake.__spec__, "trackio": found}.get)
    check_installed(["wandb"])
    with pytest.raises(SettingsError) as refused:
        check_installed(["wandb", "trackio"])
    assert refused.value.setting == "train.trackers=[wandb,trackio]"
    outcome = run_job(replace(with_trackers("trackio"), run_dir=str(tmp_path / "run")))
    assert (outcome.status, outcome.exit_code) == ("failed", 2)
    assert "trackio is not installed" in outcome.message
    assert not (tmp_path / "run").exists()


def test_trackers_get_the_final_scores_of_a_whole_run(tmp_path, fake, monkeypatch):
    module = fake()
    monkeypatch.chdir(tmp_path)
    words = ["data.preset=tiny", "model=tiny", "model.vocab_size=400", "train.batch_tokens=256", "train.max_steps=4"]
    assert main([*words, "train.trackers=[trackio]", "study=mine"]) == 0
    (directory,) = runs.find_runs(tmp_path)
    scores = runs.read_json(directory / runs.EVAL)["splits"][runs.read_record(directory).declared["split"]]
    assert [step for step, _ in module.points] == [1, 2, 3, 4, 5]
    assert module.points[-1][1]["final/bits_per_byte"] == scores["bits_per_byte"]
    assert module.finished == 1


def test_trackers_make_no_other_experiment():
    assert config_hash(with_trackers("wandb")) == config_hash(with_trackers())
    with pytest.raises(SettingsError) as refused:
        with_trackers("mlflow")
    assert refused.value.setting.startswith("train.trackers=")


def test_wandb_collects_nothing_of_its_own(tmp_path, monkeypatch):
    """The real one, offline: no code, requirements, path, git or console in what it would send."""
    wandb = pytest.importorskip("wandb", reason="pip install 'tietrain[wandb]'")
    assert set(WANDB_SETTINGS) <= set(wandb.Settings.model_fields)
    folder = tmp_path / "run"
    monkeypatch.setenv("WANDB_MODE", "offline")
    lines = run_apart(folder, "wandb")
    assert "is off" not in lines, lines
    (stored,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    content = stored.read_bytes()
    assert b"valid/nats_per_token" in content and b"final/bleu" in content and b"model.d_model" in content
    for private in ("requirements", "conda", "git", sys.executable, os.getcwd(), str(tmp_path)):
        assert private.encode() not in content, private
    assert not list((folder / "wandb").rglob("requirements.txt"))


def test_trackio_has_every_step_once_after_a_kill(tmp_path, monkeypatch):
    """The real one, in a database of its own."""
    pytest.importorskip("trackio", reason="pip install 'tietrain[trackio]'")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    assert run_apart(tmp_path / "run", "trackio", "kill") == ""
    lines = run_apart(tmp_path / "run", "trackio")
    assert "is off" not in lines, lines
    code = "import json, trackio.sqlite_storage as s\nprint(json.dumps(s.SQLiteStorage.get_logs('mine', 'run')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    points = json.loads(done.stdout.splitlines()[-1])
    assert [point["step"] for point in points] == list(range(1, 14))
    assert points[-1]["final/bleu"] == 30 and points[3]["tokens"] == points[3]["flops"] == 40


APART = """
import os, signal, sys
from pathlib import Path
from dataclasses import replace
from test_trackers import FINALS, experiment_in, with_trackers
from tietrain.train.trackers import Trackers
directory = Path(sys.argv[1])
directory.mkdir(exist_ok=True)
row = lambda i: {"step": i, "split": "valid", "tokens": 10 * i, "flops": 10 * i, "seconds": i, "nats_per_token": 2.0}
with Trackers(experiment_in(directory, with_trackers(sys.argv[2])), print) as tracker:
    tracker.start([row(i) for i in range(1, 5)])
    for i in range(5, 13):
        tracker.add_row(row(i))
        if "kill" in sys.argv and i == 9:
            import time
            time.sleep(2)
            os.kill(os.getpid(), signal.SIGKILL)
    tracker.add_results(FINALS, {**row(12), "steps": 12})
"""


def run_apart(directory, *words):
    """A run of twelve rows in a process of its own, continued after the fourth; what it said."""
    path = os.pathsep.join(sys.path)
    env = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-W", "ignore", "-c", APART, str(directory), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=300)
    assert done.returncode == (-signal.SIGKILL if "kill" in words else 0), done.stderr
    return done.stdout
