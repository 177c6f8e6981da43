"""`tietrain resume` and `tietrain reproduce`: a run from its directory alone, from any folder."""

import json
import os
import shutil
import signal

import pytest

from tietrain.runs import record as runs
from tietrain.runs.metrics import read_metrics
from tietrain.train import loop
from tiny_run import reproducible

TINY = ["task=lm", "data=text", "data.splits={train: [a.txt], valid: [a.txt]}", "model=tiny", "model.vocab_size=60"]
TINY += ["train.batch_tokens=256", "train.max_steps=6", "train.log_every=1", "hardware.threads=1", "data.cache=cache"]


@pytest.fixture
def text(tmp_path, tietrain_cli):
    (tmp_path / "a.txt").write_text("one sparrow sang and two owls listened to it\n" * 60)
    return tietrain_cli


@pytest.fixture
def stopped(tmp_path, text, monkeypatch):
    """A run that a signal stopped after its third step."""
    add_row = loop.Telemetry.add_train_row

    def add_and_stop(self, state, fraction):
        add_row(self, state, fraction)
        if state.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Telemetry, "add_train_row", add_and_stop)
        ran = text(*TINY, "run_dir=run")
    assert ran.code == 143
    return ran.err


def test_resume_goes_on_from_another_folder(tmp_path, text, stopped, monkeypatch):
    assert f"`tietrain resume {tmp_path / 'run'}` continues it" in stopped
    record = runs.read_record(tmp_path / "run")
    assert record.folder == str(tmp_path) and record.words == [*TINY, "run_dir=run"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    auto_was_the_cpu = ["hardware.device=cpu", "hardware.precision=fp32"]
    assert text("resume", str(tmp_path / "run"), *auto_was_the_cpu).code == 0
    monkeypatch.chdir(tmp_path)
    assert text(*TINY, "run_dir=whole").code == 0
    rows = [reproducible(read_metrics(tmp_path / name)) for name in ("run", "whole")]
    assert rows[0] == rows[1] and len(rows[0]) > 6
    assert runs.read_record(tmp_path / "run").words == record.words
    assert "is finished" in text("resume", "run", "hardware.device=cpu").err
    ran = text("resume", "run", "optim.lr=1")
    assert ran.code == 2 and "optim.lr" in ran.err


def test_resume_looks_for_data_here_if_the_folder_is_gone(tmp_path, text, stopped, monkeypatch):
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.move(tmp_path / "run", moved / "run")
    record = runs.read_record(moved / "run")
    record.folder = "/nowhere"
    runs.write_record(moved / "run", record)
    monkeypatch.chdir(moved)
    ran = text("resume", "run")
    assert ran.code == 3 and "/nowhere" in ran.err and "a.txt" in ran.err
    assert text("resume", "run", f"data.root={tmp_path}").code == 0


def test_reproduce_makes_the_same_bits_or_says_why_not(tmp_path, text):
    ran = text("reproduce", "run")
    assert ran.code == 2 and not (tmp_path / "outputs").exists()
    assert text(*TINY, "run_dir=run").code == 0
    ran = text("reproduce", "run", "--json")
    assert ran.code == 0 and json.loads(ran.out)["differences"] == []
    again = tmp_path / "outputs" / "reproduced"
    assert len(list(again.glob("lm-*"))) == 1
    ran = text("reproduce", "run", "--to", "two", "hardware.threads=2")
    if ran.code:  # other threads may round otherwise
        assert ran.code == 1 and "threads 1 there, 2 here" in ran.out
    rows = (tmp_path / "run" / runs.METRICS).read_text().replace('"step": 4', '"step": 5')
    (tmp_path / "run" / runs.METRICS).write_text(rows)
    assert "logged rows differ from step" in text("reproduce", "run").out


def test_reproduce_refuses_a_run_that_is_not_finished(text, stopped):
    ran = text("reproduce", "run")
    assert ran.code == 2 and "tietrain resume run" in ran.err
