"""The answer at the top: what the verdicts allow, and why nothing if they allow nothing."""

from dataclasses import replace

from fabricated import make_config, write_run
from tietrain.report.arms import compare, make_arms
from tietrain.report.pages.headline import make_headline
from tietrain.report.verdicts import judge
from tietrain.runs.view import collect

WORSE = {"none": 0.0, "pre_softmax": 0.3, "cross_layer": 0.4}
EQUAL = {"none": 0.0, "pre_softmax": 0.0}


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
        replace(run, params_untied=run.params_untied + 10_000, params_saved=run.params_saved + 10_000)
        if run.label == "pre_softmax"
        else run
        for run in collect(tmp_path)
    ]
    (comparison,) = compare(make_arms(found))
    headline = make_headline(comparison, judge(comparison, tuned=False))
    less = 100 * (1 - comparison.arms[1].first.params / comparison.arms[0].first.params)
    assert f"{less:.1f} %" in headline.saves


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
    assert "tried under one parametrisation of the tables (table_init_std 0.02" in under_tables(tmp_path / "one", -0.3)
    both = under_tables(tmp_path / "same", -0.3, -0.1)
    assert "pre_softmax has the same sign under 2 parametrisations" in both and "d_model^-0.5" in both
    assert "pre_softmax depends on the parametrisation of the tables: -0." in under_tables(tmp_path / "other", -0.3, 0.1)
