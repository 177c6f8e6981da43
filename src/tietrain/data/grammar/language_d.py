"""Language D: the verb last, relative clauses before their noun, postpositions, and suffixes for all else.

It has no articles and no gender. A verb agrees with the form of its subject, so that a counted
noun, which takes no plural, has a singular verb. Case shows on every noun and name, so that an
object may stand before its subject.
"""

from functools import cache

from tietrain.data.grammar.draw import Table
from tietrain.data.grammar.meaning import NONE, PLURAL, Clause, Phrase, sense_of
from tietrain.data.grammar.spelling import OBJECT, Constituents, Language, WordChoice

PARTICIPLE = 6
"""First of the participles among the forms of a verb; see `coining_relatives` for the order of all."""

SUBJECT_FIRST = {"SO": 5, "OS": 1}
ADVERB_PLACES = {"": {}, "time": {"front": 3, "second": 2}, "manner": {"second": 1, "last": 3}}
PLACE_PLACES: dict[bool, dict[str, int]] = {False: {}, True: {"front": 1, "second": 1, "last": 2}}
"""Where an adverb and a phrase of place stand among what comes before the verb."""


def _insert(weight_of: dict[str, int], letter: str, places: dict[str, int]) -> dict[str, int]:
    """Orders with one letter more, in each of its places; unchanged if it has none."""
    longer: dict[str, int] = {} if places else weight_of
    for order, weight in weight_of.items():
        for place, factor in places.items():
            at = {"front": 0, "second": 1, "last": len(order)}[place]
            changed = order[:at] + letter + order[at:]
            longer[changed] = longer.get(changed, 0) + weight * factor
    return longer


@cache
def _make_orders(adverb_kind: str, has_object: bool, has_place: bool) -> Table[str]:
    """Orders of subject S, object O, adverb A, phrase of place P and verb V."""
    weight_of = SUBJECT_FIRST if has_object else {"S": 1}
    weight_of = _insert(weight_of, "A", ADVERB_PLACES[adverb_kind])
    weight_of = _insert(weight_of, "P", PLACE_PLACES[has_place])
    return Table([order + "V" for order in weight_of], list(weight_of.values()))


class LanguageD(Language):
    """Spells meanings in D; see `ClausePlan`."""

    name = "d"
    place_first = False

    def orders(self, clause: Clause, adverb_kind: str) -> Table[str]:
        return _make_orders(adverb_kind, clause.object is not None, clause.place is not None)

    def verb(self, clause: Clause) -> Constituents:
        return {"V": [self.word(sense_of(clause, self.lexicon), 2 * clause.tense + (clause.subject.number == PLURAL))]}

    def phrase(self, phrase: Phrase, case: int) -> list[WordChoice]:
        if self.lexicon.kind[phrase.noun] == "name":
            return [self.word(phrase.noun, case)]
        words: list[WordChoice] = []
        relative = phrase.relative
        if relative is not None:
            if relative.object is not None:
                words += self.phrase(relative.object, OBJECT)
            words.append(self.word(sense_of(relative, self.lexicon), PARTICIPLE + relative.tense))
        if phrase.numeral != NONE:
            words.append(self.word(phrase.numeral))
        words += [self.word(adjective) for adjective in phrase.adjectives]
        words.append(self.word(phrase.noun, 6 * (phrase.number == PLURAL) + 3 * phrase.definite + case))
        return words
