"""The corpus as a run sees it: splits, sizes, references, and the same bytes everywhere."""

import json
import math
import random
import re
from collections import Counter

import pytest
from grammar_reading import ReaderA, ReaderB

from tietrain.data.grammar import GRAMMAR_VERSION, PRESETS, GrammarSettings, generate
from tietrain.data.grammar.draw import Table
from tietrain.data.grammar.lexicon import NEUTRAL
from tietrain.data.grammar.meaning import (
    count_words,
    iterate_concepts,
    iterate_objects,
    iterate_phrases,
    make_structure,
)
from tietrain.data.grammar.paragraph import ParagraphModel, cast_nats
from tietrain.data.grammar.script import swap_script
from tietrain.data.grammar.splits import PairSplits, max_clauses
from tietrain.errors import SettingsError

GOLDEN = {
    "mt": "61784270b28e9459343fb5c7295269de3dedfbe8734ac2d51af8c8e888267595",
    "lm": "eb42a7fcbd4dc031bb4b94951e2bad70710ee67f84fa6f6936e23589ca9b1499",
}
"""Fingerprints of `tiny`. They move with GRAMMAR_VERSION alone: else corpora stop comparing."""

OTHER_SPLITS = ("valid", "test", "held", "rare", "long")


@pytest.fixture(scope="module")
def pairs():
    return generate(GrammarSettings("mt", "tiny"))


@pytest.fixture(scope="module")
def paragraphs():
    return generate(GrammarSettings("lm", "tiny"))


@pytest.fixture(scope="module")
def small():
    return generate(GrammarSettings("mt", "small"))


def test_grammar_corpus_is_byte_identical_everywhere(pairs, paragraphs):
    assert GRAMMAR_VERSION == 1
    assert {"mt": pairs.fingerprint, "lm": paragraphs.fingerprint} == GOLDEN


def test_grammar_corpus_leaves_the_global_generator_alone():
    random.seed(1)
    before = random.getstate()
    generate(GrammarSettings("mt", "tiny"))
    assert random.getstate() == before


def test_grammar_corpus_seed_changes_corpus_but_not_language(pairs):
    other = generate(GrammarSettings("mt", "tiny", seed=1))
    assert other.lexicon.words == pairs.lexicon.words
    assert not set(other.splits["test"].texts["a"]) & set(pairs.splits["test"].texts["a"])
    assert other.fingerprint != pairs.fingerprint


def test_grammar_corpus_language_seed_changes_language(pairs):
    other = generate(GrammarSettings("mt", "tiny", language_seed=1))
    assert other.lexicon.words != pairs.lexicon.words
    assert other.fingerprint != pairs.fingerprint


def test_grammar_corpus_directions_share_every_line(pairs):
    back = generate(GrammarSettings("mt", "tiny", columns=("b", "a")))
    assert back.columns == ("b", "a") and pairs.columns == ("a", "b")
    for name, split in pairs.splits.items():
        assert back.splits[name].texts == split.texts
    assert back.generator_nats("test") != pairs.generator_nats("test")


@pytest.mark.parametrize("task", ["mt", "lm"])
def test_grammar_corpus_other_alphabet_spells_the_same_sentences_and_shares_nothing(pairs, task):
    settings = {"mt": {}, "lm": {"columns": ("b",)}}[task]
    latin = generate(GrammarSettings(task, "tiny", **settings))
    other = generate(GrammarSettings(task, "tiny", alphabet_b="other", **settings))
    column = "b" if task == "mt" else "text"
    shared = set("".join(pairs.splits["train"].texts["a"])) & set("".join(other.splits["train"].texts[column]))
    assert shared == set(" ,.")
    for name, split in other.splits.items():
        assert [swap_script(line) for line in split.texts[column]] == latin.splits[name].texts[column]
    assert other.generator_nats("test") == latin.generator_nats("test")
    assert other.fingerprint != latin.fingerprint
    if task == "mt":
        assert all(other.is_legal("test", other.best_spellings("test")))
        assert not any(other.is_legal("test", latin.best_spellings("test")))


def test_grammar_corpus_no_meaning_is_in_two_splits(pairs):
    counts = Counter(meaning for split in pairs.splits.values() for meaning in split.meanings)
    assert set(counts.values()) == {1}


def test_grammar_corpus_no_sentence_of_a_test_paragraph_is_in_train(paragraphs):
    meanings = {name: {m for p in split.meanings for m in p} for name, split in paragraphs.splits.items()}
    assert not meanings["train"] & (meanings["valid"] | meanings["test"])
    assert not meanings["valid"] & meanings["test"]


def test_grammar_corpus_sources_read_back_to_their_meanings(pairs):
    for column, reader in (("a", ReaderA(pairs.lexicon)), ("b", ReaderB(pairs.lexicon))):
        for split in pairs.splits.values():
            assert [reader.read(line) for line in split.texts[column]] == split.meanings


@pytest.mark.parametrize("task", ["mt", "lm"])
def test_grammar_corpus_lexemes_of_other_splits_are_all_in_train(task):
    # So many lexemes that train lacks some.
    corpus = generate(GrammarSettings(task, "tiny", difficulty=12))
    assert corpus.about["left_out"]["n_absent_from_train"] > 0

    def lexemes(split):
        lines = [(line,) for line in split.meanings] if task == "mt" else split.meanings
        return {c for line in lines for meaning in line for c in iterate_concepts(meaning, corpus.lexicon)}

    train = lexemes(corpus.splits["train"])
    for name, split in corpus.splits.items():
        assert lexemes(split) <= train, name


def test_grammar_corpus_held_pairs_are_in_held_only(pairs):
    held = PairSplits(pairs.settings, pairs.lexicon).held
    for name, split in pairs.splits.items():
        has_held = [any(pair in held for pair in iterate_objects(meaning)) for meaning in split.meanings]
        assert all(has_held) if name == "held" else not any(has_held)
    train_verbs = {verb for m in pairs.splits["train"].meanings for verb, _ in iterate_objects(m)}
    held_verbs = {verb for m in pairs.splits["held"].meanings for verb, _ in iterate_objects(m)}
    assert held_verbs <= train_verbs


def test_grammar_corpus_rare_lines_each_have_a_rare_lexeme(small):
    counts = Counter(c for m in small.splits["train"].meanings for c in iterate_concepts(m, small.lexicon))
    assert small.about["rare_at_most"] == 5
    used = set()
    for meaning in small.splits["rare"].meanings:
        rare = [c for c in iterate_concepts(meaning, small.lexicon) if 1 <= counts[c] <= 5]
        assert rare
        used.update(rare)
    assert len(used) > 0.9 * small.about["n_rare_lexemes"]


def test_grammar_corpus_long_lines_are_from_the_top_of_the_range(pairs):
    lengths = {
        name: sorted(count_words(meaning, pairs.lexicon) for meaning in split.meanings)
        for name, split in pairs.splits.items()
    }
    train, long = lengths["train"], lengths["long"]
    assert long[0] >= train[int(0.97 * len(train))] and long[-1] <= train[-1]
    assert sum(long) / len(long) > 2 * sum(train) / len(train)


def test_grammar_corpus_left_out_lexemes_are_counted():
    corpus = generate(GrammarSettings("mt", "tiny", difficulty=12))
    train = {c for meaning in corpus.splits["train"].meanings for c in iterate_concepts(meaning, corpus.lexicon)}
    left_out = corpus.about["left_out"]
    assert left_out["n_absent_from_train"] == len(corpus.lexicon.kind) - len(train) > 0
    total = left_out["n_absent_from_train"] + left_out["n_with_absent_synonym"]
    assert corpus.notes[0].startswith(f"{total} of {left_out['n_lexemes']} lexemes")


@pytest.mark.parametrize("direction", [("a", "b"), ("b", "a")])
def test_grammar_corpus_references_are_legal_and_no_better_than_the_best(direction):
    corpus = generate(GrammarSettings("mt", "tiny", columns=direction))
    target = corpus.columns[1]
    for name, split in corpus.splits.items():
        references, best = split.texts[target], corpus.best_spellings(name)
        assert all(corpus.is_legal(name, references)) and all(corpus.is_legal(name, best))
        scored = zip(corpus.generator_nats(name), split.meanings, best, strict=True)
        for nats, meaning, text in scored:
            assert math.isfinite(nats) and nats > -1e-12
            assert corpus.spelling_nats(target, meaning, text) <= nats + 1e-9


def test_grammar_corpus_redrawn_references_are_fresh_legal_and_repeatable(pairs):
    first, second = pairs.redrawn_references("test", 2)
    assert first != second and first != pairs.splits["test"].texts["b"]
    assert all(pairs.is_legal("test", first)) and all(pairs.is_legal("test", second))
    assert pairs.redrawn_references("test", 3)[:2] == [first, second]


def test_grammar_corpus_is_legal_refuses_other_lines_and_broken_ones(pairs):
    lines = pairs.splits["test"].texts["b"]
    assert not any(pairs.is_legal("test", lines[1:] + lines[:1]))
    assert not any(pairs.is_legal("test", pairs.splits["test"].texts["a"]))
    assert all(pairs.is_legal("test", [f"  {line.replace(' ', '  ')} " for line in lines]))
    articles = {"der": "die", "die": "das", "das": "die", "den": "der", "dem": "den", "ein": "eine", "eine": "ein"}
    pattern = re.compile(r"\b(" + "|".join(articles) + r")\b")
    swapped = [pattern.sub(lambda found: articles[found[0]], line, count=1) for line in lines]
    changed = [new != line for new, line in zip(swapped, lines, strict=True)]
    assert sum(changed) > 200
    assert not any(c and legal for c, legal in zip(changed, pairs.is_legal("test", swapped), strict=True))
    with pytest.raises(ValueError, match="hypotheses for the 250 lines of test"):
        pairs.is_legal("test", lines[1:])


def test_grammar_corpus_paragraph_nats_are_better_than_those_without_topic_or_cast(paragraphs):
    split, lexicon = paragraphs.splits["test"], paragraphs.lexicon
    assert len(paragraphs.generator_nats("test")) == len(split.texts["text"])
    structure = make_structure(max_clauses(paragraphs.settings.difficulty))
    model = ParagraphModel(structure, lexicon)
    blind = ParagraphModel(structure, lexicon, topics=Table((NEUTRAL,), (1,)))
    for nats, paragraph in zip(paragraphs.generator_nats("test"), split.meanings, strict=True):
        assert nats >= model.meaning_nats(paragraph) - 1e-9
    with_topic, without = (sum(map(which.meaning_nats, split.meanings)) for which in (model, blind))
    assert with_topic < 0.95 * without
    names = [n for p in split.meanings for n in (name for m in p for name in _names(m, lexicon))]
    alone = sum(lexicon.table("name").nats(name) for name in names)
    in_cast = sum(
        cast_nats([name for m in p for name in _names(m, lexicon)], lexicon.table("name")) for p in split.meanings
    )
    assert in_cast < alone


def _names(meaning, lexicon):
    return [phrase.noun for phrase in iterate_phrases(meaning) if lexicon.kind[phrase.noun] == "name"]


def test_grammar_corpus_about_is_json_and_carries_the_checksum(pairs, paragraphs):
    for corpus in (pairs, paragraphs):
        about = json.loads(json.dumps(corpus.about))
        assert about["version"] == GRAMMAR_VERSION
        assert about["fingerprint"] == corpus.fingerprint and len(corpus.fingerprint) == 64


def test_grammar_corpus_small_has_the_promised_sizes(small):
    sizes = {name: len(split) for name, split in small.splits.items()}
    assert sizes == {"train": 20_000, "valid": 1_000, "test": 2_000, "held": 2_000, "rare": 2_000, "long": 2_000}
    for lines in small.splits["train"].texts.values():
        assert 8 <= sum(len(line.split()) for line in lines) / 20_000 <= 14


def test_grammar_corpus_small_paragraphs_have_the_promised_sizes():
    corpus = generate(GrammarSettings("lm", "small"))
    n_bytes = {name: sum(len(line) + 1 for line in split.texts["text"]) for name, split in corpus.splits.items()}
    assert n_bytes["train"] >= 2_000_000 and n_bytes["test"] >= 200_000


@pytest.mark.slow
def test_grammar_corpus_full_has_the_promised_sizes():
    corpus = generate(GrammarSettings("mt", "full"))
    assert len(corpus.splits["train"]) == PRESETS["full"].train_pairs == 100_000
    assert all(len(corpus.splits[name]) >= 2_000 for name in OTHER_SPLITS)


@pytest.mark.parametrize("difficulty", [1, 12])
@pytest.mark.parametrize("task", ["mt", "lm"])
def test_grammar_corpus_every_difficulty_fills_every_split(task, difficulty):
    corpus = generate(GrammarSettings(task, "tiny", difficulty=difficulty, seed=5, language_seed=7))
    assert all(len(split) >= 40 for split in corpus.splits.values())
    assert all(math.isfinite(nats) for nats in corpus.generator_nats("test"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "tinny"}, "data.preset=tinny: there is no such choice; did you mean tiny?"),
        ({"task": "summaries"}, "task=summaries: there is no such choice; choose from lm, mt"),
        ({"alphabet_b": "runes"}, "data.alphabet_b=runes: there is no such choice; choose from latin, other"),
        ({"difficulty": 13}, "data.difficulty=13: it is out of range; choose a whole number from 1 to 12"),
        ({"difficulty": 2.5}, "data.difficulty=2.5: it is not a whole number; give one, e.g. 4"),
    ],
)
def test_grammar_corpus_refuses_settings_and_names_the_key(changes, message):
    with pytest.raises(SettingsError) as error:
        GrammarSettings(**({"task": "mt"} | changes))
    assert str(error.value) == message


def test_grammar_corpus_references_are_for_translation_only(paragraphs, pairs):
    with pytest.raises(ValueError, match="task=lm: only a translation has references"):
        paragraphs.best_spellings("test")
    with pytest.raises(ValueError, match="split dev: not in this corpus"):
        pairs.best_spellings("dev")
