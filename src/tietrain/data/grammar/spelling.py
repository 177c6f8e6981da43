"""What all languages share: spellings of a meaning, one drawn, the most probable, the probability of each.

A language turns a meaning into one `ClausePlan` per clause. A plan holds every choice the language
leaves open, each in an explicit table: the order of the constituents, and among synonyms for each
word. Nothing else is open, so a plan is the whole distribution over spellings.
"""

import math
import string
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from tietrain.data.grammar.draw import Table, Uniform
from tietrain.data.grammar.lexicon import Lexicon, Word
from tietrain.data.grammar.meaning import COUNTED, NONE, SINGULAR, Clause, Meaning, Phrase, Relative

WordChoice = str | Table[str]
"""One word of a sentence: fixed, or a choice among synonyms in the same inflected form."""
Words = list[WordChoice]
Constituents = dict[str, Words]

COMMA = ","
SUBJECT, OBJECT, PLACE = 0, 1, 2
"""What a phrase is to its clause; of a language with cases, the case: nominative, accusative, dative of B."""


class ClausePlan(NamedTuple):
    """All spellings of one clause.

    Attributes:
        lead: the word that links the clause to the one before, or None in the first.
        orders: orders of constituents, one letter each, e.g. "SVO".
        constituents: the words of each letter.
    """

    lead: str | None
    orders: Table[str]
    constituents: Constituents

    def words(self, order: str) -> Words:
        """The words of all constituents in one order."""
        words: Words = []
        for letter in order:
            words += self.constituents[letter]
        return words


class Language(ABC):
    """A language: it knows every way to spell a meaning.

    Attributes:
        name: its letter.
        articles: words that stand before a noun and can be mistaken for one another.
    """

    name: str
    articles: tuple[str, ...]

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self._words: dict[tuple[int, int], WordChoice] = {}

    @abstractmethod
    def verb(self, clause: Clause) -> Constituents:
        """The verb of a clause, in as many parts as the language cuts it into."""

    @abstractmethod
    def article(self, phrase: Phrase, case: int) -> tuple[str, int]:
        """The article of a phrase, empty if it has none, and the form of its adjectives."""

    @abstractmethod
    def relative(self, phrase: Phrase, relative: Relative, patient: Words) -> Words:
        """The relative clause of a phrase, with the words of its object."""

    @abstractmethod
    def orders(self, clause: Clause, adverb_kind: str) -> Table[str]:
        """Orders of subject S, object O, adverb A, phrase of place P and the parts of the verb."""

    def draw(self, meaning: Meaning, uniform: Uniform) -> str:
        """One spelling of a meaning, drawn from the tables."""
        # A choice of one takes no draw.
        return self._spell(meaning, lambda table: table.items[0] if len(table.items) == 1 else table.draw(uniform))

    def best(self, meaning: Meaning) -> str:
        """The most probable spelling of a meaning, the first of equals.

        Orders are merged and distinct orders give distinct strings, so the best of each choice
        gives the best string.
        """
        return self._spell(meaning, Table.best)

    def _spell(self, meaning: Meaning, choose: Callable[[Table[str]], str]) -> str:
        tokens: list[str] = []
        for clause in map(self.plan, meaning):
            if clause.lead is not None:
                # Two commas that meet are one.
                tokens += [clause.lead] if tokens[-1] == COMMA else [COMMA, clause.lead]
            for word in clause.words(choose(clause.orders)):
                tokens.append(word if isinstance(word, str) else choose(word))
        return join_tokens(tokens)

    def nats(self, meaning: Meaning, text: str) -> float:
        """-log probability that a meaning is spelled as `text`; infinite if it never is.

        Sums over every way to the same string.
        """
        tokens = split_tokens(text)
        if tokens is None:
            return math.inf
        # Probability of having spelled all tokens before a position; a clause may end at more than
        # one, because a closing comma merges with the comma before the next clause.
        reached = {0: 1.0}
        for clause in map(self.plan, meaning):
            ahead: dict[int, float] = {}
            for start, so_far in reached.items():
                begin = start
                if clause.lead is not None:
                    if tokens[start : start + 2] != [COMMA, clause.lead]:
                        continue
                    begin = start + 2
                for order in clause.orders.items:
                    words = clause.words(order)
                    if words[-1] == COMMA:
                        words.pop()
                    share = _match(words, tokens, begin)
                    if share:
                        end = begin + len(words)
                        ahead[end] = ahead.get(end, 0.0) + so_far * share * clause.orders.share(order)
            reached = ahead
        probability = reached.get(len(tokens), 0.0)
        # max: a sum that rounds above one, and the minus of -log 1.
        return max(0.0, -math.log(probability)) if probability else math.inf

    def word(self, concept: int, form: int = 0) -> WordChoice:
        """The words of a concept in one inflected form."""
        key = (concept, form)
        choice = self._words.get(key)
        if choice is None:
            weighted = self.lexicon.words[self.name][concept]
            forms = [self.inflected(word, form) for word, _ in weighted]
            choice = forms[0] if len(forms) == 1 else Table(forms, [weight for _, weight in weighted])
            self._words[key] = choice
        return choice

    def inflected(self, word: Word, form: int) -> str:
        """One form of a word as written."""
        return word.forms[form]

    def phrase(self, phrase: Phrase, case: int) -> Words:
        """A noun phrase; `case` is SUBJECT, OBJECT or PLACE."""
        if self.lexicon.kind[phrase.noun] == "name":
            return [self.word(phrase.noun)]
        article, form = self.article(phrase, case)
        words: Words = [article] if article else []
        if phrase.number == COUNTED:
            words.append(self.word(phrase.numeral))
        words += [self.word(adjective, form) for adjective in phrase.adjectives]
        words.append(self.word(phrase.noun, int(phrase.number != SINGULAR)))
        if phrase.relative is not None:
            patient = phrase.relative.object
            spelled = [] if patient is None else self.phrase(patient, OBJECT)
            words += [COMMA, *self.relative(phrase, phrase.relative, spelled), COMMA]
        return words

    def plan(self, clause: Clause) -> ClausePlan:
        """All spellings of a clause."""
        constituents = self.verb(clause)
        constituents["S"] = self.phrase(clause.subject, SUBJECT)
        if clause.object is not None:
            constituents["O"] = self.phrase(clause.object, OBJECT)
        adverb_kind = ""
        if clause.adverb != NONE:
            adverb_kind = self.lexicon.kind[clause.adverb]
            constituents["A"] = [self.word(clause.adverb)]
        if clause.place is not None:
            constituents["P"] = [self.word(clause.preposition), *self.phrase(clause.place, PLACE)]
        lead = None
        if clause.conjunction != NONE:
            lead = self.lexicon.words[self.name][clause.conjunction][0][0].forms[0]
        return ClausePlan(lead, self.orders(clause, adverb_kind), constituents)


def _match(words: Words, tokens: list[str], begin: int) -> float:
    """Probability that the words are spelled as the tokens from `begin` on."""
    if begin + len(words) > len(tokens):
        return 0.0
    share = 1.0
    for word, token in zip(words, tokens[begin:], strict=False):
        share *= word == token if isinstance(word, str) else word.share(token)
        if not share:
            break
    return share


def join_tokens(tokens: list[str]) -> str:
    """A sentence of words and commas."""
    if tokens[-1] == COMMA:
        tokens = tokens[:-1]
    return " ".join(tokens).replace(" ,", ",") + "."


def split_tokens(text: str) -> list[str] | None:
    """Words and commas of a spelled sentence, or None if it does not end like one."""
    if not text.endswith("."):
        return None
    return text[:-1].replace(",", " ,").split(" ")


# By code point, so that no look-alike letter hides in this file: Cyrillic and Devanagari.
_LATIN = string.ascii_letters + string.digits
_OTHER = "".join(map(chr, [*range(0x430, 0x44A), *range(0x410, 0x42A), *range(0x966, 0x970)]))
_SWAP = str.maketrans(_LATIN + _OTHER, _OTHER + _LATIN)


def swap_script(text: str) -> str:
    """A text with Latin letters and digits swapped for Cyrillic and Devanagari ones, and back.

    Both ways at once, so that Latin letters in place of the other alphabet do not pass for it.

    >>> swap_script(swap_script("ab 12.")), swap_script("ab 12.") == "ab 12."
    ('ab 12.', False)
    """
    return text.translate(_SWAP)
