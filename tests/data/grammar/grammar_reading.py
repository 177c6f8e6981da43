"""Reads a spelled sentence back to its meaning, in every language: the tests' other way into the grammar.

The readers know the languages' rules and share no code with the spellers. That every sentence is
read back to the meaning it was spelled from is what makes a source say all that its reference
says, and -log p(reference | meaning) the same as -log p(reference | source).
"""

from tietrain.data.grammar.lexicon import NOUN_KINDS, Lexicon
from tietrain.data.grammar.meaning import (
    COUNTED,
    FUTURE,
    NONE,
    PAST,
    PLURAL,
    PRESENT,
    SINGULAR,
    Clause,
    Meaning,
    Phrase,
    Relative,
)

VERB_KINDS = ("transitive", "intransitive", "clausal")


class UnreadableError(ValueError):
    """A text that is not a sentence of the language."""


class Reader:
    """What all readers share: tokens, a position, and the lexicon by form."""

    language = ""

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self.first_sense = {second: verb for verb, second in lexicon.second_sense.items()}
        self.nouns: dict[str, tuple[int, int]] = {}
        self.plain: dict[str, dict[str, int]] = {}
        for concept, kind in enumerate(lexicon.kind):
            for word, _ in lexicon.words[self.language][concept]:
                if kind in NOUN_KINDS:
                    self.nouns[word.forms[0]] = (concept, SINGULAR)
                    self.nouns[word.forms[1]] = (concept, PLURAL)
                elif kind in VERB_KINDS or kind == "second_sense":
                    self.add_verb(self.first_sense.get(concept, concept), word.forms, word.particle)
                else:
                    group = "adverb" if kind in ("time", "manner") else kind
                    forms = self.plain.setdefault(group, {})
                    forms.update(dict.fromkeys(word.forms, concept))
        self.tokens: list[str] = []
        self.at = 0

    def add_verb(self, verb: int, forms: tuple[str, ...], particle: str) -> None:
        """Enters the forms of a verb."""
        raise NotImplementedError

    def read_clause(self, conjunction: int) -> Clause:
        """Reads up to the end of a clause."""
        raise NotImplementedError

    def read(self, text: str) -> Meaning:
        """The meaning of a sentence.

        Raises:
            UnreadableError: not a sentence of this language.
        """
        if not text.endswith("."):
            raise UnreadableError(f"{text!r} does not end in a full stop")
        self.tokens = text[:-1].replace(",", " ,").split(" ")
        self.at = 0
        clauses = [self.read_clause(NONE)]
        while self.at < len(self.tokens):
            self.expect(",")
            conjunction = self.link()
            if conjunction == NONE:
                raise UnreadableError(f"{self.peek()!r} links no clause")
            self.at += 1
            clauses.append(self.read_clause(conjunction))
        return tuple(clauses)

    def peek(self, ahead: int = 0) -> str:
        """A token to come, or "" beyond the end."""
        place = self.at + ahead
        return self.tokens[place] if place < len(self.tokens) else ""

    def next(self) -> str:
        """Takes one token."""
        self.at += 1
        return self.tokens[self.at - 1] if self.at <= len(self.tokens) else ""

    def expect(self, token: str) -> None:
        """Takes one token that has to be there."""
        if self.next() != token:
            raise UnreadableError(f"{token!r} expected at word {self.at} of {self.tokens}")

    def look(self, group: str, ahead: int = 0) -> int:
        """The concept of a token to come if it belongs to a group, else NONE."""
        return self.plain.get(group, {}).get(self.peek(ahead), NONE)

    def link(self, ahead: int = 0) -> int:
        """The conjunction to come, or NONE."""
        found = self.look("conjunction", ahead)
        return found if found != NONE else self.look("that", ahead)

    def close_relative(self) -> None:
        """Takes the comma after a relative clause, unless it opens the next clause."""
        if self.peek() == "," and self.link(1) == NONE:
            self.at += 1

    def read_bare(self, determiner: str) -> tuple[int, int, tuple[int, ...]]:
        """Noun, number and adjectives."""
        adjectives = []
        while self.look("adjective") != NONE:
            adjectives.append(self.look("adjective"))
            self.at += 1
        token = self.next()
        if token not in self.nouns:
            raise UnreadableError(f"{token!r} after {determiner!r} is no noun")
        return (*self.nouns[token], tuple(adjectives))


class ReaderA(Reader):
    """Reads language A."""

    language = "a"

    def __init__(self, lexicon: Lexicon) -> None:
        self.verbs: dict[str, tuple[int, str]] = {}
        super().__init__(lexicon)

    def add_verb(self, verb: int, forms: tuple[str, ...], particle: str) -> None:
        for form, name in zip(forms, ("third", "plain", "past"), strict=True):
            self.verbs[form] = (verb, name)

    def read_clause(self, conjunction: int) -> Clause:
        adverb, preposition, place = self.read_free(NONE, NONE, None)
        subject = self.read_phrase()
        adverb, preposition, place = self.read_free(adverb, preposition, place)
        verb, tense = self.read_verb()
        patient = self.read_phrase() if self.lexicon.kind[verb] == "transitive" else None
        adverb, preposition, place = self.read_free(adverb, preposition, place)
        return Clause(conjunction, verb, tense, subject, patient, adverb, preposition, place)

    def read_free(self, adverb: int, preposition: int, place: Phrase | None) -> tuple[int, int, Phrase | None]:
        """Adverb and phrase of place where they come, once each."""
        while True:
            if adverb == NONE and self.look("adverb") != NONE:
                adverb = self.look("adverb")
                self.at += 1
            elif place is None and self.look("preposition") != NONE:
                preposition = self.look("preposition")
                self.at += 1
                place = self.read_phrase()
            else:
                return adverb, preposition, place

    def read_verb(self) -> tuple[int, int]:
        token = self.next()
        is_future = token == "will"
        if is_future:
            token = self.next()
        if token not in self.verbs:
            raise UnreadableError(f"{token!r} is no verb")
        verb, name = self.verbs[token]
        if is_future:
            return verb, FUTURE
        return verb, PAST if name == "past" else PRESENT

    def read_phrase(self) -> Phrase:
        if self.look("name") != NONE:
            self.at += 1
            return Phrase(self.plain["name"][self.tokens[self.at - 1]])
        numeral, definite, determiner = NONE, False, self.peek()
        if self.look("number") != NONE:
            numeral = self.look("number")
            self.at += 1
        elif determiner in ("the", "a"):
            definite = determiner == "the"
            self.at += 1
        noun, number, adjectives = self.read_bare(determiner)
        relative = None
        if self.peek() == "," and self.peek(1) in ("who", "which"):
            self.at += 2
            verb, tense = self.read_verb()
            has_object = self.lexicon.kind[verb] == "transitive"
            relative = Relative(verb, tense, self.read_phrase() if has_object else None)
            self.close_relative()
        number = COUNTED if numeral != NONE else number
        return Phrase(noun, number, numeral, definite, adjectives, relative)


class ReaderB(Reader):
    """Reads language B."""

    language = "b"
    definite = frozenset(("der", "die", "das", "den", "dem"))
    indefinite = frozenset(("ein", "eine", "einen", "einem", "einer"))
    accusative = ("den", "einen")
    future = ("wird", "werden")

    def __init__(self, lexicon: Lexicon) -> None:
        self.finite: dict[str, tuple[tuple[str, ...], int]] = {}
        self.joined: dict[str, tuple[int, int]] = {}
        self.by_particle: dict[tuple[tuple[str, ...], str], int] = {}
        self.particles: set[str] = set()
        super().__init__(lexicon)

    def add_verb(self, verb: int, forms: tuple[str, ...], particle: str) -> None:
        tenses = (PRESENT, PRESENT, PAST, PAST)
        for form, tense in zip(forms, tenses, strict=False):
            self.finite[form] = (forms, tense)
            self.joined[particle + form] = (verb, tense)
        # The infinitive is the present plural.
        self.by_particle[forms, particle] = verb
        if particle:
            self.particles.add(particle)

    def read_clause(self, conjunction: int) -> Clause:
        self.adverb, self.preposition = NONE, NONE
        self.place: Phrase | None = None
        self.phrases: list[Phrase] = []
        self.is_fronted = conjunction == NONE and self.peek() in self.accusative
        if conjunction == NONE:
            self.read_constituent()
            verb, tense = self.read_second()
        else:
            while self.starts_constituent():
                self.read_constituent()
            verb, tense = self.read_last()
        if self.is_fronted:
            self.phrases.reverse()
        subject = self.phrases[0]
        patient = self.phrases[1] if len(self.phrases) == 2 else None
        if (patient is not None) != (self.lexicon.kind[verb] == "transitive"):
            raise UnreadableError(f"{self.tokens}: the verb takes another number of phrases")
        return Clause(conjunction, verb, tense, subject, patient, self.adverb, self.preposition, self.place)

    def starts_constituent(self) -> bool:
        token = self.peek()
        groups = ("adverb", "preposition", "name", "number", "adjective")
        return (
            token in self.definite
            or token in self.indefinite
            or token in self.nouns
            or any(self.look(group) != NONE for group in groups)
        )

    def read_constituent(self) -> None:
        if self.look("adverb") != NONE and self.adverb == NONE:
            self.adverb = self.look("adverb")
            self.at += 1
        elif self.look("preposition") != NONE and self.place is None:
            self.preposition = self.look("preposition")
            self.at += 1
            self.place = self.read_phrase()
        elif len(self.phrases) < 2:
            self.phrases.append(self.read_phrase())
        else:
            raise UnreadableError(f"{self.tokens}: more phrases than a clause has room for")

    def read_second(self) -> tuple[int, int]:
        """The verb of a main clause, and everything between its two parts."""
        finite = self.next()
        while self.starts_constituent():
            self.read_constituent()
        if not self.phrases:
            raise UnreadableError(f"{self.tokens}: no subject")
        if finite in self.future:
            return self.read_joined()[0], FUTURE
        if finite not in self.finite:
            raise UnreadableError(f"{finite!r} is no verb")
        forms, tense = self.finite[finite]
        particle = self.next() if self.peek() in self.particles else ""
        if (forms, particle) not in self.by_particle:
            raise UnreadableError(f"{finite!r} takes no particle {particle!r}")
        return self.by_particle[forms, particle], tense

    def read_joined(self) -> tuple[int, int]:
        token = self.next()
        if token not in self.joined:
            raise UnreadableError(f"{token!r} is no verb")
        return self.joined[token]

    def read_last(self) -> tuple[int, int]:
        """The verb of a subordinate clause."""
        verb, tense = self.read_joined()
        if self.peek() in self.future:
            self.at += 1
            tense = FUTURE
        return verb, tense

    def read_phrase(self) -> Phrase:
        if self.look("name") != NONE:
            self.at += 1
            return Phrase(self.plain["name"][self.tokens[self.at - 1]])
        numeral, definite, determiner = NONE, False, self.peek()
        if self.look("number") != NONE:
            numeral = self.look("number")
            self.at += 1
        elif determiner in self.definite or determiner in self.indefinite:
            definite = determiner in self.definite
            self.at += 1
        noun, number, adjectives = self.read_bare(determiner)
        relative = None
        if self.peek() == "," and self.peek(1) in self.definite:
            self.at += 2
            patient = self.read_phrase() if self.starts_constituent() else None
            verb, tense = self.read_last()
            relative = Relative(verb, tense, patient)
            self.close_relative()
        number = COUNTED if numeral != NONE else number
        return Phrase(noun, number, numeral, definite, adjectives, relative)


class ReaderC(ReaderB):
    """Reads language C: B's grammar with function words of its own."""

    language = "c"
    definite = frozenset(("dar", "die", "dat", "dan", "dam"))
    indefinite = frozenset(("ain", "aine", "ainen", "ainem", "ainer"))
    accusative = ("dan", "ainen")
    future = ("wurd", "wurden")
