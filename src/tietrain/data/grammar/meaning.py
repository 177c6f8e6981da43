"""Meanings: the small trees that sentences spell, how they are drawn and how probable they are."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

from tietrain.data.grammar.draw import Table, Uniform
from tietrain.data.grammar.lexicon import ANIMATE_KINDS, NEUTRAL, Lexicon

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

    def kinds_of_verb(self, may_follow: bool) -> Table[str]:
        """Kinds of verb in a clause, by whether another clause may follow."""
        return self.kind if may_follow else _without_clausal(self.kind)


@cache
def _without_clausal(kinds: Table[str]) -> Table[str]:
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


class MeaningDrawer:
    """Draws meanings from the tables of a structure, and of a lexicon in one topic whose concepts come first.

    draw_name: draws a name; the lexicon's table unless replaced.
    """

    def __init__(self, structure: Structure, lexicon: Lexicon, topic: int = NEUTRAL) -> None:
        self.structure = structure
        self.object_kinds = lexicon.object_kinds
        self.that = lexicon.that
        kinds = dict.fromkeys(lexicon.kind)
        self.tables = {kind: lexicon.table(kind, topic) for kind in kinds if kind != "second_sense"}
        self.draw_name: Callable[[Uniform], int] = self.tables["name"].draw

    def draw(self, uniform: Uniform) -> Meaning:
        """One meaning; `MeaningScore` walks it in the same order."""
        shape = self.structure
        clauses: list[Clause] = []
        conjunction = NONE
        while True:
            may_follow = len(clauses) + 1 < shape.max_clauses
            kind = shape.kinds_of_verb(may_follow).draw(uniform)
            clauses.append(self._draw_clause(uniform, conjunction, kind))
            if kind == "clausal":
                conjunction = self.that
            elif may_follow and shape.continues.draw(uniform):
                conjunction = self.tables["conjunction"].draw(uniform)
            else:
                return tuple(clauses)

    def _draw_clause(self, uniform: Uniform, conjunction: int, kind: str) -> Clause:
        shape = self.structure
        verb = self.tables[kind].draw(uniform)
        tense = shape.tense.draw(uniform)
        subject = self._draw_phrase(uniform, shape.subject_kind.draw(uniform), True)
        patient = self._draw_object(uniform, verb, True) if kind == "transitive" else None
        adverb_kind = shape.adverb_kind.draw(uniform)
        adverb = self.tables[adverb_kind].draw(uniform) if adverb_kind else NONE
        preposition = NONE
        place = None
        if shape.has_place.draw(uniform):
            preposition = self.tables["preposition"].draw(uniform)
            place = self._draw_phrase(uniform, shape.place_kind.draw(uniform), False)
        return Clause(conjunction, verb, tense, subject, patient, adverb, preposition, place)

    def _draw_object(self, uniform: Uniform, verb: int, may_have_relative: bool) -> Phrase:
        return self._draw_phrase(uniform, self.object_kinds[verb].draw(uniform), may_have_relative)

    def _draw_phrase(self, uniform: Uniform, kind: str, may_have_relative: bool) -> Phrase:
        if kind == "name":
            return Phrase(self.draw_name(uniform))
        shape = self.structure
        noun = self.tables[kind].draw(uniform)
        number = shape.number.draw(uniform)
        is_counted = number == COUNTED
        numeral = self.tables["number"].draw(uniform) if is_counted else NONE
        definite = not is_counted and shape.definite.draw(uniform)
        adjectives: tuple[int, ...] = ()
        n_adjectives = shape.n_adjectives.draw(uniform)
        if n_adjectives:
            first = self.tables["adjective"].draw(uniform)
            adjectives = (first,)
            if n_adjectives == 2:
                adjectives = (first, self.tables["adjective"].draw_other(uniform, first))
        relative = None
        if may_have_relative and shape.has_relative.draw(uniform):
            verb_kind = shape.relative_kind.draw(uniform)
            verb = self.tables[verb_kind].draw(uniform)
            tense = shape.tense.draw(uniform)
            patient = self._draw_object(uniform, verb, False) if verb_kind == "transitive" else None
            relative = Relative(verb, tense, patient)
        return Phrase(noun, number, numeral, definite, adjectives, relative)


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


class Term(NamedTuple):
    """One lexical draw: a concept of a kind, and the adjective it had to differ from."""

    kind: str
    concept: int
    excluded: int = NONE


class MeaningScore:
    """-log probability of a meaning, taken apart by what each part depends on.

    It walks the meaning in the order it is drawn and adds up what was drawn.

    Attributes:
        shape_nats: of everything but the words.
        terms: the lexical draws, whose probability depends on the topic.
        names: names in the order of mention, whose probability depends on the cast.
    """

    def __init__(self, meaning: Meaning, structure: Structure, lexicon: Lexicon) -> None:
        self.structure = structure
        self.lexicon = lexicon
        self.shape_nats = 0.0
        self.terms: list[Term] = []
        self.names: list[int] = []
        for place, clause in enumerate(meaning):
            self._add_clause(clause, place + 1 < structure.max_clauses, place + 1 == len(meaning))

    def _add_clause(self, clause: Clause, may_follow: bool, is_last: bool) -> None:
        shape = self.structure
        kind = self.lexicon.kind[clause.verb]
        if clause.conjunction not in (NONE, self.lexicon.that):
            self.terms.append(Term("conjunction", clause.conjunction))
        self.shape_nats += shape.kinds_of_verb(may_follow).nats(kind)
        self.terms.append(Term(kind, clause.verb))
        self.shape_nats += shape.tense.nats(clause.tense)
        self._add_phrase(clause.subject, shape.subject_kind, True)
        if clause.object is not None:
            self._add_phrase(clause.object, self.lexicon.object_kinds[clause.verb], True)
        adverb_kind = self.lexicon.kind[clause.adverb] if clause.adverb != NONE else ""
        self.shape_nats += shape.adverb_kind.nats(adverb_kind)
        if adverb_kind:
            self.terms.append(Term(adverb_kind, clause.adverb))
        self.shape_nats += shape.has_place.nats(clause.place is not None)
        if clause.place is not None:
            self.terms.append(Term("preposition", clause.preposition))
            self._add_phrase(clause.place, shape.place_kind, False)
        if kind != "clausal" and may_follow:
            self.shape_nats += shape.continues.nats(not is_last)

    def _add_phrase(self, phrase: Phrase, kinds: Table[str], may_have_relative: bool) -> None:
        kind = self.lexicon.kind[phrase.noun]
        shape = self.structure
        self.shape_nats += kinds.nats(kind)
        if kind == "name":
            self.names.append(phrase.noun)
            return
        self.terms.append(Term(kind, phrase.noun))
        self.shape_nats += shape.number.nats(phrase.number)
        if phrase.number == COUNTED:
            self.terms.append(Term("number", phrase.numeral))
        else:
            self.shape_nats += shape.definite.nats(phrase.definite)
        self.shape_nats += shape.n_adjectives.nats(len(phrase.adjectives))
        excluded = NONE
        for adjective in phrase.adjectives:
            self.terms.append(Term("adjective", adjective, excluded))
            excluded = adjective
        if may_have_relative:
            self.shape_nats += shape.has_relative.nats(phrase.relative is not None)
            if phrase.relative is not None:
                self._add_relative(phrase.relative)

    def _add_relative(self, relative: Relative) -> None:
        kind = self.lexicon.kind[relative.verb]
        self.shape_nats += self.structure.relative_kind.nats(kind)
        self.terms.append(Term(kind, relative.verb))
        self.shape_nats += self.structure.tense.nats(relative.tense)
        if relative.object is not None:
            self._add_phrase(relative.object, self.lexicon.object_kinds[relative.verb], False)
