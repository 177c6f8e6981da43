"""Using a trained run from its directory alone: translate, generate, eval, and what they refuse."""

import io
import json
import shutil
import sys

import pytest

from tietrain.cli.main import main
from tietrain.runs import record as runs

TINY = ["data.preset=tiny", "model=tiny", "model.vocab_size=400", "train.batch_tokens=512", "train.max_steps=12"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run of each task; the cache they were made with is gone."""
    folder = tmp_path_factory.mktemp("trained")
    common = [f"data.cache={folder / 'cache'}", *TINY]
    learned = [
        "model.positions=learned",
        "model.max_len=200",
        "task.max_len=199",
        "task.max_output_ratio=0.3",
        "task.max_output_extra=6",
    ]
    assert main(["task=mt", "tying=three_way", f"run_dir={folder / 'mt'}", *common, *learned]) == 0
    assert main(["task=lm", "tying=pre_softmax", f"run_dir={folder / 'lm'}", "task.window=32", *common]) == 0
    shutil.rmtree(folder / "cache")
    return folder


@pytest.fixture
def use(trained, tmp_path, monkeypatch, capsys):
    """Runs a verb in another folder, on copies of the runs: (words, standard input) -> exit code, output, errors."""
    for name in ("mt", "lm"):
        shutil.copytree(trained / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)

    def run(*words, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        code = main(list(words))
        return code, *capsys.readouterr()

    return run


def test_translations_are_those_that_were_scored(use, tmp_path):
    sources = (tmp_path / "mt" / "sources.test.txt").read_bytes()
    assert use("translate", "mt", stdin=sources) == (0, (tmp_path / "mt" / "hypotheses.test.txt").read_text(), "")


def test_lines_stay_in_order_and_blank_lines_blank(use, tmp_path, monkeypatch):
    monkeypatch.setattr("tietrain.cli.use.LINES_AT_ONCE", 3)
    lines = (tmp_path / "mt" / "sources.test.txt").read_bytes().splitlines()[:4]
    expected = use("translate", "mt", stdin=b"\n".join(lines))[1].splitlines()
    # Other lines beside them, blank ones, other line ends and a byte order mark.
    mixed = [b"\xef\xbb\xbf" + lines[3], b"", lines[0] + b"\r", b"  ", lines[2], lines[1]]
    code, out, _ = use("translate", "mt", "--batch-tokens", "1", stdin=b"\n".join(mixed))
    assert code == 0
    assert out == "".join(f"{line}\n" for line in (expected[3], "", expected[0], "", expected[2], expected[1]))
    assert use("translate", "mt", stdin=b"") == (0, "", "")


def test_n_best_lists_are_sorted_and_begin_with_the_best(use, tmp_path):
    sources = b"\n".join([*(tmp_path / "mt" / "sources.test.txt").read_bytes().splitlines()[:2], b""]) + b"\n"
    best = use("translate", "mt", "--beam", "4", "--length-penalty", "0.6", stdin=sources)[1].splitlines()
    command = ["translate", "mt", "--beam", "4", "--length-penalty", "0.6", "--nbest", "3"]
    lists = [json.loads(line) for line in use(*command, "--json", stdin=sources)[1].splitlines()]
    assert [entry["line"] for entry in lists] == [0, 1, 2]
    for entry, text in zip(lists[:2], best[:2], strict=True):
        scores = [found["score"] for found in entry["translations"]]
        assert len(scores) == 3 and scores == sorted(scores, reverse=True)
        assert entry["translations"][0]["text"] == text
    rows = [line.split(" ||| ") for line in use(*command, stdin=sources)[1].splitlines()]
    assert [(row[0], row[1]) for row in rows[:6]] == [
        (str(entry["line"]), found["text"]) for entry in lists[:2] for found in entry["translations"]
    ]
    assert rows[6] == ["2", "", "0"]


def test_translations_begin_with_their_prefix(use, tmp_path):
    references = (tmp_path / "mt" / "references.test.txt").read_text().splitlines()[:3]
    words = [line.split()[0] for line in references]
    (tmp_path / "prefixes").write_text("\n".join(words) + "\n")
    sources = b"\n".join((tmp_path / "mt" / "sources.test.txt").read_bytes().splitlines()[:3])
    code, out, _ = use("translate", "mt", "--prefix", "prefixes", "--beam", "2", stdin=sources)
    assert code == 0
    assert all(line.startswith(word) for line, word in zip(out.splitlines(), words, strict=True))
    for text, message in (("a\nb\n", "prefixes:2: it ends"), ("a\nb\nc\nd\n", "prefixes:4: standard input ends")):
        (tmp_path / "prefixes").write_text(text)
        code, _, err = use("translate", "mt", "--prefix", "prefixes", stdin=sources)
        assert code == 3 and message in err


def test_samples_depend_on_their_seed_alone(use):
    three = json.loads(use("generate", "lm", "--n", "3", "--length", "70", "--json")[1])
    assert len(set(three)) == 3
    assert json.loads(use("generate", "lm", "--length", "70", "--json")[1]) == three[:1]
    assert use("generate", "lm", "--seed", "2", "--length", "70")[1] != use("generate", "lm", "--length", "70")[1]
    code, out, _ = use("generate", "lm", "--n", "2", "--length", "5", "--prompt", "a line\nand a")
    assert code == 0
    assert [part.startswith("a line\nand a") for part in out.split("--- ")[1:]] == [False, False]
    assert out.count("a line\nand a") == 2


def test_most_probable_lines_of_a_language_model(use):
    two = json.loads(use("generate", "lm", "--beam", "4", "--n", "2", "--length", "8", "--prompt", "a", "--json")[1])
    assert len(set(two)) == 2 and all(text.startswith("a") for text in two)
    one = json.loads(use("generate", "lm", "--beam", "1", "--length", "8", "--prompt", "a", "--json")[1])
    drawn = json.loads(use("generate", "lm", "--top-k", "1", "--length", "7", "--prompt", "a", "--json")[1])
    assert drawn[0].splitlines()[0] == one[0]


@pytest.mark.parametrize("task", ["mt", "lm"])
def test_eval_scores_as_the_run_did_and_leaves_its_scores_alone(use, tmp_path, task):
    before = (tmp_path / task / runs.EVAL).read_bytes()
    code, out, err = use("eval", task)
    assert code == 0 and "eval_again.json" in err
    scored, again = json.loads(before), runs.read_json(tmp_path / task / "eval_again.json")
    assert again["splits"].keys() == scored["splits"].keys()
    for split, scores in scored["splits"].items():
        assert again["splits"][split] == pytest.approx(scores)
        assert f"{split}: " in out
    assert again["checkpoint"] == scored["checkpoint"]
    assert again["signatures"] == scored["signatures"]
    assert (tmp_path / task / runs.EVAL).read_bytes() == before


def test_eval_of_other_files_needs_no_training_text(use, tmp_path):
    for side in ("sources", "references"):
        lines = (tmp_path / "mt" / f"{side}.test.txt").read_text().splitlines()[:20]
        (tmp_path / side).write_text("\n".join(lines) + "\n")
    words = ["data=text", "data.splits.mine=[sources,references]", "task.beam=2", "task.metrics=[bleu,ter]"]
    code, out, _ = use("eval", "mt", *words, "--name", "mine", "--json")
    body = json.loads(out)
    assert code == 0 and body == runs.read_json(tmp_path / "mt" / "eval_mine.json")
    assert list(body["splits"]) == ["mine"] and {"bleu", "ter", "ppl_word"} <= body["splits"]["mine"].keys()
    assert body["signatures"]["decoding"].startswith("beam:2|")
    code, _, err = use("eval", "mt", *words[:2], "--name", "mine")
    assert code == 2 and "another evaluation" in err
    with open(tmp_path / "references", "a") as f:
        f.write("one more\n")
    code, _, err = use("eval", "mt", *words)
    assert code == 3
    assert f"{tmp_path / 'sources'} has 20 lines" in err and f"{tmp_path / 'references'} has 21 lines" in err


LONG = b" ".join([b"qq"] * 300)


@pytest.mark.parametrize(
    ("words", "stdin", "code", "message"),
    [
        (["translate", "lm"], b"", 2, "use `tietrain generate`"),
        (["generate", "mt"], b"", 2, "use `tietrain translate`"),
        (["translate", "."], b"", 2, "it is no run directory"),
        (["eval", "nowhere"], b"", 2, "it is no run directory"),
        (["translate", "mt", "--checkpoint", "7"], b"", 3, "best, final, step_"),
        (["translate", "mt", "--nbest", "2"], b"", 2, "raise --beam"),
        (["translate", "mt", "--beam", "0"], b"", 2, "--beam 0"),
        (["translate", "mt", "--length-penalty", "-1"], b"", 2, "--length-penalty -1"),
        (["translate", "mt", "--prefix", "nowhere"], b"a\n", 3, "nowhere"),
        (["translate", "mt", "task.beam=3"], b"", 2, "task.beam=3"),
        (["translate", "mt"], b"a\n\xff\n", 3, "standard input:2"),
        (["translate", "mt"], b"a\n\n" + LONG, 3, "line 3"),
        (["generate", "lm", "--temperature", "0"], b"", 2, "--temperature 0"),
        (["generate", "lm", "--top-p", "1.5"], b"", 2, "--top-p 1.5"),
        (["generate", "lm", "--beam", "2", "--n", "3"], b"", 2, "raise --beam"),
        (["eval", "mt", "model.d_model=8"], b"", 2, "model.d_model=8"),
        (["eval", "mt", "data.kind=char"], b"", 2, "data.kind=char"),
        (["eval", "mt", "data.seed=1,2"], b"", 2, "data.seed=1,2"),
        (["eval", "mt", "data=nope"], b"", 2, "data=nope"),
        (["eval", "mt", "data=text"], b"", 2, "data.splits.valid"),
        (["eval", "mt", "--name", "a/b"], b"", 2, "--name a/b"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_refusals(use, words, stdin, code, message):
    found, _, err = use(*words, stdin=stdin)
    assert found == code
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_an_unfinished_run_says_which_weights_there_are(use, tmp_path):
    (tmp_path / "mt" / runs.EVAL).unlink()
    code, _, err = use("translate", "mt", stdin=b"a\n")
    assert code == 3 and "not finished" in err and "step_00000012" in err
    assert use("translate", "mt", "--checkpoint", "last", stdin=b"a\n")[0] == 0
    assert use("translate", "mt", "--checkpoint", "12", stdin=b"a\n")[0] == 0
    shutil.rmtree(tmp_path / "mt" / "checkpoints")
    code, _, err = use("translate", "mt", "--checkpoint", "final", stdin=b"a\n")
    assert code == 3 and "there is none" in err


def _change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("run.json", '"vocabulary.encoder": "', '"vocabulary.encoder": "0', "the vocabulary of the encoder is not"),
        ("plan.json", '"owner": "encoder.embed.weight"', '"owner": "decoder.output.weight"', "plan.json"),
        ("config.yaml", "rule: three_way", "rule: shared_vocab", "plan.json"),
        ("config.yaml", "seed: 1", "seed: '1'", "seed is '1', not of type int"),
        ("config.yaml", "study:", "studie:", "there is no key studie"),
        ("config.yaml", "task:", "task: [", "not YAML"),
        ("config.yaml", "window:", "window: !!python/object/apply:os.getcwd []\n  window_:", "not YAML"),
        ("vocabulary/encoder.model.json", "unigram", "unigran", "vocabularies are missing or damaged"),
    ],
    ids=lambda value: None if "/" not in value and "." not in value else value,
)
def test_what_does_not_fit_together_is_refused(use, tmp_path, name, old, new, message):
    _change(tmp_path / "mt" / name, old, new)
    code, _, err = use("translate", "mt", stdin=b"a\n")
    assert code in (2, 3)
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_bfloat16_translates_too(use, tmp_path):
    sources = b"\n".join((tmp_path / "mt" / "sources.test.txt").read_bytes().splitlines()[:5])
    code, out, _ = use("translate", "mt", "hardware.precision=bf16", "--beam", "3", stdin=sources)
    assert code == 0 and len(out.splitlines()) == 5
