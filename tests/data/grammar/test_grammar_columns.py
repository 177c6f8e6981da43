"""More columns than two: other languages, faulty lines and feature vectors of the same meanings."""

import math
import re
import subprocess
import sys
from collections import Counter, defaultdict

import numpy as np
import pytest
from grammar_reading import READERS
from grammar_toy import TOY
from sacrebleu import corpus_bleu

from tietrain.config import DataConfig, RunConfig, TaskConfig
from tietrain.data.grammar.corpus import generate
from tietrain.data.grammar.language_a import LanguageA
from tietrain.data.grammar.language_b import LanguageB, LanguageC
from tietrain.data.grammar.meaning import iterate_concepts
from tietrain.data.grammar.noisy_sources import FaultChannel
from tietrain.data.grammar.settings import GrammarSettings
from tietrain.data.grammar.spelling import swap_script
from tietrain.errors import SettingsError

EVERY = ("a", "a_mt", "b_mt", "c_mt", "features", "c", "b")
GOLDEN = "cec83182617a91898e9cd7dd3f37ed1d3da23cd443409f63e4eb11a24980f675"
"""Fingerprint of `tiny` with EVERY column; moves with GRAMMAR_VERSION alone."""


def make(*columns, **settings):
    return generate(GrammarSettings("mt", "tiny", columns=columns, **settings))


@pytest.fixture(scope="module")
def every():
    return make(*EVERY)


def test_columns_are_byte_identical_in_every_process(every):
    assert every.fingerprint == GOLDEN
    code = (
        "from tietrain.data.grammar.corpus import GrammarSettings, generate\n"
        f"print(generate(GrammarSettings('mt', 'tiny', columns={EVERY})).fingerprint)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == GOLDEN


@pytest.mark.parametrize("columns", [("b", "a"), ("c", "a"), ("b_mt", "features", "b")])
def test_columns_have_the_same_lines_whatever_the_others(every, columns):
    some = make(*columns)
    assert some.columns == tuple(column for column in columns if column != "features")
    for name, split in some.splits.items():
        assert split.meanings == every.splits[name].meanings
        assert split.texts == {column: every.splits[name].texts[column] for column in some.columns}
        assert (split.features is not None) == ("features" in columns)
        if split.features:
            assert all(map(np.array_equal, split.features, every.splits[name].features))
    assert some.fingerprint != every.fingerprint


def test_columns_read_back_to_the_meaning_of_their_row(every):
    for letter, reader in READERS.items():
        read = reader(every.lexicon).read
        for split in every.splits.values():
            assert [read(line) for line in split.texts[letter]] == split.meanings


def test_column_c_has_words_of_train_alone(every):
    def words_of(split):
        words = set()
        for meaning in every.splits[split].meanings:
            for concept in iterate_concepts(meaning, every.lexicon):
                words.add(every.lexicon.words["c"][concept])
        return words

    train = words_of("train")
    assert all(words_of(name) <= train for name in every.splits)


@pytest.mark.parametrize("target", "ac")
def test_columns_of_every_language_can_be_the_target(every, target):
    references = every.splits["test"].texts[target]
    best = every.best_spellings("test", target)
    (redrawn,) = every.redrawn_references("test", 1, target)
    assert all(all(every.is_legal("test", lines, target)) for lines in (references, best, redrawn))
    assert not any(every.is_legal("test", references[1:] + references[:1], target))
    assert redrawn != references
    nats = every.generator_nats("test", target, ["b"])
    for value, meaning, text in zip(nats, every.splits["test"].meanings, best, strict=True):
        assert math.isfinite(value) and every.spelling_nats(target, meaning, text) <= value + 1e-9


def test_generator_nats_are_none_if_the_sources_make_them_unknown():
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
            with pytest.raises(SettingsError) as error:
                ask("test", target=target)
            assert error.value.setting == f"target={target}" and error.value.remedy.endswith("a, c, b")


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        ("mt", columns)
        for columns in (("a",), ("a", "b", "a"), ("a", "d"), ("d_mt", "b"), ("a", "b_mt"), ("a", "features"))
    ]
    + [("lm", columns) for columns in (("a", "b"), ("b_mt",))],
)
def test_columns_that_make_no_corpus_are_refused(task, columns):
    with pytest.raises(SettingsError) as error:
        GrammarSettings(task, "tiny", columns=columns)
    assert error.value.setting == f"data.columns=[{','.join(columns)}]"


def test_columns_with_faults_are_not_a_target_of_a_direction():
    data = DataConfig(columns=["a", "b_mt", "b"])
    for directions in (["a-b_mt"], ["a-b", "b-b_mt"]):
        with pytest.raises(SettingsError) as error:
            RunConfig(task=TaskConfig("mt", directions=directions), data=data)
        assert error.value.setting == f"task.directions=[{directions[-1]}]"
    RunConfig(task=TaskConfig("mt", directions=["a+b_mt-b"]), data=data)


def test_column_c_has_running_text():
    corpus = generate(GrammarSettings("lm", "tiny", columns=("c",)))
    reader = READERS["c"](corpus.lexicon)
    split = corpus.splits["test"]
    for line, paragraph in zip(split.texts["text"], split.meanings, strict=True):
        assert tuple(reader.read(f"{part}.") for part in line.removesuffix(".").split(". ")) == paragraph
    assert all(math.isfinite(nats) for nats in corpus.generator_nats("test"))


def test_sisters_share_more_pieces_of_words_than_strangers(every):
    counts = {letter: Counter() for letter in "abc"}
    for letter, trigrams in counts.items():
        for word in re.findall(r"[^\s,.]+", " ".join(every.splits["train"].texts[letter])):
            # Neither names nor numbers, which all languages share.
            marked = f"_{word}_" if word.islower() else ""
            trigrams.update(marked[at : at + 3] for at in range(len(marked) - 2))

    def overlap(one, other):
        return (counts[one] & counts[other]).total() / min(counts[one].total(), counts[other].total())

    assert overlap("b", "c") > 1.3 * overlap("a", "b")


# Faulty lines


@pytest.mark.parametrize("letter", "abc")
def test_faults_are_as_many_as_in_real_sets(every, letter):
    right = every.splits["train"].texts[letter]
    faulty = every.splits["train"].texts[f"{letter}_mt"]
    assert 68 < corpus_bleu(faulty, [right]).score < 79
    assert 0.3 < sum(map(str.__eq__, faulty, right)) / len(right) < 0.46


KIND_POINTS = {"form": 0.0, "word": 0.4, "drop": 0.6, "double": 0.75, "swap": 0.9}
MAIN, SUBORDINATE = "die frau schaut heute das buch an.", "Ann sagt, dass Bob das buch anschaut."


@pytest.mark.parametrize(
    ("language", "text", "at", "kind", "expected"),
    [
        (LanguageB, MAIN, 0, "form", "der frau schaut heute das buch an."),
        (LanguageB, MAIN, 1, "form", "die frauen schaut heute das buch an."),
        (LanguageB, MAIN, 2, "word", "die frau sieht heute das buch an."),
        (LanguageB, "die katze ruht.", 1, "word", "die mieze ruht."),
        (LanguageB, MAIN, 6, "drop", "die frau schaut heute das buch."),
        (LanguageB, "die frau ruht.", 1, "double", "die frau frau ruht."),
        (LanguageB, "die frau ruht.", 2, "swap", "die ruht frau."),
        (LanguageB, "die frau ruht heute.", 3, "word", "die frau heute ruht."),
        (LanguageB, "die frau ruht.", 0, "swap", "die frau ruht."),
        (LanguageB, SUBORDINATE, 6, "word", "Ann sagt, dass Bob das buch sieht."),
        (LanguageB, SUBORDINATE, 6, "form", "Ann sagt, dass Bob das buch anschauen."),
        (LanguageB, "Ann sagt, dass Bob ruht.", 2, "swap", "Ann sagt, dass Bob ruht."),
        (LanguageC, "die froa ruet.", 0, "form", "dar froa ruet."),
        (LanguageA, "the woman sees the book.", 0, "form", "a woman sees the book."),
    ],
)
def test_fault_channel_makes_one_fault_at_a_time(language, text, at, kind, expected):
    choice = [0.0] if kind in ("form", "word") else []
    points = [0.99] * at + [0.0, KIND_POINTS[kind], *choice] + [0.99] * len(text.split())
    assert FaultChannel(language(TOY)).apply(text, iter(points).__next__) == expected


def test_fault_channel_takes_other_prepositions_and_never_all_words(every):
    assert FaultChannel(every.languages["b"]).apply("in.", iter((0.0, 0.4, 0.0)).__next__) == "auf."
    channel = FaultChannel(LanguageA(TOY))
    points = [0.0, KIND_POINTS["drop"]]
    assert channel.apply("Ann slept.", iter(points * 2).__next__) == "Ann slept."
    assert channel.apply("Ann says, that Bob slept.", iter(points * 2 + [0.99] * 3).__next__) == "that Bob slept."
    assert channel.apply("Ann says, that Bob slept.", iter([0.99] * 2 + points * 3).__next__) == "Ann says."


def test_faulty_lines_have_the_alphabet_of_their_language(every):
    lines = make("a", "b_mt", "b", alphabet_b="other").splits["test"].texts["b_mt"]
    assert not any(letter.isascii() and letter.isalnum() for letter in "".join(lines))
    assert [swap_script(line) for line in lines] == every.splits["test"].texts["b_mt"]


# Features


def vectors_of(corpus, split):
    """Concept -> its vectors in the order of the lines."""
    vectors = defaultdict(list)
    for rows, meaning in zip(corpus.splits[split].features, corpus.splits[split].meanings, strict=True):
        for vector, concept in zip(rows, iterate_concepts(meaning, corpus.lexicon), strict=True):
            assert vector.shape == (32,) and vector.dtype == np.float32
            vectors[concept].append(vector)
    return vectors


def test_features_say_which_concepts_a_sentence_has(every):
    seen = vectors_of(every, "train")
    concepts = np.array(sorted(seen))
    means = np.stack([np.mean(seen[concept], axis=0) for concept in concepts])
    for concept, vectors in vectors_of(every, "test").items():
        distances = ((np.stack(vectors)[:, None] - means) ** 2).sum(-1)
        assert (concepts[distances.argmin(1)] == concept).all()


def test_features_are_noisy_and_their_vectors_belong_to_the_language(every):
    first = vectors_of(every, "train")
    second = vectors_of(make("features", "a", seed=1), "train")
    assert all(len(np.unique(vectors, axis=0)) == len(vectors) for vectors in first.values())
    both = first.keys() & second.keys()
    assert len(both) > 100
    for concept in both:
        assert 0 < np.abs(first[concept][0] - second[concept][0]).max() < 1.001
