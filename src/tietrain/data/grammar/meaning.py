"""Meanings: the small trees that sentences spell, how they are drawn and how probable they are."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from tietrain.data.grammar.draw import Table, Uniform
from tietrain.data.grammar.lexicon import NEUTRAL, Lexicon

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


@dataclass(frozen=True)
class Structure:
    """The tables that decide the shape of a meaning; its words come from the lexicon."""

    max_clauses: int
    kind: Table[str]
    continues: Table[bool]
    tense: Table[int]
    subject_kind: Table[str]
    place_kind: Table[str]
    number: Table[int]
    definite: Table[bool]
    n_adjectives: Table[int]
    has_relative: Table[bool]
    relative_kind: Table[str]
    adverb_kind: Table[str]
    has_place: Table[bool]

    @property
    def last_kind(self) -> Table[str]:
        """Kinds of verb where no clause may follow."""
        pairs = zip(self.kind.items, self.kind.weights, strict=True)
        kept = [(kind, weight) for kind, weight in pairs if kind != "clausal"]
        return Table([kind for kind, _ in kept], [weight for _, weight in kept])


def make_structure(max_clauses: int) -> Structure:
    """The shapes of ordinary text; about ten words a sentence."""
    return Structure(
        max_clauses=max_clauses,
        kind=Table(("transitive", "intransitive", "clausal"), (11, 4, 2)),
        continues=Table((True, False), (1, 4)),
        tense=Table((PRESENT, PAST, FUTURE), (5, 5, 2)),
        subject_kind=Table(("name", "person", "animal", "thing"), (6, 8, 3, 1)),
        place_kind=Table(("place", "thing"), (3, 1)),
        number=Table((SINGULAR, PLURAL, COUNTED), (12, 5, 2)),
        definite=Table((True, False), (3, 2)),
        n_adjectives=Table((0, 1, 2), (11, 6, 2)),
        has_relative=Table((True, False), (1, 11)),
        relative_kind=Table(("transitive", "intransitive"), (2, 1)),
        adverb_kind=Table(("", "time", "manner"), (7, 3, 3)),
        has_place=Table((True, False), (1, 2)),
    )


def make_long_structure(max_clauses: int) -> Structure:
    """The same shapes with everything optional more often there."""
    return replace(
        make_structure(max_clauses),
        kind=Table(("transitive", "intransitive", "clausal"), (11, 2, 4)),
        continues=Table((True, False), (4, 1)),
        n_adjectives=Table((0, 1, 2), (2, 2, 1)),
        has_relative=Table((True, False), (1, 4)),
        has_place=Table((True, False), (1, 1)),
    )


class MeaningDrawer:
    """Draws meanings from the tables of a structure, and a lexicon in one topic.

    Args:
        structure: shapes.
        lexicon: concepts.
        topic: topic whose concepts come first, or NEUTRAL.
        draw_name: draws a name; the lexicon's table when left out.
    """

    def __init__(
        self,
        structure: Structure,
        lexicon: Lexicon,
        topic: int = NEUTRAL,
        draw_name: Callable[[Uniform], int] | None = None,
    ) -> None:
        self.structure = structure
        self.last_kind = structure.last_kind
        self.object_kinds = lexicon.object_kinds
        self.that = lexicon.that
        kinds = dict.fromkeys(lexicon.kind)
        self.tables = {kind: lexicon.table(kind, topic) for kind in kinds if kind != "second_sense"}
        self.draw_name = draw_name or self.tables["name"].draw

    def draw(self, uniform: Uniform) -> Meaning:
        """One meaning; the order of draws is the order of `iterate_terms`."""
        shape = self.structure
        clauses: list[Clause] = []
        conjunction = NONE
        while True:
            may_follow = len(clauses) + 1 < shape.max_clauses
            kind = (shape.kind if may_follow else self.last_kind).draw(uniform)
            clauses.append(self._draw_clause(uniform, conjunction, kind))
            if kind == "clausal":
                conjunction = self.that
            elif may_follow and shape.continues.draw(uniform):
                conjunction = self.tables["conjunction"].draw(uniform)
            else:
                return tuple(clauses)

    def _draw_clause(self, uniform: Uniform, conjunction: int, kind: str) -> Clause:
        shape, tables = self.structure, self.tables
        verb = tables[kind].draw(uniform)
        tense = shape.tense.draw(uniform)
        subject = self._draw_phrase(uniform, shape.subject_kind.draw(uniform), True)
        patient = None
        if kind == "transitive":
            patient = self._draw_phrase(uniform, self.object_kinds[verb].draw(uniform), True)
        adverb, preposition, place = NONE, NONE, None
        adverb_kind = shape.adverb_kind.draw(uniform)
        if adverb_kind:
            adverb = tables[adverb_kind].draw(uniform)
        if shape.has_place.draw(uniform):
            preposition = tables["preposition"].draw(uniform)
            place = self._draw_phrase(uniform, shape.place_kind.draw(uniform), False)
        return Clause(conjunction, verb, tense, subject, patient, adverb, preposition, place)

    def _draw_phrase(self, uniform: Uniform, kind: str, may_have_relative: bool) -> Phrase:
        if kind == "name":
            return Phrase(self.draw_name(uniform))
        shape, tables = self.structure, self.tables
        noun = tables[kind].draw(uniform)
        number = shape.number.draw(uniform)
        numeral, definite = NONE, False
        if number == COUNTED:
            numeral = tables["number"].draw(uniform)
        else:
            definite = shape.definite.draw(uniform)
        adjectives: tuple[int, ...] = ()
        n_adjectives = shape.n_adjectives.draw(uniform)
        if n_adjectives:
            first = tables["adjective"].draw(uniform)
            adjectives = (first,)
            if n_adjectives == 2:
                adjectives = (first, tables["adjective"].draw_other(uniform, first))
        relative = None
        if may_have_relative and shape.has_relative.draw(uniform):
            relative = self._draw_relative(uniform)
        return Phrase(noun, number, numeral, definite, adjectives, relative)

    def _draw_relative(self, uniform: Uniform) -> Relative:
        kind = self.structure.relative_kind.draw(uniform)
        verb = self.tables[kind].draw(uniform)
        tense = self.structure.tense.draw(uniform)
        patient = None
        if kind == "transitive":
            patient = self._draw_phrase(uniform, self.object_kinds[verb].draw(uniform), False)
        return Relative(verb, tense, patient)


class Term(NamedTuple):
    """One lexical draw: a concept of a kind, and the adjective it had to differ from."""

    kind: str
    concept: int
    excluded: int = NONE


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
    for clause in meaning:
        if clause.object is not None:
            yield clause.verb, clause.object.noun
        for phrase in (clause.subject, clause.object):
            relative = phrase.relative if phrase is not None else None
            if relative is not None and relative.object is not None:
                yield relative.verb, relative.object.noun


def iterate_concepts(meaning: Meaning, lexicon: Lexicon) -> Iterator[int]:
    """Every concept a meaning spells; of a double verb, the sense that its object selects."""
    for clause in meaning:
        if clause.conjunction != NONE:
            yield clause.conjunction
        yield lexicon.sense(clause.verb, clause.object.noun if clause.object else None)
        if clause.adverb != NONE:
            yield clause.adverb
        if clause.preposition != NONE:
            yield clause.preposition
    for phrase in iterate_phrases(meaning):
        yield phrase.noun
        yield from phrase.adjectives
        if phrase.numeral != NONE:
            yield phrase.numeral
        relative = phrase.relative
        if relative is not None:
            yield lexicon.sense(relative.verb, relative.object.noun if relative.object else None)


def count_words(meaning: Meaning, lexicon: Lexicon) -> int:
    """Words of a meaning as language A spells it; every spelling has the same number."""
    total = 0
    for clause in meaning:
        total += 1 + (clause.tense == FUTURE) + (clause.conjunction != NONE)
        total += (clause.adverb != NONE) + (clause.preposition != NONE)
    for phrase in iterate_phrases(meaning):
        total += 1 + len(phrase.adjectives)
        if lexicon.kind[phrase.noun] != "name":
            # Only the bare plural has no determiner.
            total += int(phrase.number != PLURAL or phrase.definite)
        if phrase.relative is not None:
            total += 2 + (phrase.relative.tense == FUTURE)
    return total


class MeaningScore(NamedTuple):
    """-log probability of a meaning, taken apart by what each part depends on.

    Attributes:
        shape_nats: of everything but the words.
        terms: the lexical draws, whose probability depends on the topic.
        names: names in the order of mention, whose probability depends on the cast.
    """

    shape_nats: float
    terms: list[Term]
    names: list[int]


def score_meaning(meaning: Meaning, structure: Structure, lexicon: Lexicon) -> MeaningScore:
    """What it takes to compute -log p(meaning) in any topic and cast; see `MeaningScore`."""
    score = _Score(structure, lexicon)
    for place, clause in enumerate(meaning):
        score.add_clause(place, clause, place + 1 == len(meaning))
    return MeaningScore(score.nats, score.terms, score.names)


class _Score:
    """Walks a meaning in the order it is drawn and adds up what was drawn."""

    def __init__(self, structure: Structure, lexicon: Lexicon) -> None:
        self.structure, self.lexicon = structure, lexicon
        self.last_kind = structure.last_kind
        self.nats = 0.0
        self.terms: list[Term] = []
        self.names: list[int] = []

    def add_clause(self, place: int, clause: Clause, is_last: bool) -> None:
        shape, kind = self.structure, self.lexicon.kind[clause.verb]
        may_follow = place + 1 < shape.max_clauses
        if clause.conjunction not in (NONE, self.lexicon.that):
            self.terms.append(Term("conjunction", clause.conjunction))
        self.nats += (shape.kind if may_follow else self.last_kind).nats(kind)
        self.terms.append(Term(kind, clause.verb))
        self.nats += shape.tense.nats(clause.tense)
        self.nats += shape.subject_kind.nats(self.lexicon.kind[clause.subject.noun])
        self.add_phrase(clause.subject, True)
        if clause.object is not None:
            self.add_object(clause.verb, clause.object, True)
        adverb_kind = self.lexicon.kind[clause.adverb] if clause.adverb != NONE else ""
        self.nats += shape.adverb_kind.nats(adverb_kind)
        if adverb_kind:
            self.terms.append(Term(adverb_kind, clause.adverb))
        self.nats += shape.has_place.nats(clause.place is not None)
        if clause.place is not None:
            self.terms.append(Term("preposition", clause.preposition))
            self.nats += shape.place_kind.nats(self.lexicon.kind[clause.place.noun])
            self.add_phrase(clause.place, False)
        if kind != "clausal" and may_follow:
            self.nats += shape.continues.nats(not is_last)

    def add_object(self, verb: int, patient: Phrase, may_have_relative: bool) -> None:
        kind = self.lexicon.kind[patient.noun]
        self.nats += self.lexicon.object_kinds[verb].nats(kind)
        self.add_phrase(patient, may_have_relative)

    def add_phrase(self, phrase: Phrase, may_have_relative: bool) -> None:
        kind, shape = self.lexicon.kind[phrase.noun], self.structure
        if kind == "name":
            self.names.append(phrase.noun)
            return
        self.terms.append(Term(kind, phrase.noun))
        self.nats += shape.number.nats(phrase.number)
        if phrase.number == COUNTED:
            self.terms.append(Term("number", phrase.numeral))
        else:
            self.nats += shape.definite.nats(phrase.definite)
        self.nats += shape.n_adjectives.nats(len(phrase.adjectives))
        excluded = NONE
        for adjective in phrase.adjectives:
            self.terms.append(Term("adjective", adjective, excluded))
            excluded = adjective
        if may_have_relative:
            self.nats += shape.has_relative.nats(phrase.relative is not None)
            if phrase.relative is not None:
                self.add_relative(phrase.relative)

    def add_relative(self, relative: Relative) -> None:
        kind = self.lexicon.kind[relative.verb]
        self.nats += self.structure.relative_kind.nats(kind)
        self.terms.append(Term(kind, relative.verb))
        self.nats += self.structure.tense.nats(relative.tense)
        if relative.object is not None:
            self.add_object(relative.verb, relative.object, False)
