"""Likeness of token tables: the measures against plain formulas, and what a folder of runs is told."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from fabricated import make_config, write_run
from tietrain.errors import DataError
from tietrain.report.likeness import output_likeness
from tietrain.report.pages.similarity_page import PAGE, write_similarity
from tietrain.report.similarity import (
    MEASURES,
    agreement,
    debiased_cka,
    neighbours,
    overlap,
    prepared,
    purity,
    resemblance,
)
from tietrain.report.tables import Words
from tietrain.runs.durable import write_directory
from tietrain.runs.tables import FILE, folder_of
from tietrain.runs.view import collect

SHAPE = (90, 8)


def drawn(seed, shape=SHAPE):
    return np.random.default_rng(seed).normal(size=shape)


def rotated(table, seed):
    return table @ np.linalg.qr(drawn(seed, (table.shape[1],) * 2))[0]


def test_debiased_cka_is_that_of_dense_kernels_and_about_0_by_chance():
    def hsic(k, m):
        n, one = len(k), np.ones(len(k))
        k = k - np.diag(np.diag(k))
        m = m - np.diag(np.diag(m))
        outer = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
        return (np.trace(k @ m) + outer - 2 / (n - 2) * one @ k @ m @ one) / (n * (n - 3))

    x = prepared(drawn(0))
    y = prepared(drawn(0) + drawn(1))
    of_x, of_y = x @ x.T, y @ y.T
    assert debiased_cka(x, y) == pytest.approx(hsic(of_x, of_y) / (hsic(of_x, of_x) * hsic(of_y, of_y)) ** 0.5)
    chance = [debiased_cka(prepared(drawn(i)), prepared(drawn(i + 100))) for i in range(100)]
    assert abs(np.mean(chance)) < 3 * np.std(chance) / 10


@pytest.mark.parametrize("measure", MEASURES)
def test_measure_is_1_for_a_table_that_is_rotated_moved_and_scaled_and_less_for_another(measure):
    by = MEASURES[measure]
    table, other, third = (
        by.form(prepared(x)) for x in (drawn(0), 5 * rotated(drawn(0), 1) + drawn(2, (1, 8)), drawn(3))
    )
    assert by.compare(table, other) == pytest.approx(1)
    assert by.compare(table, third) < 0.9


def test_prepared_table_has_lost_its_mean_and_its_strongest_direction():
    strong = drawn(0) + 40 * drawn(1, (90, 1)) * drawn(2, (1, 8))
    table = prepared(strong + 7)
    assert np.abs(table.mean(axis=0)).max() < 1e-12
    assert np.linalg.norm(table) == pytest.approx(1)
    assert np.linalg.norm(table, 2) < 0.7  # a direction that held nearly all is gone


def test_agreement_is_the_correlation_of_scores_over_contexts():
    rng = np.random.default_rng(0)
    table = rng.standard_normal((30, 6))
    table[7] = table[5] + 0.01 * rng.standard_normal(6)
    hidden = rng.standard_normal((500, 6)) @ rng.standard_normal((6, 6)) + 3.0
    scores = hidden @ table.T
    scores -= scores.mean(axis=1, keepdims=True)
    correlations = np.corrcoef(scores.T)
    contexts = np.cov(hidden.T)
    assert agreement(table, contexts, [(5, 7)]) > 0.99
    assert agreement(table, contexts, [(1, 2), (3, 4)]) == pytest.approx((correlations[1, 2] + correlations[3, 4]) / 2)


def test_neighbours_and_purity_see_clusters():
    centres = np.repeat(10 * drawn(0, (6, 8)), 15, axis=0)
    table = prepared(centres + drawn(1))
    classes = {row: str(row // 15) for row in range(90)}
    share, chance = purity(table, classes)
    assert share > 0.95 and chance == pytest.approx(1 / 6)
    assert purity(table, {row: str(row % 6) for row in range(90)})[0] < 0.3
    near, alike, other = (neighbours(x) for x in (table, prepared(centres + drawn(2)), prepared(drawn(3))))
    assert overlap(near, alike) > 2 * overlap(near, other)


def seeds_like(role, noise=0.6):
    """Tables of tied and untied runs; the tied ones are like those of a role."""
    common = {name: drawn(i) for i, name in enumerate(("input", "output"))}
    untied = {
        s: {name: prepared(rotated(table + noise * drawn(10 * s + i + 20), s)) for i, (name, table) in enumerate(common.items())}
        for s in (1, 2, 3)
    }  # fmt: skip
    tied = {s: dict.fromkeys(common, prepared(rotated(common[role] + noise * drawn(s + 90), s + 7))) for s in (1, 2, 3)}
    return tied, untied


@pytest.mark.parametrize("role", ["input", "output"])
@pytest.mark.parametrize("measure", MEASURES)
def test_planted_likeness_is_found_plainly_and_less_the_ceilings(role, measure):
    found = resemblance(*seeds_like(role), measure)
    assert found.plain.side == found.less_ceiling.side == role
    assert found.n_pairs == 6


def test_runs_of_one_seed_are_never_compared():
    tied, untied = seeds_like("output")
    twins = {s: untied[s] | {"input": tied[s]["input"], "output": tied[s]["output"]} for s in untied}
    assert resemblance(tied, twins, "cka").to["output"] < 0.99
    assert resemblance({1: tied[1]}, {1: untied[1], 2: untied[2]}, "cka").n_pairs == 1
    assert resemblance({1: tied[1]}, {1: untied[1]}, "cka") is None
    two = resemblance(tied, {s: untied[s] for s in (1, 2)}, "cka")
    assert two.plain.low is None and two.plain.side == ""


def write_tables(directory, tables):
    for step, factor in ((0, 100.0), (10, 0.6)):
        noisy = {f"decoder.{role}": table + factor * drawn(step + 5) for role, table in tables.items()}
        noisy["decoder.contexts"] = np.eye(noisy["decoder.output"].shape[1])
        rounded = {name: table.astype(np.float32) for name, table in noisy.items()}
        write_directory(folder_of(directory, step), lambda path, kept=rounded: save_file(kept, path / FILE))


@pytest.fixture
def study(tmp_path):
    tied, untied = seeds_like("output")
    for label, kept in (("none", untied), ("pre_softmax", tied)):
        for seed, tables in kept.items():
            write_tables(write_run(tmp_path, make_config("lm", label, seed)), tables)
    return tmp_path


def test_page_says_what_the_tied_table_is_like(study):
    words = Words({row: "noun" if row % 2 else "verb" for row in range(4, 60)}, [(5, 7), (6, 8)])
    page, (headline,) = write_similarity(study, lambda directory, stack: words)
    assert page == study / "similarity" / PAGE
    assert "rows permuted" in page.read_text() and headline in page.read_text()
    assert {path.name for path in page.parent.iterdir()} == {
        ".gitignore", "similarity.csv", PAGE, "similarity_1.png", "similarity_1.svg",
    }  # fmt: skip
    again = page.read_bytes()
    assert "## Exchangeable words" in page.read_text() and "| `decoder tied` | 2 |" in page.read_text()
    write_similarity(study, lambda directory, stack: words)
    assert page.read_bytes() == again


@pytest.mark.parametrize("less_ceilings", [False, True])
def test_likeness_of_one_run_is_a_number(study, less_ceilings):
    write_run(study, make_config("lm", "pre_softmax", 4))
    found = collect(study)
    measure = output_likeness(study, found, less_ceilings=less_ceilings)
    values = {run.seed: measure(run) for run in found if run.label == "pre_softmax"}
    assert min(values.pop(seed) for seed in (1, 2, 3)) > 0 and values == {4: None}


def test_refusals_say_what_is_missing(study, tmp_path_factory):
    damaged = next(study.glob("lm-none*/checkpoints/tables_*10"))
    (damaged / FILE).write_bytes(b"")
    with pytest.raises(DataError, match="damaged"):
        write_similarity(study, lambda directory, stack: {})
    alone = tmp_path_factory.mktemp("alone")
    write_run(alone, make_config("lm", "pre_softmax", 1))
    with pytest.raises(DataError, match=r"train\.keep_tables=true"):
        write_similarity(alone, lambda directory, stack: {})
