"""The fault channel: spelled sentences with the faults that a machine translation makes.

It stands for the system whose output is edited in automatic post-editing. Its output has no known
probability and is read, never written.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tietrain.data.grammar.draw import Table, Uniform
from tietrain.data.grammar.language_b import LanguageB, LanguageC
from tietrain.data.grammar.lexicon import Lexicon, Word
from tietrain.data.grammar.spelling import COMMA, join_tokens, split_tokens

PERCENT = 14
"""Of words a fault strikes: a third of all sentences stays without, and the rest scores as in real sets."""
KINDS = Table(("form", "word", "drop", "double", "swap"), (5, 4, 2, 1, 3))
"""A wrong ending or article; a synonym, the other translation of a verb, another pre- or postposition; a word left out,
said twice, or before the word that it should follow."""
ARTICLES = {"a": ("the", "a"), "b": LanguageB.articles(), "c": LanguageC.articles(), "d": ()}


class _Use(NamedTuple):
    """What a written form is a form of; `prefix` is the particle where it is joined."""

    concept: int
    word: Word
    form: int
    prefix: str


class FaultChannel:
    """Makes faults in sentences of one language."""

    def __init__(self, lexicon: Lexicon, language: str) -> None:
        self.lexicon, self.words = lexicon, lexicon.words[language]
        self.other_sense = lexicon.second_sense | {second: verb for verb, second in lexicon.second_sense.items()}
        self.articles = ARTICLES[language]
        self.uses: dict[str, _Use] = {}
        for concept, words in enumerate(self.words):
            for word, _ in words:
                for prefix in dict.fromkeys(("", word.particle)):
                    for form, text in enumerate(word.forms):
                        self.uses.setdefault(prefix + text, _Use(concept, word, form, prefix))

    def apply(self, text: str, uniform: Uniform) -> str:
        """The sentence with its faults, the same for the same draws."""
        tokens: list[str] = []
        for token in split_tokens(text) or []:
            if token == COMMA:
                # None where all words before it are left out.
                tokens += [COMMA] if tokens and tokens[-1] != COMMA else []
            elif int(uniform() * 100) >= PERCENT:
                tokens.append(token)
            else:
                self._add_fault(tokens, token, uniform)
        return join_tokens(tokens) if tokens else text

    def _add_fault(self, tokens: list[str], token: str, uniform: Uniform) -> None:
        kind = KINDS.draw(uniform)
        if kind in ("form", "word"):
            found = [other for other in (self._forms if kind == "form" else self._others)(token) if other != token]
            if found:
                tokens.append(found[int(uniform() * len(found))])
                return
        if kind == "double":
            tokens += [token, token]
        elif kind != "drop":
            # Instead of another form or word, too, where there is none.
            tokens.insert(len(tokens) - (tokens[-1:] not in ([], [COMMA])), token)

    def _forms(self, token: str) -> Iterator[str]:
        """Articles for an article; else the other forms of the word."""
        if token in self.articles:
            yield from self.articles
        elif token in self.uses:
            use = self.uses[token]
            yield from (use.prefix + form for form in use.word.forms)

    def _others(self, token: str) -> Iterator[str]:
        """Words in the same form: synonyms, of a verb's other sense, and of closed classes all others."""
        use = self.uses.get(token)
        if use is None:
            return
        concepts = [use.concept, self.other_sense.get(use.concept, use.concept)]
        kind = self.lexicon.kind[use.concept]
        if kind in ("preposition", "conjunction"):
            concepts = self.lexicon.members(kind)
        for concept in concepts:
            for word, _ in self.words[concept]:
                yield (word.particle if use.prefix else "") + word.forms[use.form]
