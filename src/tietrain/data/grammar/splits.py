"""Splits of sentences by meaning: what each may hold, and how its meanings are drawn.

No meaning is in two splits. Verb-object pairs set aside for `held` occur nowhere else. A lexeme is
known if training has it, and has each of its words in every language; splits other than train hold
known lexemes only.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain, count, islice, product
from typing import TypeVar

from tietrain.data.grammar.draw import Table, Uniform, make_stream
from tietrain.data.grammar.lexicon import CONTENT_KINDS, NOUN_KINDS, Lexicon
from tietrain.data.grammar.meaning import (
    NONE,
    Clause,
    Meaning,
    MeaningDrawer,
    Phrase,
    Relative,
    Structure,
    count_words,
    iterate_concepts,
    iterate_objects,
    iterate_phrases,
    make_long_structure,
)
from tietrain.data.grammar.settings import GrammarSettings
from tietrain.errors import SettingsError

T = TypeVar("T")
Part = TypeVar("Part", Clause, Phrase, Phrase | None, Relative | None)

HELD_ONE_IN = 12
"""One verb-object pair in so many is set aside."""
RARE_AT_MOST = 5
"""A lexeme is rare if training has it once to this often ..."""
RARE_AT_LEAST = 20
"""... or a little more often, if an easy lexicon has fewer than this many so rare."""
LONG_PERCENTILE = 98
"""Sentences of `long` are at least as long as this percentile of train, at most as its longest."""
MAX_TRIES = 5_000
"""Draws in a row that may be turned down before the settings are refused: they leave no room."""


def iterate_allowed(draw: Callable[[], T | None], is_allowed: Callable[[T], bool], split: str) -> Iterator[T]:
    """Draws that a split may hold, without end.

    Raises:
        SettingsError: MAX_TRIES in a row are turned down.
    """
    n_tries = 0
    while n_tries <= MAX_TRIES:
        n_tries += 1
        drawn = draw()
        if drawn is not None and is_allowed(drawn):
            yield drawn
            n_tries = 0
    problem = f"the grammar has too few sentences for the split {split}"
    raise SettingsError("data.difficulty", problem, "choose another data.difficulty or data.preset")


def find_known(lexicon: Lexicon, counts: Counter[int], texts: dict[str, list[str]]) -> set[int]:
    """Lexemes that training has, with each of their words in every language of `texts`."""
    known = {concept for concept in range(len(lexicon.kind)) if counts[concept]}
    for language, lines in texts.items():
        tokens = {token.strip(",.") for token in chain.from_iterable(map(str.split, lines))}
        for concept in list(known):
            words = lexicon.words[language][concept]
            # A lone word is seen when its lexeme is; a separable verb is always alone.
            if len(words) > 1 and any(tokens.isdisjoint(word.forms) for word, _ in words):
                known.remove(concept)
    return known


def rebuild(part: Part, change: Callable[[int], int]) -> Part:
    """A clause, relative clause or phrase with each lexeme that has a topic passed through `change`, in a fixed order."""
    if isinstance(part, Clause):
        return part._replace(
            verb=change(part.verb),
            subject=rebuild(part.subject, change),
            object=rebuild(part.object, change),
            adverb=change(part.adverb),
            place=rebuild(part.place, change),
        )
    if isinstance(part, Phrase):
        relative = rebuild(part.relative, change)
        return part._replace(relative=relative, noun=change(part.noun), adjectives=tuple(map(change, part.adjectives)))
    if isinstance(part, Relative):
        return part._replace(verb=change(part.verb), object=rebuild(part.object, change))
    return part


class PairSplits:
    """Draws the meanings of every split of sentence pairs.

    Call `draw_train` first, spell it, then `draw_rest`.

    Attributes:
        held: verb-object pairs set aside for the split of that name.
        counts: how often training has each lexeme.
        known: lexemes that other splits may hold.
        rare: of these, by kind, the content lexemes that training has at most `rare_at_most` times.
    """

    def __init__(self, settings: GrammarSettings, lexicon: Lexicon) -> None:
        self.settings = settings
        self.lexicon = lexicon
        self.ordinary = MeaningDrawer(Structure(settings.max_clauses), lexicon)
        self.elaborate = MeaningDrawer(make_long_structure(settings.max_clauses), lexicon)
        nouns = chain.from_iterable(map(lexicon.members, NOUN_KINDS))
        uniform = self._stream("held pairs")
        self.held = {pair for pair in product(lexicon.members("transitive"), nouns) if int(uniform() * HELD_ONE_IN) < 1}
        self.seen: set[Meaning] = set()
        self.counts: Counter[int] = Counter()
        self.known: set[int] = set()
        self.rare: dict[str, list[int]] = {}
        self.rare_at_most = RARE_AT_MOST
        self.long_words = (0, 0)

    def _stream(self, name: str) -> Uniform:
        return make_stream(name, *self.settings.stream_label)

    def draw_train(self) -> list[Meaning]:
        """Meanings of train, in the order to be spelled."""
        meanings = self._collect("train", self.settings.sizes.train_pairs, self.ordinary.draw)
        for meaning in meanings:
            self.counts.update(iterate_concepts(meaning, self.lexicon))
        return meanings

    def draw_rest(self, meanings: list[Meaning], texts: dict[str, list[str]]) -> dict[str, list[Meaning]]:
        """Meanings of all other splits; train and its spellings fix what counts as known, rare and long."""
        kinds = self.lexicon.kind
        self.known = find_known(self.lexicon, self.counts, texts)
        content = [concept for concept in sorted(self.known) if kinds[concept] in CONTENT_KINDS]
        by_count = sorted(self.counts[concept] for concept in content)
        self.rare_at_most = max(RARE_AT_MOST, by_count[:RARE_AT_LEAST][-1])
        for concept in content:
            if self.counts[concept] <= self.rare_at_most:
                self.rare.setdefault(kinds[concept], []).append(concept)
        lengths = sorted(count_words(meaning, self.lexicon) for meaning in meanings)
        self.long_words = (lengths[len(lengths) * LONG_PERCENTILE // 100], lengths[-1])
        n_test = self.settings.sizes.test_pairs
        return {
            "valid": self._collect("valid", self.settings.sizes.valid_pairs, self.ordinary.draw),
            "test": self._collect("test", n_test, self.ordinary.draw),
            "held": self._collect("held", n_test, self._draw_held),
            "rare": self._collect("rare", n_test, self._draw_rare),
            "long": self._collect("long", n_test, self._draw_long),
        }

    def _collect(self, name: str, n_meanings: int, draw: Callable[[Uniform], Meaning | None]) -> list[Meaning]:
        uniform = self._stream(f"meanings of {name}")
        meanings: list[Meaning] = []
        allowed = iterate_allowed(lambda: draw(uniform), lambda meaning: self._is_allowed(name, meaning), name)
        for meaning in islice(allowed, n_meanings):
            self.seen.add(meaning)
            meanings.append(meaning)
        return meanings

    def _is_allowed(self, name: str, meaning: Meaning) -> bool:
        """Whether a split may hold a meaning: not in another, no pair held out of it, all lexemes known."""
        if meaning in self.seen:
            return False
        if name != "held" and any(pair in self.held for pair in iterate_objects(meaning)):
            return False
        return name == "train" or self.known.issuperset(iterate_concepts(meaning, self.lexicon))

    def _draw_long(self, uniform: Uniform) -> Meaning | None:
        meaning = self.elaborate.draw(uniform)
        least, most = self.long_words
        return meaning if least <= count_words(meaning, self.lexicon) <= most else None

    def _draw_held(self, uniform: Uniform) -> Meaning | None:
        """An ordinary meaning with one verb and object replaced by a pair that was set aside."""
        meaning = self.ordinary.draw(uniform)
        kinds = self.lexicon.kind
        objects = {place: clause.object for place, clause in enumerate(meaning) if clause.object is not None}
        places = [place for place, patient in objects.items() if kinds[patient.noun] != "name"]
        if not places:
            return None
        place = places[int(uniform() * len(places))]
        tables = self.ordinary.tables
        while True:  # in proportion to how often the grammar would draw the pair
            verb = tables["transitive"].draw(uniform)
            kind = self.lexicon.object_kinds[verb].draw(uniform)
            noun = NONE if kind == "name" else tables[kind].draw(uniform)
            if (verb, noun) in self.held:
                clause = meaning[place]._replace(verb=verb, object=objects[place]._replace(noun=noun))
                return (*meaning[:place], clause, *meaning[place + 1 :])

    def _draw_rare(self, uniform: Uniform) -> Meaning | None:
        """An ordinary meaning with one lexeme replaced by a rare one of its kind.

        Rare lexemes are drawn evenly, so that the split has each about equally often.
        """
        meaning = self.ordinary.draw(uniform)
        kinds: list[str] = []

        def note(concept: int) -> int:
            kinds.append(self.lexicon.kind[concept] if concept != NONE else "")
            return concept

        for clause in meaning:
            rebuild(clause, note)
        places = [place for place, kind in enumerate(kinds) if kind in self.rare]
        if not places:
            return None
        # Kinds in proportion to their rare lexemes, places of one kind evenly.
        weights = [len(self.rare[kinds[place]]) for place in places]
        chosen = Table(places, weights).draw(uniform)
        candidates = self.rare[kinds[chosen]]
        lexeme = candidates[int(uniform() * len(candidates))]
        numbers = count()

        def exchange(concept: int) -> int:
            return lexeme if next(numbers) == chosen else concept

        changed = tuple(rebuild(clause, exchange) for clause in meaning)
        if any(len(set(phrase.adjectives)) < len(phrase.adjectives) for phrase in iterate_phrases(changed)):
            return None
        # A replaced verb may have turned to its other sense.
        rare = set().union(*self.rare.values())
        return None if rare.isdisjoint(iterate_concepts(changed, self.lexicon)) else changed
