"""`tietrain plan -m`: the cells that a grid would run, what they hold, and why some cannot."""

import json
from pathlib import Path

import pytest

import tietrain.train.job
from tietrain.cli.main import main
from tietrain.config.compose import tying_choices
from tietrain.runs import record as runs
from tietrain.train.experiment import Experiment
from tietrain.train.outcome import Outcome


@pytest.fixture
def plan(tmp_path, monkeypatch, capsys):
    """The cells `tietrain plan` shows for a command line."""
    monkeypatch.chdir(tmp_path)

    def of(*words):
        assert main(["plan", *words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return of


def test_an_experiment_with_its_own_grid(plan, capsys):
    cells = plan("experiment=demo")
    assert [cell["overrides"] for cell in cells[:2]] == [["task=lm", "tying=none"], ["task=lm", "tying=pre_softmax"]]
    assert [cell["state"] for cell in cells].count("new") == 8
    refused = [cell for cell in cells if cell["state"] == "not_applicable"]
    assert [cell["overrides"][1] for cell in refused] == ["tying=shared_vocab", "tying=three_way"]
    assert all("this model has one stack" in cell["reason"] and cell["params"] is None for cell in refused)
    assert [cell["overrides"] for cell in plan("experiment=demo", "tying=none", "-m")] == [["task=lm"], ["task=mt"]]
    assert plan("experiment=demo", "tying=three_way", "task=mt") == [{**cells[8], "overrides": []}]
    assert list(Path().iterdir()) == []
    assert main(["plan", "experiment=demo"]) == 0
    assert "10 cells: 8 new, 2 not applicable" in capsys.readouterr().out


def test_a_cell_counts_what_a_plan_of_it_alone_counts(plan):
    for cell in plan("-m", "task=lm,mt", "tying=none,pre_softmax", "model.d_ff=96,128"):
        alone = plan(*cell["overrides"])
        assert (cell["params"], cell["params_saved"]) == (alone["params"], alone["params_saved"])
        assert cell["flops_per_token"] == alone["conventions"]["columns"]["with attention"] // 3
        memory = alone["memory"]
        held = sum(memory[f"{name}_bytes"] for name in ("parameters", "gradients", "optimizer"))
        assert cell["training_bytes"] == held


def test_glob_is_every_scheme(plan):
    cells = plan("-m", "tying=glob(*)", "task=mt", "model.n_layers=6")
    names = [name for name in tying_choices() if "/" not in name and name != "alias"]
    assert [cell["overrides"] for cell in cells] == [[f"tying={name}"] for name in sorted(names)]


def test_the_cells_are_those_that_run(plan, monkeypatch):
    ran = []

    def run_job(config):
        ran.append(str(Experiment(config).directory))
        return Outcome("", "done")

    monkeypatch.setattr(tietrain.train.job, "run_job", run_job)
    words = ["-m", "seed=range(1,3)", "model.vocab_size=200,400", "tying=none,[pre_softmax,cross_layer]", "study=s"]
    assert main(words) == 0
    assert [cell["directory"] for cell in plan(*words)] == ran
    assert len(set(ran)) == 8


def test_cells_say_how_they_stand(plan):
    first, *_ = cells = plan("-m", "seed=1,2", "model.n_heads=4,3")
    assert [cell["state"] for cell in cells] == ["new", "failed", "new", "failed"]
    assert "model.n_heads=3: it does not divide" in cells[1]["reason"]
    directory = Path(first["directory"])
    directory.mkdir(parents=True)
    runs.write_record(directory, runs.RunRecord(directory.name, "default", "none", "lm", "done"))
    assert [cell["state"] for cell in plan("-m", "seed=1,2")] == ["done", "new"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-m", "seed=1,2", "--ledger"], "--ledger: it is about one plan"),
        (["-m", "tying=none,nope"], "tying=nope: there is no such tying"),
        (["-m", "sed=1,2"], "did you mean seed?"),
        (["seed=1,2"], "several values are a grid; add -m"),
    ],
)
def test_refusals_are_one_message(plan, capsys, words, said):
    assert main(["plan", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.strip().splitlines()) == 1
