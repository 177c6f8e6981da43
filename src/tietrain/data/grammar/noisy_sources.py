"""Noisy sources of the same meanings: lines with the faults of a machine translation, and feature vectors.

Both are read and never written: the probability of a line, given one of them, is not known.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tietrain.data.encoded import offsets_of
from tietrain.data.grammar.draw import Table, Uniform, stream_digest
from tietrain.data.grammar.lexicon import Lexicon, Word
from tietrain.data.grammar.meaning import Meaning, iterate_concepts
from tietrain.data.grammar.settings import N_FEATURES
from tietrain.data.grammar.spelling import COMMA, Language, join_tokens, split_tokens
from tietrain.data.sources.features import FeatureRows

FAULT_PERCENT = 14
"""Of words a fault strikes: a third of all sentences stays without, and the rest scores as in real sets."""
FAULT_KINDS = Table(("form", "word", "drop", "double", "swap"), (5, 4, 2, 1, 3))
"""A wrong ending or article; a synonym, the other translation of a verb, another preposition; a word left out,
said twice, or before the word that it should follow."""
NOISE = 0.5
"""Most that a number of a feature vector is off; without noise the numbers are uniform in [-1, 1)."""


class _Use(NamedTuple):
    """What a written form is a form of; `prefix` is the particle if that is joined."""

    concept: int
    word: Word
    form: int
    prefix: str


class FaultChannel:
    """Makes faults in sentences of one language: it stands for the system whose output is post-edited."""

    def __init__(self, language: Language) -> None:
        self.lexicon = language.lexicon
        self.words = self.lexicon.words[language.name]
        self.articles = language.articles
        self.other_sense = dict(self.lexicon.second_sense)
        self.other_sense |= {second: verb for verb, second in self.lexicon.second_sense.items()}
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
                # None if all words before it are left out.
                tokens += [COMMA] if tokens and tokens[-1] != COMMA else []
            elif int(uniform() * 100) >= FAULT_PERCENT:
                tokens.append(token)
            else:
                self._add_fault(tokens, token, uniform)
        return join_tokens(tokens) if tokens else text

    def _add_fault(self, tokens: list[str], token: str, uniform: Uniform) -> None:
        kind = FAULT_KINDS.draw(uniform)
        if kind in ("form", "word"):
            candidates = self._forms(token) if kind == "form" else self._others(token)
            found = [other for other in candidates if other != token]
            if found:
                tokens.append(found[int(uniform() * len(found))])
                return
        if kind == "double":
            tokens += [token, token]
        elif kind != "drop":
            # Also in place of another form or word, if there is none.
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


def make_features(meanings: list[Meaning], lexicon: Lexicon, language_seed: int, *label: object) -> FeatureRows:
    """For each meaning a vector for each of its concepts, in the order of the meaning.

    A concept has one vector per language seed, seen through noise of its own each time. Of a verb
    with two translations each sense has its own. The vectors say which concepts a sentence has, and
    nothing of its form.

    Args:
        label: names the noise.
    """
    concepts = [list(iterate_concepts(meaning, lexicon)) for meaning in meanings]
    flat = np.concatenate(concepts)
    table = _draw_uniform(len(lexicon.kind), "features", language_seed)
    vectors = (table[flat] + NOISE * _draw_uniform(len(flat), *label)).astype(np.float32)
    return FeatureRows(vectors, offsets_of([len(line) for line in concepts]))


def _draw_uniform(n_rows: int, *label: object) -> np.ndarray:
    """Uniform draws from [-1, 1), [n_rows, F]."""
    # RandomState, whose sequence NumPy promises never to change.
    state = np.random.RandomState(np.frombuffer(stream_digest(*label), "<u4"))
    return 2 * state.random_sample((n_rows, N_FEATURES)) - 1
