"""Language A: subject, verb, object; plural -s; a third person -s; tense on the verb."""

from functools import cache

from tietrain.data.grammar.draw import Table
from tietrain.data.grammar.meaning import FUTURE, PAST, SINGULAR, Clause, Phrase, Relative, sense_of
from tietrain.data.grammar.spelling import Constituents, Language, Words

THIRD, PLAIN, PAST_FORM = 0, 1, 2
ADVERB_PLACES = {
    "": (("", 1),),
    "time": (("front", 3), ("middle", 1), ("end", 3)),
    "manner": (("front", 1), ("middle", 3), ("end", 3)),
}
"""Where an adverb stands: before the subject, before the verb, after the object."""
PLACE_PLACES = {False: (("", 1),), True: (("front", 1), ("end", 4))}
"""Where a phrase of place stands, if there is one."""


@cache
def _make_orders(adverb_kind: str, has_object: bool, has_place: bool) -> Table[str]:
    """Orders of subject S, verb V, object O, adverb A and phrase of place P."""
    weight_of: dict[str, int] = {}
    core = "VO" if has_object else "V"
    for adverb, weight_of_adverb in ADVERB_PLACES[adverb_kind]:
        for place, weight_of_place in PLACE_PLACES[has_place]:
            if adverb == place == "front":
                continue
            front = "A" * (adverb == "front") + "P" * (place == "front")
            middle = "A" * (adverb == "middle")
            ends = ["AP", "PA"] if adverb == place == "end" else ["A" * (adverb == "end") + "P" * (place == "end")]
            for end in ends:
                weight_of[f"{front}S{middle}{core}{end}"] = 2 * weight_of_adverb * weight_of_place // len(ends)
    return Table(list(weight_of), list(weight_of.values()))


class LanguageA(Language):
    """Spells meanings in A; see `ClausePlan`."""

    name = "a"
    articles = ("the", "a")
    function_words = (*articles, "will", "who", "which")

    def orders(self, clause: Clause, adverb_kind: str) -> Table[str]:
        return _make_orders(adverb_kind, clause.object is not None, clause.place is not None)

    def verb(self, clause: Clause) -> Constituents:
        return {"V": self._conjugate(clause, clause.subject.number)}

    def _conjugate(self, part: Clause | Relative, number: int) -> Words:
        sense = sense_of(part, self.lexicon)
        if part.tense == FUTURE:
            return ["will", self.word(sense, PLAIN)]
        if part.tense == PAST:
            return [self.word(sense, PAST_FORM)]
        return [self.word(sense, THIRD if number == SINGULAR else PLAIN)]

    def article(self, phrase: Phrase, case: int) -> tuple[str, int]:
        return "the" if phrase.definite else "a" if phrase.number == SINGULAR else "", 0

    def relative(self, phrase: Phrase, relative: Relative, patient: Words) -> Words:
        pronoun = "who" if self.lexicon.kind[phrase.noun] in ("person", "animal") else "which"
        return [pronoun, *self._conjugate(relative, phrase.number), *patient]
