"""Two runs are compared on the same lines under the same scores, or refused with the first thing that differs."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest

from fabricated import make_config, write_run
from tietrain.cli.main import main
from tietrain.errors import DataError, SettingsError
from tietrain.report.pair.pair import compare_runs
from tietrain.report.pair.show import SCOPE, describe, to_json
from tietrain.report.pair.significance import Draws
from tietrain.runs import record as runs
from tietrain.train.tasks.scoring import score_nats, score_translations

FEW = Draws(100, 100)
LINES = [f"the {i} th line of a text, with w{i % 7} in it" for i in range(30)]


def write_scored(
    root, name, *, task="mt", noise=0.2, split="test", lines=LINES, metrics=("bleu", "chrf"), cut="13a", **changes
):
    """A finished run with real scores of real stored output, worse the more noise."""
    config = make_config(task, "none", 1)
    config = replace(config, task=replace(config.task, metrics=list(metrics), bleu_tokenize=cut))
    directory = write_run(root, config, folder=name, **changes)
    draw = np.random.default_rng(len(name))
    tokens = [len(line) // 3 for line in lines]
    result = score_nats([n * (2 + draw.random() * noise) for n in tokens], tokens, lines, 0, True)
    body = json.loads((directory / runs.EVAL).read_text()) | {"splits": {split: result.scores}, "signatures": {}}
    if task == "mt":
        hypotheses = [" ".join(w if draw.random() > noise else "?" for w in line.split()) for line in lines]
        scores, body["signatures"] = score_translations(hypotheses, lines, metrics, cut)
        body["signatures"]["decoding"] = "beam:1"
        body["splits"][split] |= scores
        for what, text in (("hypotheses", hypotheses), ("references", lines)):
            write_lines(directory, what, text, split)
    runs.write_json(directory / runs.EVAL, body)
    rows = [json.dumps({"split": split, **document}) + "\n" for document in result.documents]
    (directory / runs.DOCUMENTS).write_text("".join(rows))
    return directory


def write_lines(directory, what, lines, split="test"):
    (directory / f"{what}.{split}.txt").write_text("".join(line + "\n" for line in lines))


def change(directory, **parts):
    body = json.loads((directory / runs.EVAL).read_text())
    runs.write_json(directory / runs.EVAL, body | parts)


def compare(a, b, split=None, metrics=()):
    return compare_runs(a, b, split, metrics, FEW)


@pytest.fixture
def pair(tmp_path):
    return write_scored(tmp_path, "a"), write_scored(tmp_path, "worse", noise=0.5)


def test_translations_by_the_scores_both_recorded(pair):
    found = compare(*pair)
    recorded = [json.loads((d / runs.EVAL).read_text())["splits"]["test"] for d in pair]
    assert list(found.results) == ["bleu", "chrf"] and (found.split, found.n_lines) == ("test", 30)
    for name, paired in found.results.items():
        assert (paired.a, paired.b) == pytest.approx((recorded[0][name], recorded[1][name]))
        assert paired.a > paired.b and paired.p_bootstrap < 0.05
    lines = describe(found)
    assert any("sacrebleu's, of one tail" in line for line in lines)
    assert lines[-1] == SCOPE and "say nothing about other seeds" in SCOPE
    assert any(line.startswith("signature of BLEU: nrefs:1|case:mixed") for line in lines)
    body = json.loads(json.dumps(to_json(found)))
    assert body["metrics"]["bleu"]["difference"] == found.results["bleu"].b - found.results["bleu"].a < 0
    assert (body["n_bootstrap"], body["seed"], body["scope"]) == (100, 12345, SCOPE)


def test_any_metric_can_be_asked_for_whatever_was_recorded(pair):
    metrics = ["ter", "chrf++", "nats_per_token", "bits_per_byte"]
    found = compare(*pair, metrics=metrics)
    assert list(found.results) == metrics
    assert found.results["ter"].a < found.results["ter"].b
    scores = [json.loads((d / runs.EVAL).read_text())["splits"]["test"] for d in pair]
    for name in ("nats_per_token", "bits_per_byte"):
        paired = found.results[name]
        assert (paired.a, paired.b) == pytest.approx((scores[0][name], scores[1][name]))
    assert any(line.startswith("TER, lower is better") for line in describe(found))


def test_of_several_directions_the_first_is_compared_and_a_mean_has_no_lines(tmp_path):
    pair = []
    for name in ("a", "worse"):
        directory = write_scored(tmp_path, name, split="test.b-c")
        splits = json.loads((directory / runs.EVAL).read_text())["splits"]
        of_valid = {"valid.b-c": splits["test.b-c"], "valid.mean": {"bleu": 1.0, "directions": ["b-c"]}}
        change(directory, splits=of_valid | splits | {"test.mean": {"bleu": 1.0, "directions": ["b-c"]}})
        pair.append(directory)
    assert compare(*pair).split == "test.b-c"
    with pytest.raises(
        SettingsError, match=r"--split test.mean: it is a mean .* no lines of its own; name one of test.b-c"
    ):
        compare(*pair, split="test.mean")


def test_what_two_runs_differ_in_besides_their_scores_is_said(tmp_path):
    a, b = (write_scored(tmp_path, name) for name in ("a", "b"))
    record = json.loads((b / runs.RUN).read_text())
    runs.write_json(b / runs.RUN, record | {"seed": 2, "settings": record["settings"] | {"optim.lr": 0.5}})
    assert compare(a, b).notes[:1] == ["B differs from A in optim.lr (0.5, not 0.002) and seed"]
    assert describe(compare(a, b))[0].startswith("A: none, seed 1, 1,762,432 parameters, ")


def test_one_run_against_itself_and_another_search(pair, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(pair[0], copy)
    change(copy, signatures=json.loads((copy / runs.EVAL).read_text())["signatures"] | {"decoding": "beam:5"})
    found = compare(pair[0], copy)
    assert {(p.p_bootstrap, p.p_randomisation) for p in found.results.values()} == {(1.0, 1.0)}
    same, search = found.notes
    assert "wrote the same" in same and "A beam:1, B beam:5" in search


def test_language_models_by_nats_of_lines(tmp_path):
    a, b = (write_scored(tmp_path, name, task="lm", noise=noise) for name, noise in (("a", 0.1), ("b", 1.5)))
    found = compare(a, b)
    assert list(found.results) == ["nats_per_token"]
    assert found.results["nats_per_token"].p_randomisation < 0.05
    assert not any("sacrebleu" in line for line in describe(found))
    with pytest.raises(SettingsError, match="--metric bleu: a language model translates nothing"):
        compare(a, b, metrics=["bleu"])
    shutil.rmtree(b)
    other = {"corpus": "c", "vocabulary.decoder": "other", "batches": "b"}
    b = write_scored(tmp_path, "b", task="lm", fingerprints=other)
    assert list(compare(a, b).results) == ["bits_per_byte"]
    with pytest.raises(SettingsError, match="other vocabularies; compare with --metric bits_per_byte"):
        compare(a, b, metrics=["nats_per_token"])
    change(b, windows={"window": 128, "stride": 64})
    with pytest.raises(SettingsError, match="windows"):
        compare(a, b)


def test_bits_per_byte_that_one_has_not(tmp_path):
    a, b = (write_scored(tmp_path, name, task="lm") for name in "ab")
    splits = json.loads((b / runs.EVAL).read_text())["splits"]
    splits["test"]["bits_per_byte"] = None
    change(b, splits=splits, reasons={"test.bits_per_byte": "3 tokens are <unk>"})
    with pytest.raises(SettingsError, match=r"b has none: 3 tokens are <unk>"):
        compare(a, b, metrics=["bits_per_byte"])


@pytest.mark.parametrize("metric", ["bleu", "nats_per_token"])
@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (
            [*LINES[:4], "another", *LINES[5:]],
            {"bleu": r"references\.test\.txt:5: it is 'the 4 th", "nats_per_token": "test, line 5"},
        ),
        (LINES[:-1], {"bleu": "has 30 lines, and .*29", "nats_per_token": "a has 30 lines and .*b has 29"}),
    ],
    ids=["other line", "fewer lines"],
)
def test_other_references_are_refused_by_their_first_line(tmp_path, metric, lines, words):
    a, b = write_scored(tmp_path, "a"), write_scored(tmp_path, "b", lines=lines)
    with pytest.raises(DataError, match=words[metric]):
        compare(a, b, metrics=[metric])


def test_splits(tmp_path):
    a, b = write_scored(tmp_path, "a", split="test_2016"), write_scored(tmp_path, "b", split="test_2017")
    with pytest.raises(SettingsError, match=r"a has scores of test_2016 and .*b has scores of test_2017"):
        compare(a, b)
    with pytest.raises(SettingsError, match="--split test_2016"):
        compare(a, b, "test_2016")
    b = write_scored(tmp_path, "c", split="test_2016")
    assert compare(a, b).split == "test_2016"
    with pytest.raises(SettingsError, match="--split valid"):
        compare(a, b, "valid")


@pytest.mark.parametrize("status", ["running", "interrupted", "diverged", "failed"])
def test_unfinished_runs_are_refused(tmp_path, status):
    a = write_scored(tmp_path, "a")
    b = write_run(tmp_path, make_config("mt", "none", 1), folder="b", status=status, reason="because")
    with pytest.raises(DataError, match=rf"b: the run is {status} \(because\); only finished runs"):
        compare(a, b)
    with pytest.raises(SettingsError, match=r"no run directory"):
        compare(a, tmp_path)


def test_other_signatures_and_tokenisations_are_refused(tmp_path):
    a, b = write_scored(tmp_path, "a"), write_scored(tmp_path, "b", cut="none")
    with pytest.raises(SettingsError, match=r"bleu of .* it is not one score: .*tok:13a.* and .*tok:none"):
        compare(a, b)
    assert list(compare(a, b, metrics=["chrf"]).results) == ["chrf"]
    for directory in (a, b):
        change(directory, signatures={})
    with pytest.raises(SettingsError, match=r"task\.bleu_tokenize=13a and task\.bleu_tokenize=none"):
        compare(a, b)


def test_other_tasks_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="one is task=mt, one task=lm"):
        compare(write_scored(tmp_path, "a"), write_scored(tmp_path, "b", task="lm"))


def cut_hypotheses(directory):
    write_lines(directory, "hypotheses", LINES[:-1])


def other_hypotheses(directory):
    write_lines(directory, "hypotheses", LINES)


def no_utf8(directory):
    (directory / "hypotheses.test.txt").write_bytes(b"\xff\n" * len(LINES))


def lose_references(directory):
    (directory / "references.test.txt").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut_hypotheses, "it has 29 lines, and references.test.txt 30"),
        (other_hypotheses, "its bleu is 100.0000, and eval.json says"),
        (no_utf8, "not UTF-8"),
        (lose_references, "references.test.txt: it cannot be read"),
    ],
)
def test_damaged_output_of_translations_is_said(pair, damage, words):
    damage(pair[1])
    with pytest.raises(DataError, match=words):
        compare(*pair)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"nats": ', '"nats": 1', 1),
        lambda text: text.replace('"nats": ', '"nats": null, "x": ', 1),
        lambda text: text.partition("\n")[2],
        lambda text: text[:-9],
        lambda text: "[]\n" + text,
        lambda text: text.replace('"tokens": ', '"tokens": NaN, "x": ', 1),
        lambda text: "",
    ],
)
def test_damaged_nats_are_said(pair, damage):
    path = pair[1] / runs.DOCUMENTS
    path.write_text(damage(path.read_text()))
    with pytest.raises(DataError, match="do not add up to the scores of test"):
        compare(*pair, metrics=["nats_per_token"])


def test_the_verb(pair, capsys):
    words = ["compare", *map(str, pair), "--samples", "50", "--seed", "3"]
    assert main([*words, "--metric", "chrf"]) == 0
    out = capsys.readouterr().out
    assert (
        "test, 30 lines; 50 bootstrap samples and 50 exchanges, seed 3" in out and "chrF" in out and "BLEU" not in out
    )
    assert main([*words, "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["n_exchanged"] == 50 and math.isfinite(body["metrics"]["bleu"]["a_ci"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metric", "rouge"], "--metric rouge: there is no such metric; choose from bleu, chrf"),
        (["--samples", "0"], "--samples 0: the value is out of range"),
        (["--seed", "-1"], "--seed -1"),
        (["--split", "nope"], "--split nope"),
    ],
)
def test_the_verb_refuses_with_one_message(pair, capsys, words, message):
    assert main(["compare", *map(str, pair), *words]) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1
