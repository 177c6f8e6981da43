"""Configuration -> vocabularies and encoded corpus, cached by content: a second start parses and learns nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from safetensors.numpy import load_file, save_file

from tietrain.config import DataConfig, RunConfig
from tietrain.config.layout import Layout, make_layout
from tietrain.data.cache import cached
from tietrain.data.characters import CHARS_PER_TOKEN, char_lengths, token_starts
from tietrain.data.encoded import EncodedLines
from tietrain.data.prepared import Prepared
from tietrain.data.selection import label, note_empty, training_rows
from tietrain.data.sources.corpora import (
    Corpus,
    Split,
    blank_rows,
    corpus_key,
    grammar_settings,
    load_corpus,
    seen_rows,
)
from tietrain.data.sources.features import FeatureRows
from tietrain.data.tokenizer import UNK_ID, Vocabulary, load_vocabulary, train_vocabulary
from tietrain.errors import SettingsError

# Part of every cache key: a change in what the entries hold or mean makes another number.
CACHE_VERSION = 3
META, ARRAYS, TEXTS = "meta.json", "encoded.safetensors", "texts.json"

Arrays = dict[str, np.ndarray]


def prepare(config: RunConfig) -> Prepared:
    """Vocabularies learned from `train`, and every split encoded.

    Raises:
        SettingsError, DataError: see `load_corpus`, `train_vocabulary` and `training_rows`.
    """
    task, layout = config.task.name, make_layout(config)
    _check_tags(config, layout)
    source_key = corpus_key(config.data, task)
    settings = (config.model.vocab_size, config.data.kind, config.data.byte_fallback)
    key = _key(source_key, layout.columns, layout.tags, *settings)
    folder = cached(Path(config.data.cache), "corpus", key, lambda beside: _build(config, layout, source_key, beside))
    meta = json.loads((folder / META).read_bytes())
    arrays = load_file(folder / ARRAYS)
    named = {name: load_vocabulary(folder / f"{i}.model") for i, name in enumerate(layout.columns)}
    vocabularies = {stack: named[name] for stack, name in layout.vocabularies.items()}
    prepared = Prepared(
        corpus=_load_texts(folder, meta, config.data, task),
        layout=layout,
        vocabularies=vocabularies,
        encoded={
            split: {
                name: {c: EncodedLines(*_packed(arrays, "ids", split, name, c)) for c in columns}
                for name, columns in layout.columns.items()
            }
            for split in meta["splits"]
        },
        features={
            split: {c: FeatureRows(*_packed(arrays, "values", split, c)) for c in config.data.features}
            for split in meta["splits"]
        },
        reference_lengths={},
        rows={},
        seen={split: {c: arrays[f"seen/{split}/{c}"] for c in _text_columns(layout)} for split in _scored(meta)},
        token_starts=None,
        notes=list(meta["notes"]),
        fingerprints={
            "corpus": meta["fingerprint"],
            **{f"vocabulary.{s}": v.fingerprint for s, v in vocabularies.items()},
        },
    )
    _measure(prepared, config, arrays)
    for name, vocabulary in named.items():
        if vocabulary.size < config.model.vocab_size:
            said = f"{vocabulary.size} pieces instead of {config.model.vocab_size}: the training text supports no more"
            prepared.notes.append(f"vocabulary ({name}): {said}")
    prepared.notes += [_shared_use(prepared, name) for name, columns in layout.columns.items() if len(columns) > 1]
    return prepared


def _measure(prepared: Prepared, config: RunConfig, arrays: Arrays) -> None:
    """Add what batches are made of: lengths, which rows are pairs, starts of tokens; and what is to be said of it."""
    columns, notes, by_chars = _text_columns(prepared.layout), prepared.notes, config.train.batch_by == "chars"
    prepared.reference_lengths = {
        c: char_lengths(arrays[f"characters/{c}"]) if by_chars else arrays[f"reference/{c}"] for c in columns
    } | {column: rows.lengths for column, rows in prepared.features["train"].items()}
    if by_chars:
        same = "the same text in every arm, whatever its vocabulary"
        notes.append(f"batches are cut by characters, {CHARS_PER_TOKEN} counted as one token: {same}")
    if config.task.name != "mt":
        if by_chars:
            (stack,), (column,) = prepared.layout.stacks, columns
            lines = prepared.lines("train", stack, column)
            prepared.token_starts = token_starts(lines, arrays[f"starts/{column}"], arrays[f"characters/{column}"])
        return
    blank = {split: {c: arrays[f"blank/{split}/{c}"] for c in columns} for split in prepared.encoded}
    prepared.rows = training_rows(config, prepared.reference_lengths, blank["train"], notes)
    note_scored(prepared, config, blank)


def note_scored(prepared: Prepared, config: RunConfig, blank: dict[str, dict[str, Any]]) -> None:
    """Say what is unusual in what is scored: pairs with an empty side, directions that are not trained.

    Args:
        blank: split -> column -> rows without text.
    """
    if len(prepared.corpus.columns) > 2:  # with two columns the corpus has said it
        for split, direction in prepared.scored.values():
            where = label(split, direction, prepared.layout.directions)
            note_empty(direction, blank[split], where, prepared.notes)
    if config.zero_shot:
        names = ", ".join(direction.name for direction in config.zero_shot)
        apart = "no row of train is" if config.task.disjoint else "task.disjoint=false: rows of train may be"
        prepared.notes.append(f"zero-shot: {names} are scored and never trained; {apart} in more than one direction")


def _shared_use(prepared: Prepared, name: str) -> str:
    """What one vocabulary of several languages is for each of them, by the pieces of `train`."""
    used = {c: set(np.unique(lines.ids).tolist()) for c, lines in prepared.encoded["train"][name].items()}
    said = ", ".join(f"{len(pieces):,} by {column}" for column, pieces in used.items())
    size = next(v.size for s, v in prepared.vocabularies.items() if prepared.layout.vocabularies[s] == name)
    in_all = len(set.intersection(*used.values()))
    return f"vocabulary ({name}): of {size:,} pieces train uses {said}, {in_all:,} by all; an output computes every one"


def _check_tags(config: RunConfig, layout: Layout) -> None:
    for direction in layout.directions:
        if direction.target in layout.tags and set(direction.sources) <= set(config.data.features):
            problem = f"{direction.name} reads no text that could say which language to write"
            raise SettingsError("model.decoders=one", problem, "choose model.decoders=each, or read a text beside")


def _text_columns(layout: Layout) -> list[str]:
    """The columns of text that are read, each once."""
    return list(dict.fromkeys(column for columns in layout.columns.values() for column in columns))


def _scored(meta: dict[str, Any]) -> list[str]:
    return [split for split in meta["splits"] if split != "train"]


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps([CACHE_VERSION, sentencepiece.__version__, *parts]).encode()).hexdigest()[:32]


def _packed(arrays: Arrays, what: str, *names: str) -> tuple[np.ndarray, np.ndarray]:
    return arrays["/".join([what, *names])], arrays["/".join(["offsets", *names])]


def _build(config: RunConfig, layout: Layout, source_key: str, folder: Path) -> None:
    corpus = load_corpus(config.data, config.task.name)
    texts = _text_columns(layout)
    train = corpus.splits["train"].texts

    def learn(columns: Any, tags: tuple[str, ...] = ()) -> Vocabulary:
        return _learned(config, [source_key, *columns], [train[column] for column in columns], tags)

    # The reference vocabulary: the joint one of all text that is read, whatever the arm.
    reference = learn([column for column in corpus.columns if column in texts])
    own = {
        name: learn(columns, layout.tags) if layout.tags or len(columns) < len(texts) else reference
        for name, columns in layout.columns.items()
    }
    arrays: Arrays = {}
    pieces: dict[str, dict[str, dict[str, int]]] = {split: {} for split in corpus.splits}
    for split, name in ((split, name) for split in corpus.splits for name in own):
        for column in layout.columns[name]:
            encoded = EncodedLines.of(own[name].encode(corpus.splits[split].texts[column]))
            arrays |= {f"ids/{split}/{name}/{column}": encoded.ids, f"offsets/{split}/{name}/{column}": encoded.offsets}
            unknown = int(np.count_nonzero(encoded.ids == UNK_ID))
            pieces[split].setdefault(column, {"pieces": len(encoded.ids), "unk": unknown})
            if split == "train" and config.task.name != "mt":
                arrays[f"starts/{column}"] = own[name].starts(train[column], encoded)
    for column in texts:
        arrays[f"reference/{column}"] = EncodedLines.of(reference.encode(train[column])).lengths
        arrays[f"characters/{column}"] = np.asarray([len(line) for line in train[column]])
        for split, read in corpus.splits.items():
            arrays[f"blank/{split}/{column}"] = blank_rows(read.texts[column])
            if split != "train":
                arrays[f"seen/{split}/{column}"] = seen_rows(read.texts[column], train[column])
    for split, column in ((split, column) for split in corpus.splits for column in config.data.features):
        rows = corpus.splits[split].features[column]
        arrays |= {f"values/{split}/{column}": rows.values, f"offsets/{split}/{column}": rows.offsets}
    save_file(arrays, folder / ARRAYS)
    for i, vocabulary in enumerate(own.values()):
        vocabulary.save(folder / f"{i}.model")
    _save_texts(corpus, pieces, folder)


def _save_texts(corpus: Corpus, pieces: dict[str, dict[str, dict[str, int]]], folder: Path) -> None:
    scored = {
        name: {"texts": s.texts, "generator_nats": s.generator_nats}
        for name, s in corpus.splits.items()
        if name != "train"
    }
    (folder / TEXTS).write_text(json.dumps(scored), encoding="utf-8")
    meta = {
        "name": corpus.name,
        "columns": corpus.columns,
        "splits": list(corpus.splits),
        "fingerprint": corpus.fingerprint,
        "notes": corpus.notes,
        "about": {**corpus.about, "pieces": pieces},
    }
    (folder / META).write_text(json.dumps(meta), encoding="utf-8")


def _learned(config: RunConfig, of: list[str], texts: list[list[str]], tags: tuple[str, ...]) -> Vocabulary:
    """The vocabulary of one or more columns: learned once, then read from the cache."""
    kind, size, byte_fallback = config.data.kind, config.model.vocab_size, config.data.byte_fallback

    def build(folder: Path) -> None:
        lines = [line for lines in texts for line in lines]
        train_vocabulary(lines, kind, size, byte_fallback, tags).save(folder / "vocabulary.model")

    key = _key(kind, size, byte_fallback, tags, *of)
    folder = cached(Path(config.data.cache), "vocabulary", key, build)
    return load_vocabulary(folder / "vocabulary.model")


def _load_texts(folder: Path, meta: dict[str, Any], data: DataConfig, task: str) -> Corpus:
    scored = json.loads((folder / TEXTS).read_bytes())
    splits = {name: Split(s["texts"], s["generator_nats"]) for name, s in scored.items()}
    settings = grammar_settings(data, task) if data.format == "grammar" else None
    return Corpus(meta["name"], meta["columns"], splits, meta["fingerprint"], meta["notes"], meta["about"], settings)
