"""Splits of sentences by meaning: what each may hold, and how its meanings are drawn.

No meaning is in two splits. Verb-object pairs set aside for `held` occur nowhere else. A lexeme is
known when training has it, and each of its words in every language spelled; splits other than
train hold known lexemes only.
"""

from collections import Counter
from collections.abc import Callable

from tietrain.data.grammar.draw import Table, Uniform, make_stream
from tietrain.data.grammar.lexicon import CONTENT_KINDS, NOUN_KINDS, Lexicon
from tietrain.data.grammar.meaning import (
    NONE,
    Clause,
    Meaning,
    MeaningDrawer,
    Phrase,
    Relative,
    count_words,
    iterate_concepts,
    iterate_objects,
    iterate_phrases,
    make_long_structure,
    make_structure,
)
from tietrain.data.grammar.settings import GrammarSettings
from tietrain.errors import SettingsError

HELD_SHARE = (1, 12)
"""Share of verb-object pairs set aside, as a fraction."""
RARE_AT_MOST = 5
"""A lexeme is rare when training has it once to this often ..."""
RARE_AT_LEAST = 20
"""... or a little oftener, where an easy lexicon has fewer than this many so rare."""
LONG_PERCENTILE = 98
"""Sentences of `long` are at least as long as this percentile of train, at most as its longest."""
MAX_TRIES = 5_000
"""Draws in a row that may be turned down before we say that the settings leave no room."""


def max_clauses(difficulty: int) -> int:
    """Most clauses in a sentence at a difficulty.

    >>> [max_clauses(level) for level in (1, 3, 6, 9, 12)]
    [2, 3, 4, 5, 6]
    """
    return 2 + difficulty // 3


def stream_label(settings: GrammarSettings) -> tuple[object, ...]:
    """What names the streams of a corpus: neither direction nor alphabet, so both share meanings."""
    return (settings.preset, settings.difficulty, settings.seed, settings.language_seed)


def find_known(lexicon: Lexicon, counts: Counter[int], texts: dict[str, list[str]]) -> set[int]:
    """Lexemes that training has, with each of their words in every language of `texts`."""
    tokens = {
        language: set(token.strip(",.") for line in lines for token in line.split(" "))
        for language, lines in texts.items()
    }

    def is_known(concept: int) -> bool:
        if not counts[concept]:
            return False
        for language, seen in tokens.items():
            words = lexicon.words[language][concept]
            # A lone word is seen when its lexeme is; a separable verb is always alone.
            if len(words) > 1 and not all(seen & set(word.forms) for word, _ in words):
                return False
        return True

    return {concept for concept in range(len(lexicon.kind)) if is_known(concept)}


def rebuild(meaning: Meaning, lexicon: Lexicon, change: Callable[[int], int]) -> Meaning:
    """A meaning with each content lexeme passed through `change`, in a fixed order."""

    def change_content(concept: int) -> int:
        is_content = concept != NONE and lexicon.kind[concept] in CONTENT_KINDS
        return change(concept) if is_content else concept

    def change_phrase(phrase: Phrase | None) -> Phrase | None:
        return None if phrase is None else change_some(phrase)

    def change_some(phrase: Phrase) -> Phrase:
        relative = phrase.relative
        if relative is not None:
            verb, patient = change_content(relative.verb), change_phrase(relative.object)
            relative = Relative(verb, relative.tense, patient)
        return phrase._replace(
            noun=change_content(phrase.noun),
            adjectives=tuple(change_content(concept) for concept in phrase.adjectives),
            relative=relative,
        )

    def change_clause(clause: Clause) -> Clause:
        return clause._replace(
            verb=change_content(clause.verb),
            subject=change_some(clause.subject),
            object=change_phrase(clause.object),
            adverb=change_content(clause.adverb),
            place=change_phrase(clause.place),
        )

    return tuple(change_clause(clause) for clause in meaning)


class PairSplits:
    """Draws the meanings of every split of sentence pairs.

    Call `draw_train` first, spell it, then `learn` and `draw_rest`.

    Attributes:
        counts: how often training has each lexeme.
        known: lexemes that other splits may hold.
        rare: of these, by kind, the content lexemes that training has at most `rare_at_most` times.
        n_turned_down: draws turned down in each split, by reason.
    """

    def __init__(self, settings: GrammarSettings, lexicon: Lexicon) -> None:
        self.settings, self.lexicon = settings, lexicon
        depth = max_clauses(settings.difficulty)
        self.ordinary = MeaningDrawer(make_structure(depth), lexicon)
        self.elaborate = MeaningDrawer(make_long_structure(depth), lexicon)
        self.held = self._hold_out()
        self.seen: set[Meaning] = set()
        self.counts: Counter[int] = Counter()
        self.known: set[int] = set()
        self.rare: dict[str, list[int]] = {}
        self.rare_at_most = RARE_AT_MOST
        self.long_words = (0, 0)
        self.n_turned_down: dict[str, Counter[str]] = {}

    def _stream(self, name: str) -> Uniform:
        return make_stream(name, *stream_label(self.settings))

    def _hold_out(self) -> set[tuple[int, int]]:
        uniform = self._stream("held pairs")
        numerator, denominator = HELD_SHARE
        nouns = [noun for kind in NOUN_KINDS for noun in self.lexicon.members(kind)]
        return {
            (verb, noun)
            for verb in self.lexicon.members("transitive")
            for noun in nouns
            if int(uniform() * denominator) < numerator
        }

    def draw_train(self) -> list[Meaning]:
        """Meanings of train, in the order to be spelled."""
        meanings = self._collect("train", self.settings.sizes.train_pairs, self.ordinary.draw)
        for meaning in meanings:
            self.counts.update(iterate_concepts(meaning, self.lexicon))
        return meanings

    def learn(self, meanings: list[Meaning], texts: dict[str, list[str]]) -> None:
        """Fixes what counts as known, rare and long from train and its spellings."""
        lexicon = self.lexicon
        self.known = find_known(lexicon, self.counts, texts)
        content = [c for kind in CONTENT_KINDS for c in lexicon.members(kind) if c in self.known]
        by_count = sorted(self.counts[concept] for concept in content)
        self.rare_at_most = max(RARE_AT_MOST, by_count[:RARE_AT_LEAST][-1])
        for concept in content:
            if self.counts[concept] <= self.rare_at_most:
                self.rare.setdefault(lexicon.kind[concept], []).append(concept)
        lengths = sorted(count_words(meaning, lexicon) for meaning in meanings)
        self.long_words = (lengths[len(lengths) * LONG_PERCENTILE // 100], lengths[-1])

    def draw_rest(self) -> dict[str, list[Meaning]]:
        """Meanings of all other splits."""
        sizes = self.settings.sizes
        ways = {
            "valid": self.ordinary.draw,
            "test": self.ordinary.draw,
            "held": self._draw_held,
            "rare": self._draw_rare,
            "long": self._draw_long,
        }
        return {
            name: self._collect(name, sizes.valid_pairs if name == "valid" else sizes.test_pairs, way)
            for name, way in ways.items()
        }

    def _collect(self, name: str, n_meanings: int, way: Callable[[Uniform], Meaning | None]) -> list[Meaning]:
        uniform = self._stream(f"meanings of {name}")
        turned_down = self.n_turned_down[name] = Counter()
        meanings: list[Meaning] = []
        tries = 0
        while len(meanings) < n_meanings:
            meaning = way(uniform)
            reason = self._refuse(name, meaning)
            if reason or meaning is None:
                turned_down[reason] += 1
                tries += 1
                if tries > MAX_TRIES:
                    raise SettingsError(
                        f"data.preset={self.settings.preset} with data.difficulty={self.settings.difficulty}",
                        f"too few sentences for the split {name}",
                        "choose another difficulty",
                    )
                continue
            tries = 0
            self.seen.add(meaning)
            meanings.append(meaning)
        return meanings

    def _refuse(self, name: str, meaning: Meaning | None) -> str:
        """Why a meaning cannot be in a split, or an empty string."""
        if meaning is None:
            return "does not fit the split"
        if meaning in self.seen:
            return "is in another split or was drawn before"
        if name != "held" and any(pair in self.held for pair in iterate_objects(meaning)):
            return "has a held-out verb and object"
        if name != "train":
            for concept in iterate_concepts(meaning, self.lexicon):
                if concept not in self.known:
                    return "has a lexeme absent from train"
        return ""

    def _draw_long(self, uniform: Uniform) -> Meaning | None:
        meaning = self.elaborate.draw(uniform)
        least, most = self.long_words
        return meaning if least <= count_words(meaning, self.lexicon) <= most else None

    def _draw_held(self, uniform: Uniform) -> Meaning | None:
        """An ordinary meaning with one verb and object replaced by a pair that was set aside."""
        meaning = self.ordinary.draw(uniform)
        kinds = self.lexicon.kind
        places = [
            place
            for place, clause in enumerate(meaning)
            if clause.object is not None and kinds[clause.object.noun] != "name"
        ]
        if not places:
            return None
        place = places[int(uniform() * len(places))]
        verb, noun = self._draw_held_pair(uniform)
        clause = meaning[place]
        assert clause.object is not None
        clause = clause._replace(verb=verb, object=clause.object._replace(noun=noun))
        return (*meaning[:place], clause, *meaning[place + 1 :])

    def _draw_held_pair(self, uniform: Uniform) -> tuple[int, int]:
        """A held pair, in proportion to how often the grammar would draw it."""
        tables = self.ordinary.tables
        while True:
            verb = tables["transitive"].draw(uniform)
            kind = self.lexicon.object_kinds[verb].draw(uniform)
            if kind != "name":
                noun = tables[kind].draw(uniform)
                if (verb, noun) in self.held:
                    return verb, noun

    def _draw_rare(self, uniform: Uniform) -> Meaning | None:
        """An ordinary meaning with one lexeme replaced by a rare one of its kind.

        Rare lexemes are drawn evenly, so that each is seen in the split about equally often.
        """
        meaning = self.ordinary.draw(uniform)
        kinds: list[str] = []

        def note(concept: int) -> int:
            kinds.append(self.lexicon.kind[concept])
            return concept

        rebuild(meaning, self.lexicon, note)
        places = [place for place, kind in enumerate(kinds) if kind in self.rare]
        if not places:
            return None
        # Kinds in proportion to their rare lexemes, places of one kind evenly.
        weights = [len(self.rare[kinds[place]]) for place in places]
        chosen = Table(places, weights).draw(uniform)
        candidates = self.rare[kinds[chosen]]
        lexeme = candidates[int(uniform() * len(candidates))]
        at = -1

        def exchange(concept: int) -> int:
            nonlocal at
            at += 1
            return lexeme if at == chosen else concept

        changed = rebuild(meaning, self.lexicon, exchange)
        if not has_rare(changed, self.lexicon, self.rare) or _repeats_adjective(changed):
            return None
        return changed


def has_rare(meaning: Meaning, lexicon: Lexicon, rare: dict[str, list[int]]) -> bool:
    """Whether a meaning has a rare lexeme; the replaced verb may have turned to its other sense."""
    return any(concept in rare.get(lexicon.kind[concept], ()) for concept in iterate_concepts(meaning, lexicon))


def _repeats_adjective(meaning: Meaning) -> bool:
    return any(len(set(phrase.adjectives)) < len(phrase.adjectives) for phrase in iterate_phrases(meaning))
