"""What runs declared is corrected on the command line: all of them or none, shown with its date."""

import json

import pytest

from fabricated import make_config, write_run
from tietrain.runs import record as runs


@pytest.fixture
def study(tmp_path, no_figures):
    for label, loss in (("none", 2.5), ("pre_softmax", 2.2)):
        for seed in (1, 2, 3):
            write_run(tmp_path, make_config("lm", label, seed), loss=loss + 0.001 * seed)
    return tmp_path


def declared(study):
    return [runs.read_record(path).declared for path in runs.find_runs(study)]


def test_report_declares_anew_and_shows_it(study, tietrain_cli):
    done = tietrain_cli("report", str(study), "--declare", "metric=ppl_token", "--declare", "margin=0.5")
    assert done.code == 0 and "margin=0.5: declared anew for 6 runs" in done.err
    assert {(d["metric"], d["margin"], d["split"]) for d in declared(study)} == {("ppl_token", 0.5, "test")}
    first = runs.read_record(runs.find_runs(study)[0]).corrections
    assert [(c["key"], c["was"], c["value"]) for c in first] == [
        ("metric", "bits_per_byte", "ppl_token"),
        ("margin", None, 0.5),
    ]
    assert "Primary, declared anew after training: ppl/token on test" in done.out
    assert "`metric` was `bits_per_byte` and is `ppl_token`" in done.out and first[0]["date"] in done.out
    verdicts = [row["verdict"] for row in json.loads(tietrain_cli("report", str(study), "--json").out)]
    assert {verdict["metric"] for verdict in verdicts} == {"ppl_token"}


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("metric", "it is not KEY=VALUE"),
        ("metrik=bleu", "there is no such choice"),
        ("metric=luck", "there is no such choice"),
        ("metric=bleu", "no finished run has bleu on test"),
        ("split=nowhere", "no finished run has bits_per_byte on nowhere"),
        ("margin=-1", "out of range"),
        ("margin=wide", "margin cannot be 'wide'"),
        ("margin=true", "margin cannot be True"),
        ("looks=[true]", "looks cannot be [True]"),
        ("looks=[6,3]", "they do not ascend"),
        ("baseline=[1]", "baseline cannot be [1]"),
        ("metric='", "its value cannot be read"),
    ],
)
def test_report_refuses_to_declare_and_changes_nothing(study, tietrain_cli, word, says):
    before = declared(study)
    refused = tietrain_cli("report", str(study), "--declare", word)
    assert refused.code == 2 and says in refused.err
    assert declared(study) == before and not (study / "report").exists()


def test_report_declares_nothing_while_a_run_is_written(study, tietrain_cli):
    with runs.locked(runs.find_runs(study)[-1]):
        refused = tietrain_cli("report", str(study), "--declare", "metric=ppl_token")
    assert refused.code != 0 and "another process is writing this run" in refused.err
    assert {d["metric"] for d in declared(study)} == {"bits_per_byte"}
