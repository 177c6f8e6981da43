"""Depth or convergence: the estimates from made-up cells whose means are known, and the answer that they give."""

import math
from dataclasses import replace

import pytest
from scipy import stats

import fabricated
from fabricated import write_run
from tietrain.config import ModelConfig, RunConfig, TaskConfig, TuneConfig, TyingConfig
from tietrain.report.arms import compare, make_arms
from tietrain.report.factorial import factorials
from tietrain.report.figures.factorial import draw_factorial
from tietrain.report.pages.factorial_text import answer, factorial_rows, factorial_text
from tietrain.report.verdicts import judge
from tietrain.runs.view import collect

SEEDS = [1, 2, 3]
RECIPE = TuneConfig("recipe", [{"optim.lr": 2e-3}], seeds=[101], reporting_seeds=SEEDS)
LIST = TuneConfig("list", [{"optim.lr": lr} for lr in (1e-3, 2e-3, 4e-3)], seeds=[101], reporting_seeds=SEEDS)
SPREAD = {1: -0.01, 2: 0.0, 3: 0.01}
# Nats per token -> the score that is compared.
BITS = 10_000 / (math.log(2) * 42_000)
# Nats per token of each cell.
CONVERGENCE = {"A": 3.0, "B": 2.5, "C": 2.0, "D": 2.0, "E": 2.4, "E tuned": 1.9}


def config_of(letter, n_steps, seed, role, place):
    tune = LIST if letter in ("C", "D", "E tuned") else RECIPE
    layers = 4 if letter in ("B", "D", "E", "E tuned") else 2
    ties = {"again": {"rule": "cross_layer", "n_unique": 2}} if letter in ("B", "D") else {"none": {"rule": "none"}}
    config = RunConfig(
        task=TaskConfig(name="lm"),
        tying=TyingConfig(ties),
        model=ModelConfig(n_layers=layers, d_model=32, n_heads=4, d_ff=64),
        seed=seed,
        study="demo",
        tune=replace(tune, role=role, point=place),
    )
    config.report.margin = 0.05
    config.optim.lr = tune.points[place - 1]["optim.lr"]
    config.train.max_steps = n_steps
    return config


def write_cells(root, losses, n_steps=300, best=2):
    for letter, loss in losses.items():
        n_points = 3 if letter in ("C", "D", "E tuned") else 1
        chosen = min(best, n_points)
        for place in range(1, n_points + 1):
            write_run(root, config_of(letter, n_steps, 101, "tuning", place), loss=loss + abs(place - chosen))
        for seed, apart in SPREAD.items():
            write_run(root, config_of(letter, n_steps, seed, "reporting", chosen), loss=loss + apart)


def read(root):
    (comparison,) = compare(make_arms(collect(root)))
    return judge(comparison, tuned=comparison.tuned)


def test_sums_are_those_of_the_means_with_the_luck_of_tuning(tmp_path):
    write_cells(tmp_path, CONVERGENCE)
    (found,) = factorials(read(tmp_path))
    (budget,) = found.budgets
    assert {letter: cell.arm.first.settings["model.n_layers"] for letter, cell in budget.cells.items()} == {
        **{"A": 2, "B": 4, "C": 2, "D": 4},
        **{"E": 4, "E tuned": 4},
    }
    sums = {name: estimate.value / BITS for name, estimate in budget.sums.items()}
    assert sums["D - C"] == pytest.approx(0, abs=1e-12)
    assert sums["(B - A) - (D - C)"] == pytest.approx(-0.5)
    assert sums["C - B"] == pytest.approx(-0.5)
    removed = budget.sums["(B - A) - (D - C)"]
    se = 0.01 * BITS * (4 / 3 + 2 * 0.5) ** 0.5
    assert removed.high - removed.value == pytest.approx(se * stats.t.ppf(0.975, 2 * 6))
    ratio = budget.ratios["C - A", "B - A"]
    assert ratio.value == pytest.approx(2) and ratio.low < 2 < ratio.high
    assert found.slopes == {}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "by convergence, tuning removes the gain. The tuned unshared model matches"),
        ({"D": 1.8}, "both, part of the gain is left after tuning."),
        ({"D": 1.5}, "not by convergence, the gain stays after equal tuning."),
        ({"D": 1.5, "B": 3.0}, "not by convergence, sharing wins only after tuning."),
        ({"B": 3.1, "D": 2.0}, "sharing is worse with the recipe."),
        ({"B": 3.0, "D": 2.0}, "no gain of sharing is shown, so there is none to explain."),
        ({"C": 2.9, "D": 2.4}, "is not shown."),
    ],
)
def test_the_answer_follows_from_the_estimates(tmp_path, changed, words):
    write_cells(tmp_path, CONVERGENCE | changed)
    verdicts = read(tmp_path)
    (found,) = factorials(verdicts)
    assert words in answer(found.budgets[0], verdicts.declared)
    assert words in factorial_text(verdicts)


def test_an_optimum_at_the_edge_of_the_list_is_no_verdict(tmp_path):
    write_cells(tmp_path, CONVERGENCE, best=3)
    verdicts = read(tmp_path)
    (found,) = factorials(verdicts)
    words = answer(found.budgets[0], verdicts.declared)
    assert words.startswith("no verdict, because the best point of C has the highest `optim.lr` of the list")
    assert found.budgets[0].sums


def test_a_gain_that_shrinks_with_tokens(tmp_path, monkeypatch):
    write_cells(tmp_path, CONVERGENCE)
    monkeypatch.setattr(fabricated, "N_POINTS", 40)
    write_cells(tmp_path, CONVERGENCE | {"B": 2.9}, n_steps=1200)
    verdicts = read(tmp_path)
    (found,) = factorials(verdicts)
    assert [budget.tokens for budget in found.budgets] == [614_400, 2_457_600]
    assert found.slopes["B - A"].value / BITS == pytest.approx(0.4 / math.log(4))
    assert found.slopes["B - A"].differs and not found.slopes["D - C"].differs
    assert "with the recipe it shrinks" in factorial_text(verdicts)
    assert {row["what"] for row in factorial_rows(verdicts)} >= {"A", "D - C", "slope of B - A"}
    assert draw_factorial(verdicts).data == factorial_rows(verdicts)


def test_other_studies_have_no_such_section(tmp_path):
    write_cells(tmp_path, {letter: CONVERGENCE[letter] for letter in ("A", "B", "C")})
    verdicts = read(tmp_path)
    assert factorials(verdicts) == [] and factorial_text(verdicts) == "" and draw_factorial(verdicts) is None
