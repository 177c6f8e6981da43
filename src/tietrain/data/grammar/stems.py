"""Stems of the languages, coined from syllables, every form unique in its language."""

from collections.abc import Iterable
from typing import NamedTuple

from tietrain.data.grammar.draw import Table, Uniform
from tietrain.data.grammar.settings import LANGUAGES


class Stem(NamedTuple):
    """A coined stem, open at its last vowel so that an irregular form can change it."""

    head: str
    vowel: str
    tail: str

    @property
    def text(self) -> str:
        """The stem as written."""
        return self.head + self.vowel + self.tail


def _table(items: str, first_weight: int = 0) -> Table[str]:
    """Items weighted from common to scarce, in the order written."""
    parts = items.split()
    return Table(parts, [first_weight + 2 * len(parts) - place for place in range(len(parts))])


# No stem of A ends in s, so that the plural and the third person always add a letter.
ONSETS = {
    "a": _table("t s b m d r p l f h n g st w k th sh br tr gr cl fl pl dr sl sk v j y"),
    "b": _table("t s b m d r p l f h n g st w k sch br tr gr kl fl bl dr schl kn z pf sp"),
    "c": _table("t s b m d r p l f h n g st w k sk br tr gr kl fl bl dr skl kn sp"),
    "d": _table("k m t n z h l v j r ts p g dz b"),
    "name": _table("m l r t k n s b d v j p"),
}
VOWELS = {
    "a": _table("a e i o u ea oo ai ou"),
    "b": _table("a e i o u ei au ie eu"),
    "c": _table("a e i o u ai oa ie eu"),
    "d": _table("a o u aa uu"),
    "name": _table("a i o e u"),
}
CODAS = {
    "a": _table("n r t l m d nd rk p ck nt g sh ft lm b x"),
    "b": _table("n r t l m nd rk f ch ng lt cht g rm tz ck b"),
    "c": _table("n r t l m nd rk f k ng lt kt g rm tt ck b"),
    "d": _table("k n l z t r sh j m p"),
    "name": _table("n r l s m k"),
}
SYLLABLES = (Table((1, 2), (3, 1)), Table((1, 2, 3), (1, 5, 2)))
"""Syllables of the frequent tenth of a class, and of the rest: frequent words are short."""

SOUND_CHANGES = (("sh", "sch"), ("th", "t"), ("y", "j"), ("x", "chs"), ("oo", "u"), ("ea", "ie"))
"""How B spells a stem it shares with A; a stem with none of these sounds is spelled alike."""


def coin_stem(uniform: Uniform, sounds: str, n_syllables: int) -> Stem:
    """A stem from the sounds of a language."""
    head = ""
    for _ in range(n_syllables - 1):
        head += ONSETS[sounds].draw(uniform) + VOWELS[sounds].draw(uniform)
    head += ONSETS[sounds].draw(uniform)
    return Stem(head, VOWELS[sounds].draw(uniform), CODAS[sounds].draw(uniform))


def make_cognate(stem: Stem) -> Stem:
    """The stem of A as B writes it, by the regular sound changes.

    >>> make_cognate(Stem("sh", "i", "th")).text
    'schit'
    """
    parts = []
    for part in stem:
        for of_a, of_b in SOUND_CHANGES:
            part = part.replace(of_a, of_b)
        parts.append(part)
    return Stem(*parts)


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
        distinct = tuple(dict.fromkeys(forms))
        if not all(self.is_free(language, form, concept) for form in distinct):
            return False
        self._taken[language].update(dict.fromkeys(distinct, concept))
        return True
