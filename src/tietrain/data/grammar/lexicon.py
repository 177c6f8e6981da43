"""The concepts a meaning is made of, and the words that the languages have for them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from tietrain.data.grammar.draw import Table, zipf_mandelbrot
from tietrain.data.grammar.settings import LANGUAGES

NOUN_KINDS = ("person", "animal", "thing", "place")
ANIMATE_KINDS = frozenset(("name", "person", "animal"))
VERB_KINDS = ("transitive", "intransitive", "clausal", "second_sense")
CONTENT_KINDS = (*NOUN_KINDS, *VERB_KINDS[:3], "adjective", "time", "manner")
PARTICLES = ("an", "ab", "aus", "vor", "nach", "hin", "los", "um")
"""Of the separable verbs of B."""

KIND_SIZES = {
    "person": 120,
    "animal": 80,
    "thing": 320,
    "place": 110,
    "transitive": 220,
    "intransitive": 90,
    "clausal": 24,
    "adjective": 220,
    "time": 30,
    "manner": 60,
    "name": 150,
    "number": 60,
}
"""Concepts of each kind at `small` and difficulty 4."""

EXPONENT_QUARTERS = 6
"""Steeper than running text (4): at `small` about an eighth of the content lexemes is then rare."""
TOPIC_BOOST = 10
NEUTRAL = -1
"""The topic of a sentence that stands alone."""


class Word(NamedTuple):
    """One word of one language, with its inflected forms in the order of its part of speech.

    Nouns: singular, plural. Verbs of A: third person singular, plain, past. Verbs of B and C: present
    singular and plural, past singular and plural, infinitive; a separable verb lists the forms
    without its particle. Adjectives of B and C: endings -e, -er, -es, -en and their like. Of D see
    `coining_d`. All others: one form.
    """

    forms: tuple[str, ...]
    particle: str = ""


WeightedWords = tuple[tuple[Word, int], ...]


@dataclass
class Lexicon:
    """Concepts by number; the position in `kind` is the concept.

    A transitive verb with two translations has a second sense: a concept of its own of kind
    "second_sense", which the object's class selects and which is not drawn by itself. In A or B
    (`split_in`) the two senses have different words, in the other the same; C follows B, and D
    tells all of them apart.

    Attributes:
        kind: part of speech or noun class of each concept.
        home: topic a concept belongs to.
        gender: gender in B and C of a noun, 0 masculine, 1 feminine, 2 neuter; -1 for other kinds.
        second_sense: the sense of a double verb for things and places.
        split_in: which of A and B tells the two senses of a double verb apart.
        object_kinds: classes of object of each transitive verb.
        words: for each language and concept, words and their integer weights.
        cognates: concepts whose first words in A and B are related.
    """

    n_topics: int
    exponent_quarters: int = EXPONENT_QUARTERS
    kind: list[str] = field(default_factory=list)
    home: list[int] = field(default_factory=list)
    gender: list[int] = field(default_factory=list)
    second_sense: dict[int, int] = field(default_factory=dict)
    split_in: dict[int, str] = field(default_factory=dict)
    object_kinds: dict[int, Table[str]] = field(default_factory=dict)
    words: dict[str, list[WeightedWords]] = field(default_factory=lambda: {language: [] for language in LANGUAGES})
    cognates: list[int] = field(default_factory=list)
    that: int = -1
    _tables: dict[tuple[str, int], Table[int]] = field(default_factory=dict, repr=False)

    def add(self, kind: str, home: int = 0, gender: int = -1) -> int:
        """A new concept without words; returns its number."""
        self.kind.append(kind)
        self.home.append(home)
        self.gender.append(gender)
        for words in self.words.values():
            words.append(())
        return len(self.kind) - 1

    def members(self, kind: str) -> list[int]:
        """Concepts of a kind, the most frequent first."""
        return [concept for concept, its_kind in enumerate(self.kind) if its_kind == kind]

    def table(self, kind: str, topic: int = NEUTRAL) -> Table[int]:
        """How concepts of a kind are drawn: Zipf-Mandelbrot, and in a topic its own come first."""
        table = self._tables.get((kind, topic))
        if table is None:
            members = self.members(kind)
            weights = zipf_mandelbrot(len(members), self.exponent_quarters)
            if topic != NEUTRAL and kind in CONTENT_KINDS:
                weights = [
                    weight * (TOPIC_BOOST if self.home[concept] == topic else 1)
                    for concept, weight in zip(members, weights, strict=True)
                ]
            table = self._tables[kind, topic] = Table(members, weights)
        return table

    def sense(self, verb: int, object_noun: int | None) -> int:
        """The sense of a verb before an object: the verb itself or its second sense."""
        if object_noun is None or verb not in self.second_sense:
            return verb
        return verb if self.kind[object_noun] in ANIMATE_KINDS else self.second_sense[verb]

    def count_kinds(self) -> dict[str, int]:
        """Concepts of each kind."""
        return dict(Counter(self.kind))

    def count_words(self, language: str) -> int:
        """Different words of a language, each with all its forms."""
        return len({word for words in self.words[language] for word, _ in words})


def concept_sizes(kinds: Iterable[str], percent: int, difficulty: int) -> dict[str, int]:
    """Concepts of each kind at a preset's percentage and a difficulty; at least four of each."""
    return {kind: max(4, KIND_SIZES[kind] * percent * difficulty // 400) for kind in kinds}
