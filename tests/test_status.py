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

from fabricated import make_config, write_run
from tietrain import runs
from tietrain.cli import main
from tietrain.status import read_status


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
