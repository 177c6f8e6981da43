"""The formulas for probabilities against running the grammar in every way there is."""

import math
from collections import Counter, defaultdict

import pytest
from grammar_reading import READERS
from grammar_toy import all_spellings, explore, let_tables_explore, make_toy_lexicon, make_toy_structure

from tietrain.data.grammar.draw import Table, make_stream
from tietrain.data.grammar.language_a import LanguageA
from tietrain.data.grammar.language_b import LanguageB, LanguageC
from tietrain.data.grammar.meaning import PRESENT, SINGULAR, MeaningDrawer, MeaningScore
from tietrain.data.grammar.paragraph import Cast, ParagraphModel, cast_nats

LANGUAGES = {"a": LanguageA, "b": LanguageB, "c": LanguageC}
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


def shares_of(program):
    """Outcome -> its probability over all ways to run a program."""
    shares = Counter()
    for outcome, share in explore(program):
        shares[outcome] += share
    assert sum(shares.values()) == 1
    return shares


def test_table_draw_follows_weights_to_the_ends():
    table = Table("abc", (1, 2, 1))
    points = (0.0, 0.2499, 0.25, 0.74, 0.75, 1 - 2**-53)
    assert [table.draw(lambda point=point: point) for point in points] == list("aabbcc")


def test_table_draw_other_never_draws_the_excluded():
    table = Table("abc", (1, 2, 3))
    drawn = Counter(table.draw_other(lambda k=k: k / 400, "b") for k in range(400))
    assert drawn == {"a": 100, "c": 300}
    assert math.exp(-table.nats_other("c", "b")) == pytest.approx(3 / 4)
    assert math.isinf(table.nats_other("b", "b"))


@pytest.mark.parametrize("letter", LANGUAGES)
def test_sentence_nats_equal_brute_force(monkeypatch, letter):
    let_tables_explore(monkeypatch)
    lexicon = make_toy_lexicon()
    language = LANGUAGES[letter](lexicon)
    reader = READERS[letter](lexicon)
    for shape, changes in SHAPES.items():
        structure = make_toy_structure(**changes)
        drawer = MeaningDrawer(structure, lexicon)

        def program(script, drawer=drawer):
            meaning = drawer.draw(script)
            return meaning, language.draw(meaning, script)

        total = 0.0
        for (meaning, text), share in shares_of(program).items():
            assert reader.read(text) == meaning, shape
            score = MeaningScore(meaning, structure, lexicon)
            nats = score.shape_nats + language.nats(meaning, text)
            nats += sum(lexicon.table("name").nats(name) for name in score.names)
            for kind, concept, excluded in score.terms:
                table = lexicon.table(kind)
                nats += table.nats(concept) if excluded < 0 else table.nats_other(concept, excluded)
            assert math.exp(-nats) == pytest.approx(float(share), rel=1e-12), shape
            total += math.exp(-nats)
        assert total == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("pair", ["ab", "ba", "ac"])
def test_translation_nats_equal_bayes_by_brute_force(monkeypatch, pair):
    let_tables_explore(monkeypatch)
    lexicon = make_toy_lexicon()
    source, target = (LANGUAGES[letter](lexicon) for letter in pair)
    for shape in ("plain", "adjectives", "relative", "clauses"):
        drawer = MeaningDrawer(make_toy_structure(**(SHAPES[shape] | SMALL_NOUNS)), lexicon)
        meanings = {}

        def program(script, drawer=drawer, meanings=meanings):
            meaning = drawer.draw(script)
            text = source.draw(meaning, script)
            meanings[text] = meaning
            return text, target.draw(meaning, script)

        targets_of = defaultdict(dict)
        for (source_text, target_text), share in shares_of(program).items():
            targets_of[source_text][target_text] = share
        for source_text, shares in targets_of.items():
            meaning = meanings[source_text]
            for target_text, share in shares.items():
                conditional = float(share / sum(shares.values()))
                assert math.exp(-target.nats(meaning, target_text)) == pytest.approx(conditional, rel=1e-12), shape
            assert shares[target.best(meaning)] == max(shares.values())


def test_paragraph_nats_equal_brute_force(monkeypatch):
    let_tables_explore(monkeypatch)
    lexicon = make_toy_lexicon()
    structure = make_toy_structure(
        **SMALL_NOUNS, kind=Table(("intransitive",), (1,)), adverb_kind=Table(("", "manner"), (2, 1))
    )
    model = ParagraphModel(structure, lexicon, Table((1, 2, 3), (1, 1, 1)), Table((0, 1), (2, 1)))
    language = LanguageA(lexicon)
    reader = READERS["a"](lexicon)
    # Few spellings, so that three sentences stay countable.
    lexicon.words["a"][lexicon.members("manner")[0]] = lexicon.words["a"][lexicon.members("manner")[0]][:1]
    orders = {"": Table(("SV",), (1,)), "manner": Table(("ASV", "SVA"), (1, 2))}
    monkeypatch.setattr(LanguageA, "orders", lambda self, clause, adverb_kind: orders[adverb_kind])
    total = 0.0
    shares = shares_of(lambda script: " ".join(language.draw(meaning, script) for meaning in model.draw(script)))
    for text, share in shares.items():
        sentences = [part + "." for part in text.removesuffix(".").split(". ")]
        meanings = tuple(reader.read(sentence) for sentence in sentences)
        nats = model.meaning_nats(meanings) + sum(map(language.nats, meanings, sentences))
        assert math.exp(-nats) == pytest.approx(float(share), rel=1e-11)
        total += math.exp(-nats)
    assert total == pytest.approx(1, abs=1e-9)


def test_cast_nats_equal_brute_force(monkeypatch):
    let_tables_explore(monkeypatch)
    names = Table((0, 1, 2), (4, 2, 1))

    def program(script):
        cast = Cast(names)
        return tuple(cast.draw(script) for _ in range(4))

    shares = shares_of(program)
    assert len(shares) == 3**4
    for mentions, share in shares.items():
        assert math.exp(-cast_nats(mentions, names)) == pytest.approx(float(share), rel=1e-12)


@pytest.mark.parametrize("letter", "bc")
def test_language_nats_match_the_share_among_draws(letter):
    """Of draws by the real tables, which the brute force above replaces."""
    lexicon = make_toy_lexicon()
    language = LANGUAGES[letter](lexicon)
    structure = make_toy_structure(
        has_place=Table((True,), (1,)), adverb_kind=Table(("time",), (1,)), kind=Table(("transitive",), (1,))
    )
    uniform = make_stream("spellings")
    meaning = MeaningDrawer(structure, lexicon).draw(uniform)
    drawn = Counter(language.draw(meaning, uniform) for _ in range(20_000))
    listed = {text for text, _ in all_spellings(language, meaning)}
    assert set(drawn) <= listed
    for text in listed:
        assert drawn[text] / 20_000 == pytest.approx(math.exp(-language.nats(meaning, text)), abs=0.012)
