"""Meanings: the small trees that sentences spell, how they are drawn and how probable they are."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator
from functools import cache
from typing import NamedTuple, TypeVar

from tietrain.data.grammar.draw import Table, Uniform
from tietrain.data.grammar.lexicon import ANIMATE_KINDS, NEUTRAL, Lexicon

T = TypeVar("T", bound=Hashable)

NONE = -1
SINGULAR, PLURAL, COUNTED = 0, 1, 2
PRESENT, PAST, FUTURE = 0, 1, 2


class Relative(NamedTuple):
    """A relative clause whose subject is the noun it follows."""

    verb: int
    tense: int
    object: "Phrase | None"


class Phrase(NamedTuple):
    """A noun phrase; a name has number SINGULAR, is definite and carries nothing else."""

    noun: int
    number: int = SINGULAR
    numeral: int = NONE
    definite: bool = True
    adjectives: tuple[int, ...] = ()
    relative: Relative | None = None


class Clause(NamedTuple):
    """One clause; `conjunction` links it to the clause before and is NONE in the first."""

    conjunction: int
    verb: int
    tense: int
    subject: Phrase
    object: Phrase | None = None
    adverb: int = NONE
    preposition: int = NONE
    place: Phrase | None = None


Meaning = tuple[Clause, ...]
"""A sentence: each clause hangs on the one before, so a chain is the whole tree."""


class Structure(NamedTuple):
    """The tables that decide the shape of a meaning; its words come from the lexicon.

    The defaults are ordinary text, of about ten words per sentence.
    """

    max_clauses: int
    kind: Table[str] = Table(("transitive", "intransitive", "clausal"), (11, 4, 2))
    continues: Table[bool] = Table((True, False), (1, 4))
    tense: Table[int] = Table((PRESENT, PAST, FUTURE), (5, 5, 2))
    subject_kind: Table[str] = Table(("name", "person", "animal", "thing"), (6, 8, 3, 1))
    place_kind: Table[str] = Table(("place", "thing"), (3, 1))
    number: Table[int] = Table((SINGULAR, PLURAL, COUNTED), (12, 5, 2))
    definite: Table[bool] = Table((True, False), (3, 2))
    n_adjectives: Table[int] = Table((0, 1, 2), (11, 6, 2))
    has_relative: Table[bool] = Table((True, False), (1, 11))
    relative_kind: Table[str] = Table(("transitive", "intransitive"), (2, 1))
    adverb_kind: Table[str] = Table(("", "time", "manner"), (7, 3, 3))
    has_place: Table[bool] = Table((True, False), (1, 2))


@cache
def _without_clausal(kinds: Table[str]) -> Table[str]:
    """Kinds of verb in a clause that no other may follow."""
    return Table(kinds.items, [kinds.weights[place] * (kind != "clausal") for place, kind in enumerate(kinds.items)])


def make_long_structure(max_clauses: int) -> Structure:
    """The same shapes with everything optional more often there."""
    return Structure(
        max_clauses,
        kind=Table(("transitive", "intransitive", "clausal"), (11, 2, 4)),
        continues=Table((True, False), (4, 1)),
        n_adjectives=Table((0, 1, 2), (2, 2, 1)),
        has_relative=Table((True, False), (1, 4)),
        has_place=Table((True, False), (1, 1)),
    )


class _Walk(ABC):
    """The choices that make a meaning, in order: `MeaningDrawer` makes them, `MeaningScore` finds them made."""

    def __init__(self, structure: Structure, lexicon: Lexicon) -> None:
        self.structure = structure
        self.lexicon = lexicon

    @abstractmethod
    def _choose(self, table: Table[T], made: T | None) -> T:
        """One choice of the shape; `made` is that of a meaning which is there."""

    @abstractmethod
    def _word(self, kind: str, made: int | None, excluded: int = NONE) -> int:
        """A concept of a kind, not the excluded one; `made` as for `_choose`."""

    def _walk(self, meaning: Meaning = ()) -> Meaning:
        shape = self.structure
        clauses: list[Clause] = []
        conjunction = NONE
        while True:
            made = meaning[len(clauses)] if meaning else None
            may_follow = len(clauses) + 1 < shape.max_clauses
            kinds = shape.kind if may_follow else _without_clausal(shape.kind)
            kind = self._choose(kinds, made and self.lexicon.kind[made.verb])
            clauses.append(self._clause(conjunction, kind, made))
            if kind == "clausal":
                conjunction = self.lexicon.that
            elif may_follow and self._choose(shape.continues, len(clauses) < len(meaning)):
                conjunction = self._word("conjunction", meaning[len(clauses)].conjunction if meaning else None)
            else:
                return tuple(clauses)

    def _clause(self, conjunction: int, kind: str, made: Clause | None) -> Clause:
        shape = self.structure
        verb = self._word(kind, made and made.verb)
        tense = self._choose(shape.tense, made and made.tense)
        subject = self._phrase(shape.subject_kind, True, made and made.subject)
        patient = None
        if kind == "transitive":
            patient = self._phrase(self.lexicon.object_kinds[verb], True, made and made.object)
        has_adverb = made and made.adverb != NONE
        adverb_kind = self._choose(shape.adverb_kind, made and (self.lexicon.kind[made.adverb] if has_adverb else ""))
        adverb = self._word(adverb_kind, made and made.adverb) if adverb_kind else NONE
        preposition = NONE
        place = None
        if self._choose(shape.has_place, made and made.place is not None):
            preposition = self._word("preposition", made and made.preposition)
            place = self._phrase(shape.place_kind, False, made and made.place)
        return Clause(conjunction, verb, tense, subject, patient, adverb, preposition, place)

    def _phrase(self, kinds: Table[str], may_have_relative: bool, made: Phrase | None) -> Phrase:
        shape = self.structure
        kind = self._choose(kinds, made and self.lexicon.kind[made.noun])
        noun = self._word(kind, made and made.noun)
        if kind == "name":
            return Phrase(noun)
        number = self._choose(shape.number, made and made.number)
        is_counted = number == COUNTED
        numeral = self._word("number", made and made.numeral) if is_counted else NONE
        definite = not is_counted and self._choose(shape.definite, made and made.definite)
        adjectives: tuple[int, ...] = ()
        for place in range(self._choose(shape.n_adjectives, made and len(made.adjectives))):
            before = adjectives[-1] if adjectives else NONE
            adjectives += (self._word("adjective", made and made.adjectives[place], before),)
        relative = None
        if may_have_relative and self._choose(shape.has_relative, made and made.relative is not None):
            relative = self._relative(made and made.relative)
        return Phrase(noun, number, numeral, definite, adjectives, relative)

    def _relative(self, made: Relative | None) -> Relative:
        kind = self._choose(self.structure.relative_kind, made and self.lexicon.kind[made.verb])
        verb = self._word(kind, made and made.verb)
        tense = self._choose(self.structure.tense, made and made.tense)
        patient = None
        if kind == "transitive":
            patient = self._phrase(self.lexicon.object_kinds[verb], False, made and made.object)
        return Relative(verb, tense, patient)


class MeaningDrawer(_Walk):
    """Draws meanings from the tables of a structure, and of a lexicon in one topic whose concepts come first.

    draw_name: draws a name; the lexicon's table unless replaced.
    """

    def __init__(self, structure: Structure, lexicon: Lexicon, topic: int = NEUTRAL) -> None:
        super().__init__(structure, lexicon)
        kinds = dict.fromkeys(lexicon.kind)
        self.tables = {kind: lexicon.table(kind, topic) for kind in kinds if kind != "second_sense"}
        self.draw_name: Callable[[Uniform], int] = self.tables["name"].draw

    def draw(self, uniform: Uniform) -> Meaning:
        """One meaning."""
        self._uniform = uniform
        return self._walk()

    def _choose(self, table: Table[T], made: T | None) -> T:
        return table.draw(self._uniform)

    def _word(self, kind: str, made: int | None, excluded: int = NONE) -> int:
        if kind == "name":
            return self.draw_name(self._uniform)
        table = self.tables[kind]
        return table.draw(self._uniform) if excluded == NONE else table.draw_other(self._uniform, excluded)


class Term(NamedTuple):
    """One lexical draw: a concept of a kind, and the adjective it had to differ from."""

    kind: str
    concept: int
    excluded: int = NONE


class MeaningScore(_Walk):
    """-log probability of a meaning, taken apart by what each part depends on.

    Attributes:
        shape_nats: of everything but the words.
        terms: the lexical draws, whose probability depends on the topic.
        names: names in the order of mention, whose probability depends on the cast.
    """

    def __init__(self, meaning: Meaning, structure: Structure, lexicon: Lexicon) -> None:
        super().__init__(structure, lexicon)
        self.shape_nats = 0.0
        self.terms: list[Term] = []
        self.names: list[int] = []
        self._walk(meaning)

    def _choose(self, table: Table[T], made: T | None) -> T:
        assert made is not None
        self.shape_nats += table.nats(made)
        return made

    def _word(self, kind: str, made: int | None, excluded: int = NONE) -> int:
        assert made is not None
        if kind == "name":
            self.names.append(made)
        else:
            self.terms.append(Term(kind, made, excluded))
        return made


def iterate_phrases(meaning: Meaning) -> Iterator[Phrase]:
    """Every noun phrase, also within relative clauses, in the order drawn."""
    for clause in meaning:
        for phrase in (clause.subject, clause.object, clause.place):
            if phrase is not None:
                yield phrase
                if phrase.relative is not None and phrase.relative.object is not None:
                    yield phrase.relative.object


def iterate_objects(meaning: Meaning) -> Iterator[tuple[int, int]]:
    """Every verb with the noun of its object."""
    parts: list[Clause | Relative] = list(meaning)
    parts += [phrase.relative for phrase in iterate_phrases(meaning) if phrase.relative is not None]
    for part in parts:
        if part.object is not None:
            yield part.verb, part.object.noun


def iterate_concepts(meaning: Meaning, lexicon: Lexicon) -> Iterator[int]:
    """Every concept a meaning spells; of a double verb, the sense that its object selects."""
    for clause in meaning:
        if clause.conjunction != NONE:
            yield clause.conjunction
        yield sense_of(clause, lexicon)
        if clause.adverb != NONE:
            yield clause.adverb
        if clause.preposition != NONE:
            yield clause.preposition
    for phrase in iterate_phrases(meaning):
        yield phrase.noun
        yield from phrase.adjectives
        if phrase.numeral != NONE:
            yield phrase.numeral
        if phrase.relative is not None:
            yield sense_of(phrase.relative, lexicon)


def sense_of(part: Clause | Relative, lexicon: Lexicon) -> int:
    """The concept that the verb of a clause means before its object: the verb itself or its second sense."""
    if part.object is None or lexicon.kind[part.object.noun] in ANIMATE_KINDS:
        return part.verb
    return lexicon.second_sense.get(part.verb, part.verb)


def count_words(meaning: Meaning, lexicon: Lexicon) -> int:
    """Words of a meaning as language A spells it; every spelling has the same number."""
    total = len(list(iterate_concepts(meaning, lexicon)))
    total += sum(clause.tense == FUTURE for clause in meaning)
    for phrase in iterate_phrases(meaning):
        # Only the bare plural has no determiner; a numeral is a concept, counted above.
        has_article = phrase.number == SINGULAR or (phrase.number == PLURAL and phrase.definite)
        total += int(has_article and lexicon.kind[phrase.noun] != "name")
        if phrase.relative is not None:
            total += 1 + (phrase.relative.tense == FUTURE)
    return total
