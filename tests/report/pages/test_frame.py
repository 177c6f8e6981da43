"""Runs as a pandas frame, by the example of the documentation."""

import re
from pathlib import Path

import pytest

import tietrain.report
from fabricated import make_config, write_run, write_study
from tietrain.errors import DataError


def test_example_of_the_documentation(tmp_path, monkeypatch, capsys):
    text = (Path(__file__).parents[3] / "docs" / "report.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len([line for line in program.splitlines() if line]) == 5
    write_study(tmp_path / "outputs" / "demo", seeds=(1, 2))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    exec(program, {})
    shown = capsys.readouterr().out
    assert "three_way" in shown and "846720" in shown


def test_a_row_a_run(tmp_path):
    write_study(tmp_path, seeds=(1, 2))
    write_run(tmp_path, make_config("lm", "none", 3), status="diverged", folder="diverged")
    frame = tietrain.report.load(tmp_path)
    assert len(frame) == 19 and (frame.status == "done").sum() == 18
    run = frame[(frame.task == "lm") & (frame.arm == "pre_softmax") & (frame.seed == 1)].iloc[0]
    assert (run.primary, run.params) == (run["test.bits_per_byte"], 718_720)
    assert run.flops_per_token == pytest.approx(run.flops / run.tokens)
    assert run.verdict.startswith("no verdict") and run["declared.split"] == "test"
    assert "settings.tying.ties.pre_softmax.rule" in frame and "settings.optim.lr" not in frame


def test_no_runs(tmp_path):
    with pytest.raises(DataError):
        tietrain.report.load(tmp_path)
