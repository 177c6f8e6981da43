"""The generated corpus: texts by split, their exact probabilities, references and legality."""

import hashlib
import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from tietrain.data.grammar.draw import make_stream
from tietrain.data.grammar.language_a import LanguageA
from tietrain.data.grammar.language_b import LanguageB, LanguageC
from tietrain.data.grammar.lexicon import Lexicon
from tietrain.data.grammar.meaning import Meaning, Structure
from tietrain.data.grammar.paragraph import Paragraph, ParagraphModel
from tietrain.data.grammar.settings import FAULTY, FEATURES, GRAMMAR_VERSION, LANGUAGES, GrammarSettings
from tietrain.data.grammar.spelling import Language, swap_script
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

    def is_legal(self, split_name: str, hypotheses: list[str], target: str | None = None) -> list[bool]:
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
        is_other = language == "b" and self.settings.alphabet_b == "other"
        return swap_script(text) if is_other else text

    def spell(self, language: str, meanings: list[Meaning], name: str) -> list[str]:
        """One drawn spelling of each meaning; `name` names the stream of the draws."""
        uniform = make_stream(name, language, *self.settings.stream_label)
        speller = self.languages[language]
        return [self.to_script(language, speller.draw(meaning, uniform)) for meaning in meanings]

    def spelling_nats(self, language: str, meaning: Meaning, text: str) -> float:
        """-log p(text | meaning) in a language, the text in the language's alphabet."""
        return self.languages[language].nats(meaning, self.to_script(language, text))
