"""The answer at the top: what the verdicts allow, and why nothing if they allow nothing."""

import re
from dataclasses import replace

import pytest

from fabricated import make_config, write_run
from tietrain.report.arms import compare, make_arms
from tietrain.report.pages.headline import make_headline
from tietrain.report.pages.markdown import make_sections
from tietrain.report.pages.verdict_text import verdict_table
from tietrain.report.verdicts import judge
from tietrain.runs.view import collect

WORSE = {"none": 0.0, "pre_softmax": 0.3, "cross_layer": 0.4}
EQUAL = {"none": 0.0, "pre_softmax": 0.0}
# Kind of study -> the shifts of its arms, and how it is judged.
KINDS = {
    "better": ({"none": 0.0, "pre_softmax": -0.3, "cross_layer": -0.1}, {}),
    "equivalent": (EQUAL, {"margin": 0.05}),
    "equivalent at this rate": (EQUAL, {"margin": 0.05, "tuned": False}),
    "not worse": (EQUAL, {"margin": 0.001}),
    "not worse at this rate": (EQUAL, {"margin": 0.0008, "tuned": False}),
    "worse": (WORSE, {}),
    "worse with few seeds": (WORSE, {"n_seeds": 3}),
    "some worse": ({**WORSE, "cross_layer": 0.0}, {}),
    "differs at one rate": (WORSE, {"tuned": False}),
    "one seed": ({"none": 0.0, "pre_softmax": -0.3}, {"n_seeds": 1}),
    "no difference": (EQUAL, {}),
    "no difference at a look": (EQUAL, {"looks": (6, 9)}),
    "too early for a look": (EQUAL, {"looks": (9,)}),
    "unstable": ({"none": 0.0, "pre_softmax": None}, {}),
    "unstable baseline": ({"none": None, "pre_softmax": 0.0}, {}),
    "one arm": ({"none": 0.0}, {}),
    "no baseline": ({"pre_softmax": 0.0, "cross_layer": 0.1}, {}),
}
NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?(?:e\d+)?")


def tables_of(comparison, verdicts):
    """Title -> text of the sections below a headline; these studies have no trials that a method could tell."""
    sections = make_sections(comparison, replace(verdicts, tuned=comparison.tuned), ())
    return {section.title: section.text for section in sections}


def numbers(*texts):
    return {number for text in texts for number in NUMBER.findall(text)}


def test_make_headline(judged, golden):
    found = {
        "smallest of several": judged({"none": 0.0, "pre_softmax": -0.3, "cross_layer": -0.1}),
        "equivalent": judged(EQUAL, margin=0.05),
        "equivalent at one rate": judged(EQUAL, margin=0.05, tuned=False),
        "all worse": judged(WORSE),
        "differs at one rate": judged(WORSE, tuned=False),
        "one seed": judged({"none": 0.0, "pre_softmax": -0.3}, n_seeds=1),
        "no difference shown": judged(EQUAL),
        "unstable": judged({"none": 0.0, "pre_softmax": None}),
        "one arm": judged({"none": 0.0}),
        "no baseline": judged({"pre_softmax": 0.0, "cross_layer": 0.1}),
    }
    headlines = {name: make_headline(*pair) for name, pair in found.items()}
    recommended = [name for name, headline in headlines.items() if not headline.answer.startswith("No recommendation")]
    assert recommended == ["smallest of several", "equivalent", "equivalent at one rate", "all worse"]
    assert "cross_layer" in headlines["smallest of several"].answer.partition(":")[0]
    assert "none" in headlines["all worse"].answer.partition(":")[0]
    assert headlines["smallest of several"].saves == "393,728 parameters (46.5 %)"
    golden("headlines", {name: "\n".join(vars(headline).values()) for name, headline in headlines.items()})


def test_make_headline_compares_size_with_a_baseline_of_another_vocabulary(tmp_path):
    """Ties save parameters of the arm's own model; the whole difference to the baseline is shown besides."""
    for label in ("none", "pre_softmax"):
        write_run(tmp_path, make_config("lm", label, 1))
    found = [
        replace(
            run,
            params_untied=run.params_untied + 10_000,
            params_saved=run.params_saved + 10_000,
            flops=run.flops * 1.25,
        )
        if run.label == "pre_softmax"
        else run
        for run in collect(tmp_path)
    ]
    (comparison,) = compare(make_arms(found))
    headline = make_headline(comparison, judge(comparison, tuned=False))
    less = 100 * (1 - comparison.arms[1].first.params / comparison.arms[0].first.params)
    assert f"{less:.1f} %" in headline.saves
    (row,) = [
        line for line in tables_of(comparison, judge(comparison, tuned=False))["Costs"].splitlines() if "soft" in line
    ]
    assert row.endswith(f"| {less:.1f} % less | 1.25 times |")


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_a_headline_stand_in_the_tables_below_it(judged, kind):
    shifts, how = KINDS[kind]
    comparison, verdicts = judged(shifts, **how)
    below = tables_of(comparison, verdicts)
    shown, settings = numbers(below["Verdicts"], below["Costs"]), numbers(below["Every setting"])
    sentences = [x for text in vars(make_headline(comparison, verdicts)).values() for x in text.split(". ")]
    for sentence in sentences:
        stated = settings if "setting of the token tables" in sentence else shown
        assert numbers(sentence) <= stated, sentence


@pytest.mark.parametrize(("kind", "column"), [("better", -1), ("equivalent", -2), ("not worse", -1)])
def test_p_of_a_headline_stands_in_the_row_of_its_arm(judged, kind, column):
    shifts, how = KINDS[kind]
    comparison, verdicts = judged(shifts, **how)
    headline = make_headline(comparison, verdicts)
    arm = re.search(r"Use (\w+)", headline.answer)[1]
    (row,) = [line for line in verdict_table(verdicts).splitlines() if line.startswith(f"| `{arm}` | {kind}")]
    p = re.search(r"adjusted p (?:= )?([<\d. ]+);", headline.sure)[1]
    assert row.strip("| ").split(" | ")[column].strip() == p


def test_headline_of_a_study_without_ties_lists_nothing_empty(tmp_path):
    """Two arms are both `none` and differ in one setting: every arm is its own baseline."""
    for lr in (0.001, 0.002):
        for seed in (1, 2):
            config = make_config("lm", "none", seed)
            config.optim.lr = lr
            write_run(tmp_path, config)
    (comparison,) = compare(make_arms(collect(tmp_path)))
    assert len(comparison.arms) == 2
    for text in vars(make_headline(comparison, judge(comparison, tuned=False))).values():
        assert text and not re.search(r": *[.;]|:  |: *$", text), text


def under_tables(tmp_path, *shifts):
    """The headline of `pre_softmax` under as many parametrisations as there are shifts of its loss."""
    for place, (std, shift) in enumerate(zip((0.02, None), shifts, strict=False)):
        for label in ("none", "pre_softmax"):
            for seed in range(1, 7):
                config = make_config("lm", label, seed)
                config.model.table_init_std = std
                loss = 2.5 + (shift if label == "pre_softmax" else 0.0) + 0.001 * seed
                write_run(tmp_path / str(place), config, loss=loss)
    (comparison,) = compare(make_arms(collect(tmp_path)))
    return make_headline(comparison, judge(comparison, tuned=True)).answer


def test_make_headline_of_a_tie_of_tables_names_its_parametrisation(tmp_path):
    assert "setting of the token tables was tried for pre_softmax (table_init_std 0.02" in under_tables(
        tmp_path / "one", -0.3
    )
    both = under_tables(tmp_path / "same", -0.3, -0.1)
    assert "pre_softmax has the same sign with all settings" in both and "d_model ** -0.5" in both
    assert "The sign of pre_softmax depends on the settings of the token tables: -0." in under_tables(
        tmp_path / "other", -0.3, 0.1
    )
