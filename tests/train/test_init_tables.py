"""Token tables that start from files of vectors: which table, which rows, what is recorded, and what is refused."""

import shutil

import pytest
import torch

from begun_run import SIZE, text_words
from refusals import refusal, spelled
from tietrain.config.compose import compose_config
from tietrain.config.identity import run_name
from tietrain.data.prepare import prepare
from tietrain.errors import TyingError
from tietrain.train.experiment import Experiment
from tietrain.train.init_tables import start_tables

WORDS = ["one", "owls", "sang", "zebra"]
LM = ["task=lm", "data.kind=word", *SIZE]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working folder, with vectors: `v`, `same` with the same content, `other`, `wide`."""
    vectors = {
        name: [f"{word} {' '.join([str(0.25 * i)] * 16)}" for i, word in enumerate(WORDS)] for name in ("v", "other")
    }
    vectors["other"].reverse()
    vectors["wide"] = [f"{line} 1" for line in vectors["v"]]
    for name, lines in vectors.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    shutil.copy(tmp_path / "v", tmp_path / "same")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def composed(place, *words):
    task = words[0].removeprefix("task=")
    return compose_config([*words, *text_words(task, place)])


@pytest.mark.parametrize(
    ("words", "tables"),
    [
        (["task=lm", "init_tables.input=v"], {"decoder.embed.weight": "input"}),
        (["task=lm", "init_tables.output=v"], {"decoder.output.weight": "output"}),
        (["task=mlm", "init_tables.input=v"], {"encoder.embed.weight": "input"}),
        (["task=lm", "tying=pre_softmax", "init_tables.output=v"], {"decoder.embed.weight": "output"}),
        (
            ["task=mt", "init_tables.source=v", "init_tables.input=other"],
            {"encoder.embed.weight": "source", "decoder.embed.weight": "input"},
        ),
        (["task=mt", "tying=three_way", "init_tables.source=v"], {"encoder.embed.weight": "source"}),
        (
            ["task=mt", "tying=three_way", "init_tables.source=v", "init_tables.output=same"],
            {"encoder.embed.weight": "source"},
        ),
    ],
)
def test_started_tables_are_those_that_are_read_so(place, words, tables):
    assert Experiment(composed(place, *words, *SIZE)).started_tables == tables


def test_started_tables_refuse_what_does_not_fit(place, golden):
    found = {}
    for name, words in {
        "two files": ["task=mt", "tying=three_way", "init_tables.source=v", "init_tables.input=other"],
        "no encoder": ["task=lm", "init_tables.source=v"],
        "no file": ["task=lm", "init_tables.input=none"],
        "a folder": ["task=lm", "init_tables.input=."],
        "two starts": ["task=lm", "init_tables.input=v", "init_from=run"],
    }.items():
        error = refusal(lambda words=words: Experiment(composed(place, *words, *SIZE)).started_tables)
        assert isinstance(error, TyingError) == (name == "two files")
        found[name] = spelled(error, place)
    config = composed(place, *LM, "init_tables.input=wide")
    experiment = Experiment(config).with_vocabularies(prepare(config).vocabularies)
    found["other width"] = spelled(refusal(start_tables, experiment, experiment.build_model()), place)
    golden("init_tables_refusals", found)


def test_start_tables_fills_the_rows_of_pieces_and_leaves_the_others(place):
    config = composed(place, *LM, "tying=pre_softmax", "init_tables.input=v", f"run_dir={place / 'run'}")
    experiment = Experiment(config).with_vocabularies(prepare(config).vocabularies)
    model, before = experiment.build_model(), experiment.build_model()
    (note,) = start_tables(experiment, model)
    assert f"3 of {experiment.vocab_sizes['decoder']} rows of decoder.embed.weight start from it" in note
    pieces = experiment.vocabularies["decoder"].pieces
    filled = {pieces.index(f"\u2581{word}"): 0.25 * i for i, word in enumerate(WORDS[:3])}
    for name, parameter in model.named_parameters():
        wanted = before.get_parameter(name).detach().clone()
        for row, value in filled.items() if name == "decoder.embed.weight" else ():
            wanted[row] = value
        assert torch.equal(parameter, wanted), name


def test_run_is_known_by_the_content_of_its_vectors(place):
    names = [run_name(composed(place, *LM, f"init_tables.input={file}")) for file in ("v", "same", "other")]
    assert names[0] == names[1] and len({*names, run_name(composed(place, *LM))}) == 3
