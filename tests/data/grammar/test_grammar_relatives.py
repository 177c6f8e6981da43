"""Languages C and D: what each may write, sentence by sentence, and how near they are to the others."""

import pytest
from grammar_toy import all_spellings, make_toy_lexicon

from tietrain.data.grammar.coining import make_lexicon
from tietrain.data.grammar.language_b import LanguageC
from tietrain.data.grammar.language_d import LanguageD
from tietrain.data.grammar.lexicon import CONTENT_KINDS, NOUN_KINDS, VERB_KINDS
from tietrain.data.grammar.meaning import (
    COUNTED,
    FUTURE,
    NONE,
    PAST,
    PLURAL,
    PRESENT,
    SINGULAR,
    Clause,
    Phrase,
    Relative,
)
from tietrain.data.grammar.settings import GrammarSettings

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
    speller = {"c": LanguageC, "d": LanguageD}[language](TOY)
    return {text for text, _ in all_spellings(speller, clauses)}


def test_grammar_relatives_c_has_the_grammar_of_b_and_words_of_its_own():
    red_men = Phrase(MAN, PLURAL, NONE, True, (RED,))
    sleeper = Phrase(WOMAN, relative=Relative(SLEEP, PAST, None))
    in_garden = {"preposition": IN, "place": Phrase(GARDEN, SINGULAR, NONE, True, (OLD,))}
    assert spellings("c", Clause(NONE, SEE, PRESENT, THE_WOMAN, THE_BOOK, TODAY)) == {
        "die froa skoes hoite dat buk av.",
        "die froa skoes dat buk hoite av.",
        "hoite skoes die froa dat buk av.",
    }
    told = Clause(NONE, SAY, PAST, Phrase(ANN))
    assert spellings("c", told, Clause(TOY.that, SEE, FUTURE, THE_WOMAN, THE_BOOK)) == {
        "Ann saged, att die froa dat buk avskoen wurd."
    }
    assert spellings("c", Clause(NONE, SEE, PRESENT, sleeper, THE_MAN)) == {
        "die froa, die rued, seies dan man.",
        "dan man seies die froa, die rued.",
    }
    assert "die roden manner seien Ann in dam alden gart." in spellings(
        "c", Clause(NONE, SEE, PRESENT, red_men, Phrase(ANN), **in_garden)
    )


def test_grammar_relatives_d_puts_the_verb_last_and_marks_number_definiteness_and_case():
    old_books = Phrase(BOOK, PLURAL, NONE, False, (OLD,))
    assert spellings("d", Clause(NONE, SEE, PAST, THE_WOMAN, old_books)) == {
        "kelimyn uruk toloakot zepilyd.",
        "uruk toloakot kelimyn zepilyd.",
    }
    assert spellings("d", Clause(NONE, SLEEP, PRESENT, Phrase(MAN, PLURAL))) == {"turuakun hoshanok."}
    assert spellings("d", Clause(NONE, SLEEP, FUTURE, Phrase(CAT, COUNTED, TWO, False))) == {"2 misk hoshosh."}
    assert spellings("d", Clause(NONE, SEE, PRESENT, Phrase(ANN), Phrase(BOB))) == {
        "Ann Bob-ot nada.",
        "Bob-ot Ann nada.",
    }


def test_grammar_relatives_d_has_postpositions_and_free_places_before_the_verb():
    place = Phrase(GARDEN, SINGULAR, NONE, False, (RED,))
    clause = Clause(NONE, SLEEP, PRESENT, THE_MAN, None, GLADLY, IN, place)
    assert spellings("d", clause) == {
        "pili vynyes mol turuun sool hosha.",
        "turuun pili vynyes mol sool hosha.",
        "turuun sool pili vynyes mol hosha.",
    }


def test_grammar_relatives_d_puts_relative_clauses_before_the_noun():
    reader = Phrase(WOMAN, PLURAL, relative=Relative(SEE, PAST, THE_BOOK))
    sleeper = Phrase(MAN, relative=Relative(SLEEP, PRESENT, None))
    because = Clause(BECAUSE, SLEEP, PRESENT, reader)
    assert spellings("d", Clause(NONE, SEE, PAST, sleeper, reader), because) == {
        f"{first}, zakum tolounot zepilydve kelimekyn hoshanok." for first in (
            "hoshava turuun tolounot zepilydve kelimekynit nadud",
            "tolounot zepilydve kelimekynit hoshava turuun nadud",
        )
    }  # fmt: skip


def test_grammar_relatives_every_form_says_its_tense_number_and_case():
    # So many verbs that sound changes make one of two vowels in some.
    lexicon = make_lexicon(GrammarSettings("mt", "small", language_seed=3, difficulty=9))
    for kind in (*NOUN_KINDS, *VERB_KINDS):
        for concept in lexicon.members(kind):
            ((of_c, _),), ((of_d, _),) = (lexicon.words[language][concept] for language in "cd")
            # The infinitive of C is its present plural.
            assert len({*of_c.forms[:4]}) == len(of_c.forms[:4])
            assert len({*of_d.forms}) == len(of_d.forms)


@pytest.mark.parametrize("difficulty", [1, 4, 12])
def test_grammar_relatives_c_and_d_have_one_word_a_concept_and_tell_senses_apart(difficulty):
    lexicon = make_lexicon(GrammarSettings("mt", "tiny", difficulty=difficulty))
    for language in "cd":
        assert all(len(words) == 1 for words in lexicon.words[language])
    for verb, second in lexicon.second_sense.items():
        words = lexicon.words
        assert (words["c"][verb] != words["c"][second]) == (lexicon.split_in[verb] == "b")
        assert words["d"][verb] != words["d"][second]


def test_grammar_relatives_c_is_the_sister_of_b_and_d_of_none():
    lexicon = make_lexicon(GrammarSettings("mt", "small"))
    content = [concept for kind in CONTENT_KINDS for concept in lexicon.members(kind)]

    def shared(one, other):
        """Concepts whose words begin alike."""
        words = [[lexicon.words[language][c][0][0].forms[0][:4] for c in content] for language in (one, other)]
        return sum(left == right for left, right in zip(*words, strict=True)) / len(content)

    assert shared("b", "c") > 0.55
    assert 0.15 < shared("a", "b") < 0.35
    assert max(shared(language, "d") for language in "abc") < 0.01
