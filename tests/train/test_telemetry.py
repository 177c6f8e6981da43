"""TensorBoard is a view of metrics.jsonl: every point once, one run a directory, never a reason to stop."""

import sys
from dataclasses import replace
from itertools import pairwise

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.summary.writer.record_writer import RecordWriter

from tietrain.config.keys import VOLATILE
from tietrain.runs import record as runs
from tietrain.runs.metrics import append_metrics, read_metrics
from tietrain.train.tensorboard import TensorBoard, add_results, final_scalars, settings_row
from tiny_run import experiment_in, tiny_config, train


def read_back(directory):
    events = EventAccumulator(str(directory / runs.TENSORBOARD), size_guidance={"scalars": 0})
    events.Reload()
    return events


@pytest.mark.parametrize("stops", [(), (4, 3)])
def test_tensorboard_has_one_point_per_row_by_tokens_and_by_flops(tmp_path, stops):
    config = tiny_config("pre_softmax")
    for stop_after in stops:
        train(tmp_path, config, stop_after=stop_after)
    train(tmp_path, config)
    events, rows = read_back(tmp_path), read_metrics(tmp_path)
    for split, names in (("train", ("nats_per_token", "ppl", "lr", "grad_norm")), ("valid", ("nats_per_token", "ppl"))):
        for name in names:
            chosen = [row for row in rows if row["split"] == split]
            points = events.Scalars(f"{split}/{name}")
            assert [p.step for p in points] == [row["tokens"] for row in chosen]
            assert [p.value for p in points] == pytest.approx([row[name] for row in chosen])
            by_flops = events.Scalars(f"by_flops/{split}/{name}")
            assert [p.step for p in by_flops] == [row["flops"] // 1_000_000 for row in chosen]
    assert len(list((tmp_path / runs.TENSORBOARD).rglob("*"))) == 1


def test_tensorboard_time_is_seconds_of_training(tmp_path):
    rows = [{"step": i, "split": "train", "tokens": i, "flops": i, "seconds": 10.0 * i, "ppl": 2.0} for i in (1, 2, 3)]
    append_metrics(tmp_path, rows)
    TensorBoard(experiment_in(tmp_path, tiny_config()), print)
    times = [p.wall_time for p in read_back(tmp_path).Scalars("train/ppl")]
    assert [b - a for a, b in pairwise(times)] == pytest.approx([10.0, 10.0])


def texts(events, tag):
    return [(e.step, e.tensor_proto.string_val[0].decode()) for e in events.Tensors(tag)]


def test_tensorboard_shows_plan_and_samples_verbatim(tmp_path):
    config = tiny_config("pre_softmax")
    train(tmp_path, config, stop_after=7)
    train(tmp_path, config)
    totals = {"tokens": 500, "seconds": 3.0}
    add_results(tmp_path, {}, [{"sample": "two\nlines"}], totals, print)
    events = read_back(tmp_path)
    ((step, plan),) = texts(events, "plan")
    assert step == 0
    assert "    parameters: " in plan
    assert texts(events, "samples") == [(500, "    sample      two\n                lines")]


def test_tensorboard_charts_name_scalars_of_the_run(tmp_path):
    train(tmp_path, tiny_config())
    events = read_back(tmp_path)
    layout = Layout.FromString(events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    charts = [list(chart.multiline.tag) for chart in layout.category[0].chart]
    assert charts[0] == ["train/nats_per_token", "valid/nats_per_token"]
    assert {tag for tags in charts for tag in tags} <= set(events.Tags()["scalars"])


def hparams(events, tag):
    return HParamsPluginData.FromString(events.SummaryMetadata(f"_hparams_/{tag}").plugin_data.content)


def test_tensorboard_has_one_row_per_run_with_settings_and_final_scores(tmp_path):
    config = replace(tiny_config("pre_softmax", seed=3), study="s")
    train(tmp_path / "run", config)
    totals, scores = {"tokens": 500, "flops": 7e9, "seconds": 3.0}, {"nats_per_token": 1.5, "bleu": 30.0, "words": 12}
    experiment = experiment_in(tmp_path / "run", config)
    add_results(tmp_path / "run", final_scalars(experiment, totals["flops"], scores), [], totals, print)
    events = read_back(tmp_path / "run")
    row, table = hparams(events, "session_start_info").session_start_info, hparams(events, "experiment").experiment
    assert row.group_name == "s/run"
    columns = [info.name for info in table.hparam_infos]
    # A text such as null beside numbers is an error of the page.
    assert {name for name in columns if name not in row.hparams} == {
        name for name, value in settings_row(config).items() if value is None
    }
    assert "data.columns" in columns and "data.columns" not in row.hparams
    assert {"tying", "seed", "optim.lr", "model.d_model", "data.preset"} < set(columns)
    assert not [name for name in columns if name in VOLATILE or name.startswith(("report.", "tying."))]
    assert [row.hparams[name].string_value for name in ("seed", "model.d_model")] == ["3", "16"]
    assert row.hparams["optim.lr"].number_value == 2e-3
    assert row.hparams["tying"].string_value == "pre_softmax"
    finals = [info.name.tag for info in table.metric_infos]
    assert finals == [
        f"final/{name}" for name in ("params", "flops", "nats_per_token", "bits_per_byte", "bleu", "chrf")
    ]
    written = {
        tag: [(p.step, p.value) for p in events.Scalars(tag)] for tag in finals if tag in events.Tags()["scalars"]
    }
    assert written == {
        "final/params": [(500, experiment.params.params)],
        "final/flops": [(500, pytest.approx(7e9))],
        "final/nats_per_token": [(500, 1.5)],
        "final/bleu": [(500, 30)],
    }
    assert len(list((tmp_path / "run" / runs.TENSORBOARD).iterdir())) == 1


def test_settings_row_has_the_same_columns_for_every_task_and_tying():
    rows = [settings_row(tiny_config(tying, task)) for tying, task in (("none", "lm"), ("cross_layer", "mt"))]
    assert rows[0].keys() == rows[1].keys()


def test_tensorboard_logs_a_failure_once_and_stops_nothing(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RecordWriter, "write", full)
    lines = []
    result, _ = train(tmp_path, tiny_config(), log=lines.append)
    assert result.step == 12
    assert [line for line in lines if "TensorBoard" in line] == [
        "TensorBoard is off for this run: [Errno 28] No space left on device"
    ]
    assert len(read_metrics(tmp_path)) == 9


def test_telemetry_draws_a_bar_on_a_terminal_and_logs_the_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    lines = []
    train(tmp_path, tiny_config(), log=lines.append)
    assert not [line for line in lines if "tokens/s" in line]
    assert (tmp_path / runs.LOG).read_text().count("tokens/s") == 4
    assert "tokens/s" in capsys.readouterr().err
