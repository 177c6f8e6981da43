"""Two runs are compared on the same lines under the same scores, or refused with the first difference."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from fabricated import make_config, write_run
from tietrain.cli.main import main
from tietrain.errors import DataError, SettingsError
from tietrain.report.pair.pair import compare_runs
from tietrain.report.pair.show import SCOPE, describe, to_json
from tietrain.report.statistics import Draws
from tietrain.runs import record as runs
from tietrain.train.tasks.scoring import score_nats, score_translations

FEW = Draws(100, 100)
LINES = [f"the {i} th line of a text, with w{i % 7} in it" for i in range(30)]


def write_scored(
    root, name, *, task="mt", noise=0.2, split="test", lines=LINES, metrics=("bleu", "chrf"), cut="13a", **changes
):
    """A finished run with real scores of real stored output; more noise makes them worse."""
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


def shown(text, root):
    """A text without what changes from one machine to another."""
    return re.sub(r"version:[\d.]+", "version:N", text.replace(str(root), "DIR"))


def compare(a, b, split=None, metrics=()):
    return compare_runs(a, b, split, metrics, FEW)


@pytest.fixture
def pair(tmp_path):
    return write_scored(tmp_path, "a"), write_scored(tmp_path, "worse", noise=0.5)


def test_compare_runs_by_the_scores_that_both_recorded(pair):
    found = compare(*pair)
    recorded = [json.loads((d / runs.EVAL).read_text())["splits"]["test"] for d in pair]
    assert list(found.results) == ["bleu", "chrf"] and (found.split, found.n_lines) == ("test", 30)
    for name, paired in found.results.items():
        assert (paired.a, paired.b) == pytest.approx((recorded[0][name], recorded[1][name]))
        assert paired.a > paired.b and paired.p_bootstrap < 0.05
    body = json.loads(json.dumps(to_json(found)))
    assert body["metrics"]["bleu"]["difference"] == found.results["bleu"].b - found.results["bleu"].a < 0
    assert (body["n_bootstrap"], body["seed"], body["scope"]) == (100, 12345, SCOPE)


def test_compare_runs_by_requested_metrics(pair):
    metrics = ["ter", "chrf++", "nats_per_token", "bits_per_byte"]
    found = compare(*pair, metrics=metrics)
    assert list(found.results) == metrics
    assert found.results["ter"].a < found.results["ter"].b
    assert [to_json(found)["metrics"][name]["lower_is_better"] for name in metrics] == [True, False, True, True]
    scores = [json.loads((d / runs.EVAL).read_text())["splits"]["test"] for d in pair]
    for name in ("nats_per_token", "bits_per_byte"):
        paired = found.results[name]
        assert (paired.a, paired.b) == pytest.approx((scores[0][name], scores[1][name]))


def test_describe_wording(pair, tmp_path, golden):
    """One run against itself, so that every number is the same on all machines."""
    copy = tmp_path / "copy"
    shutil.copytree(pair[0], copy)
    change(copy, signatures=json.loads((copy / runs.EVAL).read_text())["signatures"] | {"decoding": "beam:5"})
    found = compare(pair[0], copy, metrics=["bleu", "ter", "nats_per_token"])
    assert {(p.p_bootstrap, p.p_randomisation) for p in found.results.values()} == {(1.0, 1.0)}
    golden("compare", {"a run and its copy": shown("\n".join(describe(found)), tmp_path)})


def test_compare_runs_of_several_directions(tmp_path):
    """The first direction is compared; a mean over directions has no lines."""
    pair = []
    for name in ("a", "worse"):
        directory = write_scored(tmp_path, name, split="test.b-c")
        splits = json.loads((directory / runs.EVAL).read_text())["splits"]
        of_valid = {"valid.b-c": splits["test.b-c"], "valid.mean": {"bleu": 1.0, "directions": ["b-c"]}}
        change(directory, splits=of_valid | splits | {"test.mean": {"bleu": 1.0, "directions": ["b-c"]}})
        pair.append(directory)
    assert compare(*pair).split == "test.b-c"
    with pytest.raises(SettingsError) as refused:
        compare(*pair, split="test.mean")
    assert refused.value.setting == "--split test.mean" and "test.b-c" in refused.value.remedy


def test_compare_runs_of_valid_alone(tmp_path):
    found = compare(*(write_scored(tmp_path, name, split="valid") for name in ("a", "worse")))
    assert found.split == "valid" and found.notes[-1].startswith("valid also chose the weights")


def test_compare_runs_notes_other_differences(tmp_path):
    a, b = (write_scored(tmp_path, name) for name in ("a", "b"))
    record = json.loads((b / runs.RUN).read_text())
    runs.write_json(b / runs.RUN, record | {"seed": 2, "settings": record["settings"] | {"optim.lr": 0.5}})
    assert compare(a, b).notes[:1] == ["B differs from A in optim.lr (0.5, not 0.002) and seed"]


def test_compare_runs_of_language_models(tmp_path):
    a, b = (write_scored(tmp_path, name, task="lm", noise=noise) for name, noise in (("a", 0.1), ("b", 1.5)))
    found = compare(a, b)
    assert list(found.results) == ["nats_per_token"]
    assert found.results["nats_per_token"].p_randomisation < 0.05
    assert not any("sacrebleu" in line for line in describe(found))
    other = {"corpus": "c", "vocabulary.decoder": "other", "batches": "b"}
    c = write_scored(tmp_path, "c", task="lm", fingerprints=other)
    assert list(compare(a, c).results) == ["bits_per_byte"]


def test_compare_runs_refuses_settings(tmp_path, golden):
    mt, lm = write_scored(tmp_path, "mt"), write_scored(tmp_path, "lm", task="lm")
    other = write_scored(tmp_path, "other", split="test_2017")
    cut = write_scored(tmp_path, "cut", cut="none")
    unsigned = [shutil.copytree(mt, tmp_path / "mt unsigned"), shutil.copytree(cut, tmp_path / "cut unsigned")]
    for directory in unsigned:
        change(directory, signatures={})
    fingerprints = {"corpus": "c", "vocabulary.decoder": "other", "batches": "b"}
    vocabulary = write_scored(tmp_path, "vocabulary", task="lm", fingerprints=fingerprints)
    windows = write_scored(tmp_path, "windows", task="lm")
    change(windows, windows={"window": 128, "stride": 64})
    no_bytes = write_scored(tmp_path, "no bytes", task="lm")
    splits = json.loads((no_bytes / runs.EVAL).read_text())["splits"]
    splits["test"]["bits_per_byte"] = None
    change(no_bytes, splits=splits, reasons={"test.bits_per_byte": "3 tokens are <unk>"})
    refusals = {
        "no run directory": (mt, tmp_path),
        "two tasks": (mt, lm),
        "no common split": (mt, other),
        "a split of one": (mt, other, "test"),
        "a split of none": (mt, cut, "valid"),
        "a translation score of a language model": (lm, lm, None, ["bleu"]),
        "two signatures": (mt, cut),
        "two tokenisations": (*unsigned, None, ["bleu"]),
        "two vocabularies": (lm, vocabulary, None, ["nats_per_token"]),
        "two windows": (lm, windows),
        "no bits per byte": (lm, no_bytes, None, ["bits_per_byte"]),
    }
    texts = {}
    for name, arguments in refusals.items():
        with pytest.raises(SettingsError) as refused:
            compare(*arguments)
        texts[name] = shown(str(refused.value), tmp_path)
    golden("compare_refusals", texts)
    assert list(compare(mt, cut, metrics=["chrf"]).results) == ["chrf"]


@pytest.mark.parametrize("status", ["running", "diverged"])
def test_compare_runs_refuses_unfinished_runs(tmp_path, status):
    a = write_scored(tmp_path, "a")
    b = write_run(tmp_path, make_config("mt", "none", 1), folder="b", status=status, reason="because")
    with pytest.raises(DataError) as refused:
        compare(a, b)
    assert refused.value.setting == str(b) and f"{status} (because)" in refused.value.problem


@pytest.mark.parametrize("metric", ["bleu", "nats_per_token"])
def test_compare_runs_refuses_other_text(tmp_path, metric):
    """The first line that differs is named, or the two numbers of lines."""
    a = write_scored(tmp_path, "a")
    other = write_scored(tmp_path, "other", lines=[*LINES[:4], "another", *LINES[5:]])
    fewer = write_scored(tmp_path, "fewer", lines=LINES[:-1])
    with pytest.raises(DataError) as refused:
        compare(a, other, metrics=[metric])
    where = "references.test.txt" if metric == "bleu" else "test"
    assert refused.value.setting == f"{where}, line 5, of {a} and {other}"
    assert ("'another'" in refused.value.problem) == (metric == "bleu")
    with pytest.raises(DataError) as refused:
        compare(a, fewer, metrics=[metric])
    assert f"{a} has 30 lines" in refused.value.problem and f"{fewer} has 29 lines" in refused.value.problem


def test_compare_runs_refuses_damaged_translations(pair):
    hypotheses, references = (pair[1] / f"{what}.test.txt" for what in ("hypotheses", "references"))
    damages = {
        hypotheses: ["".join(f"{line}\n" for line in LINES[:-1]), "".join(f"{line}\n" for line in LINES), "\udcff\n"],
        references: [None],
    }
    problems = []
    for path, contents in damages.items():
        before = path.read_bytes()
        for content in contents:
            path.unlink()
            if content is not None:
                path.write_bytes(content.encode(errors="surrogateescape"))
            with pytest.raises(DataError) as refused:
                compare(*pair)
            assert refused.value.setting == str(path)
            problems.append(refused.value.problem)
            path.write_bytes(before)
    for problem, part in zip(problems, ["29 lines", "bleu is 100.0000", "UTF-8", "cannot be read"], strict=True):
        assert part in problem


def test_compare_runs_refuses_damaged_nats(pair):
    path = pair[1] / runs.DOCUMENTS
    text = path.read_text()
    damaged = [
        text.replace('"nats": ', '"nats": 1', 1),
        text.replace('"nats": ', '"nats": null, "x": ', 1),
        text.replace('"tokens": ', '"tokens": NaN, "x": ', 1),
        text.partition("\n")[2],
        text[:-9],
        "[]\n" + text,
        "",
    ]
    for content in damaged:
        path.write_text(content)
        with pytest.raises(DataError) as refused:
            compare(*pair, metrics=["nats_per_token"])
        assert refused.value.setting == str(path), content[:80]


def test_compare_command(pair, capsys):
    words = ["compare", *map(str, pair), "--samples", "50", "--seed", "3"]
    assert main([*words, "--metric", "chrf"]) == 0
    out = capsys.readouterr().out
    assert "50 bootstrap samples" in out and "chrF" in out and "BLEU" not in out
    assert main([*words, "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert (body["n_exchanged"], body["seed"], list(body["metrics"])) == (50, 3, ["bleu", "chrf"])


def test_compare_command_refuses_arguments_in_one_line(pair, capsys):
    for words in (["--metric", "rouge"], ["--samples", "0"], ["--seed", "-1"], ["--split", "nope"]):
        assert main(["compare", *map(str, pair), *words]) == 2
        err = capsys.readouterr().err
        assert " ".join(words) in err and len(err.splitlines()) == 1
