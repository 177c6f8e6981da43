"""What the page and the exports say of a comparison."""

import json

import pytest

from fabricated import make_config, write_run
from tietrain.config import ReportConfig
from tietrain.config.identity import result_settings
from tietrain.report.arms import compare, make_arms
from tietrain.report.pages.exports import arm_row
from tietrain.report.pages.page import make_page
from tietrain.report.pages.verdict_text import p_text
from tietrain.report.verdicts import judge
from tietrain.report.write import report_rows
from tietrain.runs.view import collect

LOSSES = (2.50, 2.56, 2.47, 2.53, 2.49, 2.51)


def page_of(root):
    """The page without its figures."""
    found = collect(root)
    comparisons = compare(make_arms(found))
    return make_page(found, comparisons, {c.slug: judge(c, tuned=c.tuned) for c in comparisons}, {})


def write_study(root, n_seeds, report=None, **changes):
    """`pre_softmax` 0.1 nats below `none`, which is 0.34 bits a byte, and a diverged seed of `cross_layer`."""
    for label, by in (("none", 0.0), ("pre_softmax", -0.1), ("cross_layer", 0.2)):
        for seed, loss in enumerate(LOSSES[:n_seeds], start=1):
            status = "diverged" if label == "cross_layer" and seed == 1 else "done"
            config = make_config("lm", label, seed)
            config.report = report or ReportConfig()
            loss += by + (0.001 if seed == 2 and by else 0)
            write_run(root, config, loss=loss, status=status, **changes)
    return root


def row_of(page, name):
    """The cells of an arm in the first table of a page."""
    line = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_three_seeds(tmp_path):
    page = page_of(write_study(tmp_path, 3))
    assert "### Comparison: at one common rate, 2 to 3 seeds" in page
    cells = row_of(page, "pre_softmax")
    assert cells[1:3] == ["3", "0 of 3"] and cells[3].endswith("(3)")
    assert cells[5].startswith("-0.0342 [-0.03") and cells[6] == "0.25 (0.25)"
    assert cells[8] == "no verdict (differs at this rate)"
    assert row_of(page, "none")[5:] == ["—", "—", "—", "baseline"]
    cells = row_of(page, "cross_layer")
    assert cells[1:3] == ["2", "1 of 3"] and cells[8] == "unstable"
    assert "Primary, stated before training: bits/byte on test, each arm against `none`" in page
    assert "No sign-flip p can fall with 2 seeds below 0.5 and with 3 seeds below 0.25" in page
    assert "No arm was tuned" in page and "medians count them as worst" in page
    assert "Power, 80 % at level 0.025, to show the difference found: `pre_softmax` could show " in page
    assert "#### Scores on test\n" in page
    assert "#### Scores on held (exploratory)" in page
    assert "#### Scores on valid (chose the checkpoint, exploratory)" in page


def test_six_seeds_and_a_margin(tmp_path):
    page = page_of(write_study(tmp_path, 6, ReportConfig(metric="bits_per_byte", split="valid", margin=0.05)))
    cells = row_of(page, "pre_softmax")
    assert cells[6] == "0.031 (0.031)" and cells[8] == "equivalent at this rate"
    assert row_of(page, "cross_layer")[1:3] == ["5", "1 of 6"]
    assert "a difference within 0.05 does not matter" in page and "to show the margin" in page
    assert "`pre_softmax` could show" in page and "No sign-flip p can fall with 5 seeds below 0.062:" in page
    assert "#### Scores on valid (chose the checkpoint)\n" in page


def test_runs_that_stated_nothing(tmp_path):
    page = page_of(write_study(tmp_path, 3, declared={}))
    assert "Exploratory, no verdict: " in page and "Primary" not in page
    assert "#### Scores on test (exploratory)" in page


def test_exports_carry_the_numbers(tmp_path):
    body = next(row for row in report_rows(write_study(tmp_path, 6)) if row["name"] == "pre_softmax")
    found = body["verdict"]
    assert found["difference"] == pytest.approx(-0.034, abs=5e-4) and found["low"] < found["difference"] < found["high"]
    assert (found["metric"], found["split"], found["baseline"], found["n_pairs"]) == (
        "bits_per_byte",
        "test",
        "none",
        6,
    )
    assert found["p_sign_flip"] == found["p_sign_flip_smallest"] == 2 / 2**6 and 0 < found["p_t"] < found["p_holm"]
    assert (found["tuned"], found["declared"], found["level"]) == (False, True, 0.025)
    assert found["seeds_needed"] >= 2 and found["smallest_effect"] > 0
    row = arm_row(json.loads(json.dumps(body, allow_nan=False)))
    assert (row["verdict.p_holm"], row["verdict.verdict"]) == (found["p_holm"], "no verdict (differs at this rate)")


def test_a_name_of_a_tuning_alone_is_none(tmp_path):
    """Trials are what makes an arm tuned; tests/report/test_tuning.py has a study with them."""
    for label, by in (("none", 0.0), ("pre_softmax", -0.1)):
        for seed, loss in enumerate(LOSSES, start=1):
            config = make_config("lm", label, seed)
            settings = result_settings(config) | {"tune.name": "rates"}
            write_run(tmp_path, config, loss=loss * (1 + by), settings=settings)
    page = page_of(tmp_path)
    assert "### Comparison: at one common rate, 6 seeds" in page
    assert row_of(page, "pre_softmax")[8] == "no verdict (differs at this rate)"


def test_p_values_are_rounded_and_never_shown_as_zero():
    assert [p_text(p) for p in (1.0, 0.05, 0.0625, 0.000999, 0.0)] == ["1", "0.05", "0.062", "< 0.001", "< 0.001"]
