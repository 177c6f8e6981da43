"""`tietrain check`: what it prints, what it exits with, what it scales down."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from every_scheme import build, configure
from tietrain.cli.main import main
from tietrain.config.compose import compose_config
from tietrain.errors import SettingsError
from tietrain.train.check import matrix
from tietrain.train.check.matrix import CHECKS, CheckResult, Row, check_all, mechanisms, passed
from tietrain.train.check.reference import NARROW, WIDE, CheckFailed, describe_reference, scale_down

SCHEMES = ("none", "three_way", "universal", "cycle", "query_key", "encoder_decoder")


def quiet(line):
    pass


@pytest.fixture
def quick(monkeypatch):
    """One quick check in place of all, and few schemes."""
    monkeypatch.setattr(matrix, "EXACT", {name: check for name, check in matrix.EXACT.items() if name == "params"})
    monkeypatch.setattr(matrix, "check_start", lambda config: ("as predicted", ""))
    monkeypatch.setattr(matrix, "check_compile", lambda model: "compiled")
    monkeypatch.setattr(matrix, "CHECKS", {name: CHECKS[name] for name in ("params", "start", "compile")})
    monkeypatch.setattr(matrix, "tying_choices", lambda: SCHEMES)


def test_check_all_has_a_row_per_scheme_and_compiles_each_mechanism_once(quick):
    rows = {row.title: row for row in check_all([], [], quiet)}
    of_lm = {f"lm {scheme}" for scheme in SCHEMES}
    others = {
        f"{model} {s}" for model in matrix.MODELS for s in SCHEMES if s != "cycle"
    }  # universal stands for the layer maps
    assert set(rows) == of_lm | others
    assert "one stack" in rows["lm three_way"].reason
    assert {cell.status for cell in rows["lm three_way"].cells.values()} == {"n/a"}
    assert not rows["mt three_way"].reason
    assert len(rows["mt three_way"].plan) == 12 and rows["mt three_way"].seconds > 0
    assert passed(list(rows.values()))
    compiled = [title for title, row in rows.items() if row.cells["compile"].status == "pass"]
    assert sorted(compiled) == ["lm none", "lm query_key", "lm universal", "mt encoder_decoder", "mt three_way"]
    assert rows["lm cycle"].cells["compile"].status == "seen"


@pytest.mark.parametrize(
    ("task", "tying", "found"),
    [
        ("lm", "none", {"no tie"}),
        ("lm", "pre_softmax", {"table tie"}),
        ("mt", "positions", {"table tie"}),
        ("lm", "cycle", {"layer tie"}),
        ("mt", "query_key", {"projection tie"}),
        ("mt", "encoder_decoder", {"cross-stack tie"}),
        ("mt", "[three_way,one_layer]", {"table tie", "cross-stack tie", "layer tie"}),
    ],
)
def test_mechanisms(task, tying, found):
    assert mechanisms(build(task, tying).plan) == found


def test_check_exits_1_and_names_a_failed_check(quick, monkeypatch, capsys):
    def broken(model):
        raise CheckFailed("tie of decoder.1.ffn", "it is lost")

    def bug(model):
        raise ZeroDivisionError("by zero\nand more")

    monkeypatch.setattr(matrix, "EXACT", {"params": broken})
    assert main(["check", "tying=cycle"]) == 1
    out, err = capsys.readouterr()
    assert "FAIL lm cycle, params: tie of decoder.1.ffn: it is lost" in out.splitlines()
    assert "NOT all checks passed: 2 passed, 1 failed" in out
    assert err == "checking lm cycle\n"
    monkeypatch.setattr(matrix, "EXACT", {"params": bug})
    assert main(["check", "tying=cycle", "--json"]) == 1
    body = json.loads(capsys.readouterr().out)
    assert body["passed"] is False
    assert body["rows"][0]["cells"]["params"] == {"status": "fail", "note": "ZeroDivisionError: by zero", "flag": ""}


def test_check_all_as_text(quick, monkeypatch, capsys):
    monkeypatch.setattr(matrix, "tying_choices", lambda: ("none", "three_way", "cycle"))
    flags = {"cycle": "starts apart"}
    monkeypatch.setattr(matrix, "check_start", lambda config: ("", flags.get(config.tying_label, "")))
    assert main(["check", "--all", "model.n_layers=4"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == ["model", "scheme", "params", "start", "compile"]
    assert lines[2].split() == ["lm", "three_way", "n/a", "n/a", "n/a"]
    assert "flag lm cycle: starts apart" in lines and "flag mt cycle: starts apart" in lines
    assert any(line.startswith("n/a  lm three_way: it joins source and target") for line in lines)
    assert "model.n_layers=4" in out and "d_model 32 for 128" in out
    assert "checking mt cycle" in err.splitlines()


def test_show_rows_draws_a_table_on_a_terminal(quick, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    matrix.show_rows([Row("lm", "cycle", cells={name: CheckResult("pass") for name in matrix.CHECKS})], "heading")
    out = capsys.readouterr().out
    assert "\x1b[32mpass" in out and "all checks passed: 3 passed" in out
    monkeypatch.setenv("COLUMNS", "20")  # too narrow for a table
    matrix.show_rows([Row("lm", "cycle", cells={name: CheckResult("pass") for name in matrix.CHECKS})], "heading")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines[1]) > 20 and "cycle" in lines[1] and lines[1].count("pass") == 3  # one line per row all the same


def test_checks_are_in_the_documents():
    text = (Path(__file__).parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")
    assert "".join(f"| `{name}` | {meaning} |\n" for name, meaning in CHECKS.items()) in text


def test_passed_needs_a_check():
    assert not passed([Row("lm", "x", reason="why", cells=dict.fromkeys(CHECKS, CheckResult("n/a")))])


@pytest.mark.parametrize("word", ["tying=cycle", "task=mt", "tying.ties.cycle.n_unique=2"])
def test_check_all_refuses_a_choice_of_scheme_or_task(word):
    with pytest.raises(SettingsError) as refused:
        check_all([word], [], quiet)
    assert refused.value.setting == f"check --all {word.partition('=')[0]}"


def test_check_refuses_a_scheme_that_does_not_fit(capsys):
    assert main(["check", "tying=three_way"]) == 2
    assert "one stack" in capsys.readouterr().err


def test_check_of_the_configured_scheme_in_full(capsys):
    assert main(["check", "model=tiny", "tying=pre_softmax"]) == 0
    out = capsys.readouterr().out
    assert "all checks passed: 9 passed" in out and "aot_eager" in out


def test_scale_down_changes_widths_and_nothing_else():
    config = compose_config(["task=mt", "model=vaswani_base", "tying=three_way"])
    small = scale_down(config, NARROW)
    changed = {"d_model": 32, "n_heads": 4, "d_ff": 128, "vocab_size": 61}
    assert small == replace(config, model=replace(config.model, **changed))
    assert "d_model 32 for 512" in describe_reference(config) and "d_model 128 for 512" in describe_reference(config)


@pytest.mark.parametrize(
    ("words", "heads", "kv"),
    [
        (["model=mobilellm_125m"], 9, 3),
        (["model.d_model=256", "model.n_heads=32", "model.n_kv_heads=1"], 32, 1),
        (["model.d_model=256", "model.n_heads=4", "model.d_head=80"], 4, None),
    ],
)
@pytest.mark.parametrize("widths", [NARROW, WIDE])
def test_scale_down_keeps_ratios_of_heads(words, heads, kv, widths):
    config = compose_config(words)
    model = scale_down(config, widths).model
    assert (model.n_heads, model.n_kv_heads) == (heads, kv)
    assert (model.d_head is None) == (config.model.d_head is None)
    assert model.d_model < config.model.d_model


def test_scale_down_leaves_a_small_model_alone():
    config = configure("lm", "none", "model.d_model=16", "model.vocab_size=40")
    assert scale_down(config, NARROW) == config
    assert describe_reference(config).count("the configured model") == 2
