"""`tietrain plan` with its options: against another plan, by length, as a figure."""

import json

import pytest

from tietrain.cli.main import main
from tietrain.config.compose import compose_config
from tietrain.config.layout import make_shape
from tietrain.plan.schemes import make_plan
from tietrain.runs import record as runs


def plan(capsys, *words):
    code = main(["plan", *words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def run_directory(tmp_path):
    """A run under three_way, whose vocabulary became smaller than asked for."""
    config = compose_config(["task=mt", "tying=three_way"])
    shape = make_shape(config, {"encoder": 900, "decoder": 900})
    directory = tmp_path / "run"
    directory.mkdir()
    runs.write_json(directory / runs.PLAN, make_plan(shape, config.tying.ties).to_json())
    return directory


def test_against_overrides(capsys):
    code, out, _ = plan(capsys, "task=mt", "tying=three_way", "--against", "tying=embeddings")
    assert code == 0
    assert "against tying=embeddings: other ties\n  decoder.output reads its own parameters there, encoder.em" in out
    assert "128,000 fewer parameters here" in out


def test_against_keeps_the_rest_and_drops_what_the_replaced_choice_was_told(capsys):
    words = ["tying=cross_layer", "tying.ties.cross_layer.order=cycle", "model.n_layers=4", "--against"]
    code, out, _ = plan(capsys, *words, "tying=none")
    assert code == 0
    assert "decoder layers 1-3: all parts read their own parameters there, layer 0's here" in out
    code, out, _ = plan(capsys, *words, "tying.ties.cross_layer.n_unique=2 model.n_layers=3")
    assert code == 0
    assert "only here: decoder layer 3: all parts" in out


def test_against_a_run(capsys, run_directory):
    code, out, _ = plan(capsys, "task=mt", "tying=three_way", "--against", str(run_directory))
    assert code == 0
    assert f"against {run_directory}: same ties\n" in out
    assert "[900, 128] there, [1000, 128] here" in out
    body = json.loads(plan(capsys, "task=mt", "tying=none", "--against", str(run_directory), "--json")[1])
    assert body["difference"]["same_ties"] is False
    assert set(body["difference"]["owners"]) == {"decoder.embed.weight", "decoder.output.weight"}


def test_equal_plans_are_said_to_be_equal(capsys):
    _, out, _ = plan(capsys, "tying=pre_softmax", "--against", "tying=pre_softmax")
    assert out.endswith("against tying=pre_softmax: same ties\n  equal number of parameters\n")
    body = json.loads(plan(capsys, "tying=pre_softmax", "--against", "tying=pre_softmax", "--json")[1])
    assert body["difference"]["same_ties"] is True


def test_by_length(capsys):
    code, out, _ = plan(capsys, "model=vaswani_base", "--lengths", "64,...,65536")
    assert code == 0
    assert "scores + projections = FFN at T = 1,024" in out
    assert "scores = FFN at T = 2,048" in out
    assert "scores = projections + FFN at T = 3,072" in out
    body = json.loads(plan(capsys, "model=vaswani_base", "--lengths", "64,...,65536", "--json")[1])
    assert [row["length"] for row in body["lengths"]["rows"]] == [2**i for i in range(6, 17)]
    causal = plan(capsys, "model=vaswani_base", "--lengths", "64", "--convention", "matmul-causal-3x")[1]
    assert "scores = projections + FFN at T = 6,144" in causal


def test_lengths_of_an_encoder_decoder_say_what_they_are_of(capsys):
    assert "S = T" in plan(capsys, "task=mt", "--lengths", "64")[1]
    assert "S = T" not in plan(capsys, "task=lm", "--lengths", "64")[1]


def test_lengths_beyond_the_position_table(capsys):
    code, out, _ = plan(capsys, "model=gpt2", "task.window=1024", "--lengths", "1048576")
    assert code == 0
    assert "1,048,576" in out


@pytest.mark.parametrize(("name", "begins"), [("f.png", b"\x89PNG"), ("f.svg", b"<?xml")])
def test_figure(capsys, tmp_path, name, begins):
    code, _, _ = plan(capsys, "--lengths", "64,...,512", "--figure", str(tmp_path / name))
    assert code == 0
    assert (tmp_path / name).read_bytes().startswith(begins)


def test_the_ledger_in_full(capsys):
    code, out, _ = plan(capsys, "task=lm", "model=gpt2", "tying=pre_softmax", "task.window=1024", "--ledger")
    assert code == 0
    assert "855,166,464" in out
    assert "input+output" in out


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["--against", "nope"], "--against nope: it is no folder and no override", 2),
        (["--against", "tyin=none"], "did you mean tying?", 2),
        (["--against", "tying='x"], "--against tying='x: No closing quotation", 2),
        (["--against", "tying=three_way"], "three_way", 2),
        (["--against", "."], "plan.json", 3),
        (["--lengths", "64,...,1000"], "doubling does not reach 1000", 2),
        (["--figure", "f.gif"], "neither .png nor .svg", 2),
        (["--figure", "no/such/folder/f.png"], "no/such/folder/f.png", 5),
    ],
)
def test_refusals_are_one_message(capsys, tmp_path, monkeypatch, words, said, code):
    monkeypatch.chdir(tmp_path)
    found, out, err = plan(capsys, *words)
    assert found == code
    assert said in err
    assert "Traceback" not in err and len(err.strip().splitlines()) == 1
    assert out == "" and list(tmp_path.iterdir()) == []
