"""Verdicts in words: the row of each arm, and the notes below the table."""

import pytest

from fabricated import make_config, write_run
from tietrain.config import ReportConfig
from tietrain.config.identity import result_settings
from tietrain.report.arms import compare, make_arms
from tietrain.report.pages.markdown import make_sections
from tietrain.report.pages.verdict_text import heading, notes, p_text, verdict_table
from tietrain.report.verdicts import judge
from tietrain.runs.view import collect

LOSSES = (2.500, 2.506, 2.497, 2.503, 2.499, 2.501)
VERDICT, SEEDS, DIVERGED, MEAN, MEDIAN, AGAINST, DIFFERENCE, P_HOLM = range(1, 9)


def write_arms(root, n_seeds, report=None, **changes):
    """`pre_softmax` 0.1 nats below `none`, which is 0.034 bits per byte, and a diverged seed of `cross_layer`."""
    for label, by in (("none", 0.0), ("pre_softmax", -0.1), ("cross_layer", 0.2)):
        for seed, loss in enumerate(LOSSES[:n_seeds], start=1):
            status = "diverged" if label == "cross_layer" and seed == 1 else "done"
            config = make_config("lm", label, seed)
            config.report = report or ReportConfig()
            write_run(root, config, loss=loss + by + (0.001 if seed == 2 and by else 0), status=status, **changes)
    return read(root)


def read(root):
    (comparison,) = compare(make_arms(collect(root)))
    return comparison, judge(comparison, tuned=comparison.tuned)


def row_of(verdicts, name):
    line = next(line for line in verdict_table(verdicts).splitlines() if line.startswith(f"| `{name}` |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_verdict_table_of_three_seeds(tmp_path):
    comparison, verdicts = write_arms(tmp_path, 3)
    assert heading(comparison, verdicts) == "at one common rate, 2 to 3 seeds"
    cells = row_of(verdicts, "pre_softmax")
    assert cells[VERDICT:MEAN] == ["no verdict (differs at this rate)", "3", "0 of 3"]
    assert cells[MEAN].endswith("(3)") and cells[DIFFERENCE].startswith("-0.0342 [-0.03")
    assert cells[P_HOLM] == "< 0.001"
    assert row_of(verdicts, "none")[VERDICT] == "baseline" and row_of(verdicts, "none")[AGAINST:] == ["—"] * 3
    assert row_of(verdicts, "cross_layer")[VERDICT:MEAN] == ["unstable", "2", "1 of 3"]
    scores = [section.title for section in make_sections(comparison, verdicts, ()) if "Scores on" in section.title]
    assert scores == [
        "Scores on test",
        "Scores on held (exploratory)",
        "Scores on valid (chose the checkpoint, exploratory)",
    ]


def test_verdict_table_of_six_seeds_and_a_margin(tmp_path):
    report = ReportConfig(metric="bits_per_byte", split="valid", margin=0.05)
    comparison, verdicts = write_arms(tmp_path, 6, report)
    cells = row_of(verdicts, "pre_softmax")
    assert (cells[VERDICT], len(cells)) == ("equivalent at this rate", P_HOLM + 3)
    assert row_of(verdicts, "cross_layer")[SEEDS:MEAN] == ["5", "1 of 6"]
    assert "Scores on valid (chose the checkpoint)" in [s.title for s in make_sections(comparison, verdicts, ())]


def test_verdict_table_needs_trials_to_call_an_arm_tuned(tmp_path):
    """A name of a tuning list in the settings alone is not enough."""
    for label, by in (("none", 0.0), ("pre_softmax", -0.1)):
        for seed, loss in enumerate(LOSSES, start=1):
            config = make_config("lm", label, seed)
            settings = result_settings(config) | {"tune.name": "rates"}
            write_run(tmp_path, config, loss=loss * (1 + by), settings=settings)
    comparison, verdicts = read(tmp_path)
    assert heading(comparison, verdicts) == "at one common rate, 6 seeds"
    assert row_of(verdicts, "pre_softmax")[VERDICT] == "no verdict (differs at this rate)"


def test_notes(tmp_path, golden):
    margin = ReportConfig(metric="bits_per_byte", margin=0.05)
    for name in ("none", "three_way"):
        write_run(tmp_path / "unlike", make_config("mt", name, 1))
    found = {
        "one seed": write_arms(tmp_path / "one", 1),
        "three seeds": write_arms(tmp_path / "three", 3),
        "six seeds and a margin": write_arms(tmp_path / "six", 6, margin),
        "nothing declared": write_arms(tmp_path / "nothing", 3, declared={}),
        "no baseline": write_arms(tmp_path / "base", 1, ReportConfig(baseline="three_way")),
        "unlike vocabularies": read(tmp_path / "unlike"),
    }
    golden("verdict_notes", {name: "\n".join(notes(verdicts)) for name, (_, verdicts) in found.items()})


@pytest.mark.parametrize(("p", "text"), [(1.0, "1"), (0.0625, "0.062"), (0.000999, "< 0.001"), (0.0, "< 0.001")])
def test_p_text_never_shows_zero(p, text):
    assert p_text(p) == text
