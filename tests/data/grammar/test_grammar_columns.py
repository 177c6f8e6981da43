"""More columns than two: other languages, the fault channel and feature vectors of the same meanings."""

import math
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from grammar_reading import ReaderA, ReaderB, ReaderC
from grammar_reading_d import ReaderD
from grammar_toy import make_toy_lexicon
from sacrebleu import corpus_bleu

from tietrain.config import DataConfig, RunConfig, TaskConfig
from tietrain.data.grammar import GrammarSettings, generate
from tietrain.data.grammar.coining import make_lexicon
from tietrain.data.grammar.faults import FaultChannel
from tietrain.data.grammar.meaning import iterate_concepts
from tietrain.data.grammar.script import swap_script
from tietrain.errors import SettingsError

EVERY = ("a", "a_mt", "b_mt", "c_mt", "d_mt", "features", "d", "c", "b")
GOLDEN = "4cd7312f5f5da14fa89ebcbc704939e82252273f84e9bd500a16b03c7f8e4de3"
"""Fingerprint of `tiny` with EVERY column; moves with GRAMMAR_VERSION alone."""
READERS = {"a": ReaderA, "b": ReaderB, "c": ReaderC, "d": ReaderD}


def make(*columns, **settings):
    return generate(GrammarSettings("mt", "tiny", columns=columns, **settings))


@pytest.fixture(scope="module")
def every():
    return make(*EVERY)


def test_grammar_columns_are_byte_identical_in_every_process(every):
    assert every.fingerprint == GOLDEN
    code = (
        "from tietrain.data.grammar import GrammarSettings, generate\n"
        f"print(generate(GrammarSettings('mt', 'tiny', columns={EVERY})).fingerprint)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == GOLDEN


@pytest.mark.parametrize("columns", [("a", "b"), ("d", "c"), ("c", "a", "d"), ("a", "b_mt", "b"), ("features", "a")])
def test_grammar_columns_have_the_same_lines_in_whatever_company(every, columns):
    some = make(*columns)
    assert some.columns == tuple(column for column in columns if column != "features")
    for name, split in some.splits.items():
        assert split.meanings == every.splits[name].meanings
        assert set(split.texts) == set(some.columns)
        assert all(lines == every.splits[name].texts[column] for column, lines in split.texts.items())
        assert (split.features is not None) == ("features" in columns)
        for one, other in zip(split.features or (), every.splits[name].features, strict=False):
            assert np.array_equal(one, other)
    assert some.fingerprint != every.fingerprint


def test_grammar_columns_read_back_to_one_meaning_a_row(every):
    for column, reader in READERS.items():
        read = reader(every.lexicon).read
        for split in every.splits.values():
            assert [read(line) for line in split.texts[column]] == split.meanings


def test_grammar_columns_words_of_other_splits_are_words_of_train(every):
    def words(split):
        found = {c for meaning in every.splits[split].meanings for c in iterate_concepts(meaning, every.lexicon)}
        return {(language, word) for language in "cd" for c in found for word, _ in every.lexicon.words[language][c]}

    train = words("train")
    assert all(words(name) <= train for name in every.splits)


@pytest.mark.parametrize("target", "abcd")
def test_grammar_columns_every_language_can_be_the_target(every, target):
    references = every.splits["test"].texts[target]
    best, (redrawn,) = every.best_spellings("test", target), every.redrawn_references("test", 1, target)
    assert all(map(all, (every.is_legal("test", lines, target) for lines in (references, best, redrawn))))
    assert not any(every.is_legal("test", references[1:] + references[:1], target))
    assert redrawn != references
    nats = every.generator_nats("test", target, ["a", "d"] if target in "bc" else ["b", "c"])
    for value, meaning, text in zip(nats, every.splits["test"].meanings, best, strict=True):
        assert math.isfinite(value) and every.spelling_nats(target, meaning, text) <= value + 1e-9


def test_grammar_columns_generator_nats_are_none_where_the_sources_make_them_unknown():
    posted = make("a", "b_mt", "features", "c", "b")
    assert posted.generator_nats("test") is None
    assert posted.generator_nats("test", "b", ["a", "b_mt"]) is None
    assert posted.generator_nats("test", "b", ["features"]) is None
    assert posted.generator_nats("test", "c", ["b_mt"]) is None
    known = posted.generator_nats("test", "b", ["a"])
    assert known == make("a", "b").generator_nats("test")
    assert posted.generator_nats("test", "b", ["a", "features"]) is known
    assert posted.generator_nats("test", "c") != known
    for target in ("b_mt", "features", "d", "text"):
        for ask in (posted.generator_nats, posted.best_spellings):
            with pytest.raises(SettingsError, match=f"target={target}: .* only ever a source; choose from a, c, b"):
                ask("test", target=target)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (("a",), "two or more different columns"),
        (("a", "b", "a"), "two or more different columns"),
        (("a", "e"), "choose from a, b, c, d, a_mt, b_mt, c_mt, d_mt, features"),
        (("a", "b_mt"), "b_mt is only ever a source; put one of a, b, c, d last"),
        (("a", "features"), "features is only ever a source"),
    ],
)
def test_grammar_columns_that_make_no_translation_are_refused(columns, says):
    with pytest.raises(SettingsError, match=says) as error:
        GrammarSettings("mt", "tiny", columns=columns)
    assert str(error.value).startswith(f"data.columns=[{','.join(columns)}]: ")


def test_grammar_columns_with_faults_are_no_target_of_a_direction():
    data = DataConfig(columns=["a", "b_mt", "b"])
    for directions in (["a-b_mt"], ["a-b", "b-b_mt"]):
        with pytest.raises(SettingsError, match="b_mt holds generated faults and is only ever read"):
            RunConfig(task=TaskConfig("mt", directions=directions), data=data)
    RunConfig(task=TaskConfig("mt", directions=["a+b_mt-b"]), data=data)


@pytest.mark.parametrize("columns", [("a", "b"), ("b_mt",), ("features",)])
def test_grammar_columns_of_a_language_model_are_one_language(columns):
    with pytest.raises(SettingsError, match="has one language; choose one of a, b, c, d"):
        GrammarSettings("lm", "tiny", columns=columns)


@pytest.mark.parametrize("language", "cd")
def test_grammar_columns_c_and_d_have_running_text(language):
    corpus = generate(GrammarSettings("lm", "tiny", columns=(language,)))
    reader, split = READERS[language](corpus.lexicon), corpus.splits["test"]
    for line, paragraph in zip(split.texts["text"], split.meanings, strict=True):
        assert tuple(reader.read(f"{part}.") for part in line.removesuffix(".").split(". ")) == paragraph
    assert all(math.isfinite(nats) for nats in corpus.generator_nats("test"))


def test_grammar_columns_sisters_share_pieces_of_words_and_strangers_do_not(every):
    def trigrams(language):
        words = (word.strip(",.") for line in every.splits["train"].texts[language] for word in line.split())
        # Neither names nor numbers, which all languages share.
        marked = (f"_{word}_" for word in words if word.islower())
        return Counter(word[at : at + 3] for word in marked for at in range(len(word) - 2))

    counts = {language: trigrams(language) for language in "abcd"}

    def overlap(one, other):
        return (counts[one] & counts[other]).total() / min(counts[one].total(), counts[other].total())

    assert overlap("b", "c") > 1.3 * overlap("a", "b")
    assert overlap("b", "c") > 3 * max(overlap(language, "d") for language in "abc")


# The fault channel


@pytest.mark.parametrize("language", "abcd")
def test_grammar_columns_faults_are_as_many_as_in_real_sets(every, language):
    faulty, right = (every.splits["train"].texts[column] for column in (f"{language}_mt", language))
    assert 68 < corpus_bleu(faulty, [right]).score < 79
    unharmed = sum(one == other for one, other in zip(faulty, right, strict=True)) / len(right)
    assert 0.3 < unharmed < 0.46


KIND_POINTS = {"form": 0.0, "word": 0.4, "drop": 0.6, "double": 0.75, "swap": 0.9}


@pytest.mark.parametrize(
    ("language", "text", "at", "kind", "expected"),
    [
        ("b", "die frau schaut heute das buch an.", 0, "form", "der frau schaut heute das buch an."),
        ("b", "die frau schaut heute das buch an.", 1, "form", "die frauen schaut heute das buch an."),
        ("b", "die frau schaut heute das buch an.", 2, "form", "die frau schauen heute das buch an."),
        ("b", "die frau schaut heute das buch an.", 2, "word", "die frau sieht heute das buch an."),
        ("b", "die katze ruht.", 1, "word", "die mieze ruht."),
        ("b", "die frau schaut heute das buch an.", 6, "drop", "die frau schaut heute das buch."),
        ("b", "die frau ruht.", 1, "double", "die frau frau ruht."),
        ("b", "die frau ruht.", 2, "swap", "die ruht frau."),
        ("b", "die frau ruht heute.", 3, "word", "die frau heute ruht."),
        ("b", "die frau ruht.", 0, "swap", "die frau ruht."),
        ("b", "Ann sagt, dass Bob das buch anschaut.", 6, "word", "Ann sagt, dass Bob das buch sieht."),
        ("b", "Ann sagt, dass Bob das buch anschaut.", 6, "form", "Ann sagt, dass Bob das buch anschauen."),
        ("b", "Ann sagt, dass Bob ruht.", 2, "swap", "Ann sagt, dass Bob ruht."),
        ("c", "die froa ruet.", 0, "form", "dar froa ruet."),
        ("d", "Ann kelimynit nada.", 1, "form", "Ann kelim nada."),
        ("a", "the woman sees the book.", 0, "form", "a woman sees the book."),
        ("a", "the woman sees the book.", 2, "form", "the woman see the book."),
    ],
)
def test_grammar_columns_one_fault_at_a_time(language, text, at, kind, expected):
    words = len(text.split())
    choice = [0.0] if kind in ("form", "word") else []
    points = [0.99] * at + [0.0, KIND_POINTS[kind], *choice] + [0.99] * words
    assert FaultChannel(make_toy_lexicon(), language).apply(text, iter(points).__next__) == expected


def test_grammar_columns_faults_take_other_prepositions():
    channel = FaultChannel(make_lexicon(GrammarSettings("mt", "tiny")), "b")
    assert channel.apply("in.", iter((0.0, 0.4, 0.0)).__next__) == "auf."


def test_grammar_columns_a_sentence_never_loses_all_its_words():
    channel = FaultChannel(make_toy_lexicon(), "a")
    points = [0.0, KIND_POINTS["drop"]]
    assert channel.apply("Ann slept.", iter(points * 2).__next__) == "Ann slept."
    assert channel.apply("Ann says, that Bob slept.", iter(points * 2 + [0.99] * 3).__next__) == "that Bob slept."
    assert channel.apply("Ann says, that Bob slept.", iter([0.99] * 2 + points * 3).__next__) == "Ann says."


def test_grammar_columns_faulty_lines_have_the_alphabet_of_their_language():
    other, latin = (make("a", "b_mt", "b", alphabet_b=alphabet) for alphabet in ("other", "latin"))
    lines = other.splits["test"].texts["b_mt"]
    assert not any(letter.isascii() and letter.isalnum() for line in lines for letter in line)
    assert [swap_script(line) for line in lines] == latin.splits["test"].texts["b_mt"]


# Features


def test_grammar_columns_features_say_which_concepts_a_sentence_has(every):
    split, lexicon = every.splits["test"], every.lexicon
    rows = [list(iterate_concepts(meaning, lexicon)) for meaning in split.meanings]
    assert [vectors.shape for vectors in split.features] == [(len(row), 32) for row in rows]
    assert all(vectors.dtype == np.float32 for vectors in split.features)
    seen: dict[int, list[np.ndarray]] = {}
    for vectors, row in zip(every.splits["train"].features, every.splits["train"].meanings, strict=True):
        for vector, concept in zip(vectors, iterate_concepts(row, lexicon), strict=True):
            seen.setdefault(concept, []).append(vector)
    concepts = sorted(seen)
    means = np.stack([np.mean(seen[concept], axis=0) for concept in concepts])
    for vectors, row in zip(split.features, rows, strict=True):
        distances = ((vectors[:, None] - means) ** 2).sum(-1)
        assert [concepts[place] for place in distances.argmin(1)] == row


def test_grammar_columns_features_are_noisy_and_their_vectors_belong_to_the_language(every):
    first, second = (corpus.splits["train"] for corpus in (every, make("features", "a", seed=1)))
    vectors: dict[int, list[np.ndarray]] = {}
    for split in (first, second):
        by_concept: dict[int, np.ndarray] = {}
        for rows, meaning in zip(split.features, split.meanings, strict=True):
            for vector, concept in zip(rows, iterate_concepts(meaning, every.lexicon), strict=True):
                assert not np.array_equal(by_concept.get(concept), vector)
                by_concept.setdefault(concept, vector)
        for concept, vector in by_concept.items():
            vectors.setdefault(concept, []).append(vector)
    both = [pair for pair in vectors.values() if len(pair) == 2]
    assert len(both) > 100
    assert all(0 < np.abs(one - other).max() < 1.001 for one, other in both)
