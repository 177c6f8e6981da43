"""`metrics.jsonl` of any length: read line by line, hashed as it grows, cut where a checkpoint ends."""

import hashlib
import os

import pytest

from tietrain.errors import DataError
from tietrain.runs import metrics
from tietrain.runs import record as runs
from tietrain.runs.metrics import MetricsFile, append_metrics, cut_metrics, last_row, read_metrics, seal_of_metrics
from tiny_run import reproducible, tiny_config, train

ROWS = [{"step": i, "split": "valid" if i % 5 == 0 else "train", "x": "y" * i} for i in range(1, 21)]


def test_seal_of_a_growing_file_is_that_of_its_content(tmp_path):
    append_metrics(tmp_path, ROWS[:3])
    file = MetricsFile(tmp_path)
    for row in ROWS[3:]:
        file.add(row)
        content = (tmp_path / runs.METRICS).read_bytes()
        seal = file.sync()
        assert seal == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    file.add(ROWS[0])
    assert seal_of_metrics(tmp_path, seal["bytes"]) == seal


def test_sync_does_not_read_the_file(tmp_path, monkeypatch):
    file = MetricsFile(tmp_path)
    monkeypatch.setattr(metrics, "reading", None)
    file.add(ROWS[0])
    assert file.sync()["bytes"]


def test_a_file_larger_than_any_read_whole_is_read_and_continued(tmp_path, monkeypatch):
    config = tiny_config("pre_softmax")
    train(tmp_path / "whole", config)
    monkeypatch.setattr(runs, "MAX_BYTES", 40_000)  # a state.json and a plan are smaller
    train(tmp_path / "cut", config, stop_after=5)
    append_metrics(tmp_path / "cut", [{"step": 10**6, "x": "y" * 99}] * 1000)
    train(tmp_path / "cut", config)
    assert reproducible(read_metrics(tmp_path / "cut")) == reproducible(read_metrics(tmp_path / "whole"))


def test_cut_metrics_keeps_the_bytes_of_rows_and_ends_a_line_that_was_cut(tmp_path):
    append_metrics(tmp_path, ROWS)
    before = (tmp_path / runs.METRICS).read_bytes()
    with open(tmp_path / runs.METRICS, "ab") as f:
        f.write(b'{"step": 3}')
    cut_metrics(tmp_path, 20)
    assert (tmp_path / runs.METRICS).read_bytes() == before + b'{"step": 3}\n'
    cut_metrics(tmp_path, 2)
    assert read_metrics(tmp_path) == [*ROWS[:2]]


@pytest.mark.parametrize("tail", [1024 * 1024, 100])
def test_last_row_is_that_of_its_split(tmp_path, monkeypatch, tail):
    monkeypatch.setattr(metrics, "TAIL", tail)
    assert last_row(tmp_path, "train") == {}
    append_metrics(tmp_path, ROWS)
    assert last_row(tmp_path, "valid") == ROWS[-1]
    assert last_row(tmp_path, "train") == (ROWS[-2] if tail > 100 else {})


def test_a_line_without_end_is_refused(tmp_path):
    (tmp_path / runs.METRICS).touch()
    os.truncate(tmp_path / runs.METRICS, 2**40)
    with pytest.raises(DataError, match="a line of 16 MB"):
        read_metrics(tmp_path)
    assert last_row(tmp_path, "train") == {}
