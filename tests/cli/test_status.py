"""`tietrain status`: where runs stand, whatever their folders hold; it looks and changes nothing."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fabricated import make_config, write_run
from tietrain.cli import status
from tietrain.cli.cells import Cell, add_cells, add_run, cell_words
from tietrain.cli.main import main
from tietrain.cli.status import Progress, read_status, time_left
from tietrain.runs import record as runs


def states(folder):
    return {row.directory: row.state for row in read_status(folder)}


def at_step(folder, name, step, **changes):
    """A run in the middle of its training."""
    config = make_config("lm", "none", 1)
    for key, value in changes.items():
        setattr(config.train, key, value)
    directory = write_run(folder, config, status="running", folder=name)
    (directory / runs.METRICS).unlink()
    row = {"step": step, "tokens": 2048 * step, "flops": 10**6 * step, "seconds": 0.5 * step, "nats_per_token": 4.25}
    runs.append_metrics(directory, [{**row, "split": "train", "tokens_per_second": 4096.0}])
    return directory


def test_states_are_those_of_records_and_locks(tmp_path, capsys):
    write_run(tmp_path, make_config("lm", "none", 1), folder="a")
    write_run(tmp_path, make_config("lm", "none", 2), folder="b", status="failed", reason="no [red] room")
    write_run(tmp_path, make_config("lm", "none", 5), folder="c", status="not_applicable", reason="one stack")
    write_run(tmp_path, make_config("lm", "none", 3), folder="d", status="running")
    write_run(tmp_path, make_config("lm", "none", 4), folder="e", status="running")
    with runs.locked(tmp_path / "e"):
        found = states(tmp_path)
        assert main(["status", str(tmp_path)]) == 0
    assert found == {"a": "done", "b": "failed", "c": "not_applicable", "d": "killed", "e": "running"}
    out = capsys.readouterr().out
    assert "no [red] room" in out
    assert "5 runs: 1 done, 1 failed, 1 not applicable, 1 killed, 1 running" in out


@pytest.mark.parametrize(
    ("budget", "fraction"),
    [
        ({}, 100 / 400),
        ({"max_steps": 1000}, 0.1),
        ({"max_seconds": 200.0}, 50 / 200),
        ({"max_steps": 1000, "max_flops": 2e8}, 0.5),
    ],
)
def test_time_left_follows_the_budget(tmp_path, budget, fraction):
    directory = at_step(tmp_path, "run", 100, **budget)
    with runs.locked(directory):
        (row,) = read_status(tmp_path)
    assert row.fraction == pytest.approx(fraction)
    assert row.eta_seconds == pytest.approx(50 / fraction - 50)
    assert (row.step, row.tokens, row.tokens_per_second, row.loss) == (100, 204800, 4096, 4.25)
    (row,) = read_status(tmp_path)
    assert (row.state, row.eta_seconds) == ("killed", None)


def test_a_look_never_keeps_a_writer_out(tmp_path, monkeypatch):
    directory = at_step(tmp_path, "run", 1)
    lock = os.open(directory / runs.LOCK, os.O_RDONLY | os.O_CREAT)
    assert runs._lock(lock, runs.fcntl.LOCK_SH)
    monkeypatch.setattr(time, "sleep", lambda seconds: os.close(lock))
    with runs.locked(directory):
        assert runs.is_locked(directory)
    assert not runs.is_locked(directory)


def test_json(tmp_path, capsys):
    at_step(tmp_path, "run", 100)
    assert main(["status", str(tmp_path), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["state"] == "killed" and row["loss"] == 4.25 and row["valid_loss"] is None


def test_a_single_run_and_an_empty_folder(tmp_path, capsys):
    assert main(["status", str(tmp_path)]) == 0
    assert "none has begun" in capsys.readouterr().out
    directory = at_step(tmp_path, "run", 100)
    assert [row.state for row in read_status(directory)] == ["killed"]


def test_foreign_and_damaged_folders_are_named_and_do_not_hang(tmp_path):
    for i, name in enumerate((runs.RUN, runs.METRICS, runs.EVAL, runs.LOCK, runs.LEDGER)):
        directory = write_run(tmp_path, make_config("lm", "none", i), folder=f"fifo-{name}")
        (directory / name).unlink(missing_ok=True)
        os.mkfifo(directory / name)
    for name, text in (("deep", "[" * 100_000), ("list", "[1]"), ("empty", ""), ("null", '{"id": null}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / runs.RUN).write_text(text)
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / runs.RUN).symlink_to("nowhere")
    (tmp_path / "device").mkdir()
    (tmp_path / "device" / runs.RUN).symlink_to("/dev/zero")
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    command = [sys.executable, "-m", "tietrain", "status", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found = {row["directory"]: row["state"] for row in json.loads(done.stdout)}
    unreadable = {name for name, state in found.items() if state == "unreadable"}
    assert unreadable == {"fifo-run.json", "deep", "list", "empty", "null", "link", "device"}
    assert {name for name, state in found.items() if state == "damaged"} == {"fifo-eval.json", "fifo-ledger.json"}
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


@given(st.binary(max_size=200), st.sampled_from([runs.RUN, runs.METRICS, runs.EVAL, runs.PLAN, runs.LOCK]))
def test_any_bytes_give_a_row(tmp_path_factory, content, name):
    folder = tmp_path_factory.mktemp("study")
    directory = write_run(folder, make_config("lm", "none", 1), folder="run")
    (directory / name).write_bytes(content)
    assert len(read_status(folder)) == 1


def test_watch_shows_what_changes_until_it_is_stopped(tmp_path):
    directory = at_step(tmp_path, "run", 100)
    command = [sys.executable, "-u", "-m", "tietrain", "status", str(tmp_path), "--watch"]
    env = {**os.environ, "TTY_COMPATIBLE": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        time.sleep(2)
        record = runs.read_record(directory)
        record.status, record.reason = "failed", "it was broken"
        runs.write_record(directory, record)
        time.sleep(5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert "killed" in out and "it was broken" in out


def list_cells(study, *swept, n_runs=1):
    add_cells(study, [Cell(cell_words(words.split()), tuple(words.split()), n_runs) for words in swept])


def test_cells_that_have_not_begun_wait(tmp_path, capsys):
    study = tmp_path / "study"
    write_run(study, make_config("lm", "none", 1), folder="a")
    write_run(study, make_config("lm", "none", 2), folder="b", status="not_applicable", reason="one stack")
    at_step(study, "c", 100)
    list_cells(study, "tying=a seed=1", "tying=a seed=2", "tying=a seed=3")
    list_cells(study, "tying=b seed=1", "tying=a seed=1")
    for words, name in (("tying=a seed=1", "a"), ("seed=2 tying=a", "b"), ("tying=a seed=3", "deleted")):
        add_run(study, words.split(), name)
    rows = read_status(study)
    assert [(row.state, " ".join(row.cell)) for row in rows] == [
        ("done", "tying=a seed=1"),
        ("not_applicable", "tying=a seed=2"),
        ("killed", ""),
        ("waiting", "tying=a seed=3"),
        ("waiting", "tying=b seed=1"),
    ]
    assert main(["status", str(study)]) == 0
    out = capsys.readouterr().out
    assert "\ntying=b seed=1 " in out
    assert out.endswith("5 runs: 1 done, 1 not applicable, 1 killed, 2 waiting\n")
    assert main(["status", str(tmp_path)]) == 0
    assert "\nstudy: tying=b seed=1 " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("runs_of_it", "left"),
    [
        ({}, 16),
        ({"a": "done", "b": "diverged"}, 14),
        ({"a": "not_applicable"}, 0),
        ({"refused-0a1b2c3d": "failed"}, 0),
        ({"refused-0a1b2c3d": "failed", "a": "done"}, 14),
    ],
)
def test_a_tuned_arm_has_several_runs(tmp_path, capsys, runs_of_it, left):
    list_cells(tmp_path, "tying=a", n_runs=16)
    for seed, (name, state) in enumerate(runs_of_it.items()):
        write_run(tmp_path, make_config("lm", "none", seed), folder=name, status=state)
        add_run(tmp_path, ["tying=a"], name)
    assert sum(row.n_runs for row in read_status(tmp_path) if row.state == "waiting") == left
    assert main(["status", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert (f"{left} waiting" in out) == bool(left)
    assert f"{len(runs_of_it) + left} runs: " in out


def row(cell, state, **known):
    return Progress("", "", 1, state, tuple(cell.split()), **known)


@pytest.mark.parametrize(
    ("rows", "left"),
    [
        ([], None),
        ([row("s=1", "waiting"), row("s=2", "done", total_seconds=9.0)], None),
        ([row("s=1", "waiting"), row("s=2", "running")], None),
        ([row("", "running", total_seconds=4.0, eta_seconds=6.0), row("s=2", "waiting")], None),
        ([row("s=1", "running", total_seconds=4.0, eta_seconds=6.0)], 6),
        ([row("s=1", "running", total_seconds=4.0, eta_seconds=6.0), row("s=2", "waiting", n_runs=3)], 36),
        # Two at once; the longest of them is the least.
        ([row("s=1", "running", total_seconds=4.0, eta_seconds=6.0), row("s=2", "running"), row("s=3", "waiting")], 13),
        ([row("s=1", "running", total_seconds=4.0, eta_seconds=6.0), row("s=2", "running", eta_seconds=1.0)], 6),
        # A cell takes what those beside it take; what is not applicable takes nothing.
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


def test_the_last_line_tells_the_time_left_of_the_grid(tmp_path, capsys):
    directory = at_step(tmp_path, "run", 100)
    list_cells(tmp_path, "seed=1", "seed=2")
    add_run(tmp_path, ["seed=1"], "run")
    with runs.locked(directory):
        assert main(["status", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith("2 runs: 1 running, 1 waiting; about 0:05:50 left\n")


def test_a_foreign_list_of_cells_names_no_run_outside_and_cannot_write_on_the_terminal(tmp_path, capsys):
    study = tmp_path / "study"
    outside = write_run(tmp_path, make_config("lm", "none", 1), folder="outside")
    write_run(study, make_config("lm", "none", 1), folder="a")
    list_cells(study, "tying=[red]x\x1b[2J seed=1")
    for name in ("../outside", str(outside), "a/../../outside", "", "."):
        add_run(study, ["tying=[red]x\x1b[2J", "seed=1"], name)
    assert [row.state for row in read_status(study)] == ["done", "waiting"]
    assert main(["status", str(study)]) == 0
    out = capsys.readouterr().out
    assert "tying=[red]x" in out and "\x1b" not in out


@pytest.mark.parametrize("height", [3, 6, 30])
def test_watching_leaves_out_what_the_terminal_has_no_room_for(tmp_path, height):
    write_run(tmp_path, make_config("lm", "none", 1), folder="done")
    write_run(tmp_path, make_config("lm", "none", 2), folder="zfailed", status="failed")
    list_cells(tmp_path, *(f"seed={i}" for i in range(10, 20)))
    console = Console(width=120, height=height)
    shown = [
        "".join(part.text for part in line).split()[:2]
        for line in console.render_lines(status._fitting(tmp_path, console))
    ]
    assert shown[-1] == ["12", "runs:"]
    names = [name for name, _ in shown[1:-1]]
    waiting = [f"seed={i}" for i in range(10, 20)]
    assert names == {3: ["zfailed"], 6: ["done", "zfailed", *waiting[:2]], 30: ["done", "zfailed", *waiting]}[height]
