"""Rows of several directions: which are trained on, what is left out, and what the notes say about it."""

import dataclasses
import itertools

import numpy as np
import pytest

from refusals import refusal, spelled
from tietrain.config import DataConfig, ModelConfig, RunConfig, TaskConfig
from tietrain.data.batches.pairs import MtBatches
from tietrain.data.description import describe, description_lines
from tietrain.data.prepare import prepare
from tietrain.data.sources.corpora import load_corpus
from tietrain.data.tokenizer import EOS_ID
from tietrain.errors import DataError, SettingsError

LANGUAGES = {"en": str, "de": str.upper, "fr": lambda line: line[::-1], "cs": str.title}
WORDS = ("the cat", "a dog", "one house", "no tree")


@pytest.fixture
def config(tmp_path):
    """200 rows in four languages; rows 3 and 7 of train lack German, row 5 French, row 2 of test German."""
    rows = {"train": range(200), "valid": range(200, 210), "test": range(190, 210)}
    lacks = {("train", "de"): (3, 7), ("train", "fr"): (5,), ("test", "de"): (2,)}
    for (split, numbers), (language, spell) in itertools.product(rows.items(), LANGUAGES.items()):
        lines = [spell(f"{WORDS[i % 4]} and {WORDS[i // 4 % 4]} {i}") for i in numbers]
        for i in lacks.get((split, language), ()):
            lines[i] = " "
        (tmp_path / f"{split}.{language}").write_text("".join(f"{line}\n" for line in lines))
    splits = {split: [f"{split}.{language}" for language in LANGUAGES] for split in rows}
    data = DataConfig(
        format="text", root=str(tmp_path), columns=list(LANGUAGES), splits=splits, cache=str(tmp_path / "cache")
    )
    return RunConfig(task=TaskConfig(name="mt"), data=data, model=ModelConfig(vocab_size=150))


def requested(config, *directions, model=None, vocabulary="auto", **task):
    return dataclasses.replace(
        config,
        task=TaskConfig(name="mt", directions=list(directions), **task),
        model=ModelConfig(vocab_size=150, **(model or {})),
        data=dataclasses.replace(config.data, vocabulary=vocabulary),
    )


def test_training_rows_leave_out_empty_sides_of_their_direction_alone(config):
    prepared = prepare(requested(config, "en-de", "en-fr", "fr-de"))
    left_out = {name: sorted(set(range(200)) - set(rows.tolist())) for name, rows in prepared.rows.items()}
    assert left_out == {"en-de": [3, 7], "en-fr": [5], "fr-de": [3, 5, 7]}
    assert [note for note in prepared.notes if "empty side" in note] == [
        "train en-de: 2 pairs with an empty side are left out",
        "train en-fr: 1 pairs with an empty side are left out",
        "train fr-de: 3 pairs with an empty side are left out",
        "test en-de: 1 pairs with an empty side are kept and scored",
        "test fr-de: 1 pairs with an empty side are kept and scored",
    ]
    assert prepare(requested(config, "en-cs")).rows["en-cs"].tolist() == list(range(200))


def test_training_pairs_of_two_sources(config):
    prepared = prepare(requested(config, "en+fr-de"))
    (direction,) = prepared.layout.directions
    pairs = prepared.training_pairs(direction)
    assert sorted(set(range(200)) - set(pairs.rows.tolist())) == [3, 5, 7]
    assert list(pairs.pairs.sources.lines) == ["encoder_en", "encoder_fr"]
    longest = np.maximum(prepared.reference_lengths["en"], prepared.reference_lengths["fr"])
    np.testing.assert_array_equal(pairs.src_lengths, longest[pairs.rows])
    assert list(prepared.scored) == ["valid", "test"]


def test_training_rows_disjoint_belong_to_one_direction_each(config):
    directions = ("en-de", "de-en", "en-fr", "fr-en")
    prepared = prepare(requested(config, *directions, disjoint=True, zero_shot=["de-fr"]))
    rows = [set(rows.tolist()) for rows in prepared.rows.values()]
    assert not any(a & b for a, b in itertools.combinations(rows, 2))
    assert len(set().union(*rows)) >= 200 - 3 and min(map(len, rows)) > 25
    assert (
        "zero-shot: de-fr are scored and never trained; no row of train is in more than one direction" in prepared.notes
    )
    assert list(prepared.scored) == [f"{split}.{d}" for split in ("valid", "test") for d in (*directions, "de-fr")]
    other = dataclasses.replace(requested(config, *directions, disjoint=True, model={"decoders": "each"}), seed=7)
    assert all((prepare(other).rows[name] == found).all() for name, found in prepared.rows.items())


def test_training_rows_of_train_pairs_are_subsets_of_more(config):
    few, more = (prepare(requested(config, "en-de", "en-fr", train_pairs={"en-de": n})) for n in (10, 40))
    assert set(few.rows["en-de"].tolist()) < set(more.rows["en-de"].tolist())
    assert (len(few.rows["en-de"]), len(more.rows["en-de"]), len(few.rows["en-fr"])) == (10, 40, 199)
    assert "train en-de: 10 of 198 pairs are learned, as task.train_pairs asks" in few.notes


def test_batches_are_the_same_with_shared_and_own_decoders(config):
    arms = [
        requested(config, "en-de", "en-fr", model=model, vocabulary=v, temperature=2.0, train_pairs={"en-fr": 50})
        for model, v in (({}, "separate"), ({"decoders": "each"}, "separate"), ({}, "joint"))
    ]
    batches = []
    for arm in arms:
        prepared = prepare(arm)
        pairs = [prepared.training_pairs(direction) for direction in arm.directions]
        batches.append(MtBatches(pairs, 64, 1, arm.task.temperature))
    assert len({one.fingerprint for one in batches}) == 1
    tags = prepare(arms[0]).vocabularies["encoder"].tags
    assert set(tags) == {"de", "fr"} and not prepare(arms[1]).vocabularies["encoder"].tags
    for i in range(batches[0].n_batches(1)):
        tagged, plain = (one.batch(1, i) for one in batches[:2])
        target = batches[0].step(1, i)[0].name.removeprefix("en-")
        assert (tagged.sources["encoder"][:, 0] == tags[target]).all()
        assert (tagged.stack, plain.stack) == ("decoder", f"decoder_{target}")
        assert (plain.sources["encoder"][:, 0] > EOS_ID).all()


def test_prepare_learns_vocabularies_of_the_columns_that_stacks_read(config):
    prepared = prepare(requested(config, "en-de", "fr-de", vocabulary="separate"))
    assert {stack: prepared.layout.vocabularies[stack] for stack in prepared.vocabularies} == {
        "encoder": "en+fr",
        "decoder": "de",
    }
    assert not prepared.vocabularies["encoder"].tags  # one target needs no mark
    lines = prepared.corpus.splits["test"].texts["fr"]
    assert prepared.vocabularies["encoder"].decode(prepared.lines("test", "encoder", "fr")) == lines
    lengths = prepared.reference_lengths
    assert set(lengths) == {"en", "fr", "de"}  # and not cs, which is not read
    description = describe(prepared)
    assert description["columns"] == {"encoder": "en+fr", "decoder": "de"}
    assert "pieces" not in description["splits"]["test"]["cs"]
    assert any(
        line.startswith("pieces used in two or more columns of train") for line in description_lines(description)
    )


def test_overlap_rows_are_those_that_stand_in_train(config):
    prepared = prepare(requested(config, "en-de"))
    assert prepared.overlap_rows["test"]["en"].tolist() == list(range(10))
    assert prepared.overlap_rows["test"]["de"].tolist() == [i for i in range(10) if i != 2]
    assert not len(prepared.overlap_rows["valid"]["en"])
    overlap = load_corpus(config.data, "mt").about["overlap"]["test"]
    assert overlap == {"rows": 9, "lines of en": 10, "lines of de": 9, "lines of fr": 10, "lines of cs": 10}


def test_prepare_refuses_directions_without_pairs(config, tmp_path, golden):
    error = refusal(lambda: prepare(requested(config, "en-it")))
    assert isinstance(error, SettingsError) and error.setting == "task.directions=en-it"
    error = refusal(prepare, requested(config, "en-de", max_len=2))
    assert isinstance(error, DataError) and error.setting == "task.max_len=2"
    texts = {"too long": spelled(error, tmp_path)}
    (tmp_path / "train.cs").write_text("\n" * 3 + "x\n" + "\n" * 196)  # text only where German has none
    texts["no pair"] = spelled(refusal(prepare, requested(config, "en-de", "cs-de")), tmp_path)
    golden("data_refusals_directions", texts)
