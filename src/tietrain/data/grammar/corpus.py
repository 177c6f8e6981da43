"""The generated corpus, drawn, spelled and noted: texts by split, their exact probabilities, references and legality."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import cast

from tietrain.data.grammar.coining import make_lexicon
from tietrain.data.grammar.draw import make_stream
from tietrain.data.grammar.language_a import LanguageA
from tietrain.data.grammar.language_b import LanguageB, LanguageC
from tietrain.data.grammar.lexicon import Lexicon
from tietrain.data.grammar.meaning import Meaning, Structure, iterate_concepts
from tietrain.data.grammar.noisy_sources import FaultChannel, make_features
from tietrain.data.grammar.paragraph import Paragraph, ParagraphModel
from tietrain.data.grammar.settings import FAULTY, FEATURES, GRAMMAR_VERSION, LANGUAGES, GrammarSettings
from tietrain.data.grammar.spelling import Language, swap_script
from tietrain.data.grammar.splits import PairSplits, find_known, iterate_allowed
from tietrain.data.sources.features import FeatureRows
from tietrain.errors import SettingsError


@dataclass
class GrammarSplit:
    """Lines of one split.

    Attributes:
        texts: for each column of text, its lines, each one a sentence (mt) or a paragraph (lm).
        meanings: what each line means; for paragraphs, one meaning per sentence.
        features: vectors of each line, one per concept; None without the column.
    """

    texts: dict[str, list[str]]
    meanings: list[Meaning] | list[Paragraph]
    features: FeatureRows | None = None

    def __len__(self) -> int:
        return len(self.meanings)


class GrammarCorpus:
    """A corpus drawn from the grammar; made by `generate`.

    Attributes:
        settings: what it was made from.
        columns: of text: ("text",) for a language model, the settings' without FEATURES for translation.
        splits: by name, train first.
        notes: what a reader of results should know, one sentence each.
        languages: by letter, each of them able to spell.
    """

    def __init__(self, settings: GrammarSettings, lexicon: Lexicon) -> None:
        self.settings = settings
        self.lexicon = lexicon
        texts = tuple(column for column in settings.columns if column != FEATURES)
        self.columns = ("text",) if settings.task == "lm" else texts
        self.splits: dict[str, GrammarSplit] = {}
        self.notes: list[str] = []
        classes = (LanguageA, LanguageB, LanguageC)
        self.languages: dict[str, Language] = {language.name: language(lexicon) for language in classes}
        self._nats: dict[tuple[str, str], list[float]] = {}

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over version, settings and every line of every split; for when all splits are there."""
        header = {"version": GRAMMAR_VERSION, "settings": self.settings.identity}
        digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
        for name, split in self.splits.items():
            for column in self.columns:
                lines = split.texts[column]
                digest.update(f"\n{name} {column} {len(lines)}\n".encode())
                digest.update("\n".join(lines).encode())
            for vectors in split.features or ():
                digest.update(f"\n{name} {FEATURES} {len(vectors)}\n".encode())
                digest.update(vectors.astype("<f4").tobytes())
        return digest.hexdigest()

    @cached_property
    def paragraphs(self) -> ParagraphModel:
        """Draws paragraphs, for a language model, and knows their probability."""
        return ParagraphModel(Structure(self.settings.max_clauses), self.lexicon)

    def generator_nats(
        self, split_name: str, target: str | None = None, sources: Collection[str] | None = None
    ) -> list[float] | None:
        """-log p(target line | source lines) or -log p(paragraph) under the grammar, in nats; None if unknown.

        A source says all of its line's meaning, so it is -log p(target line | meaning). With the target's own
        faulty line among the sources that is more than a perfect reader pays, and without a language among them
        less: then it is unknown. Of a paragraph it sums over topics and casts. It is the probability before lines
        were sorted into splits: a reader of train cannot know that a test line is not in train.

        Args:
            target: column; the last if None.
            sources: columns; all others if None.
        Raises:
            SettingsError: the target is not a language of this corpus.
        """
        if self.settings.task == "lm":
            target = "text"
        else:
            target = self._target(target)
            read = set(self.settings.columns if sources is None else sources) - {target}
            if not read & set(LANGUAGES) or any(FAULTY.get(source) == target for source in read):
                return None
        key = (split_name, target)
        if key not in self._nats:
            lines = self.splits[split_name].texts[target]
            if target == "text":
                paragraphs = cast(list[Paragraph], self.splits[split_name].meanings)
                self._nats[key] = list(map(self._paragraph_nats, paragraphs, lines))
            else:
                self._nats[key] = self._line_nats(target, self._sentences(split_name), lines)
        return self._nats[key]

    def _paragraph_nats(self, paragraph: Paragraph, line: str) -> float:
        # Sentences end in the only full stop they have.
        sentences = [part + "." for part in line.removesuffix(".").split(". ")]
        (language,) = self.settings.columns
        return self.paragraphs.meaning_nats(paragraph) + math.fsum(self._line_nats(language, paragraph, sentences))

    def _line_nats(self, language: str, meanings: Sequence[Meaning], lines: Sequence[str]) -> list[float]:
        return [self.spelling_nats(language, *pair) for pair in zip(meanings, lines, strict=True)]

    def best_spellings(self, split_name: str, target: str | None = None) -> list[str]:
        """The most probable target spelling of each line's true meaning; the target is the last column by default.

        Raises:
            ValueError: a corpus of paragraphs, or no such split.
            SettingsError: the target is not a language of this corpus.
        """
        target = self._target(target)
        language = self.languages[target]
        return [self.to_script(target, language.best(meaning)) for meaning in self._sentences(split_name)]

    def redrawn_references(self, split_name: str, k: int, target: str | None = None) -> list[list[str]]:
        """k fresh draws of all target lines from the same meanings, one list per draw; raises as `best_spellings`."""
        target = self._target(target)
        meanings = self._sentences(split_name)
        return [self.spell(target, meanings, f"redrawn {draw} of {split_name}") for draw in range(k)]

    def is_legal(self, split_name: str, hypotheses: Sequence[str], target: str | None = None) -> list[bool]:
        """Whether each hypothesis is a legal target spelling of its line's meaning; raises as `best_spellings`.

        Args:
            hypotheses: one per line of the split; runs of blanks count as one.
        """
        meanings = self._sentences(split_name)
        if len(hypotheses) != len(meanings):
            problem = f"{len(hypotheses)} hypotheses for the {len(meanings)} lines of {split_name}"
            raise ValueError(f"{problem}; give one per line")
        lines = [" ".join(hypothesis.split()) for hypothesis in hypotheses]
        return [math.isfinite(nats) for nats in self._line_nats(self._target(target), meanings, lines)]

    def _sentences(self, split_name: str) -> list[Meaning]:
        if self.settings.task != "mt":
            raise ValueError("task=lm: only a translation has references; choose task=mt")
        if split_name not in self.splits:
            names = ", ".join(self.splits)
            raise ValueError(f"split {split_name}: not in this corpus; choose one of {names}")
        return cast(list[Meaning], self.splits[split_name].meanings)

    def _target(self, target: str | None) -> str:
        languages = [column for column in self.settings.columns if column in LANGUAGES]
        target = target or languages[-1]
        if target not in languages:
            problem = "no probability of it is known; it can only be a source"
            raise SettingsError(f"target={target}", problem, f"choose from {', '.join(languages)}")
        return target

    def to_script(self, language: str, text: str) -> str:
        """A text in the alphabet of its language; also from that back to Latin."""
        return swap_script(text) if language == "b" and self.settings.alphabet_b == "other" else text

    def spell(self, language: str, meanings: list[Meaning], name: str) -> list[str]:
        """One drawn spelling of each meaning; `name` names the stream of the draws."""
        uniform = make_stream(name, language, *self.settings.stream_label)
        return [self.to_script(language, self.languages[language].draw(meaning, uniform)) for meaning in meanings]

    def spelling_nats(self, language: str, meaning: Meaning, text: str) -> float:
        """-log p(text | meaning) in a language, the text in the language's alphabet."""
        return self.languages[language].nats(meaning, self.to_script(language, text))


def generate(settings: GrammarSettings) -> GrammarCorpus:
    """The corpus of these settings; equal settings give equal bytes on every platform.

    Raises:
        SettingsError: settings that leave too few sentences for a split.
    """
    corpus = GrammarCorpus(settings, make_lexicon(settings))
    (_generate_pairs if settings.task == "mt" else _generate_paragraphs)(corpus)
    return corpus


def _generate_pairs(corpus: GrammarCorpus) -> None:
    splits = PairSplits(corpus.settings, corpus.lexicon)
    train = splits.draw_train()
    # A and B alone decide what other splits may hold: C has one word per concept, so with it
    # nothing else is unknown, and every choice of columns has the same meanings.
    spelled = _add_pairs(corpus, "train", train)
    latin = {language: [corpus.to_script(language, line) for line in spelled[language]] for language in "ab"}
    for name, meanings in splits.draw_rest(train, latin).items():
        _add_pairs(corpus, name, meanings)
    _note_left_out(corpus, splits.known, splits.counts)
    n_rare = sum(map(len, splits.rare.values()))
    rare = f"{n_rare} lexemes occur at most {splits.rare_at_most} times in train and are rare"
    corpus.notes.append(f"{len(splits.held)} verb-object pairs are held out of train, valid and test; {rare}")


def _add_pairs(corpus: GrammarCorpus, name: str, meanings: list[Meaning]) -> dict[str, list[str]]:
    """Adds a split with all its columns; returns its lines in A, B and the languages of the columns."""
    settings = corpus.settings
    needed = dict.fromkeys(["a", "b", *(FAULTY.get(column, column) for column in corpus.columns)])
    spelled = {language: corpus.spell(language, meanings, f"spelling of {name}") for language in needed}
    texts = {}
    for column in corpus.columns:
        language = FAULTY.get(column, column)
        texts[column] = spelled[language]
        if column in FAULTY:
            channel = FaultChannel(corpus.languages[language])
            uniform = make_stream(f"faults of {name}", language, *settings.stream_label)
            faulty = [channel.apply(corpus.to_script(language, line), uniform) for line in spelled[language]]
            texts[column] = [corpus.to_script(language, line) for line in faulty]
    features = None
    if FEATURES in settings.columns:
        label = (f"features of {name}", *settings.stream_label)
        features = make_features(meanings, corpus.lexicon, settings.language_seed, *label)
    corpus.splits[name] = GrammarSplit(texts, meanings, features)
    return spelled


def _generate_paragraphs(corpus: GrammarCorpus) -> None:
    lexicon = corpus.lexicon
    (language,) = corpus.settings.columns
    sizes = corpus.settings.sizes
    counts: Counter[int] = Counter()

    def is_fresh(paragraph: Paragraph) -> bool:
        concepts = chain.from_iterable(iterate_concepts(meaning, lexicon) for meaning in paragraph)
        return seen.isdisjoint(paragraph) and known.issuperset(concepts)

    train, lines = _draw_paragraphs(corpus, "train", sizes.train_bytes, lambda paragraph: True)
    seen = set(chain.from_iterable(train))
    for meaning in chain.from_iterable(train):
        counts.update(iterate_concepts(meaning, lexicon))
    known = find_known(lexicon, counts, {language: lines})
    for name, n_bytes in (("valid", sizes.valid_bytes), ("test", sizes.test_bytes)):
        seen.update(*_draw_paragraphs(corpus, name, n_bytes, is_fresh)[0])
    _note_left_out(corpus, known, counts)


def _draw_paragraphs(
    corpus: GrammarCorpus, name: str, n_bytes: int, is_allowed: Callable[[Paragraph], bool]
) -> tuple[list[Paragraph], list[str]]:
    """Adds a split of at least so many bytes; returns its paragraphs and their lines in the Latin alphabet."""
    (column,) = corpus.settings.columns
    language = corpus.languages[column]
    draws = make_stream(f"paragraphs of {name}", *corpus.settings.stream_label)
    spells = make_stream(f"spelling of {name}", column, *corpus.settings.stream_label)
    paragraphs: list[Paragraph] = []
    lines: list[str] = []
    for paragraph in iterate_allowed(lambda: corpus.paragraphs.draw(draws), is_allowed, name):
        line = " ".join(language.draw(meaning, spells) for meaning in paragraph)
        paragraphs.append(paragraph)
        lines.append(line)
        # Sized by the Latin spelling, so that the other alphabet has the same sentences.
        n_bytes -= len(line) + 1
        if n_bytes <= 0:
            break
    texts = {"text": [corpus.to_script(column, line) for line in lines]}
    corpus.splits[name] = GrammarSplit(texts, paragraphs)
    return paragraphs, lines


def _note_left_out(corpus: GrammarCorpus, known: set[int], counts: Counter[int]) -> None:
    n_lexemes = len(corpus.lexicon.kind)
    n_absent = sum(not counts[concept] for concept in range(n_lexemes))
    n_left_out = n_lexemes - len(known)
    absent = f"{n_absent} are absent from train, of {n_left_out - n_absent} a synonym is"
    corpus.notes.append(f"{n_left_out} of {n_lexemes} lexemes are left out of all splits but train: {absent}")
