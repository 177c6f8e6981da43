"""How arms begin, in words: a table, arms that start apart, tables that grew."""

import json

import pytest

from fabricated import make_config, write_run
from tietrain.report.arms import compare, make_arms
from tietrain.report.pages.starts import starts_text
from tietrain.report.verdicts import judge
from tietrain.runs import record as runs
from tietrain.runs.metrics import append_metrics
from tietrain.runs.view import collect


def look_row(step, above, **seen):
    return {
        "step": step + 1,
        "of_step": step,
        "tokens": 0,
        "flops": 0,
        "seconds": 0,
        "split": "probe",
        "above_uniform": above,
        **seen,
    }


@pytest.fixture
def text_of(tmp_path):
    """The text of `none` and `pre_softmax`, over seeds; `above`: nats by which the second starts above the first."""

    def text_of(above, end_loss, row_norm=1.0, n_seeds=3):
        for label, start, loss in (("none", 0.5, 2.5), ("pre_softmax", 0.5 + above, end_loss)):
            for seed in range(1, n_seeds + 1):
                directory = write_run(tmp_path, make_config("lm", label, seed), loss=loss + 0.001 * seed)
                end = row_norm if label == "pre_softmax" else 1.0
                seen = {"logit_std": 1.0, "own_logit": 0.25, "row_norm_tied": 1.0}
                append_metrics(directory, [look_row(0, start, **seen), look_row(10, start / 2)])
                body = runs.read_json(directory / runs.EVAL)
                runs.write_json(directory / runs.EVAL, body | {"row_norms": {"tied": end}})
        (comparison,) = compare(make_arms(collect(tmp_path)))
        return starts_text(comparison, judge(comparison, tuned=False))

    return text_of


def test_starts_text_has_a_row_per_arm(text_of):
    text = text_of(0.05, 2.5)
    assert "| `none` | 0.50 | 0.25 | — | — | 1.00 | 0.25 | tied 1 x |" in text
    assert "starts" not in text and "row norm of its" not in text


@pytest.mark.parametrize(("above", "end_loss", "flagged"), [(0.5, 2.9, True), (0.5, 2.5, False), (0.05, 2.9, False)])
def test_starts_text_flags_arms_that_start_apart_and_stay_apart(text_of, above, end_loss, flagged):
    text = text_of(above, end_loss)
    assert ("`pre_softmax` starts 0.50 nats above `none`" in text) == flagged
    assert ("more than seed noise explains" in text) == flagged


def test_starts_text_says_what_one_seed_cannot(text_of):
    assert "which one seed cannot tell from noise" in text_of(0.5, 2.9, n_seeds=1)


@pytest.mark.parametrize(("growth", "flagged"), [(5.0, True), (0.2, True), (2.0, False)])
def test_starts_text_flags_a_role_whose_rows_grew_or_shrank(text_of, growth, flagged):
    assert ("training changed the row norm of its tied table" in text_of(0.0, 2.5, growth)) == flagged


def test_starts_text_is_empty_without_looks(tmp_path):
    write_run(tmp_path, make_config("lm", "none", 1))
    (comparison,) = compare(make_arms(collect(tmp_path)))
    assert starts_text(comparison, judge(comparison, tuned=False)) == ""
    assert json.loads(json.dumps(comparison.arms[0].first.looks)) == []
