"""Runs and arms as values: every number is in the exports, and a notebook gets one row per run."""

import json
import re
from pathlib import Path

import pytest

import tietrain.report
from fabricated import make_config, write_run, write_study
from tietrain.errors import DataError
from tietrain.report.pages.exports import arm_row
from tietrain.report.write import report_rows


def test_arm_json_carries_the_numbers_of_the_verdict(tmp_path):
    for label, by in (("none", 0.0), ("pre_softmax", -0.1)):
        for seed, loss in enumerate((2.50, 2.56, 2.47, 2.53, 2.49, 2.51), start=1):
            write_run(tmp_path, make_config("lm", label, seed), loss=loss + by + (0.001 if seed == 2 and by else 0))
    body = next(row for row in report_rows(tmp_path) if row["name"] == "pre_softmax")
    found = body["verdict"]
    assert found["difference"] == pytest.approx(-0.034, abs=5e-4) and found["low"] < found["difference"] < found["high"]
    compared = {"metric": "bits_per_byte", "split": "test", "baseline": "none", "n_seeds": 6}
    assert {key: found[key] for key in compared} == compared
    assert 0 < found["p_holm"] < 0.01 and not found["equal_noise"] and found["bad_seeds"] == []
    assert (found["tuned"], found["declared"], found["level"]) == (False, True, 0.05)
    assert found["seeds_needed"] >= 2 and found["smallest_effect"] > 0
    row = arm_row(json.loads(json.dumps(body, allow_nan=False)))
    assert (row["verdict.p_holm"], row["verdict.verdict"]) == (found["p_holm"], "no verdict (differs at this rate)")


def test_load_runs_the_example_of_the_documentation(tmp_path, monkeypatch, capsys):
    text = (Path(__file__).parents[3] / "docs" / "report.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len([line for line in program.splitlines() if line]) == 5
    write_study(tmp_path / "outputs" / "demo", seeds=(1, 2))
    monkeypatch.chdir(tmp_path)
    exec(program, {})
    shown = capsys.readouterr().out
    assert "three_way" in shown and "846720" in shown


def test_load_has_one_row_per_run(tmp_path):
    write_study(tmp_path, seeds=(1, 2))
    write_run(tmp_path, make_config("lm", "none", 3), status="diverged", folder="diverged")
    frame = tietrain.report.load(tmp_path)
    assert len(frame) == 19 and (frame.status == "done").sum() == 18
    run = frame[(frame.task == "lm") & (frame.arm == "pre_softmax") & (frame.seed == 1)].iloc[0]
    assert (run.primary, run.params) == (run["test.bits_per_byte"], 718_720)
    assert run.flops_per_token == pytest.approx(run.flops / run.tokens)
    assert run.verdict.startswith("no verdict") and run["declared.split"] == "test"
    assert "settings.tying.ties.pre_softmax.rule" in frame and "settings.optim.lr" not in frame


def test_load_refuses_a_folder_without_runs(tmp_path):
    with pytest.raises(DataError):
        tietrain.report.load(tmp_path)
