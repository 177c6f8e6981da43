"""`tietrain plan -m`: the cells that a grid would run, what they hold, and why some cannot run."""

import json
from pathlib import Path

import pytest

from fabricated import make_config, write_run
from tietrain.cli.cells import read_cells
from tietrain.config.compose import initialized
from tietrain.config.hydra_parts import split_sweep
from tietrain.config.keys import tying_choices
from tietrain.runs import record as runs
from tietrain.train.experiment import Experiment


@pytest.fixture
def plan(tietrain_cli):
    """What `tietrain plan ... --json` prints."""

    def of(*words):
        ran = tietrain_cli("plan", *words, "--json")
        assert (ran.code, ran.err) == (0, "")
        return json.loads(ran.out)

    return of


def test_preview_of_an_experiment_with_its_own_grid(plan, tietrain_cli):
    cells = plan("experiment=demo_full")
    assert [cell["overrides"] for cell in cells[:2]] == [["task=lm", "tying=none"], ["task=lm", "tying=pre_softmax"]]
    assert [cell["state"] for cell in cells].count("new") == 8
    refused = [cell for cell in cells if cell["state"] == "not_applicable"]
    assert [cell["overrides"][1] for cell in refused] == ["tying=shared_vocab", "tying=three_way"]
    assert all(cell["reason"] and cell["params"] is None for cell in refused)
    assert plan("experiment=demo_full", "tying=three_way", "task=mt") == [{**cells[8], "overrides": []}]
    shown = tietrain_cli("plan", "experiment=demo_full", "tying=three_way", "-m")
    assert shown.code == 0 and "2 cells: 1 not applicable, 1 new" in shown.out
    assert [cell["state"] for cell in plan("experiment=demo")] == ["new"] * 9
    assert list(Path().iterdir()) == []


def test_preview_counts_what_a_plan_of_the_cell_alone_counts(plan):
    for cell in plan("-m", "task=lm,mt", "tying=pre_softmax"):
        alone = plan(*cell["overrides"], "tying=pre_softmax")
        assert (cell["params"], cell["params_saved"]) == (alone["params"], alone["params_saved"])
        assert cell["flops_per_token"] == alone["conventions"]["columns"]["with attention"] // 3
        memory = alone["memory"]
        held = sum(memory[f"{name}_bytes"] for name in ("parameters", "gradients", "optimizer"))
        assert cell["training_bytes"] == held


def test_split_sweep_takes_glob_for_every_scheme():
    with initialized([], []):
        cells = split_sweep(["tying=glob(*)", "task=mt"])
    names = [name for name in tying_choices() if "/" not in name and name != "alias"]
    assert cells == [[f"tying={name}", "task=mt"] for name in sorted(names)]


def test_preview_lists_the_cells_that_run(plan, tietrain_cli, configs):
    words = ["-m", "model.vocab_size=200,400", "tying=none,[pre_softmax,cross_layer]", "study=s"]
    assert tietrain_cli(*words).code == 0
    directories = [str(Experiment(config).directory) for config in configs]
    assert [cell["directory"] for cell in plan(*words)] == directories
    assert len(set(directories)) == 4


def test_grid_over_schemes_with_options(plan, tietrain_cli, configs):
    line = "tying=none,cycle:n_unique:1,[pre_softmax,cycle:n_unique:2]"
    cells = plan("-m", line)
    assert [cell["overrides"] for cell in cells] == [
        ["tying=none"], ["tying=cycle:n_unique:1"], ["tying=[pre_softmax,cycle:n_unique:2]"],
    ]  # fmt: skip
    assert tietrain_cli("-m", line).code == 0
    assert [str(Experiment(config).directory) for config in configs] == [cell["directory"] for cell in cells]
    assert [cell.swept for cell in read_cells(Path("outputs/default"))] == [tuple(cell["overrides"]) for cell in cells]


def test_grid_over_schemes_with_an_option_of_one_names_the_form_that_works(tietrain_cli):
    ran = tietrain_cli("plan", "-m", "tying=none,cycle", "tying.ties.cycle.n_unique=1")
    assert ran.is_refusal() and "at its scheme: tying=none,cycle:n_unique:1\n" in ran.err


def test_preview_shows_the_state_of_each_cell(plan):
    first, *_ = cells = plan("-m", "seed=1,2", "model.n_heads=4,3")
    assert [cell["state"] for cell in cells] == ["new", "failed", "new", "failed"]
    assert cells[1]["reason"].startswith("model.n_heads=3: ")
    directory = Path(first["directory"])
    write_run(directory.parent, make_config("lm", "none", 1), folder=directory.name)
    assert [cell["state"] for cell in plan("-m", "seed=1,2")] == ["done", "new"]
    (directory / runs.PLAN).unlink()
    assert [cell["state"] for cell in plan("-m", "seed=1,2")] == ["damaged", "new"]
