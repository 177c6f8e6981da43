"""The formulas for probabilities against running the grammar in every way there is."""

import math
from collections import Counter
from fractions import Fraction

import pytest
from grammar_reading import ReaderA, ReaderB, ReaderC
from grammar_reading_d import ReaderD
from grammar_toy import all_spellings, explore, let_tables_explore, make_toy_lexicon, make_toy_structure

from tietrain.data.grammar.draw import Table, make_stream
from tietrain.data.grammar.language_a import LanguageA
from tietrain.data.grammar.language_b import LanguageB, LanguageC
from tietrain.data.grammar.language_d import LanguageD
from tietrain.data.grammar.meaning import PRESENT, SINGULAR, MeaningDrawer, score_meaning
from tietrain.data.grammar.paragraph import Cast, ParagraphModel, cast_nats
from tietrain.data.grammar.spelling import best_spelling, draw_spelling, spelling_nats

LANGUAGES = {
    "a": (LanguageA, ReaderA),
    "b": (LanguageB, ReaderB),
    "c": (LanguageC, ReaderC),
    "d": (LanguageD, ReaderD),
}
SMALL_NOUNS = {"number": Table((SINGULAR,), (1,)), "tense": Table((PRESENT,), (1,))}
SHAPES = {
    "plain": {},
    "adjectives": {
        "n_adjectives": Table((0, 2), (2, 1)),
        "adverb_kind": Table(("",), (1,)),
        "kind": Table(("intransitive",), (1,)),
    },
    "place": SMALL_NOUNS | {"has_place": Table((True, False), (1, 2)), "definite": Table((True, False), (3, 2))},
    "relative": SMALL_NOUNS | {"has_relative": Table((True, False), (1, 3))},
    "clauses": SMALL_NOUNS
    | {
        "max_clauses": 2,
        "kind": Table(("intransitive", "clausal"), (2, 1)),
        "adverb_kind": Table(("", "time"), (2, 1)),
        "has_relative": Table((True, False), (1, 3)),
    },
}


def test_grammar_exactness_draw_follows_weights_to_the_ends():
    table = Table("abc", (1, 2, 1))
    points = (0.0, 0.2499, 0.25, 0.74, 0.75, 1 - 2**-53)
    assert [table.draw(lambda point=point: point) for point in points] == list("aabbcc")


def test_grammar_exactness_draw_other_never_draws_the_excluded():
    table = Table("abc", (1, 2, 3))
    drawn = Counter(table.draw_other(lambda k=k: k / 400, "b") for k in range(400))
    assert drawn == {"a": 100, "c": 300}
    assert math.exp(-table.nats_other("c", "b")) == pytest.approx(3 / 4)
    assert math.isinf(table.nats_other("b", "b"))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_grammar_exactness_sentence_formula_equals_brute_force(monkeypatch, shape, language):
    let_tables_explore(monkeypatch)
    lexicon, structure = make_toy_lexicon(), make_toy_structure(**SHAPES[shape])
    speller, reader = (make(lexicon) for make in LANGUAGES[language])
    drawer = MeaningDrawer(structure, lexicon)

    def program(script):
        meaning = drawer.draw(script)
        return meaning, draw_spelling(speller, meaning, script)

    shares: Counter[str] = Counter()
    meanings = {}
    for (meaning, text), share in explore(program):
        shares[text] += share
        assert meanings.setdefault(text, meaning) == meaning
    assert sum(shares.values()) == 1
    total = 0.0
    for text, share in shares.items():
        meaning = reader.read(text)
        assert meaning == meanings[text]
        score = score_meaning(meaning, structure, lexicon)
        nats = score.shape_nats + spelling_nats(speller, meaning, text)
        nats += sum(lexicon.table("name").nats(name) for name in score.names)
        for kind, concept, excluded in score.terms:
            table = lexicon.table(kind)
            nats += table.nats(concept) if excluded < 0 else table.nats_other(concept, excluded)
        assert math.exp(-nats) == pytest.approx(float(share), rel=1e-12)
        total += math.exp(-nats)
    assert total == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("shape", ["plain", "adjectives", "relative", "clauses"])
@pytest.mark.parametrize("pair", ["ab", "ba", "bc", "ad", "dc"])
def test_grammar_exactness_translation_formula_equals_bayes_by_brute_force(monkeypatch, shape, pair):
    let_tables_explore(monkeypatch)
    lexicon = make_toy_lexicon()
    source, target = pair
    spellers = {language: LANGUAGES[language][0](lexicon) for language in pair}
    changes = SHAPES[shape] | SMALL_NOUNS
    drawer = MeaningDrawer(make_toy_structure(**changes), lexicon)

    def program(script):
        meaning = drawer.draw(script)
        return meaning, *(draw_spelling(spellers[which], meaning, script) for which in (source, target))

    joint: Counter[tuple[str, str]] = Counter()
    marginal: Counter[str] = Counter()
    meanings = {}
    for (meaning, source_text, target_text), share in explore(program):
        joint[source_text, target_text] += share
        marginal[source_text] += share
        meanings[source_text] = meaning
    best: dict[str, tuple[Fraction, str]] = {}
    for (source_text, target_text), share in joint.items():
        conditional = share / marginal[source_text]
        nats = spelling_nats(spellers[target], meanings[source_text], target_text)
        assert math.exp(-nats) == pytest.approx(float(conditional), rel=1e-12)
        best[source_text] = max(best.get(source_text, (Fraction(0), "")), (conditional, target_text))
    for source_text, (conditional, _) in best.items():
        chosen = best_spelling(spellers[target], meanings[source_text])
        assert joint[source_text, chosen] / marginal[source_text] == conditional


def test_grammar_exactness_paragraph_formula_equals_brute_force(monkeypatch):
    let_tables_explore(monkeypatch)
    lexicon = make_toy_lexicon()
    structure = make_toy_structure(
        **SMALL_NOUNS, kind=Table(("intransitive",), (1,)), adverb_kind=Table(("", "manner"), (2, 1))
    )
    model = ParagraphModel(structure, lexicon, Table((1, 2, 3), (1, 1, 1)), Table((0, 1), (2, 1)))
    speller, reader = LanguageA(lexicon), ReaderA(lexicon)
    # Few spellings, so that three sentences stay countable.
    lexicon.words["a"][lexicon.members("manner")[0]] = lexicon.words["a"][lexicon.members("manner")[0]][:1]

    def program(script):
        return " ".join(draw_spelling(speller, meaning, script) for meaning in model.draw(script).meanings)

    monkeypatch.setitem(speller.orders, ("manner", False, False), Table(("ASV", "SVA"), (1, 2)))
    shares: Counter[str] = Counter()
    for text, share in explore(program):
        shares[text] += share
    assert sum(shares.values()) == 1
    total = 0.0
    for text, share in shares.items():
        sentences = [part + "." for part in text.removesuffix(".").split(". ")]
        meanings = tuple(reader.read(sentence) for sentence in sentences)
        nats = model.meaning_nats(meanings)
        nats += sum(spelling_nats(speller, *pair) for pair in zip(meanings, sentences, strict=True))
        assert math.exp(-nats) == pytest.approx(float(share), rel=1e-11)
        total += math.exp(-nats)
    assert total == pytest.approx(1, abs=1e-9)


def test_grammar_exactness_cast_in_closed_form_equals_brute_force(monkeypatch):
    let_tables_explore(monkeypatch)
    names = Table((0, 1, 2), (4, 2, 1))

    def program(script):
        cast = Cast(names, new_weight=2)
        return tuple(cast.draw(script) for _ in range(4))

    shares: Counter[tuple[int, ...]] = Counter()
    for mentions, share in explore(program):
        shares[mentions] += share
    assert len(shares) == 3**4
    for mentions, share in shares.items():
        assert math.exp(-cast_nats(mentions, names, 2)) == pytest.approx(float(share), rel=1e-12)


@pytest.mark.parametrize("language", "bcd")
def test_grammar_exactness_spellings_sum_to_one_and_match_their_share_among_draws(language):
    lexicon = make_toy_lexicon()
    speller = LANGUAGES[language][0](lexicon)
    structure = make_toy_structure(
        has_place=Table((True,), (1,)), adverb_kind=Table(("time",), (1,)), kind=Table(("transitive",), (1,))
    )
    drawer = MeaningDrawer(structure, lexicon)
    uniform = make_stream("spellings")
    meaning = drawer.draw(uniform)
    listed: Counter[str] = Counter()
    for text, share in all_spellings(speller, meaning):
        listed[text] += share
    assert sum(listed.values()) == 1
    drawn = Counter(draw_spelling(speller, meaning, uniform) for _ in range(20_000))
    assert set(drawn) <= set(listed)
    for text, share in listed.items():
        assert math.exp(-spelling_nats(speller, meaning, text)) == pytest.approx(share, rel=1e-12)
        assert drawn[text] / 20_000 == pytest.approx(share, abs=0.012)
