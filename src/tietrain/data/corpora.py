"""Corpora: files, datasets, docstrings or the generated grammar -> checked lines of every split, counted and fingerprinted."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tietrain.config import DataConfig
from tietrain.data.files import SIDES, FileCorpus, load_files, split_files, text_columns
from tietrain.data.hub import hub_key, load_hub
from tietrain.data.parquet import load_parquet
from tietrain.data.stdlib_docs import load_stdlib_docs, stdlib_key
from tietrain.data.validate import file_sha256, lines_sha256
from tietrain.errors import DataError, SettingsError

if TYPE_CHECKING:
    from tietrain.data.grammar import GrammarCorpus, GrammarSettings


@dataclass
class Split:
    """Lines of one split.

    texts: column -> lines; row i of every column belongs together.
    generator_nats: -log p of each line under the grammar that made it; None for real text and for train.
    """

    texts: dict[str, list[str]]
    generator_nats: list[float] | None = None

    @property
    def n_lines(self) -> int:
        """Lines of each column."""
        return len(next(iter(self.texts.values())))


@dataclass
class Corpus:
    """Text of every split.

    fingerprint: sha256 over splits, columns and lines, never over paths.
    notes: what a reader of the results should know. about: counts, for `tietrain data` and the run record.
    """

    name: str
    columns: list[str]
    splits: dict[str, Split]
    fingerprint: str
    notes: list[str] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)
    grammar_settings: GrammarSettings | None = None

    @cached_property
    def grammar(self) -> GrammarCorpus | None:
        """The generated corpus with its language, for exact references; made when first asked for. None for other text."""
        if self.grammar_settings is None:
            return None
        from tietrain.data.grammar import generate

        return generate(self.grammar_settings)


def load_corpus(data: DataConfig, task: str) -> Corpus:
    """The corpus a configuration names: one column for `lm`, source and target for `mt`.

    Pairs of `train` with an empty side are left out and counted; in other splits they are kept and counted.

    Raises:
        SettingsError: splits or columns do not fit the format or the task.
        DataError: a file or dataset cannot be used; names file and line, or row.
    """
    corpus = _load_grammar(data, task) if data.format == "grammar" else _load_found(data, task)
    _leave_out_empty(corpus)
    corpus.about["splits"] = {
        name: {c: _count(t) for c, t in split.texts.items()} for name, split in corpus.splits.items()
    }
    corpus.about["overlap"] = count_overlap(corpus)
    for name, counts in corpus.about["overlap"].items():
        said = [f"{n} of its {corpus.splits[name].n_lines} {what}" for what, n in counts.items() if n]
        if said:
            corpus.notes.append(f"{name}: {' and '.join(said)} also stand in train")
    corpus.fingerprint = corpus.fingerprint or _fingerprint(corpus)
    return corpus


def corpus_key(data: DataConfig, task: str) -> str:
    """sha256 over all that decides the corpus, found without parsing: bytes of files, a commit, settings of the grammar."""
    if data.format == "grammar":
        from tietrain.data.grammar.settings import GRAMMAR_VERSION

        return _sha256({"grammar": GRAMMAR_VERSION, "settings": repr(grammar_settings(data, task))})
    columns = text_columns(data, task)
    sums: object
    if data.format == "hub":
        sums = hub_key(data)
    elif data.format == "stdlib_docs":
        sums = stdlib_key()
    else:
        files = split_files(data, task)
        sums = {split: [file_sha256(path, asked) for path, asked in named] for split, named in files.items()}
    return _sha256({"format": data.format, "task": task, "columns": columns, "files": sums})


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def grammar_settings(data: DataConfig, task: str) -> GrammarSettings:
    """What the generator is asked for; data.columns names the languages, source first.

    Raises:
        SettingsError: no corpus can be generated so.
    """
    from tietrain.data.grammar.settings import GrammarSettings

    columns = data.columns or ["a", "b"][: SIDES[task]]
    if len(columns) != SIDES[task] or len(set(columns)) != len(columns) or not {"a", "b"}.issuperset(columns):
        wanted = "one of the languages a and b" if task == "lm" else "the languages a and b, source first"
        raise SettingsError(
            f"data.columns=[{','.join(columns)}]",
            f"task={task} data.format=grammar reads {wanted}",
            "choose from a and b",
        )
    return GrammarSettings(
        task=task,
        preset=data.preset,
        seed=data.seed,
        language_seed=data.language_seed,
        difficulty=data.difficulty,
        alphabet_b=data.alphabet_b,
        **dict(zip(("source", "target"), columns, strict=False)),
    )


def _load_grammar(data: DataConfig, task: str) -> Corpus:
    from tietrain.data.grammar import generate

    settings = grammar_settings(data, task)
    made = generate(settings)
    splits = {
        # Nobody asks for the probability of training text, and it is slow to sum.
        name: Split({c: list(s.texts[c]) for c in made.columns}, None if name == "train" else s.generator_nats)
        for name, s in made.splits.items()
    }
    corpus = Corpus(
        f"grammar-{data.preset}",
        list(made.columns),
        splits,
        made.fingerprint,
        list(made.notes),
        dict(made.about),
        settings,
    )
    corpus.grammar = made
    return corpus


def _load_found(data: DataConfig, task: str) -> Corpus:
    read = _read(data, task)
    for split, texts in read.texts.items():
        for column, lines in texts.items():
            if not any(lines):
                asked = f"data.splits.{split}=[{','.join(data.splits.get(split, []))}]"
                raise DataError(asked, f"there is no text in it, column {column}", "give a split with text")
    return Corpus(read.name, read.columns, {name: Split(texts) for name, texts in read.texts.items()}, "", read.notes)


def _read(data: DataConfig, task: str) -> FileCorpus:
    if data.format == "parquet":
        return load_parquet(data, task)
    if data.format == "stdlib_docs":
        return load_stdlib_docs(data, task)
    cache = Path(data.cache) / "datasets" / corpus_key(data, task)[:16]
    return load_hub(data, task, cache) if data.format == "hub" else load_files(data, task, cache)


def _leave_out_empty(corpus: Corpus) -> None:
    if len(corpus.columns) < 2:
        return
    for name, split in corpus.splits.items():
        rows = list(zip(*(split.texts[c] for c in corpus.columns), strict=True))
        full = [i for i, row in enumerate(rows) if all(text.strip() for text in row)]
        n_empty = len(rows) - len(full)
        if not n_empty:
            continue
        if name != "train":
            corpus.notes.append(f"{name}: {n_empty} pairs with an empty side are kept and scored")
            continue
        corpus.notes.append(f"train: {n_empty} pairs with an empty side are left out")
        if not full:
            raise DataError("data.splits.train", "every pair has an empty side", "check that the files belong together")
        split.texts = {c: [texts[i] for i in full] for c, texts in split.texts.items()}


def _count(lines: list[str]) -> dict[str, int]:
    """Lines, whitespace words and UTF-8 bytes with one newline a line."""
    return {
        "lines": len(lines),
        "words": sum(len(line.split()) for line in lines),
        "bytes": sum(len(line.encode()) for line in lines) + len(lines),
    }


def count_overlap(corpus: Corpus) -> dict[str, dict[str, int]]:
    """Split -> how many of its lines (lm), or pairs and source lines (mt), stand in train; blank ones not."""

    if "train" not in corpus.splits:
        return {}

    def rows(split: Split) -> list[tuple[str, ...]]:
        return list(zip(*(split.texts[c] for c in corpus.columns), strict=True))

    train = rows(corpus.splits["train"])
    whole, sources = set(train), {row[0] for row in train}
    overlap = {}
    for name, split in corpus.splits.items():
        if name == "train":
            continue
        texts = [row for row in rows(split) if row[0].strip()]
        counts = {"pairs" if len(corpus.columns) > 1 else "lines": sum(row in whole for row in texts)}
        if len(corpus.columns) > 1:
            counts["source lines"] = sum(row[0] in sources for row in texts)
        overlap[name] = counts
    return overlap


def _fingerprint(corpus: Corpus) -> str:
    digest = hashlib.sha256(json.dumps(corpus.columns).encode())
    for name in sorted(corpus.splits):
        for column in corpus.columns:
            digest.update(f"\0{name}\0{column}\0{lines_sha256(corpus.splits[name].texts[column])}".encode())
    return digest.hexdigest()
