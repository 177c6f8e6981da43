"""`hydra/launcher=joblib`: processes forked from one that has loaded everything and computed nothing."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from tietrain.cli import side_by_side
from tietrain.cli.grid import Outcomes

# A cell that stops the grid, and one whose process is killed.
STOPS, DIES = "stops", "dies"

# Runs tietrain, and writes down which process calls which function of torch.cuda: "<pid> <name>".
NOTING = """
import functools, os, sys, types
import torch

def noted(name, function):
    @functools.wraps(function)
    def call(*args, **kept):
        with open("calls", "a") as f:
            f.write(f"{os.getpid()} {name}\\n")
        return function(*args, **kept)
    return call

for name, function in list(vars(torch.cuda).items()):
    if isinstance(function, types.FunctionType):
        setattr(torch.cuda, name, noted(name, function))
from tietrain.cli.main import main
sys.exit(main())
"""


@pytest.fixture
def launch(monkeypatch, tmp_path):
    """Runs cells, each what it returns or one of those above, two at once; returns their values and which ended when."""
    outcomes = Outcomes(tmp_path)
    log = tmp_path / "log"

    def run_job(task, cell, *rest):
        log.open("a").write("+")
        if cell == STOPS:
            outcomes.stopped.write_text("15")
            raise KeyboardInterrupt(15)
        if cell == DIES:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05)
        log.open("a").write("-")
        return SimpleNamespace(return_value=cell)

    monkeypatch.setattr(side_by_side, "LOADED", ())
    monkeypatch.setattr(side_by_side, "run_job", run_job)
    monkeypatch.setattr(side_by_side, "compose_cell_of_grid", lambda context, config, cell, number: cell)

    def run(cells):
        launcher = side_by_side.SideBySide(2)
        launcher.setup(hydra_context=None, task_function=None, config=None)
        returned = [job.return_value for job in launcher.launch(cells, 0)]
        return returned, log.read_text()

    return run


def test_cells_return_their_values_in_order_two_at_once(launch):
    returned, log = launch([0.5, None, 2.5, 3.5])
    assert returned == [0.5, None, 2.5, 3.5]
    assert log.count("+") == 4 and "+++" not in log


def test_cell_whose_process_is_killed_is_noted_and_the_others_run(launch, capsys):
    returned, _ = launch([0.5, DIES, 2.5])
    assert returned == [0.5, None, 2.5]
    assert Outcomes().exit_code(is_grid=True) == 1
    assert "cell 2: its process was lost (-9)" in capsys.readouterr().err


def test_no_cell_begins_after_a_signal(launch):
    returned, log = launch([STOPS, None, 2.5, 3.5])
    assert returned[0] is None and returned[3] is None
    assert log.count("+") <= 3 and Outcomes().exit_code(is_grid=True) == 128 + 15


@pytest.mark.slow
def test_process_that_is_forked_has_started_no_thread():
    code = (
        "import os\nfrom importlib import import_module\nfrom tietrain.cli.side_by_side import LOADED\n"
        "list(map(import_module, LOADED))\nprint(len(os.listdir('/proc/self/task')))"
    )
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # numpy's own threads know of forks
    assert subprocess.check_output([sys.executable, "-c", code], env=env).strip() == b"1"


def test_process_that_is_forked_never_asks_for_a_gpu(tmp_path):
    """If it did, CUDA would refuse to work in its cells. On a host with a GPU too: what is asked is the same everywhere."""
    words = ["data.preset=tiny", "model=tiny", "model.vocab_size=400", "train.batch_tokens=256", "train.max_steps=1"]
    line = [sys.executable, "-c", NOTING, "-m", *words, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=1,2"]
    with subprocess.Popen(line, cwd=tmp_path) as process:
        assert process.wait(timeout=300) == 0
    callers = {int(call.split()[0]) for call in (tmp_path / "calls").read_text().splitlines()}
    assert len(callers) == 2 and process.pid not in callers
