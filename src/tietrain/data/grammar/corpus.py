"""The generated corpus: texts by split, their exact probabilities, references and legality."""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, cast

from tietrain.data.grammar.draw import make_stream
from tietrain.data.grammar.language_a import LanguageA
from tietrain.data.grammar.language_b import LanguageB
from tietrain.data.grammar.lexicon import Lexicon
from tietrain.data.grammar.meaning import Meaning
from tietrain.data.grammar.paragraph import Paragraph
from tietrain.data.grammar.script import swap_script
from tietrain.data.grammar.settings import GRAMMAR_VERSION, GrammarSettings
from tietrain.data.grammar.spelling import Speller, best_spelling, draw_spelling
from tietrain.data.grammar.spelling import spelling_nats as score_spelling
from tietrain.data.grammar.splits import max_clauses, stream_label


@dataclass
class GrammarSplit:
    """Lines of one split.

    Attributes:
        texts: for each column, its lines: a sentence (mt) or a paragraph (lm) a line.
        meanings: what each line means; for paragraphs, one meaning a sentence.
    """

    texts: dict[str, list[str]]
    meanings: list[Meaning] | list[Paragraph]
    _score: Callable[["GrammarSplit"], list[float]] = field(repr=False)

    @cached_property
    def generator_nats(self) -> list[float]:
        """-log p(target line | source line) or -log p(paragraph) under the grammar, in nats.

        Computed when first asked for. Of a paragraph it covers the line whole, its end included,
        and sums over topics and casts. It is the probability before lines were sorted into
        splits: that a test line is not in train is nothing a reader of train could know.
        """
        return self._score(self)

    def __len__(self) -> int:
        return len(self.meanings)


class GrammarCorpus:
    """A corpus drawn from the grammar; made by `generate`.

    Attributes:
        settings: what it was made from.
        columns: ("text",) for a language model, (source, target) for translation.
        splits: by name, train first.
        notes: what a reader of results should know, one sentence each.
        about: counts, sizes and versions, ready for JSON.
        fingerprint: sha256 over version, settings and every line of every split.
    """

    def __init__(self, settings: GrammarSettings, lexicon: Lexicon) -> None:
        self.settings = settings
        self.lexicon = lexicon
        self.columns = ("text",) if settings.task == "lm" else (settings.source, settings.target)
        self.splits: dict[str, GrammarSplit] = {}
        self.notes: list[str] = []
        self.about: dict[str, Any] = {}
        self.fingerprint = ""
        self.spellers: dict[str, Speller] = {"a": LanguageA(lexicon), "b": LanguageB(lexicon)}

    def best_spellings(self, split_name: str) -> list[str]:
        """The most probable target spelling of each line's true meaning.

        Raises:
            ValueError: a corpus of paragraphs, or no such split.
        """
        speller = self.spellers[self.settings.target]
        return [
            self.to_script(self.settings.target, best_spelling(speller, meaning))
            for meaning in self._sentences(split_name)
        ]

    def redrawn_references(self, split_name: str, k: int) -> list[list[str]]:
        """k fresh draws of all target lines from the same meanings, one list a draw.

        Raises:
            ValueError: a corpus of paragraphs, or no such split.
        """
        meanings = self._sentences(split_name)
        return [self.spell(self.settings.target, meanings, f"redrawn {draw} of {split_name}") for draw in range(k)]

    def is_legal(self, split_name: str, hypotheses: list[str]) -> list[bool]:
        """Whether each hypothesis is a legal target spelling of its line's meaning.

        Args:
            split_name: name of the split.
            hypotheses: one a line of the split; runs of blanks count as one.
        Raises:
            ValueError: a corpus of paragraphs, no such split, or another number of hypotheses.
        """
        meanings = self._sentences(split_name)
        if len(hypotheses) != len(meanings):
            raise ValueError(
                f"{len(hypotheses)} hypotheses for the {len(meanings)} lines of {split_name}; give one a line"
            )
        target = self.settings.target
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
            "n_words": {language: self.lexicon.count_words(language) for language in "ab"},
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
    header = {"version": GRAMMAR_VERSION, "settings": asdict(corpus.settings)}
    digest.update(json.dumps(header, sort_keys=True).encode())
    for name, split in corpus.splits.items():
        for column in corpus.columns:
            lines = split.texts[column]
            digest.update(f"\n{name} {column} {len(lines)}\n".encode())
            digest.update("\n".join(lines).encode())
    return digest.hexdigest()
