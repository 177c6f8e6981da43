"""The generated corpus: texts by split, their exact probabilities, references and legality."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from tietrain.data.grammar.coining import make_lexicon
from tietrain.data.grammar.draw import make_stream
from tietrain.data.grammar.language_a import LanguageA
from tietrain.data.grammar.language_b import LanguageB
from tietrain.data.grammar.lexicon import Lexicon
from tietrain.data.grammar.meaning import Meaning, count_words, iterate_concepts, make_structure
from tietrain.data.grammar.paragraph import Paragraph, ParagraphModel
from tietrain.data.grammar.script import swap_script
from tietrain.data.grammar.settings import GRAMMAR_VERSION, GrammarSettings
from tietrain.data.grammar.spelling import Speller, best_spelling, draw_spelling, spelling_nats
from tietrain.data.grammar.splits import (
    MAX_TRIES,
    PairSplits,
    find_known,
    max_clauses,
    stream_label,
)

BOUNDS: dict[str, str] = {}
"""Directions whose reference is only a bound, and why: none, every source has one meaning."""


@dataclass
class GrammarSplit:
    """Lines of one split.

    Attributes:
        name: name of the split.
        texts: for each column, its lines: a sentence (mt) or a paragraph (lm) a line.
        meanings: what each line means; for paragraphs, one meaning a sentence.
    """

    name: str
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
        self._spellers: dict[str, Speller] = {"a": LanguageA(lexicon), "b": LanguageB(lexicon)}

    def best_spellings(self, split_name: str) -> list[str]:
        """The most probable target spelling of each line's true meaning.

        Raises:
            ValueError: a corpus of paragraphs, or no such split.
        """
        speller = self._spellers[self.settings.target]
        return [
            self._to_script(self.settings.target, best_spelling(speller, meaning))
            for meaning in self._sentences(split_name)
        ]

    def redrawn_references(self, split_name: str, k: int) -> list[list[str]]:
        """k fresh draws of all target lines from the same meanings, one list a draw.

        Raises:
            ValueError: a corpus of paragraphs, or no such split.
        """
        meanings = self._sentences(split_name)
        return [
            self._spell(self.settings.target, meanings, f"redrawn {draw} of {split_name}")
            for draw in range(k)
        ]

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
                f"{len(hypotheses)} hypotheses for the {len(meanings)} lines of {split_name}; "
                "give one a line"
            )
        target = self.settings.target
        return [
            math.isfinite(self._spelling_nats(target, meaning, " ".join(hypothesis.split())))
            for meaning, hypothesis in zip(meanings, hypotheses, strict=True)
        ]

    def _sentences(self, split_name: str) -> list[Meaning]:
        if self.settings.task != "mt":
            raise ValueError("task=lm: only a translation has references; choose task=mt")
        if split_name not in self.splits:
            names = ", ".join(self.splits)
            raise ValueError(f"split {split_name}: not in this corpus; choose one of {names}")
        meanings: Any = self.splits[split_name].meanings
        return meanings

    def _to_script(self, language: str, text: str) -> str:
        other = language == "b" and self.settings.alphabet_b == "other"
        return swap_script(text) if other else text

    def _spell(self, language: str, meanings: list[Meaning], name: str) -> list[str]:
        uniform = make_stream(name, language, *stream_label(self.settings))
        speller = self._spellers[language]
        return [
            self._to_script(language, draw_spelling(speller, meaning, uniform))
            for meaning in meanings
        ]

    def _spelling_nats(self, language: str, meaning: Meaning, text: str) -> float:
        return spelling_nats(self._spellers[language], meaning, self._to_script(language, text))

    def _finish(self, about: dict[str, Any]) -> None:
        self.fingerprint = _fingerprint(self)
        counts = self.lexicon.count_kinds()
        self.about = {
            "version": GRAMMAR_VERSION,
            "settings": asdict(self.settings),
            "fingerprint": self.fingerprint,
            "columns": list(self.columns),
            "lexicon": counts,
            "n_words": {language: self.lexicon.count_words(language) for language in "ab"},
            "n_cognates": len(self.lexicon.cognates),
            "n_two_translation_verbs": {
                language: sum(split == language for split in self.lexicon.split_in.values())
                for language in "ab"
            },
            "n_topics": self.lexicon.n_topics,
            "max_clauses": max_clauses(self.settings.difficulty),
            "splits": {name: _count_split(split) for name, split in self.splits.items()},
            "bounds": dict(BOUNDS),
            **about,
        }


def generate(settings: GrammarSettings) -> GrammarCorpus:
    """The corpus of these settings; equal settings give equal bytes on every platform.

    Raises:
        ValueError: settings that leave too few sentences for a split.
    """
    corpus = GrammarCorpus(settings, make_lexicon(settings))
    if settings.task == "mt":
        _generate_pairs(corpus)
    else:
        _generate_paragraphs(corpus)
    return corpus


def _generate_pairs(corpus: GrammarCorpus) -> None:
    splits = PairSplits(corpus.settings, corpus.lexicon)
    source, target = corpus.columns

    def score(split: GrammarSplit) -> list[float]:
        return [
            corpus._spelling_nats(target, meaning, text)
            for meaning, text in zip(split.meanings, split.texts[target], strict=True)
        ]

    def add(name: str, meanings: list[Meaning]) -> None:
        texts = {
            language: corpus._spell(language, meanings, f"spelling of {name}")
            for language in (source, target)
        }
        corpus.splits[name] = GrammarSplit(name, texts, meanings, score)

    train = splits.draw_train()
    add("train", train)
    latin = {
        language: [corpus._to_script(language, line) for line in lines]
        for language, lines in corpus.splits["train"].texts.items()
    }
    splits.learn(train, latin)
    for name, meanings in splits.draw_rest().items():
        add(name, meanings)
    n_rare = sum(map(len, splits.rare.values()))
    corpus._finish(
        {
            "left_out": _note_left_out(corpus, splits.known, splits.counts),
            "turned_down": {name: dict(why) for name, why in splits.n_turned_down.items()},
            "n_held_pairs": len(splits.held),
            "n_rare_lexemes": n_rare,
            "long_words": list(splits.long_words),
        }
    )
    corpus.notes.append(
        f"{len(splits.held)} verb-object pairs are held out of train, valid and test; "
        f"{n_rare} lexemes are rare in train"
    )


def _generate_paragraphs(corpus: GrammarCorpus) -> None:
    settings, lexicon = corpus.settings, corpus.lexicon
    model = ParagraphModel(make_structure(max_clauses(settings.difficulty)), lexicon)
    language, sizes = settings.source, settings.sizes

    def score(split: GrammarSplit) -> list[float]:
        nats = []
        for paragraph, line in zip(split.meanings, split.texts["text"], strict=True):
            # Sentences end in the only full stop they have.
            sentences = [part + "." for part in line.removesuffix(".").split(". ")]
            spelled: Any = zip(paragraph, sentences, strict=True)
            nats.append(
                model.meaning_nats(paragraph)  # type: ignore[arg-type]
                + math.fsum(corpus._spelling_nats(language, *pair) for pair in spelled)
            )
        return nats

    seen: set[Meaning] = set()
    counts: Counter[int] = Counter()
    known: set[int] = set()
    turned_down: dict[str, int] = {}
    for name, n_bytes in (
        ("train", sizes.train_bytes),
        ("valid", sizes.valid_bytes),
        ("test", sizes.test_bytes),
    ):
        draws = make_stream(f"paragraphs of {name}", *stream_label(settings))
        spells = make_stream(f"spelling of {name}", language, *stream_label(settings))
        lines: list[str] = []
        paragraphs: list[Paragraph] = []
        fresh: set[Meaning] = set()
        # Sized by the Latin spelling, so that the other alphabet has the same sentences.
        n_left, tries, turned_down[name] = n_bytes, 0, 0
        while n_left > 0:
            paragraph = model.draw(draws).meanings
            if name != "train" and not _is_fresh(paragraph, seen, known, lexicon):
                turned_down[name] += 1
                tries += 1
                if tries > MAX_TRIES:
                    raise ValueError(
                        f"data.difficulty={settings.difficulty}: too few paragraphs for the "
                        f"split {name}; choose another difficulty"
                    )
                continue
            tries = 0
            speller = corpus._spellers[language]
            line = " ".join(draw_spelling(speller, meaning, spells) for meaning in paragraph)
            n_left -= len(line) + 1
            lines.append(line)
            paragraphs.append(paragraph)
            fresh.update(paragraph)
        if name == "train":
            for paragraph in paragraphs:
                for meaning in paragraph:
                    counts.update(iterate_concepts(meaning, lexicon))
            known = find_known(lexicon, counts, {language: lines})
        seen |= fresh
        texts = {"text": [corpus._to_script(language, line) for line in lines]}
        corpus.splits[name] = GrammarSplit(name, texts, paragraphs, score)
    corpus._finish(
        {"left_out": _note_left_out(corpus, known, counts), "turned_down": turned_down}
    )


def _is_fresh(
    paragraph: Paragraph, seen: set[Meaning], known: set[int], lexicon: Lexicon
) -> bool:
    return all(
        meaning not in seen
        and all(concept in known for concept in iterate_concepts(meaning, lexicon))
        for meaning in paragraph
    )


def _note_left_out(corpus: GrammarCorpus, known: set[int], counts: Counter[int]) -> dict[str, int]:
    n_lexemes = len(corpus.lexicon.kind)
    n_absent = sum(not counts[concept] for concept in range(n_lexemes))
    n_left_out = n_lexemes - len(known)
    corpus.notes.append(
        f"{n_left_out} of {n_lexemes} lexemes are left out of all splits but train: {n_absent} "
        f"are absent from train, of {n_left_out - n_absent} a synonym is"
    )
    return {
        "n_lexemes": n_lexemes,
        "n_absent_from_train": n_absent,
        "n_with_absent_synonym": n_left_out - n_absent,
    }


def _count_split(split: GrammarSplit) -> dict[str, Any]:
    columns = {}
    for column, lines in split.texts.items():
        columns[column] = {
            "n_words": sum(line.count(" ") + 1 for line in lines),
            "n_bytes": sum(len(line.encode()) + 1 for line in lines),
        }
    return {"n_lines": len(split), "columns": columns}


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


__all__ = ["GrammarCorpus", "GrammarSplit", "count_words", "generate"]
