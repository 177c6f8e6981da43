"""Using a trained run from its directory alone: translate, generate, eval, and what they refuse."""

import json
import shutil

import pytest
import torch

import tietrain
from tietrain.cli.main import main
from tietrain.model.beam import Search
from tietrain.runs import record as runs

TINY = ["data.preset=tiny", "model=tiny", "model.vocab_size=400", "train.batch_tokens=512", "train.max_steps=12"]
TINY += ["train.eval_every=12"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run of each task; the cache that they were made with is gone."""
    folder = tmp_path_factory.mktemp("trained")
    common = [f"data.cache={folder / 'cache'}", *TINY]
    mt = ["task=mt", "tying=three_way", f"run_dir={folder / 'mt'}", "model.positions=learned", "model.max_len=200"]
    short = ["task.max_len=199", "task.max_output_ratio=0.3", "task.max_output_extra=6", "task.metrics=[bleu]"]
    assert main([*mt, *short, *common]) == 0
    assert main(["task=lm", "tying=pre_softmax", f"run_dir={folder / 'lm'}", "task.window=32", *common]) == 0
    shutil.rmtree(folder / "cache")
    return folder


@pytest.fixture
def use(trained, tmp_path, tietrain_cli):
    """Runs commands in another folder, on copies of the runs."""
    for name in ("mt", "lm"):
        shutil.copytree(trained / name, tmp_path / name)
    return tietrain_cli


@pytest.fixture
def sources(trained):
    """The source lines of the test set, as bytes."""
    return (trained / "mt" / "sources.test.txt").read_bytes().splitlines()


def test_translate_gives_the_translations_that_were_scored(use, sources, tmp_path):
    hypotheses = (tmp_path / "mt" / "hypotheses.test.txt").read_text()
    assert use("translate", "mt", stdin=b"\n".join(sources)) == (0, hypotheses, "")


def test_open_run_translates_with_the_weights_of_now(trained, sources):
    lines = [source.decode() for source in sources[:5]]

    def translated(saved):
        return list(saved.translate(saved.direction(None), lines, Search()))

    used = tietrain.open_run(trained / "mt")
    fresh = tietrain.open_run(trained / "mt")
    before = translated(used)
    for saved in (used, fresh):
        for p in saved.model.parameters():
            p.data.mul_(1.1)
    assert translated(used) == translated(fresh) != before


def test_compiled_steps_are_those_of_commands_and_scores_that_ask_for_them(
    use, sources, tmp_path, monkeypatch, trained
):
    """The compiler itself is tried in model/test_decoding_graphs.py."""
    asked = []
    monkeypatch.setattr(torch, "compile", lambda step, **options: asked.append(step.__qualname__) or step)
    hypotheses = (tmp_path / "mt" / "hypotheses.test.txt").read_text().splitlines()
    said = use("translate", "mt", "hardware.compile=true", stdin=b"\n".join(sources[:3]))
    assert said[1].splitlines() == hypotheses[:3]
    assert asked == ["_Beams.step"]
    assert use("generate", "lm", "--length", "5", "hardware.compile=true") == use("generate", "lm", "--length", "5")
    assert asked == ["_Beams.step", "_next"]
    assert (
        main(["task=lm", f"run_dir={tmp_path / 'compiled'}", "hardware.compile=true", *TINY, "train.max_steps=1"]) == 0
    )
    assert asked == ["_Beams.step", "_next", "_loss", "_next"]


def test_translate_keeps_the_order_of_lines_and_blank_lines(use, sources, monkeypatch):
    monkeypatch.setattr("tietrain.cli.use.LINES_AT_ONCE", 3)
    expected = use("translate", "mt", stdin=b"\n".join(sources[:4])).out.splitlines()
    # Among other lines, blank ones, other line ends and a byte order mark.
    mixed = [b"\xef\xbb\xbf" + sources[3], b"", sources[0] + b"\r", b"  ", sources[2], sources[1]]
    ran = use("translate", "mt", "--batch-tokens", "1", stdin=b"\n".join(mixed))
    assert ran.code == 0
    assert ran.out.splitlines() == [expected[3], "", expected[0], "", expected[2], expected[1]]
    assert use("translate", "mt", stdin=b"") == (0, "", "")


def test_translate_sorts_n_best_lists_and_begins_with_the_best(use, sources):
    lines = b"\n".join([*sources[:2], b"", b""])
    command = ["translate", "mt", "--beam", "4", "--length-penalty", "0.6"]
    best = use(*command, stdin=lines).out.splitlines()
    lists = [json.loads(line) for line in use(*command, "--nbest", "3", "--json", stdin=lines).out.splitlines()]
    assert [entry["line"] for entry in lists] == [0, 1, 2]
    rows = []
    for entry, text in zip(lists[:2], best[:2], strict=True):
        scores = [found["score"] for found in entry["translations"]]
        assert len(scores) == 3 and scores == sorted(scores, reverse=True)
        assert entry["translations"][0]["text"] == text
        rows += [[str(entry["line"]), found["text"]] for found in entry["translations"]]
    moses = [line.split(" ||| ") for line in use(*command, "--nbest", "3", stdin=lines).out.splitlines()]
    assert [row[:2] for row in moses[:6]] == rows
    assert moses[6] == ["2", "", "0"]


def test_translate_begins_translations_with_their_prefix(use, sources, tmp_path):
    references = (tmp_path / "mt" / "references.test.txt").read_text().splitlines()[:3]
    prefixes = [line.split()[0] for line in references]
    stdin = b"\n".join(sources[:3])
    (tmp_path / "prefixes").write_text("\n".join(prefixes) + "\n")
    ran = use("translate", "mt", "--prefix", "prefixes", "--beam", "2", stdin=stdin)
    assert ran.code == 0
    assert all(line.startswith(prefix) for line, prefix in zip(ran.out.splitlines(), prefixes, strict=True))
    for text, setting in (("a\nb\n", "prefixes:2: "), ("a\nb\nc\nd\n", "prefixes:4: ")):
        (tmp_path / "prefixes").write_text(text)
        ran = use("translate", "mt", "--prefix", "prefixes", stdin=stdin)
        assert ran.code == 3 and ran.err.startswith(f"tietrain: {setting}")


def test_translate_and_generate_go_on_from_no_unknown_text(use, tmp_path):
    (tmp_path / "prefixes").write_text("the\nthe \u03c9\n")
    ran = use("translate", "mt", "--prefix", "prefixes", stdin=b"a\nb\n")
    assert ran.code == 3
    assert ran.err.startswith("tietrain: prefix of line 2: the run's vocabulary lacks '\u03c9'")
    ran = use("generate", "lm", "--prompt", "the \u03c9 the", "--length", "3")
    assert ran.code == 3 and ran.err.startswith("tietrain: --prompt: the run's vocabulary lacks '\u03c9'")


@pytest.mark.parametrize("command", ["translate", "eval"])
def test_a_refused_run_says_that_it_was_never_trained(use, tmp_path, command):
    shutil.rmtree(tmp_path / "mt" / "checkpoints")
    record = runs.read_record(tmp_path / "mt")
    record.status, record.exit_code, record.reason = "failed", 3, "task.max_len=3: every pair is longer; give 9"
    runs.write_record(tmp_path / "mt", record)
    ran = use(command, "mt", stdin=b"a\n")
    assert ran.code == 3
    assert ran.err.startswith(
        "tietrain: mt: it was refused: task.max_len=3: every pair is longer; give 9; it was never"
    )


def test_translate_computes_in_bfloat16_if_asked(use, sources):
    ran = use("translate", "mt", "hardware.precision=bf16", "--beam", "3", stdin=b"\n".join(sources[:5]))
    assert ran.code == 0 and len(ran.out.splitlines()) == 5


def test_generate_draws_samples_that_depend_on_their_seed_alone(use):
    three = json.loads(use("generate", "lm", "--n", "3", "--length", "70", "--json").out)
    assert len(set(three)) == 3
    assert json.loads(use("generate", "lm", "--length", "70", "--json").out) == three[:1]
    assert use("generate", "lm", "--seed", "2", "--length", "70").out != use("generate", "lm", "--length", "70").out
    ran = use("generate", "lm", "--n", "2", "--length", "5", "--prompt", "a line\nand a")
    assert ran.code == 0 and ran.out.count("a line\nand a") == 2
    assert [part.splitlines()[0] for part in ran.out.split("--- ")[1:]] == ["1", "2"]


def test_generate_finds_the_most_probable_lines(use):
    words = ["--prompt", "a", "--json"]
    two = json.loads(use("generate", "lm", "--beam", "4", "--n", "2", "--length", "8", *words).out)
    assert len(set(two)) == 2 and all(text.startswith("a") for text in two)
    greedy = json.loads(use("generate", "lm", "--beam", "1", "--length", "8", *words).out)
    drawn = json.loads(use("generate", "lm", "--top-k", "1", "--length", "7", *words).out)
    assert drawn[0].splitlines()[0] == greedy[0]


@pytest.mark.parametrize("task", ["mt", "lm"])
def test_eval_scores_as_the_run_did_and_keeps_its_scores(use, tmp_path, task):
    before = (tmp_path / task / runs.EVAL).read_bytes()
    ran = use("eval", task)
    assert ran.code == 0 and "eval_again.json" in ran.err
    scored = json.loads(before)
    again = runs.read_json(tmp_path / task / "eval_again.json")
    assert again["splits"].keys() == scored["splits"].keys()
    for split, scores in scored["splits"].items():
        assert again["splits"][split] == pytest.approx(scores)
        assert f"{split}: " in ran.out
    assert again["checkpoint"] == scored["checkpoint"]
    assert again["signatures"] == scored["signatures"]
    assert (tmp_path / task / runs.EVAL).read_bytes() == before


def test_eval_scores_other_files_without_training_text(use, tmp_path):
    for side in ("sources", "references"):
        lines = (tmp_path / "mt" / f"{side}.test.txt").read_text().splitlines()[:20]
        (tmp_path / side).write_text("\n".join(lines) + "\n")
    words = ["data=text", "data.splits.mine=[sources,references]", "task.beam=2", "task.metrics=[bleu,ter]"]
    ran = use("eval", "mt", *words, "--name", "mine", "--json")
    body = json.loads(ran.out)
    assert ran.code == 0 and body == runs.read_json(tmp_path / "mt" / "eval_mine.json")
    assert list(body["splits"]) == ["mine"] and {"bleu", "ter", "ppl_word"} <= body["splits"]["mine"].keys()
    assert body["signatures"]["decoding"].startswith("beam:2|")
    ran = use("eval", "mt", *words[:2], "--name", "mine")
    assert ran.code == 2 and ran.err.startswith("tietrain: --name mine: ")
    with open(tmp_path / "references", "a") as f:
        f.write("one more\n")
    ran = use("eval", "mt", *words)
    assert ran.code == 3 and "20" in ran.err and "21" in ran.err


# Command line -> standard input, exit code, what the refusal begins with.
LONG = b" ".join([b"qq"] * 300)
REFUSED = {
    "translate lm": (b"", 2, "tietrain translate"),
    "generate mt": (b"", 2, "tietrain generate"),
    "translate .": (b"", 2, "."),
    "eval nowhere": (b"", 2, "nowhere"),
    "translate mt --checkpoint 7": (b"", 3, "mt --checkpoint 7"),
    "translate mt --nbest 2": (b"", 2, "--nbest 2"),
    "translate mt --prefix nowhere": (b"a\n", 3, "--prefix nowhere"),
    "translate mt": (b"a\n\xff\n", 3, "standard input:2"),
    "translate mt --beam 1": (b"a\n\n" + LONG, 3, "line 3"),
    "generate lm --beam 2 --n 3": (b"", 2, "--n 3"),
    "eval mt data.seed=1,2": (b"", 2, "data.seed=1,2"),
    "eval mt data=nope": (b"", 2, "data=nope"),
    "eval mt data=text": (b"", 2, "data.splits.valid"),
}


def test_use_refuses_what_does_not_fit_the_run(use):
    for line, (stdin, code, setting) in REFUSED.items():
        ran = use(*line.split(), stdin=stdin)
        assert ran.is_refusal() and ran.code == code, line
        assert ran.err.startswith(f"tietrain: {setting}"), ran.err


def test_checkpoint_chooses_the_weights_of_an_unfinished_run(use, tmp_path):
    (tmp_path / "mt" / runs.EVAL).unlink()
    ran = use("translate", "mt", stdin=b"a\n")
    assert ran.code == 3 and "step_00000012" in ran.err
    assert use("translate", "mt", "--checkpoint", "last", stdin=b"a\n").code == 0
    assert use("translate", "mt", "--checkpoint", "12", stdin=b"a\n").code == 0
    shutil.rmtree(tmp_path / "mt" / "checkpoints")
    assert use("translate", "mt", "--checkpoint", "final", stdin=b"a\n").code == 3


# File of a run, a part of it, and what stands there instead.
DAMAGED = (
    ("run.json", '"vocabulary.encoder": "', '"vocabulary.encoder": "0'),
    ("plan.json", '"owner": "encoder.embed.weight"', '"owner": "decoder.output.weight"'),
    ("config.yaml", "rule: three_way", "rule: shared_vocab"),
    ("config.yaml", "seed: 1", "seed: '1'"),
    ("config.yaml", "study:", "studie:"),
    ("config.yaml", "window:", "window: !!python/object/apply:os.getcwd []\n  window_:"),
    ("vocabulary/encoder.model.json", "unigram", "unigran"),
)


def test_use_refuses_a_run_whose_files_do_not_fit_together(use, tmp_path):
    for name, old, new in DAMAGED:
        path = tmp_path / "mt" / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        ran = use("translate", "mt", stdin=b"a\n")
        assert ran.is_refusal() and ran.code == 3, (name, new)
        path.write_text(text)
    assert use("translate", "mt", stdin=b"a\n").code == 0
