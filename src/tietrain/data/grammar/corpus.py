"""The generated corpus: texts by split, their exact probabilities, references and legality."""

import hashlib
import json
import math
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Any, cast

import numpy as np

from tietrain.data.grammar.draw import make_stream
from tietrain.data.grammar.language_a import LanguageA
from tietrain.data.grammar.language_b import LanguageB, LanguageC
from tietrain.data.grammar.language_d import LanguageD
from tietrain.data.grammar.lexicon import Lexicon
from tietrain.data.grammar.meaning import Meaning, make_structure
from tietrain.data.grammar.paragraph import Paragraph, ParagraphModel
from tietrain.data.grammar.script import swap_script
from tietrain.data.grammar.settings import FAULTY, FEATURES, GRAMMAR_VERSION, LANGUAGES, GrammarSettings
from tietrain.data.grammar.spelling import Speller, best_spelling, draw_spelling
from tietrain.data.grammar.spelling import spelling_nats as score_spelling
from tietrain.data.grammar.splits import max_clauses, stream_label
from tietrain.errors import SettingsError


@dataclass
class GrammarSplit:
    """Lines of one split.

    Attributes:
        texts: for each column of text, its lines: a sentence (mt) or a paragraph (lm) a line.
        meanings: what each line means; for paragraphs, one meaning a sentence.
        features: vectors of each line, float32 [S, F], S its concepts; None without the column.
    """

    texts: dict[str, list[str]]
    meanings: list[Meaning] | list[Paragraph]
    features: list[np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.meanings)


class GrammarCorpus:
    """A corpus drawn from the grammar; made by `generate`.

    Attributes:
        settings: what it was made from.
        columns: of text: ("text",) for a language model, the settings' without FEATURES for translation.
        splits: by name, train first.
        notes: what a reader of results should know, one sentence each.
        about: counts, sizes and versions, ready for JSON.
        fingerprint: sha256 over version, settings and every line of every split.
    """

    def __init__(self, settings: GrammarSettings, lexicon: Lexicon) -> None:
        self.settings = settings
        self.lexicon = lexicon
        texts = tuple(column for column in settings.columns if column != FEATURES)
        self.columns = ("text",) if settings.task == "lm" else texts
        self.splits: dict[str, GrammarSplit] = {}
        self.notes: list[str] = []
        self.about: dict[str, Any] = {}
        self.fingerprint = ""
        self._nats: dict[tuple[str, str], list[float]] = {}
        spellers = (LanguageA(lexicon), LanguageB(lexicon), LanguageC(lexicon), LanguageD(lexicon))
        self.spellers: dict[str, Speller] = dict(zip(LANGUAGES, spellers, strict=True))

    def generator_nats(
        self, split_name: str, target: str | None = None, sources: Collection[str] | None = None
    ) -> list[float] | None:
        """-log p(target line | source lines) or -log p(paragraph) under the grammar, in nats; None where unknown.

        Computed when first asked for. A source says all of its line's meaning, so it is -log p(target
        line | meaning). It is not known with the target's own faulty line among the sources, where -log
        p(target line | meaning) is more than a perfect reader pays, nor without a language among them,
        where it is less. Of a paragraph it covers the line whole, its end included, and sums over topics
        and casts. It is the probability before lines were sorted into splits: that a test line is not in
        train is nothing a reader of train could know.

        Args:
            target: column; the last when left out. sources: columns; all others when left out.
        Raises:
            SettingsError: the target is no language of this corpus.
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
            split = self.splits[split_name]
            pairs: Iterable[Any] = zip(split.meanings, split.texts[target], strict=True)
            score = self._paragraph_nats if target == "text" else partial(self.spelling_nats, target)
            self._nats[key] = [score(*pair) for pair in pairs]
        return self._nats[key]

    def _paragraph_nats(self, paragraph: Paragraph, line: str) -> float:
        # Sentences end in the only full stop they have.
        sentences = [part + "." for part in line.removesuffix(".").split(". ")]
        (language,) = self.settings.columns
        spelled = zip(paragraph, sentences, strict=True)
        return self.paragraphs.meaning_nats(paragraph) + math.fsum(
            self.spelling_nats(language, *pair) for pair in spelled
        )

    @cached_property
    def paragraphs(self) -> ParagraphModel:
        """Draws paragraphs, for a language model, and knows their probability."""
        return ParagraphModel(make_structure(max_clauses(self.settings.difficulty)), self.lexicon)

    def best_spellings(self, split_name: str, target: str | None = None) -> list[str]:
        """The most probable target spelling of each line's true meaning; the target is the last column by default.

        Raises:
            ValueError: a corpus of paragraphs, or no such split.
            SettingsError: the target is no language of this corpus.
        """
        meanings, target = self._sentences(split_name), self._target(target)
        speller = self.spellers[target]
        return [self.to_script(target, best_spelling(speller, meaning)) for meaning in meanings]

    def redrawn_references(self, split_name: str, k: int, target: str | None = None) -> list[list[str]]:
        """k fresh draws of all target lines from the same meanings, one list a draw; raises as `best_spellings`."""
        meanings, target = self._sentences(split_name), self._target(target)
        return [self.spell(target, meanings, f"redrawn {draw} of {split_name}") for draw in range(k)]

    def is_legal(self, split_name: str, hypotheses: list[str], target: str | None = None) -> list[bool]:
        """Whether each hypothesis is a legal target spelling of its line's meaning.

        Args:
            split_name: name of the split.
            hypotheses: one a line of the split; runs of blanks count as one.
            target: the last column when left out.
        Raises:
            ValueError: a corpus of paragraphs, no such split, or another number of hypotheses.
            SettingsError: the target is no language of this corpus.
        """
        meanings = self._sentences(split_name)
        if len(hypotheses) != len(meanings):
            raise ValueError(
                f"{len(hypotheses)} hypotheses for the {len(meanings)} lines of {split_name}; give one a line"
            )
        target = self._target(target)
        return [
            math.isfinite(self.spelling_nats(target, meaning, " ".join(hypothesis.split())))
            for meaning, hypothesis in zip(meanings, hypotheses, strict=True)
        ]

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
            problem = "no probability of it is known, and it is only ever a source"
            raise SettingsError(f"target={target}", problem, f"choose from {', '.join(languages)}")
        return target

    def to_script(self, language: str, text: str) -> str:
        """A text in the alphabet of its language; from it back to Latin, too."""
        other = language == "b" and self.settings.alphabet_b == "other"
        return swap_script(text) if other else text

    def spell(self, language: str, meanings: list[Meaning], name: str) -> list[str]:
        """One drawn spelling of each meaning; `name` names the stream of the draws."""
        uniform = make_stream(name, language, *stream_label(self.settings))
        speller = self.spellers[language]
        return [self.to_script(language, draw_spelling(speller, meaning, uniform)) for meaning in meanings]

    def spelling_nats(self, language: str, meaning: Meaning, text: str) -> float:
        """-log p(text | meaning) in a language, the text in the language's alphabet."""
        return score_spelling(self.spellers[language], meaning, self.to_script(language, text))

    def finish(self, about: dict[str, Any]) -> None:
        """Fixes fingerprint and `about` once all splits are there; `about` adds to the counts."""
        self.fingerprint = _fingerprint(self)
        self.about = {
            "version": GRAMMAR_VERSION,
            "settings": asdict(self.settings),
            "fingerprint": self.fingerprint,
            "columns": list(self.columns),
            "lexicon": self.lexicon.count_kinds(),
            "n_words": {c: self.lexicon.count_words(c) for c in self.settings.columns if c in LANGUAGES},
            "n_cognates": len(self.lexicon.cognates),
            "n_two_translation_verbs": {
                language: sum(split == language for split in self.lexicon.split_in.values()) for language in "ab"
            },
            "n_topics": self.lexicon.n_topics,
            "max_clauses": max_clauses(self.settings.difficulty),
            **about,
        }


def _fingerprint(corpus: GrammarCorpus) -> str:
    digest = hashlib.sha256()
    header = {"version": GRAMMAR_VERSION, "settings": corpus.settings.identity}
    digest.update(json.dumps(header, sort_keys=True).encode())
    for name, split in corpus.splits.items():
        for column in corpus.columns:
            lines = split.texts[column]
            digest.update(f"\n{name} {column} {len(lines)}\n".encode())
            digest.update("\n".join(lines).encode())
        for vectors in split.features or ():
            digest.update(f"\n{name} {FEATURES} {len(vectors)}\n".encode())
            digest.update(vectors.astype("<f4").tobytes())
    return digest.hexdigest()
