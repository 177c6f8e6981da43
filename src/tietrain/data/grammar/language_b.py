"""Languages B and C: gender, case and number agree; verb second in main clauses, last in others.

A separable verb leaves its particle at the end of a main clause and takes it back elsewhere.
"""

from functools import cache
from itertools import chain

from tietrain.data.grammar.draw import Table
from tietrain.data.grammar.lexicon import Word
from tietrain.data.grammar.meaning import FUTURE, NONE, PAST, SINGULAR, Clause, Phrase, Relative, sense_of
from tietrain.data.grammar.spelling import OBJECT, PLACE, SUBJECT, Constituents, Language, Words

MASCULINE = 0
MANY = 3
"""Columns of a table of articles or endings: the genders 0 to 2, then the plural of all three."""
INFINITIVE = 4
JOINED = 5
"""Added to a form of the verb to ask for it with its particle in front."""

E, ER, ES, EN = 0, 1, 2, 3
AFTER_DEFINITE = {SUBJECT: (E, E, E, EN), OBJECT: (EN, E, E, EN), PLACE: (EN, EN, EN, EN)}
"""Ending of an adjective after a definite article."""
AFTER_OTHER = {SUBJECT: (ER, E, ES, E), OBJECT: (EN, E, ES, E), PLACE: (EN, EN, EN, EN)}
"""Ending of an adjective after an indefinite article, a number or nothing."""

FIRST = {"S": 12, "A": 5, "P": 3, "O": 3}
"""What stands before the verb of a main clause, as far as the clause has it."""
ADVERB_BEFORE_OBJECT = {"time": (3, 1), "manner": (1, 2)}
"""Weights of the adverb before and after the object."""
PLACE_LAST = 4
"""Weight of the phrase of place after everything else; before everything else it has 1."""


def _make_middles(letters: str, adverb_kind: str) -> list[tuple[str, int]]:
    """Orders of what stands between verb and end, without the subject."""
    core = letters.replace("P", "")
    cores = [(core, 1)]
    if core == "OA":
        before, after = ADVERB_BEFORE_OBJECT[adverb_kind]
        cores = [("AO", before), ("OA", after)]
    if "P" not in letters:
        return cores
    if not core:
        return [("P", 1)]
    with_place = [(core + "P", weight * PLACE_LAST) for core, weight in cores]
    return with_place + [("P" + core, weight) for core, weight in cores]


@cache
def _make_orders(adverb_kind: str, has_object: bool, has_place: bool, may_front: bool, is_main: bool) -> Table[str]:
    """Orders of S, O, A, P, finite verb V and closing part F; with `may_front` O, whose case shows, may come first."""
    letters = "O" * has_object + "A" * bool(adverb_kind) + "P" * has_place
    if not is_main:
        middles = _make_middles(letters, adverb_kind)
        return Table([f"S{middle}FV" for middle, _ in middles], [weight for _, weight in middles])
    weight_of: dict[str, int] = {}
    for first, weight_of_first in FIRST.items():
        if first not in "S" + letters or (first == "O" and not may_front):
            continue
        subject = "" if first == "S" else "S"
        middles = _make_middles(letters.replace(first, ""), adverb_kind)
        total = sum(weight for _, weight in middles)
        for middle, weight in middles:
            # 60 is divisible by every total there is, so the share of `first` stays exact.
            weight_of[f"{first}V{subject}{middle}F"] = weight_of_first * weight * (60 // total)
    return Table(list(weight_of), list(weight_of.values()))


def _distinct(*rows: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(chain(*rows)))


class LanguageB(Language):
    """Spells meanings in B; see `ClausePlan`.

    Attributes:
        definite: articles, also relative pronouns: by case, then by gender and MANY for the plural of all three.
        indefinite: articles by case, then by gender.
        future: auxiliary of the singular and of the plural.
        particles: of the separable verbs.
    """

    name = "b"
    definite = (("der", "die", "das", "die"), ("den", "die", "das", "die"), ("dem", "der", "dem", "den"))
    indefinite = (("ein", "eine", "ein"), ("einen", "eine", "ein"), ("einem", "einer", "einem"))
    future = ("wird", "werden")
    particles = ("an", "ab", "aus", "vor", "nach", "hin", "los", "um")
    articles = _distinct(*definite, *indefinite)
    function_words = (*articles, *future, *particles)

    def orders(self, clause: Clause, adverb_kind: str) -> Table[str]:
        patient = clause.object
        # Only the masculine singular shows its case, and only with an article.
        may_front = patient is not None and self._column(patient) == MASCULINE
        is_main = clause.conjunction == NONE
        return _make_orders(adverb_kind, patient is not None, clause.place is not None, may_front, is_main)

    def verb(self, clause: Clause) -> Constituents:
        finite, close = self._conjugate(clause, clause.subject.number, clause.conjunction == NONE)
        return {"V": finite, "F": close}

    def inflected(self, word: Word, form: int) -> str:
        return word.forms[form] if form < JOINED else word.particle + word.forms[form - JOINED]

    def _conjugate(self, part: Clause | Relative, number: int, is_main: bool) -> tuple[Words, Words]:
        """The finite verb and what closes the clause."""
        sense = sense_of(part, self.lexicon)
        many = int(number != SINGULAR)
        if part.tense == FUTURE:
            return [self.future[many]], [self.word(sense, JOINED + INFINITIVE)]
        form = 2 * (part.tense == PAST) + many
        if not is_main:
            return [self.word(sense, JOINED + form)], []
        # A separable verb is the only word of its concept, so particle and stem agree.
        particle = self.lexicon.words[self.name][sense][0][0].particle
        return [self.word(sense, form)], [particle] if particle else []

    def article(self, phrase: Phrase, case: int) -> tuple[str, int]:
        column = self._column(phrase)
        if phrase.definite:
            return self.definite[case][column], AFTER_DEFINITE[case][column]
        return self.indefinite[case][column] if phrase.number == SINGULAR else "", AFTER_OTHER[case][column]

    def _column(self, phrase: Phrase) -> int:
        return self.lexicon.gender[phrase.noun] if phrase.number == SINGULAR else MANY

    def relative(self, phrase: Phrase, relative: Relative, patient: Words) -> Words:
        finite, close = self._conjugate(relative, phrase.number, False)
        return [self.definite[SUBJECT][self._column(phrase)], *patient, *close, *finite]


class LanguageC(LanguageB):
    """Spells meanings in C, the sister of B: B's grammar with articles, an auxiliary and words of its own."""

    name = "c"
    definite = (("dar", "die", "dat", "die"), ("dan", "die", "dat", "die"), ("dam", "dar", "dam", "dan"))
    indefinite = (("ain", "aine", "ain"), ("ainen", "aine", "ain"), ("ainem", "ainer", "ainem"))
    future = ("wurd", "wurden")
    particles = ("an", "av", "ut", "for", "nak", "hin", "lus", "um")
    articles = _distinct(*definite, *indefinite)
    function_words = (*articles, *future, *particles)
