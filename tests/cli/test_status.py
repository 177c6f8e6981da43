"""`tietrain status`: where runs stand, whatever their folders hold; it reads and changes nothing."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fabricated import make_config, write_run
from tietrain.cli import status
from tietrain.cli.cells import GridCell, add_cells, add_run, cell_words
from tietrain.cli.status import Progress, read_status, time_left
from tietrain.runs import record as runs
from tietrain.runs.metrics import append_metrics


def at_step(folder, name, step, **changes):
    """A run in the middle of its training."""
    config = make_config("lm", "none", 1)
    for key, value in changes.items():
        setattr(config.train, key, value)
    directory = write_run(folder, config, status="running", folder=name)
    (directory / runs.METRICS).unlink()
    row = {"step": step, "tokens": 2048 * step, "flops": 10**6 * step, "seconds": 0.5 * step, "nats_per_token": 4.25}
    append_metrics(directory, [{**row, "split": "train", "tokens_per_second": 4096.0}])
    return directory


def list_cells(study, *swept, n_runs=1):
    add_cells(study, [GridCell(cell_words(words.split()), tuple(words.split()), n_runs) for words in swept])


def shown(text):
    """Lines of a table, without the spaces that fill its columns."""
    return "\n".join(re.sub(" {2,}", "  ", line.rstrip()) for line in text.splitlines())


def test_status_prints_states_from_records_locks_and_lists_of_cells(tmp_path, tietrain_cli, golden):
    study = tmp_path / "study"
    write_run(study, make_config("lm", "none", 1), folder="a")
    write_run(study, make_config("lm", "none", 2), folder="b", status="failed", reason="no [red] room")
    write_run(study, make_config("lm", "none", 5), folder="c", status="not_applicable", reason="one stack")
    write_run(study, make_config("lm", "none", 3), folder="d", status="running")
    at_step(study, "e", 100)
    list_cells(study, "tying=a seed=1", "tying=a seed=2", "tying=a seed=3")
    list_cells(study, "tying=b seed=1", "tying=a seed=1")
    list_cells(study, "tying=c", n_runs=16)
    for words, name in (("tying=a seed=1", "e"), ("seed=2 tying=a", "b"), ("tying=a seed=3", "deleted")):
        add_run(study, words.split(), name)
    with runs.locked(study / "e"):
        rows = read_status(study)
        texts = {f"tietrain status {name}": shown(tietrain_cli("status", name).out) for name in ("study", ".")}
    assert [(row.state, " ".join(row.cell)) for row in rows] == [
        ("done", ""),
        ("failed", "tying=a seed=2"),
        ("not_applicable", ""),
        ("killed", ""),
        ("running", "tying=a seed=1"),
        ("waiting", "tying=a seed=3"),
        ("waiting", "tying=b seed=1"),
        ("waiting", "tying=c"),
    ]
    (tmp_path / "empty").mkdir()
    texts["tietrain status empty"] = tietrain_cli("status", "empty").out
    assert [row.state for row in read_status(study / "e")] == ["killed"]
    golden("status", texts)


@pytest.mark.parametrize(
    ("budget", "fraction"),
    [
        ({}, 100 / 400),
        ({"max_seconds": 200.0}, 50 / 200),
        ({"max_steps": 1000, "max_flops": 2e8}, 0.5),
    ],
)
def test_read_status_estimates_the_time_left_from_the_budget(tmp_path, budget, fraction):
    directory = at_step(tmp_path, "run", 100, **budget)
    with runs.locked(directory):
        (row,) = read_status(tmp_path)
    assert row.fraction == pytest.approx(fraction)
    assert row.eta_seconds == pytest.approx(50 / fraction - 50)
    assert (row.step, row.tokens, row.tokens_per_second, row.loss) == (100, 204800, 4096, 4.25)
    (row,) = read_status(tmp_path)
    assert (row.state, row.eta_seconds) == ("killed", None)


def test_is_locked_never_keeps_a_writer_out(tmp_path, monkeypatch):
    directory = at_step(tmp_path, "run", 1)
    lock = os.open(directory / runs.LOCK, os.O_RDONLY | os.O_CREAT)
    assert runs._lock(lock, runs.fcntl.LOCK_SH)
    monkeypatch.setattr(time, "sleep", lambda seconds: os.close(lock))
    with runs.locked(directory):
        assert runs.is_locked(directory)
    assert not runs.is_locked(directory)


def test_status_prints_json(tmp_path, tietrain_cli):
    at_step(tmp_path, "run", 100)
    (row,) = json.loads(tietrain_cli("status", ".", "--json").out)
    assert row["state"] == "killed" and row["loss"] == 4.25 and row["valid_loss"] is None


def test_status_names_foreign_and_damaged_folders_and_does_not_hang(tmp_path):
    for i, name in enumerate((runs.RUN, runs.METRICS, runs.EVAL, runs.LOCK, runs.LEDGER)):
        directory = write_run(tmp_path, make_config("lm", "none", i), folder=f"fifo-{name}")
        (directory / name).unlink(missing_ok=True)
        os.mkfifo(directory / name)
    for name, text in (("deep", "[" * 100_000), ("list", "[1]"), ("empty", ""), ("null", '{"id": null}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / runs.RUN).write_text(text)
    (tmp_path / "loop").symlink_to(tmp_path)
    for name, target in (("link", "nowhere"), ("device", "/dev/zero")):
        (tmp_path / name).mkdir()
        (tmp_path / name / runs.RUN).symlink_to(target)
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    command = [sys.executable, "-m", "tietrain", "status", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found = {row["directory"]: row["state"] for row in json.loads(done.stdout)}
    unreadable = {name for name, state in found.items() if state == "unreadable"}
    assert unreadable == {"fifo-run.json", "deep", "list", "empty", "null", "link", "device"}
    assert {name for name, state in found.items() if state == "damaged"} == {"fifo-eval.json", "fifo-ledger.json"}
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with one finished run."""
    folder = tmp_path_factory.mktemp("study")
    write_run(folder, make_config("lm", "none", 1), folder="run")
    return folder


@given(st.binary(max_size=200), st.sampled_from([runs.RUN, runs.METRICS, runs.EVAL, runs.PLAN, runs.LOCK]))
def test_read_status_gives_a_row_for_any_bytes(finished, content, name):
    path = finished / "run" / name
    before = path.read_bytes() if path.exists() else b""
    path.write_bytes(content)
    try:
        assert len(read_status(finished)) == 1
    finally:
        path.write_bytes(before)


def test_watch_without_a_terminal_prints_once_and_says_so(tietrain_cli, tmp_path):
    at_step(tmp_path, "run", 100)
    ran = tietrain_cli("status", ".", "--watch")
    assert ran.code == 0 and "1 runs: 1 killed" in ran.out and "printed once" in ran.err


def test_watch_shows_changes_until_it_is_stopped(tmp_path):
    directory = at_step(tmp_path, "run", 100)
    code = "from tietrain.cli import main, status; status.WATCH_SECONDS = 0.2; main.main(['status', '.', '--watch'])"
    command = [sys.executable, "-u", "-c", code]
    env = {**os.environ, "TTY_COMPATIBLE": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=env, text=True, **pipes) as process:
        killer = threading.Timer(60, process.kill)
        killer.start()
        _read_until(process.stdout, "killed")
        record = runs.read_record(directory)
        record.status = "failed"
        record.reason = "it was broken"
        runs.write_record(directory, record)
        _read_until(process.stdout, "it was broken")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        killer.cancel()
    assert (process.returncode, err) == (0, "")


def _read_until(stream, text):
    """Fails if the stream ends before it has shown a text."""
    assert any(text in line for line in iter(stream.readline, ""))


@pytest.mark.parametrize(
    ("states", "left"),
    [
        ({"a": "done", "b": "diverged"}, 14),
        ({"a": "not_applicable"}, 0),
        ({"refused-0a1b2c3d": "failed"}, 0),
        ({"refused-0a1b2c3d": "failed", "a": "done"}, 14),
    ],
)
def test_read_status_counts_the_runs_that_a_tuned_arm_still_takes(tmp_path, states, left):
    list_cells(tmp_path, "tying=a", n_runs=16)
    for seed, (name, state) in enumerate(states.items()):
        write_run(tmp_path, make_config("lm", "none", seed), folder=name, status=state)
        add_run(tmp_path, ["tying=a"], name)
    assert sum(row.n_runs for row in read_status(tmp_path) if row.state == "waiting") == left


def row(cell, state, **known):
    return Progress("", "", 1, state, tuple(cell.split()), **known)


AT_WORK = row("s=1", "running", total_seconds=4.0, eta_seconds=6.0)


@pytest.mark.parametrize(
    ("rows", "left"),
    [
        ([], None),
        ([row("s=1", "waiting"), row("s=2", "done", total_seconds=9.0)], None),
        ([row("s=1", "waiting"), row("s=2", "running")], None),
        ([row("", "running", total_seconds=4.0, eta_seconds=6.0), row("s=2", "waiting")], None),
        ([AT_WORK, row("s=2", "waiting", n_runs=3)], 36),
        # Two at once: the total is shared, but the longest run is the least.
        ([AT_WORK, row("s=2", "running"), row("s=3", "waiting")], 13),
        ([AT_WORK, row("s=2", "running", eta_seconds=1.0)], 6),
        # A cell takes as long as the most similar cells; a cell that is not applicable takes no time.
        (
            [
                row("t=a s=1", "done", total_seconds=10.0),
                row("t=b s=1", "running", total_seconds=40.0, eta_seconds=60.0),
                row("t=b s=2", "waiting"),
                row("t=c s=1", "not_applicable", total_seconds=0.0),
                row("t=c s=2", "waiting"),
                row("t=b s=3", "killed", fraction=0.25),
                row("t=a s=4", "failed", total_seconds=99.0),
            ],
            60 + 100 + 0 + 75,
        ),
    ],
)
def test_time_left_of_a_grid(rows, left):
    assert time_left(rows) == (None if left is None else pytest.approx(left))


def test_read_status_keeps_a_foreign_list_of_cells_inside_its_study_and_off_the_terminal(tmp_path, tietrain_cli):
    study = tmp_path / "study"
    outside = write_run(tmp_path, make_config("lm", "none", 1), folder="outside")
    write_run(study, make_config("lm", "none", 1), folder="a")
    list_cells(study, "tying=[red]x\x1b[2J seed=1")
    for name in ("../outside", str(outside), "a/../../outside", "", "."):
        add_run(study, ["tying=[red]x\x1b[2J", "seed=1"], name)
    assert [row.state for row in read_status(study)] == ["done", "waiting"]
    out = tietrain_cli("status", "study").out
    assert "tying=[red]x" in out and "\x1b" not in out


def test_fitting_leaves_out_rows_that_a_small_terminal_has_no_room_for(tmp_path):
    write_run(tmp_path, make_config("lm", "none", 1), folder="done")
    write_run(tmp_path, make_config("lm", "none", 2), folder="zfailed", status="failed")
    waiting = [f"seed={i}" for i in range(10, 20)]
    list_cells(tmp_path, *waiting)
    for height, expected in {
        3: ["zfailed"],
        6: ["done", "zfailed", *waiting[:2]],
        30: ["done", "zfailed", *waiting],
    }.items():
        console = Console(width=120, height=height)
        lines = console.render_lines(status._fitting(tmp_path, console))
        words = ["".join(part.text for part in line).split() for line in lines]
        assert words[-1][:2] == ["12", "runs:"]
        assert [line[0] for line in words[1:-1]] == expected
