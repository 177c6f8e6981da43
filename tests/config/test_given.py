"""Vocabularies that are named: found by file, run or column, known by content, refused by name."""

import shutil
from pathlib import Path

import pytest
import sentencepiece

from refusals import refusal, spelled
from tietrain.config.compose import compose_config
from tietrain.config.given import read_model
from tietrain.config.identity import result_settings, run_name
from tietrain.data.tokenizer import train_vocabulary
from tietrain.data.vocabularies import save_vocabularies
from tietrain.errors import DataError
from tokenizers_of_others import byte_level, write

LINES = ["the cat sees the dog", "a dog likes the river", "the bird finds a tree"] * 9
TABLES = {"a": ("bpe", 40), "b": ("bpe", 30), "words": ("word", 14)}
MT = ("task=mt", "model=tiny")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Models, and two runs: `one` has one vocabulary, `two` one per side."""
    folder = tmp_path_factory.mktemp("vocabularies")
    made = {name: train_vocabulary(LINES, *settings) for name, settings in TABLES.items()}
    for name, vocabulary in made.items():
        vocabulary.save(folder / f"{name}.model")
    for run, sides in {"one": ("a", "a"), "two": ("a", "b")}.items():
        (folder / run).mkdir()
        (folder / run / "run.json").write_text("{}")
        save_vocabularies(folder / run, dict(zip(("encoder", "decoder"), map(made.get, sides), strict=True)))
    shutil.copy(folder / "a.model", folder / "same.model")
    (folder / "text.model").write_text("the cat sees the dog\n" * 9)
    (folder / "plain").mkdir()
    write(folder / "t.json", byte_level(LINES, 290))
    write(folder / "holes.json", byte_level(LINES, 290), added_tokens=[{"id": 999, "content": "<x>"}])
    return folder


def composed(folder: Path, *words: str):
    return compose_config([*words, f"data.root={folder}"])


@pytest.mark.parametrize(
    ("words", "mode", "sizes"),
    [
        ((*MT, "data.vocabulary=a.model"), "joint", (40, None)),
        ((*MT, "data.vocabulary=one"), "joint", (40, None)),
        ((*MT, "data.vocabulary=two"), "separate", (40, 30)),
        ((*MT, "data.vocabulary={a: b.model, b: a.model}"), "separate", (30, 40)),
        (("task=lm", "data.vocabulary=one"), "auto", (40, None)),
        (("task=lm", "data.vocabulary={text: b.model}", "model.vocab_size=30"), "auto", (30, None)),
        (("task=lm", "data.vocabulary=words.model"), "auto", (14, None)),
    ],
)
def test_use_given_takes_mode_and_sizes_of_the_files(folder, words, mode, sizes):
    config = composed(folder, *words)
    assert config.data.vocabulary == mode
    assert (config.model.vocab_size, config.model.target_vocab_size) == sizes
    assert config.data.kind == ("word" if sizes[0] == 14 else "bpe")


@pytest.mark.parametrize(("task", "n_own"), [("lm", 4), ("mlm", 5), ("mt", 4), ("mt task.directions=[a-b,b-a]", 6)])
def test_use_given_puts_pieces_of_its_own_before_those_of_a_tokenizer(folder, task, n_own):
    config = composed(folder, *f"task={task}".split(), "model=tiny", "data.vocabulary=t.json")
    assert config.data.kind == "tokenizer" and config.data.vocabulary == ("joint" if "mt" in task else "auto")
    assert config.model.vocab_size == n_own + read_model(folder / "t.json").n_pieces


def test_run_with_a_given_vocabulary_is_known_by_its_content(folder):
    ways = ("a.model", "same.model", "one", "{a: same.model, b: a.model}")
    assert len({run_name(composed(folder, *MT, f"data.vocabulary={way}")) for way in ways}) == 1
    assert run_name(composed(folder, *MT, "data.vocabulary=b.model")) != run_name(composed(folder, *MT))
    settings = result_settings(composed(folder, *MT, "data.vocabulary=two"))
    assert not any(str(value).endswith(".model") for value in settings.values())


def test_use_given_says_which_value_of_a_file_is_not_used(folder, tmp_path, capsys):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("vocab_size: 300\n")
    words = ("task=lm", "data.vocabulary=a.model", f"data.root={folder}", "data.kind=bpe")
    assert compose_config([*words, "model=mine"], [str(tmp_path)]).model.vocab_size == 40
    said = "tietrain: model.vocab_size=300 of a configuration file is not used: it is 40 in data.vocabulary=a.model\n"
    assert capsys.readouterr().err == said
    compose_config(words)
    assert capsys.readouterr().err == ""


REFUSED = {
    (*MT, "data.vocabulary=jiont"): 2,
    (*MT, "data.vocabulary=[a.model,b.model]"): 2,
    (*MT, "data.vocabulary=plain"): 2,
    (*MT, "data.vocabulary={a: a.model}"): 2,
    (*MT, "data.vocabulary={a: a.model, b: a.model, c: a.model}"): 2,
    (*MT, "data.vocabulary={a: a.model, b: words.model}"): 2,
    (*MT, "data.vocabulary={a: one, b: one}"): 3,
    (*MT, "task.directions=[a-b,b-a]", "data.vocabulary=two"): 2,
    ("task=lm", "data.vocabulary=a.model", "model.vocab_size=1000"): 2,
    ("task=lm", "data.vocabulary=a.model", "data.kind=unigram"): 2,
    ("task=lm", "data.vocabulary=a.model", "data.byte_fallback=true"): 2,
    ("task=lm", "data.vocabulary=text.model"): 3,
    (*MT, "data.vocabulary={a: a.model, b: t.json}"): 2,
    ("task=lm", "data.vocabulary=holes.json"): 3,
    ("task=lm", "data.kind=tokenizer"): 2,
}


def test_use_given_refuses_what_does_not_fit(folder, golden):
    texts = {}
    for words, code in REFUSED.items():
        error = refusal(composed, folder, *words)
        assert error.exit_code == code, words
        texts[" ".join(words)] = spelled(error, folder)
    golden("config_refusals_vocabulary", texts)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "first pieces"),
        ({"pad_id": 0, "unk_id": 1, "bos_id": 2, "eos_id": 3}, "normalization"),
        ({"pad_id": 0, "unk_id": 1, "bos_id": 2, "eos_id": 3, "normalization_rule_name": "identity"}, "blanks"),
    ],
)
def test_read_model_refuses_models_that_treat_text_otherwise(tmp_path, options, problem):
    prefix = str(tmp_path / "m")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_prefix=prefix, vocab_size=24, minloglevel=2, **options
    )
    with pytest.raises(DataError, match=problem):
        read_model(Path(prefix + ".model"))


def test_read_model_survives_any_bytes(tmp_path, folder):
    whole = (folder / "b.model").read_bytes()
    for content in (b"", b"\xff" * 99, b"\x80" * 99, b"\x0a\x00" * 9, whole[:-3], whole[50:]):
        (tmp_path / "broken.model").write_bytes(content)
        with pytest.raises(DataError):
            read_model(tmp_path / "broken.model")
