"""TensorBoard is a view of metrics.jsonl: every point once, one run a directory, never a reason to stop."""

import sys
from itertools import pairwise

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter

from tietrain import runs
from tietrain.train.tensorboard import TensorBoard
from tiny_run import tiny_config, train


def read_back(directory):
    events = EventAccumulator(str(directory / runs.TENSORBOARD), size_guidance={"scalars": 0})
    events.Reload()
    return events


@pytest.mark.parametrize("stops", [(), (4, 3)])
def test_every_row_is_one_point_by_tokens_and_by_flops(tmp_path, stops):
    config = tiny_config("pre_softmax")
    for stop_after in stops:
        train(tmp_path, config, stop_after=stop_after)
    train(tmp_path, config)
    events, rows = read_back(tmp_path), runs.read_metrics(tmp_path)
    for split, names in (("train", ("nats_per_token", "ppl", "lr", "grad_norm")), ("valid", ("nats_per_token", "ppl"))):
        for name in names:
            chosen = [row for row in rows if row["split"] == split]
            points = events.Scalars(f"{split}/{name}")
            assert [p.step for p in points] == [row["tokens"] for row in chosen]
            assert [p.value for p in points] == pytest.approx([row[name] for row in chosen])
            by_flops = events.Scalars(f"by_flops/{split}/{name}")
            assert [p.step for p in by_flops] == [row["flops"] // 1_000_000 for row in chosen]
    assert len(list((tmp_path / runs.TENSORBOARD).rglob("*"))) == 1


def test_relative_time_is_seconds_of_training(tmp_path):
    rows = [{"step": i, "split": "train", "tokens": i, "flops": i, "seconds": 10.0 * i, "ppl": 2.0} for i in (1, 2, 3)]
    TensorBoard(tmp_path, rows, print).close()
    times = [p.wall_time for p in read_back(tmp_path).Scalars("train/ppl")]
    assert [b - a for a, b in pairwise(times)] == pytest.approx([10.0, 10.0])


def test_settings_and_best_score_are_one_line_of_the_table(tmp_path):
    train(tmp_path, tiny_config("pre_softmax", seed=3))
    events = read_back(tmp_path)
    found = {tag: events.SummaryMetadata(tag) for tag in events.Tags()["tensors"] + list(events.summary_metadata)}
    assert {"_hparams_/experiment", "_hparams_/session_start_info"} <= found.keys()
    assert b"pre_softmax" in found["_hparams_/session_start_info"].plugin_data.content
    assert events.Scalars("best/valid_ppl")[0].value > 1


def test_its_failure_is_said_once_and_stops_nothing(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RecordWriter, "write", full)
    lines = []
    result, _ = train(tmp_path, tiny_config(), say=lines.append)
    assert result.step == 12
    assert [line for line in lines if "TensorBoard" in line] == [
        "TensorBoard is off for this run: [Errno 28] No space left on device"
    ]
    assert len(runs.read_metrics(tmp_path)) == 7


def test_on_a_terminal_there_is_a_bar_and_the_lines_are_in_the_log(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    lines = []
    train(tmp_path, tiny_config(), say=lines.append)
    assert not [line for line in lines if "tokens/s" in line]
    assert (tmp_path / runs.LOG).read_text().count("tokens/s") == 4
    assert "tokens/s" in capsys.readouterr().err
