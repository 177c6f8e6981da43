"""Language D: the verb last, relative clauses before their noun, postpositions, and suffixes for all else.

It has no articles and no gender. A verb agrees with the form of its subject, so that a counted
noun, which takes no plural, has a singular verb. Case shows on every noun and name, so that an
object may stand before its subject.
"""

from itertools import product

from tietrain.data.grammar.draw import Table
from tietrain.data.grammar.lexicon import Lexicon
from tietrain.data.grammar.meaning import NONE, PLURAL, Clause, Meaning, Phrase
from tietrain.data.grammar.spelling import ClausePlan, Slot

SUBJECT, OBJECT, OBLIQUE = 0, 1, 2
PARTICIPLE = 6
"""First of the participles among the forms of a verb; see `coining_d` for the order of all."""

SUBJECT_FIRST = (5, 1)
"""Weights of the subject before the object, and after it."""
ADVERB_PLACES = {"": {}, "time": {"front": 3, "second": 2}, "manner": {"second": 1, "last": 3}}
PLACE_PLACES: dict[bool, dict[str, int]] = {False: {}, True: {"front": 1, "second": 1, "last": 2}}
"""Where an adverb and a phrase of place stand among what comes before the verb."""


def _insert(order: str, letter: str, place: str) -> str:
    at = {"front": 0, "second": 1, "last": len(order)}[place]
    return order[:at] + letter + order[at:]


def _make_orders(adverb_kind: str, has_object: bool, has_place: bool) -> Table[str]:
    """Orders of subject S, object O, adverb A, phrase of place P and verb V."""
    orders = dict(zip(("SO", "OS"), SUBJECT_FIRST, strict=True)) if has_object else {"S": 1}
    for letter, places in (("A", ADVERB_PLACES[adverb_kind]), ("P", PLACE_PLACES[has_place])):
        longer: dict[str, int] = {} if places else orders
        for (order, weight), (place, factor) in product(orders.items(), places.items()):
            changed = _insert(order, letter, place)
            longer[changed] = longer.get(changed, 0) + weight * factor
        orders = longer
    return Table([order + "V" for order in orders], list(orders.values()))


class LanguageD:
    """Spells meanings in D; see `ClausePlan`."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self.orders = {key: _make_orders(*key) for key in product(ADVERB_PLACES, (False, True), (False, True))}

    def plan(self, meaning: Meaning) -> list[ClausePlan]:
        """One plan a clause, in the order of the clauses."""
        return [self._plan_clause(clause) for clause in meaning]

    def word(self, concept: int, form: int = 0) -> str:
        """The one word of a concept in one inflected form."""
        return self.lexicon.words["d"][concept][0][0].forms[form]

    def _plan_clause(self, clause: Clause) -> ClausePlan:
        patient, adverb_kind = clause.object, ""
        sense = self.lexicon.sense(clause.verb, patient.noun if patient else None)
        constituents: dict[str, list[Slot]] = {
            "S": self._phrase(clause.subject, SUBJECT),
            "V": [self.word(sense, 2 * clause.tense + (clause.subject.number == PLURAL))],
        }
        if patient is not None:
            constituents["O"] = self._phrase(patient, OBJECT)
        if clause.adverb != NONE:
            adverb_kind = self.lexicon.kind[clause.adverb]
            constituents["A"] = [self.word(clause.adverb)]
        if clause.place is not None:
            constituents["P"] = [*self._phrase(clause.place, OBLIQUE), self.word(clause.preposition)]
        lead = None if clause.conjunction == NONE else self.word(clause.conjunction)
        orders = self.orders[adverb_kind, patient is not None, clause.place is not None]
        return ClausePlan(lead, orders, constituents)

    def _phrase(self, phrase: Phrase, case: int) -> list[Slot]:
        if self.lexicon.kind[phrase.noun] == "name":
            return [self.word(phrase.noun, case)]
        slots: list[Slot] = []
        if phrase.relative is not None:
            verb, tense, patient = phrase.relative
            if patient is not None:
                slots += self._phrase(patient, OBJECT)
            sense = self.lexicon.sense(verb, patient.noun if patient else None)
            slots.append(self.word(sense, PARTICIPLE + tense))
        if phrase.numeral != NONE:
            slots.append(self.word(phrase.numeral))
        slots += [self.word(adjective) for adjective in phrase.adjectives]
        slots.append(self.word(phrase.noun, 6 * (phrase.number == PLURAL) + 3 * phrase.definite + case))
        return slots
