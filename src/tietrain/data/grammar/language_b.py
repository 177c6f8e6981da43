"""Languages B and C: gender, case and number agree; verb second in main clauses, last in others.

A separable verb leaves its particle at the end of a main clause and takes it back elsewhere.
"""

from tietrain.data.grammar.draw import Table
from tietrain.data.grammar.language_a import make_slot
from tietrain.data.grammar.lexicon import Lexicon
from tietrain.data.grammar.meaning import (
    COUNTED,
    FUTURE,
    NONE,
    PAST,
    SINGULAR,
    Clause,
    Meaning,
    Phrase,
)
from tietrain.data.grammar.spelling import COMMA, ClausePlan, Slot

MASCULINE, FEMININE, NEUTER, MANY = 0, 1, 2, 3
NOMINATIVE, ACCUSATIVE, DATIVE = 0, 1, 2
INFINITIVE = 4
JOINED = 5
"""Added to a form of the verb to ask for it with its particle in front."""

E, ER, ES, EN = 0, 1, 2, 3
AFTER_DEFINITE = {
    NOMINATIVE: (E, E, E, EN),
    ACCUSATIVE: (EN, E, E, EN),
    DATIVE: (EN, EN, EN, EN),
}
"""Ending of an adjective after a definite article."""
AFTER_OTHER = {
    NOMINATIVE: (ER, E, ES, E),
    ACCUSATIVE: (EN, E, ES, E),
    DATIVE: (EN, EN, EN, EN),
}
"""Ending of an adjective after an indefinite article, a number or nothing."""

FIRST = {"S": 12, "A": 5, "P": 3, "O": 3}
"""What stands before the verb of a main clause, as far as the clause has it."""
ADVERB_BEFORE_OBJECT = {"time": (3, 1), "manner": (1, 2)}
"""Weights of the adverb before and after the object."""
PLACE_LAST = (4, 1)
"""Weights of the phrase of place after everything else, and before everything else."""

Key = tuple[str, bool, bool, bool, bool]


def _make_middles(letters: str, adverb_kind: str) -> list[tuple[str, int]]:
    """Orders of what stands between verb and end, without the subject."""
    cores = [("O" * ("O" in letters), 1)]
    if "A" in letters:
        if "O" in letters:
            before, after = ADVERB_BEFORE_OBJECT[adverb_kind]
            cores = [("AO", before), ("OA", after)]
        else:
            cores = [("A", 1)]
    if "P" not in letters:
        return cores
    if not cores[0][0]:
        return [("P", 1)]
    last, first = PLACE_LAST
    with_place = [(core + "P", weight * last) for core, weight in cores]
    return with_place + [("P" + core, weight * first) for core, weight in cores]


def _make_orders(adverb_kind: str, has_object: bool, has_place: bool, may_front: bool, is_main: bool) -> Table[str]:
    """Orders of S, O, A, P, finite verb V and closing part F (particle or infinitive)."""
    letters = "O" * has_object + "A" * bool(adverb_kind) + "P" * has_place
    if not is_main:
        middles = _make_middles(letters, adverb_kind)
        return Table([f"S{middle}FV" for middle, _ in middles], [weight for _, weight in middles])
    orders, weights = [], []
    for first, weight in FIRST.items():
        if first == "S":
            rest, subject = letters, ""
        elif first in letters and (first != "O" or may_front):
            rest, subject = letters.replace(first, ""), "S"
        else:
            continue
        middles = _make_middles(rest, adverb_kind)
        total = sum(weight_of_middle for _, weight_of_middle in middles)
        for middle, weight_of_middle in middles:
            orders.append(f"{first}V{subject}{middle}F")
            # 60 is divisible by every total there is, so the share of `first` stays exact.
            weights.append(weight * weight_of_middle * (60 // total))
    return Table(orders, weights)


class LanguageB:
    """Spells meanings in B; see `ClausePlan`.

    Attributes:
        definite: articles, also relative pronouns: by case, then by gender and MANY for the plural of all three.
        indefinite: articles by case, then by gender.
        future: auxiliary of the singular and of the plural.
    """

    language = "b"
    definite = (("der", "die", "das", "die"), ("den", "die", "das", "die"), ("dem", "der", "dem", "den"))
    indefinite = (("ein", "eine", "ein"), ("einen", "eine", "ein"), ("einem", "einer", "einem"))
    future = ("wird", "werden")

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self._orders: dict[Key, Table[str]] = {}
        self._slots: dict[tuple[int, int], Slot] = {}

    @classmethod
    def articles(cls) -> tuple[str, ...]:
        """Every article, once each."""
        return tuple(dict.fromkeys(article for row in (*cls.definite, *cls.indefinite) for article in row))

    def plan(self, meaning: Meaning) -> list[ClausePlan]:
        """One plan a clause, in the order of the clauses."""
        return [self._plan_clause(clause) for clause in meaning]

    def slot(self, concept: int, form: int = 0) -> Slot:
        """The words of a concept in one inflected form."""
        key = (concept, form)
        slot = self._slots.get(key)
        if slot is None:
            words = self.lexicon.words[self.language][concept]
            if form >= JOINED:
                forms = [(word.particle + word.forms[form - JOINED], n) for word, n in words]
            else:
                forms = [(word.forms[form], n) for word, n in words]
            slot = self._slots[key] = make_slot(forms)
        return slot

    def _plan_clause(self, clause: Clause) -> ClausePlan:
        is_main = clause.conjunction == NONE
        patient = clause.object
        sense = self.lexicon.sense(clause.verb, patient.noun if patient else None)
        finite, close = self._verb(sense, clause.tense, clause.subject.number, is_main)
        constituents = {"S": self._phrase(clause.subject, NOMINATIVE), "V": finite, "F": close}
        may_front = False
        if patient is not None:
            constituents["O"] = self._phrase(patient, ACCUSATIVE)
            # Only the masculine singular shows its case, and only with an article.
            may_front = patient.number == SINGULAR and self.lexicon.gender[patient.noun] == MASCULINE
        adverb_kind = ""
        if clause.adverb != NONE:
            adverb_kind = self.lexicon.kind[clause.adverb]
            constituents["A"] = [self.slot(clause.adverb)]
        if clause.place is not None:
            place = self._phrase(clause.place, DATIVE)
            constituents["P"] = [self.slot(clause.preposition), *place]
        lead = None
        if not is_main:
            lead = self.lexicon.words[self.language][clause.conjunction][0][0].forms[0]
        key = (adverb_kind, patient is not None, clause.place is not None, may_front, is_main)
        orders = self._orders.get(key)
        if orders is None:
            orders = self._orders[key] = _make_orders(*key)
        return ClausePlan(lead, orders, constituents)

    def _verb(self, sense: int, tense: int, number: int, is_main: bool) -> tuple[list[Slot], list[Slot]]:
        """The finite verb and what closes the clause."""
        many = int(number != SINGULAR)
        if tense == FUTURE:
            return [self.future[many]], [self.slot(sense, JOINED + INFINITIVE)]
        form = 2 * (tense == PAST) + many
        if not is_main:
            return [self.slot(sense, JOINED + form)], []
        # A separable verb is the only word of its concept, so particle and stem agree.
        particle = self.lexicon.words[self.language][sense][0][0].particle
        return [self.slot(sense, form)], [particle] if particle else []

    def _phrase(self, phrase: Phrase, case: int) -> list[Slot]:
        lexicon = self.lexicon
        if lexicon.kind[phrase.noun] == "name":
            return [self.slot(phrase.noun)]
        gender = lexicon.gender[phrase.noun]
        column = gender if phrase.number == SINGULAR else MANY
        slots: list[Slot] = []
        endings = AFTER_OTHER
        if phrase.number == COUNTED:
            slots.append(self.slot(phrase.numeral))
        elif phrase.definite:
            slots.append(self.definite[case][column])
            endings = AFTER_DEFINITE
        elif phrase.number == SINGULAR:
            slots.append(self.indefinite[case][column])
        for adjective in phrase.adjectives:
            slots.append(self.slot(adjective, endings[case][column]))
        slots.append(self.slot(phrase.noun, 0 if phrase.number == SINGULAR else 1))
        if phrase.relative is not None:
            relative = phrase.relative
            sense = lexicon.sense(relative.verb, relative.object.noun if relative.object else None)
            finite, close = self._verb(sense, relative.tense, phrase.number, False)
            slots += [COMMA, self.definite[NOMINATIVE][column]]
            if relative.object is not None:
                slots += self._phrase(relative.object, ACCUSATIVE)
            slots += [*close, *finite, COMMA]
        return slots


class LanguageC(LanguageB):
    """Spells meanings in C, the sister of B: B's grammar with articles, an auxiliary and words of its own."""

    language = "c"
    definite = (("dar", "die", "dat", "die"), ("dan", "die", "dat", "die"), ("dam", "dar", "dam", "dan"))
    indefinite = (("ain", "aine", "ain"), ("ainen", "aine", "ain"), ("ainem", "ainer", "ainem"))
    future = ("wurd", "wurden")
