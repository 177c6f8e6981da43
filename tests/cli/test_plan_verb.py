"""`tietrain plan` with its options: against another plan, by length, as a figure."""

import json

import pytest

from tietrain.config.compose import compose_config
from tietrain.config.describe import megabytes
from tietrain.config.layout import make_shape
from tietrain.plan.schemes import make_plan
from tietrain.runs import record as runs


@pytest.fixture
def plan(tietrain_cli):
    """What `tietrain plan ... --json` prints."""

    def of(*words):
        ran = tietrain_cli("plan", *words, "--json")
        assert (ran.code, ran.err) == (0, "")
        return json.loads(ran.out)

    return of


@pytest.fixture
def run_directory(tmp_path):
    """A run under three_way, whose vocabulary became smaller than requested."""
    config = compose_config(["task=mt", "tying=three_way"])
    shape = make_shape(config, {"encoder": 900, "decoder": 900})
    directory = tmp_path / "run"
    directory.mkdir()
    runs.write_json(directory / runs.PLAN, make_plan(shape, config.tying.ties).to_json())
    return directory


def test_against_compares_with_other_overrides(plan):
    difference = plan("task=mt", "tying=three_way", "--against", "tying=embeddings")["difference"]
    assert not difference["same_ties"] and set(difference["owners"]) == {"decoder.output.weight"}
    assert plan("tying=pre_softmax", "--against", "tying=pre_softmax")["difference"]["same_ties"]


def test_against_keeps_the_other_overrides_and_drops_the_options_of_a_replaced_choice(plan):
    words = ["tying=cross_layer", "tying.ties.cross_layer.order=cycle", "model.n_layers=4", "--against"]
    untied = plan(*words, "tying=none")["difference"]
    assert not untied["only_here"] and {owner.split(".")[1] for owner in untied["owners"]} == {"1", "2", "3"}
    shallower = plan(*words, "tying.ties.cross_layer.n_unique=2 model.n_layers=3")["difference"]
    assert {slot.split(".")[1] for slot in shallower["only_here"]} == {"3"}


def test_against_compares_with_a_run(plan, run_directory, tietrain_cli):
    same = plan("task=mt", "tying=three_way", "--against", str(run_directory))["difference"]
    assert same["same_ties"] and same["shapes"]["decoder.embed.weight"] == {"there": [900, 128], "here": [1000, 128]}
    other = plan("task=mt", "tying=none", "--against", str(run_directory))["difference"]
    assert not other["same_ties"] and set(other["owners"]) == {"decoder.embed.weight", "decoder.output.weight"}
    ran = tietrain_cli("plan", "task=mt", "tying=three_way", "--against", str(run_directory))
    assert ran.code == 0 and f"against {run_directory}: " in ran.out


def test_lengths_count_flops_by_sequence_length(plan, tietrain_cli):
    lengths = plan("model=vaswani_base", "--lengths", "64,...,65536")["lengths"]
    assert [row["length"] for row in lengths["rows"]] == [2**i for i in range(6, 17)]
    assert plan("model=gpt2", "task.window=1024", "--lengths", "1048576")["lengths"]["rows"][0]["length"] == 2**20
    shown = tietrain_cli("plan", "model=vaswani_base", "--lengths", "64").out
    causal = tietrain_cli("plan", "model=vaswani_base", "--lengths", "64", "--convention", "matmul-causal-3x").out
    assert "= projections + FFN at T = 3,072" in shown and "= projections + FFN at T = 6,144" in causal


@pytest.mark.parametrize(("name", "begins"), [("f.png", b"\x89PNG"), ("f.svg", b"<?xml")])
def test_figure_draws_the_lengths(tietrain_cli, tmp_path, name, begins):
    assert tietrain_cli("plan", "--lengths", "64,...,512", "--figure", name).code == 0
    assert (tmp_path / name).read_bytes().startswith(begins)


def test_ledger_shows_roles_and_conventions(tietrain_cli):
    ran = tietrain_cli("plan", "task=lm", "model=gpt2", "tying=pre_softmax", "task.window=1024", "--ledger")
    assert ran.code == 0
    assert "855,166,464" in ran.out and "input+output" in ran.out


def test_processes_count_the_memory_of_each(plan, tietrain_cli):
    of_each = plan("--processes", "8")["memory"]["of_each"]
    assert of_each["processes"] == 8 and of_each["slices_bytes"] < of_each["whole_bytes"] / 7
    ran = tietrain_cli("plan", "--processes", "8")
    assert f"hardware.shard=true     {megabytes(of_each['slices_bytes']):>14}" in ran.out
    assert tietrain_cli("plan", "--processes", "1").code == 2
