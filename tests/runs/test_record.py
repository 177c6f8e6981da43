"""Readers take regular files of bounded size, writers replace whole files, one writer holds a directory."""

import json
import multiprocessing
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tietrain.errors import DataError, LockedError, StorageError, TietrainError
from tietrain.runs import record as runs
from tietrain.runs.metrics import append_metrics, cut_metrics, read_metrics
from tietrain.runs.record import RunRecord


def test_read_record_round_trip(tmp_path):
    record = RunRecord(id="a", study="s", label="none", task="lm", status="done", seed=3, settings={"optim.lr": 0.1})
    runs.write_record(tmp_path, record)
    assert runs.read_record(tmp_path) == record


def test_write_json_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    runs.write_json(path, {"a": 1})

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError) as refused:
        runs.write_json(path, {"a": 2})
    assert refused.value.exit_code == 5 and str(path) in refused.value.setting
    assert "No space left" in refused.value.problem
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_read_bytes_refuses_pipes_and_folders(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "missing", "."):
        with pytest.raises(DataError):
            runs.read_bytes(tmp_path / name)


@given(st.binary(max_size=300))
def test_read_record_refuses_damaged_records(tmp_path_factory, content):
    directory = tmp_path_factory.mktemp("run")
    (directory / runs.RUN).write_bytes(content)
    with pytest.raises(TietrainError):
        runs.read_record(directory)


@given(st.integers(0, 200))
def test_read_metrics_keeps_whole_rows(tmp_path_factory, cut):
    directory = tmp_path_factory.mktemp("run")
    rows = [{"step": i, "loss": i / 3} for i in range(6)]
    append_metrics(directory, rows)
    path = directory / runs.METRICS
    path.write_bytes(path.read_bytes()[:cut])
    kept = read_metrics(directory)
    assert kept == rows[: len(kept)]


def test_cut_metrics_drops_later_rows(tmp_path):
    append_metrics(tmp_path, [{"step": i} for i in range(5)])
    cut_metrics(tmp_path, 2)
    assert [row["step"] for row in read_metrics(tmp_path)] == [0, 1, 2]


def _try_lock(directory, answer):
    try:
        with runs.locked(directory):
            answer.put("got it")
    except LockedError as e:
        answer.put(e.exit_code)


def test_locked_refuses_a_second_writer(tmp_path):
    context = multiprocessing.get_context("fork")
    answer = context.Queue()
    with runs.locked(tmp_path):
        other = context.Process(target=_try_lock, args=(tmp_path, answer))
        other.start()
        assert answer.get(timeout=20) == 6
        other.join()
    with runs.locked(tmp_path):
        pass
