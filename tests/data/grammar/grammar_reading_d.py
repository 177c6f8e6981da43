"""Reads language D back to its meaning; see `grammar_reading`."""

from grammar_reading import VERB_KINDS, Reader, UnreadableError

from tietrain.data.grammar.lexicon import NOUN_KINDS, Lexicon
from tietrain.data.grammar.meaning import COUNTED, NONE, PLURAL, SINGULAR, Clause, Phrase, Relative

SUBJECT, OBJECT, OBLIQUE = 0, 1, 2


class ReaderD(Reader):
    """Reads language D."""

    language = "d"

    def __init__(self, lexicon: Lexicon) -> None:
        super().__init__(lexicon)
        self.cased: dict[str, tuple[int, int, bool, int]] = {}
        self.finite: dict[str, tuple[int, int, bool]] = {}
        self.participles: dict[str, tuple[int, int]] = {}
        for concept, kind in enumerate(lexicon.kind):
            ((word, _),) = lexicon.words["d"][concept]
            if kind == "name":
                self.cased |= {form: (concept, SINGULAR, True, case) for case, form in enumerate(word.forms)}
            elif kind in NOUN_KINDS:
                for place, form in enumerate(word.forms):
                    self.cased[form] = (concept, PLURAL if place >= 6 else SINGULAR, place % 6 >= 3, place % 3)
            elif kind in VERB_KINDS or kind == "second_sense":
                verb = self.first_sense.get(concept, concept)
                for place, form in enumerate(word.forms[:6]):
                    self.finite[form] = (verb, place // 2, place % 2 == 1)
                self.participles |= {form: (verb, tense) for tense, form in enumerate(word.forms[6:])}

    def add_verb(self, verb: int, forms: tuple[str, ...], particle: str) -> None:
        """Nothing: D has forms of its own."""

    def read_clause(self, conjunction: int) -> Clause:
        adverb, preposition = NONE, NONE
        phrases: dict[int, Phrase] = {}
        while self.peek() not in self.finite:
            if self.look("adverb") != NONE and adverb == NONE:
                adverb = self.look("adverb")
                self.at += 1
                continue
            phrase, case = self.read_phrase()
            if case in phrases:
                raise UnreadableError(f"{self.tokens}: two phrases in case {case}")
            phrases[case] = phrase
            if case == OBLIQUE:
                preposition = self.look("preposition")
                self.at += 1
                if preposition == NONE:
                    raise UnreadableError(f"{self.tokens}: no postposition")
        verb, tense, is_many = self.finite[self.next()]
        has_object = self.lexicon.kind[verb] == "transitive"
        if SUBJECT not in phrases or has_object != (OBJECT in phrases):
            raise UnreadableError(f"{self.tokens}: the verb takes other phrases")
        if is_many != (phrases[SUBJECT].number == PLURAL):
            raise UnreadableError(f"{self.tokens}: the verb does not agree")
        patient, place = phrases.get(OBJECT), phrases.get(OBLIQUE)
        return Clause(conjunction, verb, tense, phrases[SUBJECT], patient, adverb, preposition, place)

    def read_phrase(self) -> tuple[Phrase, int]:
        """A phrase and its case; an object before a participle belongs to what follows."""
        if self.peek() in self.participles:
            return self.read_related(None)
        phrase, case = self.read_plain()
        verb, _ = self.participles.get(self.peek(), (NONE, NONE))
        if case == OBJECT and verb != NONE and self.lexicon.kind[verb] == "transitive":
            return self.read_related(phrase)
        return phrase, case

    def read_related(self, patient: Phrase | None) -> tuple[Phrase, int]:
        verb, tense = self.participles[self.next()]
        if (patient is not None) != (self.lexicon.kind[verb] == "transitive"):
            raise UnreadableError(f"{self.tokens}: the participle takes another number of phrases")
        phrase, case = self.read_plain()
        return phrase._replace(relative=Relative(verb, tense, patient)), case

    def read_plain(self) -> tuple[Phrase, int]:
        numeral, adjectives = self.look("number"), []
        self.at += numeral != NONE
        while self.look("adjective") != NONE:
            adjectives.append(self.look("adjective"))
            self.at += 1
        token = self.next()
        if token not in self.cased:
            raise UnreadableError(f"{token!r} in {self.tokens} is no noun")
        noun, number, definite, case = self.cased[token]
        if numeral != NONE:
            number = COUNTED
        return Phrase(noun, number, numeral, definite, tuple(adjectives)), case
