"""What each language may write, sentence by sentence, and that it can be read back."""

import math
from itertools import combinations

import pytest
from grammar_reading import ReaderA, ReaderB, ReaderC, UnreadableError
from grammar_reading_d import ReaderD
from grammar_toy import all_spellings, make_toy_lexicon
from hypothesis import given, settings
from hypothesis import strategies as st

from tietrain.data.grammar.coining import make_lexicon
from tietrain.data.grammar.coining_d import FIXED
from tietrain.data.grammar.draw import make_stream
from tietrain.data.grammar.language_a import LanguageA
from tietrain.data.grammar.language_b import LanguageB, LanguageC
from tietrain.data.grammar.language_d import LanguageD
from tietrain.data.grammar.meaning import (
    COUNTED,
    FUTURE,
    NONE,
    PAST,
    PLURAL,
    PRESENT,
    SINGULAR,
    Clause,
    MeaningDrawer,
    Phrase,
    Relative,
    count_words,
    make_long_structure,
    make_structure,
)
from tietrain.data.grammar.script import swap_script
from tietrain.data.grammar.settings import GrammarSettings
from tietrain.data.grammar.spelling import best_spelling, draw_spelling, spelling_nats
from tietrain.data.grammar.splits import max_clauses

LANGUAGES = {"a": LanguageA, "b": LanguageB, "c": LanguageC, "d": LanguageD}
TOY = make_toy_lexicon()
MAN, WOMAN = TOY.members("person")
CAT, BOOK, GARDEN = (TOY.members(kind)[0] for kind in ("animal", "thing", "place"))
SEE, SLEEP, SAY = (TOY.members(kind)[0] for kind in ("transitive", "intransitive", "clausal"))
OLD, RED = TOY.members("adjective")
TODAY, GLADLY = TOY.members("time")[0], TOY.members("manner")[0]
ANN, BOB = TOY.members("name")
IN, BECAUSE, TWO = (TOY.members(kind)[0] for kind in ("preposition", "conjunction", "number"))
THE_MAN, THE_WOMAN, THE_BOOK = Phrase(MAN), Phrase(WOMAN), Phrase(BOOK)


def spellings(language, *clauses):
    return {text for text, _ in all_spellings(LANGUAGES[language](TOY), clauses)}


def test_grammar_languages_a_puts_subject_verb_object_in_order():
    clause = Clause(NONE, SEE, PRESENT, THE_WOMAN, Phrase(BOOK, PLURAL, NONE, False, (OLD,)))
    assert spellings("a", clause) == {"the woman sees old books."}


def test_grammar_languages_a_agrees_and_marks_tense():
    women = Phrase(WOMAN, PLURAL)
    assert spellings("a", Clause(NONE, SLEEP, PRESENT, women)) == {"the women sleep."}
    assert spellings("a", Clause(NONE, SLEEP, PAST, women)) == {"the women slept."}
    assert spellings("a", Clause(NONE, SLEEP, FUTURE, THE_WOMAN)) == {"the woman will sleep."}


def test_grammar_languages_synonyms_and_free_adverbs_give_every_combination():
    assert spellings("a", Clause(NONE, SLEEP, PRESENT, THE_MAN, None, TODAY)) == {
        f"{text}." for man in ("man", "fellow")
        for text in (f"today the {man} sleeps", f"the {man} today sleeps", f"the {man} sleeps today")
    }  # fmt: skip


def test_grammar_languages_b_is_verb_second_with_the_particle_last():
    clause = Clause(NONE, SEE, PRESENT, THE_WOMAN, THE_BOOK, TODAY)
    assert spellings("b", clause) == {
        "die frau schaut heute das buch an.",
        "die frau schaut das buch heute an.",
        "heute schaut die frau das buch an.",
    }


def test_grammar_languages_b_is_verb_last_in_subordinate_clauses_with_the_particle_joined():
    told = Clause(NONE, SAY, PAST, Phrase(ANN))
    clause = Clause(TOY.that, SEE, PRESENT, THE_WOMAN, THE_BOOK)
    assert spellings("b", told, clause) == {"Ann sagte, dass die frau das buch anschaut."}
    future = clause._replace(tense=FUTURE)
    assert spellings("b", told, future) == {"Ann sagte, dass die frau das buch anschauen wird."}


def test_grammar_languages_b_fronts_an_object_only_where_its_case_shows():
    seen = spellings("b", Clause(NONE, SEE, PRESENT, THE_WOMAN, THE_MAN))
    assert seen == {"die frau sieht den mann.", "den mann sieht die frau."}
    assert spellings("b", Clause(NONE, SEE, PRESENT, THE_MAN, THE_WOMAN)) == {"der mann sieht die frau."}
    assert spellings("b", Clause(NONE, SEE, PRESENT, THE_MAN, Phrase(ANN))) == {"der mann sieht Ann."}


def test_grammar_languages_b_inflects_for_gender_case_and_number():
    red_men = Phrase(MAN, PLURAL, NONE, True, (RED,))
    an_old_man = Phrase(MAN, SINGULAR, NONE, False, (OLD,))
    two_books = Phrase(BOOK, COUNTED, TWO, False, (OLD,))
    in_garden = {"preposition": IN, "place": Phrase(GARDEN, SINGULAR, NONE, True, (OLD,))}
    assert "die roten manner sehen einen alten mann." in spellings("b", Clause(NONE, SEE, PRESENT, red_men, an_old_man))
    assert "ein alter mann schaute 2 alte bucher in dem alten garten an." in spellings(
        "b", Clause(NONE, SEE, PAST, an_old_man, two_books, **in_garden)
    )


def test_grammar_languages_two_translations_follow_the_class_of_the_object():
    assert best_spelling(LanguageA(TOY), (Clause(NONE, SEE, PAST, THE_WOMAN, THE_BOOK),)) == "the woman saw the book."
    assert best_spelling(LanguageB(TOY), (Clause(NONE, SEE, PAST, THE_WOMAN, THE_BOOK),)).startswith("die frau schaute")
    assert best_spelling(LanguageB(TOY), (Clause(NONE, SEE, PAST, THE_WOMAN, THE_WOMAN),)).startswith("die frau sah")


def test_grammar_languages_relative_clauses_close_with_one_comma():
    sleeper = Phrase(WOMAN, relative=Relative(SLEEP, PAST, None))
    because = Clause(BECAUSE, SLEEP, PRESENT, sleeper)
    meaning = (Clause(NONE, SEE, PRESENT, sleeper, sleeper), because)
    assert spellings("a", *meaning) == {
        "the woman, who slept, sees the woman, who slept, because the woman, who slept, sleeps."
    }
    assert spellings("b", *meaning) == {
        "die frau, die ruhte, sieht die frau, die ruhte, weil die frau, die ruhte, ruht."
    }
    assert spellings("a", meaning[0]) == {"the woman, who slept, sees the woman, who slept."}


@pytest.mark.parametrize(
    "text",
    [
        "der frau sieht das buch.",  # gender
        "die frau das buch schaut an.",  # order
        "die frau sieht das buch.",  # the translation for people
        "die frau schaut das buch.",  # no particle
        "die frau anschaut das buch.",  # particle joined in a main clause
        "die frauen schauen das buch an.",  # number
        "die frau schaute das buch an.",  # tense
        "die katze schaut das buch an.",  # another word
        "die frau schaut das buch an",  # no full stop
        "die frau schaut das buch an an.",
        "",
        ".",
    ],
)
def test_grammar_languages_refuse_what_is_not_a_spelling_of_the_meaning(text):
    meaning = (Clause(NONE, SEE, PRESENT, THE_WOMAN, THE_BOOK),)
    speller = LanguageB(TOY)
    assert math.isfinite(spelling_nats(speller, meaning, "die frau schaut das buch an."))
    assert math.isinf(spelling_nats(speller, meaning, text))


def test_grammar_languages_readers_refuse_what_is_no_sentence():
    for reader, text in (
        (ReaderA(TOY), "the the woman sleeps."),
        (ReaderB(TOY), "die frau, ruht"),
        (ReaderC(TOY), "die froa ruht."),
        (ReaderD(TOY), "kelimyn hoshanok."),
        (ReaderD(TOY), "kelimyn turuun nada."),
    ):
        with pytest.raises(UnreadableError):
            reader.read(text)


LEXICONS = {
    (difficulty, seed): make_lexicon(GrammarSettings("mt", "tiny", language_seed=seed, difficulty=difficulty))
    for difficulty, seed in ((1, 3), (4, 0), (9, 1), (12, 2))
}
READERS = {key: [make(lexicon) for make in (ReaderA, ReaderB, ReaderC, ReaderD)] for key, lexicon in LEXICONS.items()}


@settings(max_examples=150, deadline=None, database=None)
@given(st.sampled_from(sorted(LEXICONS)), st.integers(0, 2**32), st.booleans())
def test_grammar_languages_every_sentence_reads_back_to_its_meaning(key, seed, is_long):
    lexicon, uniform = LEXICONS[key], make_stream("property", seed)
    make = make_long_structure if is_long else make_structure
    drawer = MeaningDrawer(make(max_clauses(key[0])), lexicon)
    for language, reader in zip(LANGUAGES.values(), READERS[key], strict=True):
        speller = language(lexicon)
        for _ in range(3):
            meaning = drawer.draw(uniform)
            text = draw_spelling(speller, meaning, uniform)
            assert reader.read(text) == meaning
            assert reader.read(swap_script(swap_script(text))) == meaning
            best = best_spelling(speller, meaning)
            assert reader.read(best) == meaning
            assert spelling_nats(speller, meaning, best) <= spelling_nats(speller, meaning, text) + 1e-9
            assert "  " not in text and text.isascii() and text.endswith(".") and ",." not in text
            if isinstance(speller, LanguageA):
                assert text.count(" ") + 1 == count_words(meaning, lexicon)


@pytest.mark.parametrize("key", sorted(LEXICONS))
def test_grammar_languages_forms_are_unique_and_shared_only_by_one_concept(key):
    lexicon = LEXICONS[key]
    verb_of = {second: verb for verb, second in lexicon.second_sense.items()}
    owners = {language: {} for language in LANGUAGES}
    for language, owner in owners.items():
        for concept, words in enumerate(lexicon.words[language]):
            meant = verb_of.get(concept, concept)
            for word, _ in words:
                for form in word.forms:
                    # A stem that separable verbs share is told apart by the particle.
                    where = (form, word.particle) if word.particle else form
                    assert owner.setdefault(where, meant) == meant
    function_words = {form for kind in FIXED for c in lexicon.members(kind) for form in _forms(lexicon, c)}
    kinds = {}
    for one, other in combinations(LANGUAGES, 2):
        shared = [form for form in owners[one] if form in owners[other] and form not in function_words]
        assert all(owners[one][form] == owners[other][form] for form in shared)
        kinds[one + other] = {lexicon.kind[owners[one][form]] for form in shared}
    for pair in ("ab", "bc"):
        assert {"name", "number", "thing"} <= kinds[pair]
    assert all(kinds[pair] == {"name", "number"} for pair in ("ad", "bd", "cd"))


def _forms(lexicon, concept):
    return [lexicon.words[language][concept][0][0].forms[0] for language in LANGUAGES]


@pytest.mark.parametrize("key", [(4, 0), (9, 1)])
def test_grammar_languages_lexicon_has_what_the_languages_promise(key):
    lexicon = LEXICONS[key]
    assert set(lexicon.gender[noun] for noun in lexicon.members("thing")) == {0, 1, 2}
    assert any(word.particle for words in lexicon.words["b"] for word, _ in words)
    assert any(len(words) == 3 for words in lexicon.words["a"])
    assert lexicon.second_sense
    for verb, second in lexicon.second_sense.items():
        split = lexicon.split_in[verb]
        other = "b" if split == "a" else "a"
        assert lexicon.words[split][verb] != lexicon.words[split][second]
        assert lexicon.words[other][verb] == lexicon.words[other][second]
    for kind in ("thing", "transitive", "adjective"):
        weights = lexicon.table(kind).weights
        assert list(weights) == sorted(weights, reverse=True) and weights[0] > 4 * weights[-1]


def test_grammar_languages_lexicon_grows_with_difficulty():
    sizes = [make_lexicon(GrammarSettings("mt", "tiny", difficulty=level)).count_words("a") for level in range(1, 13)]
    assert sizes == sorted(sizes) and len(set(sizes)) == 12
