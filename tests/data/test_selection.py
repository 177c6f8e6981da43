"""Rows of several directions: which are learned, what is left out, and what is said of it."""

import dataclasses
import itertools

import numpy as np
import pytest

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


def test_pairs_with_an_empty_side_are_left_out_of_their_direction_alone(config):
    prepared = prepare(requested(config, "en-de", "en-fr", "fr-de"))
    left_out = {name: sorted(set(range(200)) - set(rows.tolist())) for name, rows in prepared.rows.items()}
    assert left_out == {"en-de": [3, 7], "en-fr": [5], "fr-de": [3, 5, 7]}
    said = [note for note in prepared.notes if "empty side" in note]
    assert said == [
        "train en-de: 2 pairs with an empty side are left out",
        "train en-fr: 1 pairs with an empty side are left out",
        "train fr-de: 3 pairs with an empty side are left out",
        "test en-de: 1 pairs with an empty side are kept and scored",
        "test fr-de: 1 pairs with an empty side are kept and scored",
    ]
    assert prepare(requested(config, "en-cs")).rows["en-cs"].tolist() == list(range(200))


def test_two_sources_are_read_together(config):
    prepared = prepare(requested(config, "en+fr-de"))
    (direction,) = prepared.layout.directions
    learned = prepared.training_pairs(direction)
    assert sorted(set(range(200)) - set(learned.rows.tolist())) == [3, 5, 7]
    assert list(learned.pairs.sources.lines) == ["encoder_en", "encoder_fr"]
    longest = np.maximum(prepared.reference_lengths["en"], prepared.reference_lengths["fr"])
    np.testing.assert_array_equal(learned.src_lengths, longest[learned.rows])
    assert list(prepared.scored) == ["valid", "test"]


def test_disjoint_rows_are_of_one_direction_each(config):
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


def test_few_resources_are_the_first_of_more(config):
    few, more = (prepare(requested(config, "en-de", "en-fr", train_pairs={"en-de": n})) for n in (10, 40))
    assert set(few.rows["en-de"].tolist()) < set(more.rows["en-de"].tolist())
    assert (len(few.rows["en-de"]), len(more.rows["en-de"]), len(few.rows["en-fr"])) == (10, 40, 199)
    assert "train en-de: 10 of 198 pairs are learned, as task.train_pairs asks" in few.notes


@pytest.mark.parametrize("vocabulary", ["joint", "separate"])
def test_arms_with_shared_and_with_own_decoders_have_the_same_batches(config, vocabulary):
    arms = [
        requested(config, "en-de", "en-fr", model=model, vocabulary=v, temperature=2.0, train_pairs={"en-fr": 50})
        for model, v in (({}, vocabulary), ({"decoders": "each"}, vocabulary), ({}, "joint"))
    ]
    batches = []
    for arm in arms:
        prepared = prepare(arm)
        learned = [prepared.training_pairs(direction) for direction in arm.directions]
        batches.append(MtBatches(learned, 64, 1, arm.task.temperature))
    assert len({one.fingerprint for one in batches}) == 1
    tags = prepare(arms[0]).vocabularies["encoder"].tags
    assert set(tags) == {"de", "fr"} and not prepare(arms[1]).vocabularies["encoder"].tags
    for i in range(batches[0].n_batches(1)):
        tagged, plain = (one.batch(1, i) for one in batches[:2])
        target = batches[0].direction(1, i).removeprefix("en-")
        assert (tagged.sources["encoder"][:, 0] == tags[target]).all()
        assert (tagged.stack, plain.stack) == ("decoder", f"decoder_{target}")
        assert (plain.sources["encoder"][:, 0] > EOS_ID).all()


def test_vocabularies_are_of_the_columns_their_stacks_read(config):
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


def test_rows_whose_source_stands_in_train_are_known(config):
    prepared = prepare(requested(config, "en-de"))
    assert prepared.overlap_rows["test"]["en"].tolist() == list(range(10))
    assert prepared.overlap_rows["test"]["de"].tolist() == [i for i in range(10) if i != 2]
    assert not len(prepared.overlap_rows["valid"]["en"])
    overlap = load_corpus(config.data, "mt").about["overlap"]["test"]
    assert overlap == {"rows": 9, "lines of en": 10, "lines of de": 9, "lines of fr": 10, "lines of cs": 10}


def test_a_third_file_of_another_length_is_refused_with_both_counts(config, tmp_path):
    with open(tmp_path / "train.fr", "a") as f:
        f.write("one more\n")
    with pytest.raises(DataError, match=r"train\.en has 200 lines and .*train\.fr has 201 lines"):
        load_corpus(config.data, "mt")


@pytest.mark.parametrize(
    ("task", "error", "says"),
    [
        (
            {"directions": ["en-it"]},
            SettingsError,
            r"task\.directions=en-it: it is no direction between different columns",
        ),
        ({"directions": ["en-de"], "max_len": 2}, DataError, "every training pair is longer"),
    ],
)
def test_refusals(config, task, error, says):
    with pytest.raises(error, match=says):
        prepare(dataclasses.replace(config, task=TaskConfig(name="mt", **task)))


def test_a_direction_without_pairs_is_refused(config, tmp_path):
    (tmp_path / "train.cs").write_text("\n" * 3 + "x\n" + "\n" * 196)  # where there is no German
    with pytest.raises(DataError, match="no row of train is a pair of cs-de"):
        prepare(requested(config, "en-de", "cs-de"))
