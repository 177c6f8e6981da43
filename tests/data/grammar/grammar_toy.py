"""A grammar small enough to write out, and an explorer that runs a drawing program every way."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import pytest

from tietrain.data.grammar.draw import Table
from tietrain.data.grammar.lexicon import Lexicon, Word
from tietrain.data.grammar.meaning import FUTURE, PLURAL, PRESENT, SINGULAR, Meaning, Structure
from tietrain.data.grammar.spelling import Language

ONLY = (1,)


def make_toy_lexicon() -> Lexicon:
    """Two people, a thing, a place, two names; a double verb; synonyms in A and B."""
    lexicon = Lexicon(n_topics=2)

    def add(kind: str, a: str, b: str, c: str, home: int = 0, gender: int = -1) -> int:
        """One concept: forms between blanks, synonyms between bars, a particle before "+"."""
        concept = lexicon.add(kind, home, gender)
        for language, words in (("a", a), ("b", b), ("c", c)):
            weighted = []
            for weight, word in zip((2, 1), words.split("|"), strict=False):
                particle, _, forms = word.rpartition("+")
                weighted.append((Word(tuple(forms.split()), particle), weight))
            lexicon.words[language][concept] = tuple(weighted)
        return concept

    lexicon.that = add("that", "that", "dass", "att")
    add("conjunction", "because", "weil", "wail")
    add("preposition", "in", "in", "in")
    add("person", "man men|fellow fellows", "mann manner", "man manner", 0, 0)
    add("person", "woman women", "frau frauen", "froa froaen", 1, 1)
    add("animal", "cat cats", "katze katzen|mieze miezen", "katte katten", 0, 1)
    add("thing", "book books", "buch bucher", "buk buker", 1, 2)
    add("place", "garden gardens", "garten garten2", "gart garten", 0, 0)
    see = add("transitive", "sees see saw", "sieht sehen sah sahen sehen", "seies seien sa saen seien")
    watched = "an+schaut schauen schaute schauten schauen"
    second = add("second_sense", "sees see saw", watched, "av+skoes skoen skoed skoeden skoen")
    lexicon.second_sense[see] = second
    lexicon.split_in[see] = "b"
    lexicon.object_kinds[see] = Table(("person", "thing"), (2, 1))
    rested = "ruht ruhen ruhte ruhten ruhen"
    add("intransitive", "sleeps sleep slept", rested, "rues ruen rued rueden ruen", 1)
    add("clausal", "says say said", "sagt sagen sagte sagten sagen", "sages sagen saged sageden sagen")
    add("adjective", "old", "alte alter altes alten", "alda alder aldet alden", 0)
    add("adjective", "red|ruddy", "rote roter rotes roten", "roda roder rodet roden", 1)
    add("time", "today", "heute", "hoite")
    add("manner", "gladly|merrily", "gern", "gerna")
    for name in ("Ann", "Bob"):
        add("name", name, name, name)
    add("number", "2", "2", "2")
    return lexicon


TOY = make_toy_lexicon()
MAN, WOMAN = TOY.members("person")
CAT, BOOK, GARDEN = (TOY.members(kind)[0] for kind in ("animal", "thing", "place"))
SEE, SLEEP, SAY = (TOY.members(kind)[0] for kind in ("transitive", "intransitive", "clausal"))
OLD, RED = TOY.members("adjective")
TODAY, GLADLY = TOY.members("time")[0], TOY.members("manner")[0]
ANN, BOB = TOY.members("name")
IN, BECAUSE, TWO = (TOY.members(kind)[0] for kind in ("preposition", "conjunction", "number"))


def make_toy_structure(**changes: Any) -> Structure:
    """One clause, a subject, perhaps an object, little else; `changes` replace tables."""
    tables: dict[str, Any] = {
        "max_clauses": 1,
        "kind": Table(("transitive", "intransitive"), (2, 1)),
        "continues": Table((True, False), (1, 2)),
        "tense": Table((PRESENT, FUTURE), (3, 1)),
        "subject_kind": Table(("name", "person"), (1, 2)),
        "place_kind": Table(("place",), ONLY),
        "number": Table((SINGULAR, PLURAL), (2, 1)),
        "definite": Table((True,), ONLY),
        "n_adjectives": Table((0,), ONLY),
        "has_relative": Table((False,), ONLY),
        "relative_kind": Table(("intransitive",), ONLY),
        "adverb_kind": Table(("", "manner"), (2, 1)),
        "has_place": Table((False,), ONLY),
    }
    return Structure(**(tables | changes))


class _Script:
    """Stands in for the stream: takes the choices of a path, and the first where it ends."""

    def __init__(self, path: list[int]) -> None:
        self.path = path
        self.widths: list[int] = []
        self.share = Fraction(1)

    def choose(self, items: tuple[Any, ...], weights: tuple[int, ...]) -> Any:
        place = len(self.widths)
        if place == len(self.path):
            self.path.append(0)
        self.widths.append(len(items))
        self.share *= Fraction(weights[self.path[place]], sum(weights))
        return items[self.path[place]]


def _draw(table: Table[Any], script: _Script) -> Any:
    return script.choose(table.items, table.weights)


def _draw_other(table: Table[Any], script: _Script, excluded: Any) -> Any:
    pairs = [(i, w) for i, w in zip(table.items, table.weights, strict=True) if i != excluded]
    return script.choose(tuple(i for i, _ in pairs), tuple(w for _, w in pairs))


def let_tables_explore(monkeypatch: Any) -> None:
    """Makes every table take its choices from `explore`; call it before anything is built."""
    monkeypatch.setattr(Table, "draw", _draw)
    monkeypatch.setattr(Table, "draw_other", _draw_other)


def explore(program: Callable[[Any], Any]) -> Iterator[tuple[Any, Fraction]]:
    """Every outcome of a program that draws, one for each way, with its probability."""
    path: list[int] = []
    while True:
        script = _Script(path)
        outcome = program(script)
        yield outcome, script.share
        while path and path[-1] + 1 == script.widths[len(path) - 1]:
            path.pop()
        if not path:
            return
        path[-1] += 1


def all_spellings(language: Language, meaning: Meaning) -> list[tuple[str, Fraction]]:
    """Every way to draw a spelling of a meaning, with its probability; a string comes once per way."""
    with pytest.MonkeyPatch.context() as patch:
        let_tables_explore(patch)
        return list(explore(lambda script: language.draw(meaning, script)))
