"""The corpus as a run sees it: splits, sizes, references, and the same bytes everywhere."""

import math
import random
import re
from collections import Counter

import pytest

from tietrain.config import DataConfig
from tietrain.data.grammar.corpus import generate
from tietrain.data.grammar.draw import Table
from tietrain.data.grammar.lexicon import NEUTRAL
from tietrain.data.grammar.meaning import (
    NONE,
    PRESENT,
    Clause,
    Phrase,
    Structure,
    count_words,
    iterate_concepts,
    iterate_objects,
    iterate_phrases,
)
from tietrain.data.grammar.paragraph import ParagraphModel, cast_nats
from tietrain.data.grammar.settings import GRAMMAR_VERSION, PRESETS, GrammarSettings
from tietrain.data.grammar.spelling import swap_script
from tietrain.data.grammar.splits import PairSplits
from tietrain.errors import SettingsError

GOLDEN = {
    "mt": "61784270b28e9459343fb5c7295269de3dedfbe8734ac2d51af8c8e888267595",
    "lm": "eb42a7fcbd4dc031bb4b94951e2bad70710ee67f84fa6f6936e23589ca9b1499",
}
"""Fingerprints of `tiny`. They move with GRAMMAR_VERSION alone: else corpora stop comparing."""


@pytest.fixture(scope="module")
def pairs():
    return generate(GrammarSettings("mt", "tiny"))


@pytest.fixture(scope="module")
def paragraphs():
    return generate(GrammarSettings("lm", "tiny"))


@pytest.fixture(scope="module")
def small():
    return generate(GrammarSettings("mt", "small"))


def concepts_of(corpus, split):
    """How often a split has each concept."""
    counts = Counter()
    for line in corpus.splits[split].meanings:
        for meaning in [line] if corpus.settings.task == "mt" else line:
            counts.update(iterate_concepts(meaning, corpus.lexicon))
    return counts


def test_generate_is_byte_identical_everywhere_and_leaves_the_global_generator_alone(paragraphs):
    random.seed(1)
    before = random.getstate()
    made = generate(GrammarSettings("mt", "tiny"))
    assert random.getstate() == before
    assert GRAMMAR_VERSION == 1
    assert {"mt": made.fingerprint, "lm": paragraphs.fingerprint} == GOLDEN


def test_generate_draws_the_corpus_from_seed_and_the_languages_from_language_seed(pairs):
    other = generate(GrammarSettings("mt", "tiny", seed=1))
    assert other.lexicon.words == pairs.lexicon.words
    assert not set(other.splits["test"].texts["a"]) & set(pairs.splits["test"].texts["a"])
    another = generate(GrammarSettings("mt", "tiny", language_seed=1))
    assert another.lexicon.words != pairs.lexicon.words
    assert len({corpus.fingerprint for corpus in (pairs, other, another)}) == 3


@pytest.mark.parametrize("task", ["mt", "lm"])
def test_alphabet_b_other_spells_the_same_sentences_and_shares_nothing(pairs, task):
    columns = ("a", "b") if task == "mt" else ("b",)
    latin = generate(GrammarSettings(task, "tiny", columns=columns))
    other = generate(GrammarSettings(task, "tiny", alphabet_b="other", columns=columns))
    column = other.columns[-1]
    shared = set("".join(pairs.splits["train"].texts["a"])) & set("".join(other.splits["train"].texts[column]))
    assert shared == set(" ,.")
    for name, split in other.splits.items():
        assert [swap_script(line) for line in split.texts[column]] == latin.splits[name].texts[column]
    assert other.generator_nats("test") == latin.generator_nats("test")
    assert other.fingerprint != latin.fingerprint
    if task == "mt":
        assert all(other.is_legal("test", other.best_spellings("test")))
        assert not any(other.is_legal("test", latin.best_spellings("test")))


def test_no_meaning_is_in_two_splits(pairs, paragraphs):
    counts = Counter(meaning for split in pairs.splits.values() for meaning in split.meanings)
    assert set(counts.values()) == {1}
    train, valid, test = (set().union(*split.meanings) for split in paragraphs.splits.values())
    assert not train & valid and not train & test and not valid & test


@pytest.mark.parametrize("task", ["mt", "lm"])
def test_other_splits_have_lexemes_of_train_alone_and_the_rest_is_noted(task):
    # So many lexemes that train lacks some.
    corpus = generate(GrammarSettings(task, "tiny", difficulty=12, seed=5, language_seed=7))
    train = concepts_of(corpus, "train")
    assert all(concepts_of(corpus, name).keys() <= train.keys() for name in corpus.splits)
    n_left_out, n_lexemes, n_absent, n_synonyms = map(int, re.findall(r"\d+", corpus.notes[0]))
    assert n_lexemes == len(corpus.lexicon.kind)
    assert n_left_out - n_synonyms == n_absent == n_lexemes - len(train) > 0


def test_held_pairs_are_in_held_alone(pairs):
    held = PairSplits(pairs.settings, pairs.lexicon).held
    for name, split in pairs.splits.items():
        has_held = [any(pair in held for pair in iterate_objects(meaning)) for meaning in split.meanings]
        assert all(has_held) if name == "held" else not any(has_held)
    verbs = {}
    for name in ("train", "held"):
        verbs[name] = {verb for meaning in pairs.splits[name].meanings for verb, _ in iterate_objects(meaning)}
    assert verbs["held"] <= verbs["train"]


def test_rare_lines_each_have_a_rare_lexeme(small):
    counts = concepts_of(small, "train")
    _, n_rare, rare_at_most = map(int, re.findall(r"\d+", small.notes[1]))
    assert rare_at_most == 5
    used = set()
    for meaning in small.splits["rare"].meanings:
        rare = {concept for concept in iterate_concepts(meaning, small.lexicon) if 1 <= counts[concept] <= 5}
        assert rare
        used |= rare
    assert len(used) > 0.9 * n_rare


def test_draw_rare_repeats_no_adjective(pairs):
    splits = PairSplits(pairs.settings, pairs.lexicon)
    first, second = pairs.lexicon.members("adjective")[:2]
    (verb, *_), (noun, *_) = (pairs.lexicon.members(kind) for kind in ("intransitive", "person"))
    meaning = (Clause(NONE, verb, PRESENT, Phrase(noun, adjectives=(first, second))),)
    splits.ordinary.draw = lambda uniform: meaning
    splits.rare = {"adjective": [first]}
    assert splits._draw_rare(lambda: 0.0) == meaning
    assert splits._draw_rare(lambda: 0.99) is None


def test_long_lines_are_from_the_top_of_the_range(pairs):
    lengths = {}
    for name in ("train", "long"):
        lengths[name] = sorted(count_words(meaning, pairs.lexicon) for meaning in pairs.splits[name].meanings)
    train, long = lengths["train"], lengths["long"]
    assert long[0] >= train[int(0.97 * len(train))] and long[-1] <= train[-1]
    assert sum(long) / len(long) > 2 * sum(train) / len(train)


def test_references_are_legal_and_no_better_than_best_spellings(pairs):
    for name, split in pairs.splits.items():
        references = split.texts["b"]
        best = pairs.best_spellings(name)
        assert all(pairs.is_legal(name, references)) and all(pairs.is_legal(name, best))
        for nats, meaning, text in zip(pairs.generator_nats(name), split.meanings, best, strict=True):
            assert math.isfinite(nats) and nats > -1e-12
            assert pairs.spelling_nats("b", meaning, text) <= nats + 1e-9


def test_redrawn_references_are_fresh_legal_and_repeatable(pairs):
    first, second = pairs.redrawn_references("test", 2)
    assert first != second and first != pairs.splits["test"].texts["b"]
    assert all(pairs.is_legal("test", first)) and all(pairs.is_legal("test", second))
    assert pairs.redrawn_references("test", 3)[:2] == [first, second]


def test_is_legal_refuses_other_lines_and_broken_ones(pairs):
    lines = pairs.splits["test"].texts["b"]
    assert not any(pairs.is_legal("test", lines[1:] + lines[:1]))
    assert not any(pairs.is_legal("test", pairs.splits["test"].texts["a"]))
    assert all(pairs.is_legal("test", [f"  {line.replace(' ', '  ')} " for line in lines]))
    articles = {"der": "die", "die": "das", "das": "die", "den": "der", "dem": "den", "ein": "eine", "eine": "ein"}
    pattern = re.compile(r"\b(" + "|".join(articles) + r")\b")
    swapped = [pattern.sub(lambda found: articles[found[0]], line, count=1) for line in lines]
    legal = pairs.is_legal("test", swapped)
    changed = [place for place, line in enumerate(lines) if swapped[place] != line]
    assert len(changed) > 200 and not any(legal[place] for place in changed)


def test_paragraph_nats_are_better_than_those_without_topic_or_cast(paragraphs):
    split, lexicon = paragraphs.splits["test"], paragraphs.lexicon
    structure = Structure(paragraphs.settings.max_clauses)
    model = ParagraphModel(structure, lexicon)
    blind = ParagraphModel(structure, lexicon, topics=Table((NEUTRAL,), (1,)))
    with_topic = [model.meaning_nats(paragraph) for paragraph in split.meanings]
    for nats, of_meaning in zip(paragraphs.generator_nats("test"), with_topic, strict=True):
        assert nats >= of_meaning - 1e-9
    assert sum(with_topic) < 0.95 * sum(map(blind.meaning_nats, split.meanings))
    table = lexicon.table("name")
    in_cast = 0.0
    alone = 0.0
    for paragraph in split.meanings:
        nouns = [phrase.noun for meaning in paragraph for phrase in iterate_phrases(meaning)]
        names = [noun for noun in nouns if lexicon.kind[noun] == "name"]
        in_cast += cast_nats(names, table)
        alone += sum(map(table.nats, names))
    assert in_cast < alone


def test_presets_have_the_promised_sizes(small):
    sizes = {name: len(split) for name, split in small.splits.items()}
    assert sizes == {"train": 20_000, "valid": 1_000, "test": 2_000, "held": 2_000, "rare": 2_000, "long": 2_000}
    for lines in small.splits["train"].texts.values():
        assert 8 <= sum(len(line.split()) for line in lines) / 20_000 <= 14
    corpus = generate(GrammarSettings("lm", "small"))
    n_bytes = {name: sum(len(line) + 1 for line in split.texts["text"]) for name, split in corpus.splits.items()}
    assert n_bytes["train"] >= 2_000_000 and n_bytes["test"] >= 200_000


@pytest.mark.slow
def test_preset_full_has_the_promised_sizes():
    corpus = generate(GrammarSettings("mt", "full"))
    assert len(corpus.splits["train"]) == PRESETS["full"].train_pairs == 100_000
    assert all(len(corpus.splits[name]) >= 2_000 for name in ("valid", "test", "held", "rare", "long"))


@pytest.mark.parametrize("difficulty", [1, 12])
@pytest.mark.parametrize("task", ["mt", "lm"])
def test_every_difficulty_fills_every_split(task, difficulty):
    corpus = generate(GrammarSettings(task, "tiny", difficulty=difficulty, seed=5, language_seed=7))
    assert all(len(split) >= 40 for split in corpus.splits.values())
    assert all(math.isfinite(nats) for nats in corpus.generator_nats("test"))


def test_settings_are_refused_and_the_key_is_named():
    for changes in ({"preset": "tinny"}, {"alphabet_b": "runes"}, {"difficulty": 13}):
        ((key, value),) = changes.items()
        with pytest.raises(SettingsError) as error:
            DataConfig(**changes)
        assert error.value.setting == f"data.{key}={value}"
    with pytest.raises(SettingsError) as error:
        GrammarSettings("mt", difficulty=2.5)
    assert error.value.setting == "data.difficulty=2.5"


def test_references_are_for_translation_and_splits_of_the_corpus_alone(paragraphs, pairs):
    with pytest.raises(ValueError, match="task=lm"):
        paragraphs.best_spellings("test")
    with pytest.raises(ValueError, match="split dev"):
        pairs.best_spellings("dev")
    with pytest.raises(ValueError, match="249 hypotheses for the 250 lines"):
        pairs.is_legal("test", pairs.splits["test"].texts["b"][1:])
