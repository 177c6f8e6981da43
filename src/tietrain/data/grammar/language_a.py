"""Language A: subject, verb, object; plural -s; a third person -s; tense on the verb."""

from collections.abc import Sequence
from itertools import product

from tietrain.data.grammar.draw import Table
from tietrain.data.grammar.lexicon import Lexicon
from tietrain.data.grammar.meaning import (
    COUNTED,
    FUTURE,
    NONE,
    PRESENT,
    SINGULAR,
    Clause,
    Meaning,
    Phrase,
    Relative,
)
from tietrain.data.grammar.spelling import COMMA, ClausePlan, Slot

THIRD, PLAIN, PAST_FORM = 0, 1, 2
ADVERB_PLACES = {
    "": (("", 1),),
    "time": (("front", 3), ("middle", 1), ("end", 3)),
    "manner": (("front", 1), ("middle", 3), ("end", 3)),
}
"""Where an adverb stands: before the subject, before the verb, after the object."""
PLACE_PLACES = {False: (("", 1),), True: (("front", 1), ("end", 4))}
"""Where a phrase of place stands."""


def make_slot(forms: Sequence[tuple[str, int]]) -> Slot:
    """A fixed word where there is one form, else a choice by weight."""
    if len(forms) == 1:
        return forms[0][0]
    return Table([form for form, _ in forms], [weight for _, weight in forms])


def _make_orders(adverb_kind: str, has_object: bool, has_place: bool) -> Table[str]:
    """Orders of subject S, verb V, object O, adverb A and phrase of place P."""
    orders, weights = [], []
    core = "VO" if has_object else "V"
    choices = product(ADVERB_PLACES[adverb_kind], PLACE_PLACES[has_place])
    for (adverb, weight_of_adverb), (place, weight_of_place) in choices:
        weight = 2 * weight_of_adverb * weight_of_place
        if adverb == place == "front":
            continue
        front = "A" * (adverb == "front") + "P" * (place == "front")
        middle = "A" * (adverb == "middle")
        if adverb == place == "end":
            orders += [f"{front}S{middle}{core}AP", f"{front}S{middle}{core}PA"]
            weights += [weight // 2, weight // 2]
            continue
        end = "A" * (adverb == "end") + "P" * (place == "end")
        orders.append(f"{front}S{middle}{core}{end}")
        weights.append(weight)
    return Table(orders, weights)


class LanguageA:
    """Spells meanings in A; see `ClausePlan`."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self.orders = {key: _make_orders(*key) for key in product(ADVERB_PLACES, (False, True), (False, True))}
        self._slots: dict[tuple[int, int], Slot] = {}

    def plan(self, meaning: Meaning) -> list[ClausePlan]:
        """One plan a clause, in the order of the clauses."""
        return [self._plan_clause(clause) for clause in meaning]

    def slot(self, concept: int, form: int = 0) -> Slot:
        """The words of a concept in one inflected form."""
        key = (concept, form)
        slot = self._slots.get(key)
        if slot is None:
            words = self.lexicon.words["a"][concept]
            slot = make_slot([(word.forms[form], weight) for word, weight in words])
            self._slots[key] = slot
        return slot

    def _plan_clause(self, clause: Clause) -> ClausePlan:
        constituents: dict[str, list[Slot]] = {
            "S": self._phrase(clause.subject),
            "V": self._verb(clause.verb, clause.tense, clause.subject.number, clause.object),
        }
        if clause.object is not None:
            constituents["O"] = self._phrase(clause.object)
        adverb_kind = ""
        if clause.adverb != NONE:
            adverb_kind = self.lexicon.kind[clause.adverb]
            constituents["A"] = [self.slot(clause.adverb)]
        if clause.place is not None:
            constituents["P"] = [self.slot(clause.preposition), *self._phrase(clause.place)]
        lead = None
        if clause.conjunction != NONE:
            lead = self.lexicon.words["a"][clause.conjunction][0][0].forms[0]
        orders = self.orders[adverb_kind, clause.object is not None, clause.place is not None]
        return ClausePlan(lead, orders, constituents)

    def _verb(self, verb: int, tense: int, number: int, patient: Phrase | None) -> list[Slot]:
        sense = self.lexicon.sense(verb, patient.noun if patient else None)
        if tense == FUTURE:
            return ["will", self.slot(sense, PLAIN)]
        if tense == PRESENT:
            return [self.slot(sense, THIRD if number == SINGULAR else PLAIN)]
        return [self.slot(sense, PAST_FORM)]

    def _phrase(self, phrase: Phrase) -> list[Slot]:
        kind = self.lexicon.kind[phrase.noun]
        if kind == "name":
            return [self.slot(phrase.noun)]
        slots: list[Slot] = []
        if phrase.number == COUNTED:
            slots.append(self.slot(phrase.numeral))
        elif phrase.definite:
            slots.append("the")
        elif phrase.number == SINGULAR:
            slots.append("a")
        for adjective in phrase.adjectives:
            slots.append(self.slot(adjective))
        slots.append(self.slot(phrase.noun, 0 if phrase.number == SINGULAR else 1))
        if phrase.relative is not None:
            pronoun = "who" if kind in ("person", "animal") else "which"
            slots += [COMMA, pronoun, *self._relative(phrase.relative, phrase.number), COMMA]
        return slots

    def _relative(self, relative: Relative, number: int) -> list[Slot]:
        slots = self._verb(relative.verb, relative.tense, number, relative.object)
        if relative.object is not None:
            slots += self._phrase(relative.object)
        return slots
