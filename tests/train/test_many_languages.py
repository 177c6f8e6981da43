"""Several languages and several sources as users run them: training, files, translate and eval from the run's directory."""

import io
import json
import shutil
import sys

import numpy as np
import pytest

from tietrain.cli.main import main
from tietrain.runs import record as runs

LANGUAGES = {"en": str, "de": str.upper, "fr": lambda line: line[::-1]}
N = {"train": 300, "valid": 20, "test": 12}
TINY = [
    "model=tiny",
    "model.vocab_size=150",
    "train.batch_tokens=256",
    "train.max_steps=8",
    "task.max_output_ratio=0.5",
]
TEXTS = {split: f"[{','.join(f'{split}.{language}' for language in LANGUAGES)}]" for split in N}
MANY = ["task=mt", "data=text", "data.columns=[en,de,fr]", *(f"data.splits.{s}={f}" for s, f in TEXTS.items())]
RUNS = {
    "tagged": ["task.directions=[en-de,en-fr]", "tying=three_way"],
    "apart": ["task.directions=[en-de,en-fr]", "model.decoders=each", "tying=none"],
    "zero_shot": [
        "task.directions=[en-de,de-en,en-fr]",
        "task.zero_shot=[de-fr]",
        "task.disjoint=true",
        "tying=three_way",
    ],
    "dual": ["tying=three_way", "task.beam=2"],
    "vectors": ["+data.features.vectors=3", "data.columns=[en,vectors,de]", "tying=none"],
}


def sentence(i):
    nouns, verbs = ("cat", "dog", "house", "tree", "river", "bird"), ("sees", "likes", "finds")
    return f"the {nouns[i % 6]} {verbs[i // 6 % 3]} the {nouns[i // 18 % 6]}" + " again" * (i % 5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the texts and a run of each kind; the cache they were made with is gone."""
    folder = tmp_path_factory.mktemp("many")
    for split, n in N.items():
        start = 300 if split == "valid" else 290  # test goes on where train ends: ten of its sources stand there
        numbers = range(300) if split == "train" else range(start, start + n)
        for language, spell in LANGUAGES.items():
            (folder / f"{split}.{language}").write_text("".join(f"{spell(sentence(i))}\n" for i in numbers))
        np.savez(folder / f"{split}.npz", vectors=np.random.default_rng(0).normal(size=(n, 4, 3)))
    for name, words in RUNS.items():
        given = [
            f"data.root={folder}",
            f"data.cache={folder / 'cache'}",
            f"run_dir={folder / name}",
            *MANY,
            *TINY,
            *words,
        ]
        if name == "vectors":
            given += [f"data.splits.{split}=[{split}.en,{split}.npz,{split}.de]" for split in N]
        assert main(given) == 0
    shutil.rmtree(folder / "cache")
    return folder


@pytest.fixture
def use(trained, monkeypatch, capsys):
    """Runs a verb beside the runs: (words, standard input) -> exit code, output, errors."""
    monkeypatch.chdir(trained)

    def run(*words, stdin=""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        capsys.readouterr()
        code = main(list(words))
        return code, *capsys.readouterr()

    return run


def scores_of(run):
    return runs.read_json(run / runs.EVAL)["splits"]


@pytest.mark.parametrize("name", ["tagged", "apart", "zero_shot"])
def test_scores_of_every_direction_and_their_mean(trained, name):
    scores, run = scores_of(trained / name), trained / name
    directions = ["en-de", "de-en", "en-fr"] if name == "zero_shot" else ["en-de", "en-fr"]
    others = ["de-fr"] if name == "zero_shot" else []
    means = ["mean", "zero_shot"] if others else ["mean"]
    assert set(scores) == {f"{split}.{of}" for split in ("valid", "test") for of in (*directions, *others, *means)}
    for split in ("valid", "test"):
        mean = scores[f"{split}.mean"]
        assert mean["directions"] == directions
        for key in ("bleu", "chrf", "nats_per_token", "bits_per_byte"):
            assert mean[key] == pytest.approx(sum(scores[f"{split}.{d}"][key] for d in directions) / len(directions))
        for direction in (*directions, *others):
            source, target = direction.split("-")
            text = {side: (run / f"{side}.{split}.{direction}.txt").read_text() for side in ("sources", "references")}
            assert text == {
                "sources": (trained / f"{split}.{source}").read_text(),
                "references": (trained / f"{split}.{target}").read_text(),
            }
    documents = [json.loads(line) for line in (run / runs.DOCUMENTS).read_text().splitlines()]
    assert [d["split"] for d in documents].count("test.en-fr") == N["test"]
    assert sum(d["nats"] for d in documents if d["split"] == "test.en-fr") == pytest.approx(
        scores["test.en-fr"]["nats"]
    )


def test_evaluate_is_over_the_tokens_of_all_trained_directions(trained):
    rows = [json.loads(line) for line in (trained / "zero_shot" / runs.METRICS).read_text().splitlines()]
    last = [row["nats_per_token"] for row in rows if row["split"] == "valid"][-1]
    scores = [scores_of(trained / "zero_shot")[f"valid.{d}"] for d in ("en-de", "de-en", "en-fr")]
    best = sum(s["nats"] for s in scores) / sum(s["tokens"] for s in scores)
    assert best == pytest.approx(last, rel=1e-5)


def test_notes_name_zero_shot_directions(trained):
    notes = runs.read_record(trained / "zero_shot").notes
    assert "zero-shot: de-fr are scored and never trained; no row of train is in more than one direction" in notes


def test_batches_are_the_same_whatever_the_stacks(trained):
    tagged, apart = (runs.read_record(trained / name).fingerprints for name in ("tagged", "apart"))
    assert tagged["batches"] == apart["batches"]
    assert {name for name in apart if name.startswith("vocabulary")} == {
        "vocabulary.encoder",
        "vocabulary.decoder_de",
        "vocabulary.decoder_fr",
    }


@pytest.mark.parametrize(
    ("name", "direction"), [("tagged", "en-de"), ("tagged", "en-fr"), ("apart", "en-fr"), ("zero_shot", "de-fr")]
)
def test_translate_writes_what_was_scored(use, trained, name, direction):
    sources = (trained / name / f"sources.test.{direction}.txt").read_text()
    expected = (trained / name / f"hypotheses.test.{direction}.txt").read_text()
    assert use("translate", name, "--direction", direction, stdin=sources) == (0, expected, "")


def test_tags_decide_the_language(use, trained):
    """The same sentences in two directions: what is read differs in the tag alone, and so must the probabilities."""
    scores = scores_of(trained / "tagged")
    swapped = [
        use("translate", "tagged", "--direction", d, "--beam", "3", "--json", stdin=sentence(3))[1]
        for d in ("en-de", "en-fr")
    ]
    first, second = (json.loads(found)["translations"][0]["score"] for found in swapped)
    assert first != second and scores["test.en-de"]["nats"] != scores["test.en-fr"]["nats"]


def test_translate_reads_two_sources_separated_by_a_tab(use, trained):
    run = trained / "dual"
    texts = [(run / f"sources{of}.test.txt").read_text().splitlines() for of in ("", ".de")]
    assert texts[1] == (trained / "test.de").read_text().splitlines()
    lines = "".join("\t".join(fields) + "\n" for fields in zip(*texts, strict=True))
    assert use("translate", "dual", stdin=lines) == (0, (run / "hypotheses.test.txt").read_text(), "")
    code, out, _ = use("translate", "dual", stdin=f"\n{lines.splitlines()[0]}\n\t\n")
    assert code == 0 and out.splitlines() == ["", (run / "hypotheses.test.txt").read_text().splitlines()[0], ""]


def test_scores_of_sources_that_stand_in_train_are_apart(trained):
    """Ten of the twelve lines of test are the last of train, in both sources."""
    scores = scores_of(trained / "dual")
    assert scores["test"]["n_seen_sources"] == 10 and {"bleu_new", "chrf_new"} <= scores["test"].keys()
    from tietrain.train.tasks.scoring import score_translations

    texts = ((trained / "dual" / f"{of}.test.txt").read_text().splitlines()[10:] for of in ("hypotheses", "references"))
    expected, _ = score_translations(*texts, ["chrf"], "13a")
    assert scores["test"]["chrf_new"] == expected["chrf"]


@pytest.mark.parametrize("name", RUNS)
def test_eval_scores_as_the_run_did(use, trained, name):
    assert use("eval", name, "--json")[0] == 0
    again = runs.read_json(trained / name / "eval_again.json")["splits"]
    for split, scores in scores_of(trained / name).items():
        kept = {k: v for k, v in scores.items() if not k.endswith(("_new", "_sources"))}  # train is not read again
        assert again[split].pop("directions", None) == kept.pop("directions", None)
        assert again[split] == pytest.approx(kept), split


REFUSED = {
    "no direction is named": (["translate", "tagged"], "a\n", 2),
    "a direction the run lacks": (["translate", "tagged", "--direction", "de-en"], "a\n", 2),
    "a line with one source of two": (["translate", "dual"], "a\tb\na\n", 3),
    "a line with three sources": (["translate", "dual"], "a\tb\tc\n", 3),
    "a direction of vectors": (["translate", "vectors"], "a\n", 2),
    "columns in another order": (["eval", "apart", "data.columns=[de,en,fr]", "data.splits.x=[test.de]"], "", 2),
    "fewer columns": (["eval", "dual", "data.columns=[en,de]", "data.splits.x=[test.en,test.de]"], "", 2),
    "files of other lengths": (["eval", "tagged", "data.splits.x=[test.en,test.de,valid.fr]"], "", 3),
}


def test_verbs_refuse(use, trained, golden):
    said = {}
    for name, (words, stdin, code) in REFUSED.items():
        found, _, err = use(*words, stdin=stdin)
        assert (found, len(err.strip().splitlines())) == (code, 1), name
        said[name] = err.replace(str(trained), "DIR")
    golden("train_verbs", said)


def test_data_scores_a_copied_source(use, trained):
    data = [
        "data.root=.",
        "data.cache=cache",
        *MANY,
        "data.splits.test=[test.en,test.de,test.de]",
        "task.bleu_tokenize=none",
        "data.byte_fallback=true",
        "model.vocab_size=400",
    ]
    code, out, _ = use("data", *data, "--json")
    copies = json.loads(out)["copies"]
    assert code == 0 and list(copies) == ["valid", "test"] and list(copies["test"]) == ["en", "de"]
    assert copies["test"]["de"]["scores"] == pytest.approx({"bleu": 100, "chrf": 100, "ter": 0, "length_ratio": 1})
    assert "tok:none" in copies["test"]["en"]["signatures"]["bleu"]
    assert copies["test"]["en"]["scores"]["bleu"] < 1
    assert "test, de copied: bleu 100.00" in use("data", *data)[1]
