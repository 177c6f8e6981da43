"""Reads a spelled sentence back to its meaning, in every language: the tests' other way into the grammar.

The readers know the languages' rules and share no code with the spellers. That every sentence is
read back to the meaning it was spelled from is what makes a source say all that its reference
says, and -log p(reference | meaning) the same as -log p(reference | source).
"""

from abc import ABC, abstractmethod

from tietrain.data.grammar.lexicon import NOUN_KINDS, VERB_KINDS, Lexicon
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


class UnreadableError(ValueError):
    """A text that is not a sentence of the language."""


class Reader(ABC):
    """What all readers share: tokens, a position, and the lexicon by form."""

    language = ""
    definite: frozenset[str] = frozenset()
    indefinite: frozenset[str] = frozenset()
    pronouns: frozenset[str] = frozenset()

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self.first_sense = {second: verb for verb, second in lexicon.second_sense.items()}
        self.nouns: dict[str, tuple[int, int]] = {}
        self.plain: dict[str, dict[str, int]] = {}
        for concept, kind in enumerate(lexicon.kind):
            for word, _ in lexicon.words[self.language][concept]:
                if kind in NOUN_KINDS:
                    self.add_noun(concept, word.forms)
                elif kind in VERB_KINDS:
                    self.add_verb(self.first_sense.get(concept, concept), word.forms, word.particle)
                else:
                    group = "adverb" if kind in ("time", "manner") else kind
                    self.plain.setdefault(group, {}).update(dict.fromkeys(word.forms, concept))

    def add_noun(self, noun: int, forms: tuple[str, ...]) -> None:
        self.nouns[forms[0]] = (noun, SINGULAR)
        self.nouns[forms[1]] = (noun, PLURAL)

    @abstractmethod
    def add_verb(self, verb: int, forms: tuple[str, ...], particle: str) -> None:
        """Note the forms of a verb."""

    @abstractmethod
    def read_clause(self, conjunction: int) -> Clause:
        """The clause that begins here."""

    @abstractmethod
    def read_relative(self) -> Relative:
        """The relative clause that begins here."""

    def read(self, text: str) -> Meaning:
        """The meaning of a sentence.

        Raises:
            UnreadableError: not a sentence of this language.
        """
        self.check(text.endswith("."), f"{text!r} does not end in a full stop")
        self.tokens = text[:-1].replace(",", " ,").split(" ")
        self.at = 0
        clauses = [self.read_clause(NONE)]
        while self.at < len(self.tokens):
            conjunction = self.link(1)
            self.check(self.peek() == "," and conjunction != NONE, "no clause follows")
            self.at += 2
            clauses.append(self.read_clause(conjunction))
        return tuple(clauses)

    def check(self, holds: bool, problem: str) -> None:
        if not holds:
            raise UnreadableError(problem)

    def peek(self, ahead: int = 0) -> str:
        """A token to come, or "" beyond the end."""
        place = self.at + ahead
        return self.tokens[place] if place < len(self.tokens) else ""

    def next(self) -> str:
        """Takes one token."""
        self.at += 1
        return self.peek(-1)

    def find(self, forms: dict, token: str):
        """What a form stands for in a table of forms."""
        self.check(token in forms, f"{token!r} in {self.tokens} is out of place")
        return forms[token]

    def look(self, group: str, ahead: int = 0) -> int:
        """The concept of a token to come if it belongs to a group, else NONE."""
        return self.plain.get(group, {}).get(self.peek(ahead), NONE)

    def take(self, group: str) -> int:
        """Takes a token if it belongs to a group; its concept, or NONE."""
        concept = self.look(group)
        self.at += concept != NONE
        return concept

    def take_all(self, group: str) -> tuple[int, ...]:
        concepts = []
        while self.look(group) != NONE:
            concepts.append(self.take(group))
        return tuple(concepts)

    def link(self, ahead: int) -> int:
        """The conjunction to come, or NONE."""
        return max(self.look("conjunction", ahead), self.look("that", ahead))

    def read_phrase(self) -> Phrase:
        """A phrase with determiner, adjectives, noun and relative clause in this order."""
        name = self.take("name")
        if name != NONE:
            return Phrase(name)
        numeral = self.take("number")
        is_definite = numeral == NONE and self.peek() in self.definite
        if numeral == NONE:
            self.at += self.peek() in self.definite | self.indefinite
        adjectives = self.take_all("adjective")
        noun, number = self.find(self.nouns, self.next())
        relative = None
        if self.peek() == "," and self.peek(1) in self.pronouns:
            self.at += 2
            relative = self.read_relative()
            # The comma that opens the next clause closes this one too.
            self.at += self.peek() == "," and self.link(1) == NONE
        return Phrase(noun, COUNTED if numeral != NONE else number, numeral, is_definite, adjectives, relative)


class ReaderA(Reader):
    """Reads language A."""

    language = "a"
    definite = frozenset(("the",))
    indefinite = frozenset(("a",))
    pronouns = frozenset(("who", "which"))

    def __init__(self, lexicon: Lexicon) -> None:
        self.verbs: dict[str, tuple[int, int]] = {}
        super().__init__(lexicon)

    def add_verb(self, verb: int, forms: tuple[str, ...], particle: str) -> None:
        self.verbs |= {form: (verb, tense) for form, tense in zip(forms, (PRESENT, PRESENT, PAST), strict=True)}

    def read_clause(self, conjunction: int) -> Clause:
        self.adverb = NONE
        self.preposition = NONE
        self.place: Phrase | None = None
        self.read_free()
        subject = self.read_phrase()
        self.read_free()
        verb, tense = self.read_verb()
        patient = self.read_phrase() if self.lexicon.kind[verb] == "transitive" else None
        self.read_free()
        return Clause(conjunction, verb, tense, subject, patient, self.adverb, self.preposition, self.place)

    def read_free(self) -> None:
        """Adverb and phrase of place where they come, once each."""
        while True:
            if self.adverb == NONE and self.look("adverb") != NONE:
                self.adverb = self.take("adverb")
            elif self.place is None and self.look("preposition") != NONE:
                self.preposition = self.take("preposition")
                self.place = self.read_phrase()
            else:
                return

    def read_verb(self) -> tuple[int, int]:
        if self.peek() == "will":
            self.at += 1
            return self.find(self.verbs, self.next())[0], FUTURE
        return self.find(self.verbs, self.next())

    def read_relative(self) -> Relative:
        verb, tense = self.read_verb()
        return Relative(verb, tense, self.read_phrase() if self.lexicon.kind[verb] == "transitive" else None)


class ReaderB(Reader):
    """Reads language B."""

    language = "b"
    definite = frozenset(("der", "die", "das", "den", "dem"))
    indefinite = frozenset(("ein", "eine", "einen", "einem", "einer"))
    pronouns = definite
    accusative = ("den", "einen")
    future = ("wird", "werden")

    def __init__(self, lexicon: Lexicon) -> None:
        self.finite: dict[str, tuple[tuple[str, ...], int]] = {}
        self.joined: dict[str, tuple[int, int]] = {}
        self.by_particle: dict[tuple[tuple[str, ...], str], int] = {}
        self.particles: set[str] = set()
        super().__init__(lexicon)

    def add_verb(self, verb: int, forms: tuple[str, ...], particle: str) -> None:
        # The infinitive is the present plural.
        for form, tense in zip(forms[:4], (PRESENT, PRESENT, PAST, PAST), strict=True):
            self.finite[form] = (forms, tense)
            self.joined[particle + form] = (verb, tense)
        self.by_particle[forms, particle] = verb
        self.particles |= {particle} - {""}

    def read_clause(self, conjunction: int) -> Clause:
        self.adverb = NONE
        self.preposition = NONE
        self.place: Phrase | None = None
        self.phrases: list[Phrase] = []
        is_fronted = conjunction == NONE and self.peek() in self.accusative
        if conjunction == NONE:
            self.read_constituent()
            verb, tense = self.read_second()
        else:
            self.read_constituents()
            verb, tense = self.read_last()
        has_object = self.lexicon.kind[verb] == "transitive"
        self.check(len(self.phrases) == 1 + has_object, f"{self.tokens}: the verb takes another number of phrases")
        if is_fronted:
            self.phrases.reverse()
        patient = self.phrases[1] if has_object else None
        return Clause(conjunction, verb, tense, self.phrases[0], patient, self.adverb, self.preposition, self.place)

    def starts_constituent(self) -> bool:
        groups = ("adverb", "preposition", "name", "number", "adjective")
        is_content = any(self.look(group) != NONE for group in groups)
        return is_content or self.peek() in self.definite | self.indefinite | self.nouns.keys()

    def read_constituents(self) -> None:
        while self.starts_constituent():
            self.read_constituent()

    def read_constituent(self) -> None:
        if self.look("adverb") != NONE and self.adverb == NONE:
            self.adverb = self.take("adverb")
        elif self.look("preposition") != NONE and self.place is None:
            self.preposition = self.take("preposition")
            self.place = self.read_phrase()
        else:
            self.phrases.append(self.read_phrase())

    def read_second(self) -> tuple[int, int]:
        """The verb of a main clause, and everything between its two parts."""
        finite = self.next()
        self.read_constituents()
        if finite in self.future:
            return self.find(self.joined, self.next())[0], FUTURE
        forms, tense = self.find(self.finite, finite)
        particle = self.next() if self.peek() in self.particles else ""
        self.check((forms, particle) in self.by_particle, f"{finite!r} takes no particle {particle!r}")
        return self.by_particle[forms, particle], tense

    def read_last(self) -> tuple[int, int]:
        """The verb of a subordinate clause."""
        verb, tense = self.find(self.joined, self.next())
        if self.peek() in self.future:
            self.at += 1
            tense = FUTURE
        return verb, tense

    def read_relative(self) -> Relative:
        patient = self.read_phrase() if self.starts_constituent() else None
        return Relative(*self.read_last(), patient)


class ReaderC(ReaderB):
    """Reads language C: B's grammar with function words of its own."""

    language = "c"
    definite = frozenset(("dar", "die", "dat", "dan", "dam"))
    indefinite = frozenset(("ain", "aine", "ainen", "ainem", "ainer"))
    pronouns = definite
    accusative = ("dan", "ainen")
    future = ("wurd", "wurden")


READERS = {reader.language: reader for reader in (ReaderA, ReaderB, ReaderC)}
