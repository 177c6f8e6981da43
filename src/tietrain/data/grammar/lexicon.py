"""The concepts a meaning is made of, the words that the languages have for them, and the sounds of new words."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from tietrain.data.grammar.draw import Table, Uniform, zipf_mandelbrot
from tietrain.data.grammar.settings import LANGUAGES

NOUN_KINDS = ("person", "animal", "thing", "place")
ANIMATE_KINDS = frozenset(("name", "person", "animal"))
VERB_KINDS = ("transitive", "intransitive", "clausal", "second_sense")
CONTENT_KINDS = (*NOUN_KINDS, *VERB_KINDS[:3], "adjective", "time", "manner")

EXPONENT_QUARTERS = 6
"""Steeper than running text (4): at `small` about an eighth of the content lexemes is then rare."""
TOPIC_BOOST = 10
NEUTRAL = -1
"""The topic of a sentence that stands alone."""


class Word(NamedTuple):
    """One word of one language, with its inflected forms in the order of its part of speech.

    Nouns: singular, plural. Verbs of A: third person singular, plain, past. Verbs of B and C: present
    singular and plural, past singular and plural, infinitive; a separable verb lists the forms
    without its particle. Adjectives of B and C: endings -e, -er, -es, -en and their like. All others: one form.
    """

    forms: tuple[str, ...]
    particle: str = ""


WeightedWords = tuple[tuple[Word, int], ...]


@dataclass
class Lexicon:
    """Concepts by number; the position in `kind` is the concept.

    A transitive verb with two translations has a second sense: a concept of its own of kind
    "second_sense", which the object's class selects and which is not drawn by itself. In A or B
    (`split_in`) the two senses have different words, in the other the same; C follows B.

    Attributes:
        kind: part of speech or noun class of each concept.
        home: topic a concept belongs to.
        gender: gender in B and C of a noun, 0 masculine, 1 feminine, 2 neuter; -1 for other kinds.
        second_sense: the sense of a double verb for things and places.
        split_in: which of A and B tells the two senses of a double verb apart.
        object_kinds: classes of object of each transitive verb.
        words: for each language and concept, words and their integer weights.
        cognates: concepts whose first words in A and B are related.
        that: the conjunction before a clause that a verb reports.
    """

    n_topics: int
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
            weights = zipf_mandelbrot(len(members), EXPONENT_QUARTERS)
            if topic != NEUTRAL and kind in CONTENT_KINDS:
                for place, concept in enumerate(members):
                    weights[place] *= TOPIC_BOOST if self.home[concept] == topic else 1
            table = self._tables[kind, topic] = Table(members, weights)
        return table


class Stem(NamedTuple):
    """A coined stem, open at its last vowel so that an irregular form can change it."""

    head: str
    vowel: str
    tail: str

    @property
    def text(self) -> str:
        """The stem as written."""
        return self.head + self.vowel + self.tail


def _from_common_to_scarce(items: str) -> Table[str]:
    parts = items.split()
    return Table(parts, [2 * len(parts) - place for place in range(len(parts))])


# No stem of A ends in s, so that the plural and the third person always add a letter.
ONSETS = {
    "a": _from_common_to_scarce("t s b m d r p l f h n g st w k th sh br tr gr cl fl pl dr sl sk v j y"),
    "b": _from_common_to_scarce("t s b m d r p l f h n g st w k sch br tr gr kl fl bl dr schl kn z pf sp"),
    "c": _from_common_to_scarce("t s b m d r p l f h n g st w k sk br tr gr kl fl bl dr skl kn sp"),
    "name": _from_common_to_scarce("m l r t k n s b d v j p"),
}
VOWELS = {
    "a": _from_common_to_scarce("a e i o u ea oo ai ou"),
    "b": _from_common_to_scarce("a e i o u ei au ie eu"),
    "c": _from_common_to_scarce("a e i o u ai oa ie eu"),
    "name": _from_common_to_scarce("a i o e u"),
}
CODAS = {
    "a": _from_common_to_scarce("n r t l m d nd rk p ck nt g sh ft lm b x"),
    "b": _from_common_to_scarce("n r t l m nd rk f ch ng lt cht g rm tz ck b"),
    "c": _from_common_to_scarce("n r t l m nd rk f k ng lt kt g rm tt ck b"),
    "name": _from_common_to_scarce("n r l s m k"),
}
SYLLABLES_FREQUENT = Table((1, 2), (3, 1))
"""Syllables of a word in the frequent tenth of its class: frequent words are short."""
SYLLABLES = Table((1, 2, 3), (1, 5, 2))


def coin_stem(uniform: Uniform, sounds: str, n_syllables: int) -> Stem:
    """A stem from the sounds of a language."""
    head = ""
    for _ in range(n_syllables - 1):
        head += ONSETS[sounds].draw(uniform) + VOWELS[sounds].draw(uniform)
    head += ONSETS[sounds].draw(uniform)
    return Stem(head, VOWELS[sounds].draw(uniform), CODAS[sounds].draw(uniform))


class FormRegister:
    """Forms taken in each language, and by which concept.

    A form may be taken once in a language; across languages only by the same concept, so that a
    shared spelling always means the same.
    """

    def __init__(self) -> None:
        self._taken: dict[str, dict[str, int]] = {language: {} for language in LANGUAGES}

    def is_free(self, language: str, form: str, concept: int) -> bool:
        """Whether a concept may take a form in a language."""
        if form in self._taken[language]:
            return False
        return all(taken.get(form, concept) == concept for taken in self._taken.values())

    def reserve(self, language: str, forms: Iterable[str]) -> None:
        """Takes function words, whatever other languages have by the same form."""
        self._taken[language].update(dict.fromkeys(forms, -1))

    def take(self, language: str, forms: tuple[str, ...], concept: int) -> bool:
        """Takes all forms for a concept, or none and answers False."""
        distinct = dict.fromkeys(forms, concept)
        if not all(self.is_free(language, form, concept) for form in distinct):
            return False
        self._taken[language].update(distinct)
        return True
