"""Configuration -> vocabularies and encoded corpus, cached by content: a second start parses and learns nothing."""

import hashlib
import itertools
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from copy import copy
from pathlib import Path

import numpy as np
import sentencepiece
from safetensors.numpy import load_file, save_file

from tietrain.config import OWN_SPLITS, RunConfig
from tietrain.config.data import TOKENIZER
from tietrain.config.layout import Layout, make_layout, requested_sizes
from tietrain.data.byte_pieces import note_untrained_bytes
from tietrain.data.cache import cache_root, cached
from tietrain.data.encode import ArrayFile, encode_lines, map_array
from tietrain.data.encoded import CHARS_PER_TOKEN, EncodedLines, EndedLines, TokenStarts, char_lengths, offsets_of
from tietrain.data.hf_vocabulary import library
from tietrain.data.prepared import Prepared, check_known, note_scored, training_rows
from tietrain.data.progress import stage
from tietrain.data.sources.corpora import blank_rows, load_corpus
from tietrain.data.sources.features import FeatureRows
from tietrain.data.sources.files import Corpus, Split
from tietrain.data.sources.named import corpus_key, grammar_settings
from tietrain.data.stored_lines import Joined
from tietrain.data.text_conventions import convention_notes, find_in_corpus
from tietrain.data.tokenizer import UNK_ID, Vocabulary, train_vocabulary
from tietrain.data.vocabularies import given_vocabulary, load_vocabulary
from tietrain.errors import SettingsError

# Part of every cache key: a change in what the entries hold or mean makes another number.
CACHE_VERSION = 4
META, ARRAYS, TEXTS = "meta.json", "encoded.safetensors", "texts.json"
# Stands for the vocabulary by which batches are cut, where none of the arm's own is that one.
REFERENCE = ""

Arrays = dict[str, np.ndarray]
Encoded = dict[str, dict[str, dict[str, EncodedLines]]]


def prepare(config: RunConfig) -> Prepared:
    """Vocabularies learned from `train`, and every split encoded.

    Raises:
        SettingsError, DataError: see `load_corpus`, `train_vocabulary` and `training_rows`.
        StorageError: the system refuses to read a file or to write the cache. MemoryFullError: the memory is full.
    """
    with stage("text"):
        return _prepare(config)


def _prepare(config: RunConfig) -> Prepared:
    task = config.task.name
    layout = make_layout(config)
    for direction in layout.directions:
        if direction.target in layout.tags and set(direction.sources) <= set(config.data.features):
            problem = f"{direction.name} reads only feature vectors, and the tag that names the target needs a text"
            raise SettingsError("model.decoders=one", problem, "choose model.decoders=each, or add a text source")
    source_key = corpus_key(config.data, task)
    settings = (config.model.vocab_size, config.data.kind, config.data.byte_fallback)
    key = _key(source_key, layout.columns, layout.tags, *settings, *_partial(config), *_apart(config))
    root = cache_root(config.data.cache)
    with cached(root, "corpus", key, lambda beside: _build(config, layout, source_key, beside)) as folder:
        meta = json.loads((folder / META).read_bytes())
        arrays = load_file(folder / ARRAYS)
        arrays |= {what: map_array(folder / name, dtype) for what, (name, dtype) in meta["mapped"].items()}
        named = {name: load_vocabulary(folder / f"{i}.model") for i, name in enumerate(layout.columns)}
        scored = json.loads((folder / TEXTS).read_bytes())
    splits = {name: Split(s["texts"], s["generator_nats"]) for name, s in scored.items()}
    grammar = grammar_settings(config.data, task) if config.data.format == "grammar" else None
    corpus = Corpus(meta["name"], meta["columns"], splits, meta["fingerprint"], meta["notes"], meta["about"], grammar)
    vocabularies = {stack: named[name] for stack, name in layout.vocabularies.items()}
    texts = _text_columns(layout)
    prepared = Prepared(
        corpus=corpus,
        layout=layout,
        vocabularies=vocabularies,
        encoded=_encoded(layout, meta["splits"], lambda *names: _lines(arrays, *names)),
        features={
            split: {c: FeatureRows(*_packed(arrays, "values", split, c)) for c in config.data.features}
            for split in meta["splits"]
        },
        overlap_rows={split: {c: arrays[f"seen/{split}/{c}"] for c in texts} for split in corpus.splits},
        notes=list(meta["notes"]),
    )
    _measure(prepared, config, arrays)
    requested = {} if config.data.vocabulary_files else _requested(config, layout)
    for name, size in requested.items():
        if named[name].size < size:
            sizes = f"{named[name].size} pieces instead of {size}"
            prepared.notes.append(f"vocabulary ({name}): {sizes}: the training text supports no more")
    for name, used in prepared.used_pieces().items():
        if len(used) > 1:
            by_column = ", ".join(f"{len(pieces):,} by {column}" for column, pieces in used.items())
            by_all = f"{len(set.intersection(*used.values())):,} by all"
            uses = f"of {named[name].size:,} pieces train uses {by_column}, {by_all}; an output computes every one"
            prepared.notes.append(f"vocabulary ({name}): {uses}")
    prepared.notes += convention_notes(corpus.about.get("conventions", {}), config)
    note_untrained_bytes(prepared, None if config.data.vocabulary_files else config.data.character_coverage)
    check_known(prepared)
    return prepared


def _measure(prepared: Prepared, config: RunConfig, arrays: Arrays) -> None:
    """Add what batches are made of: lengths, which rows are pairs, starts of tokens; and notes about it."""
    columns = _text_columns(prepared.layout)
    notes = prepared.notes
    by_chars = config.train.batch_by == "chars"
    characters = {c: arrays[f"characters/{c}"].astype(np.int64) for c in columns}
    prepared.reference_lengths = {
        c: char_lengths(characters[c]) if by_chars else arrays[f"reference/{c}"].astype(np.int64) for c in columns
    } | {column: rows.lengths for column, rows in prepared.features["train"].items()}
    if by_chars:
        same = "the same text in every arm, whatever its vocabulary"
        notes.append(f"batches are cut by characters, {CHARS_PER_TOKEN} counted as one token: {same}")
    if config.task.name == "mt":
        blank = {split: {c: arrays[f"blank/{split}/{c}"] for c in columns} for split in prepared.encoded}
        prepared.rows = training_rows(config, prepared.reference_lengths, blank["train"], notes)
        note_scored(prepared, config, blank)
    elif by_chars:
        (stack,), (column,) = prepared.layout.stacks, columns
        offsets = prepared.lines("train", stack, column).offsets
        prepared.token_starts = TokenStarts(arrays[f"starts/{column}"], offsets, offsets_of(characters[column] + 1))


def prepare_scored(config: RunConfig, vocabularies: Mapping[str, Vocabulary], names: Collection[str]) -> Prepared:
    """The named splits of a corpus, encoded, without `train` and without what training batches need.

    Args:
        vocabularies: stack -> vocabulary, of the run.
        names: of splits; if empty, all but `train`.
    Raises:
        SettingsError: there is no such split, or none at all, or no stack of the run for one of its columns.
        DataError: see `load_corpus`.
    """
    layout = make_layout(config)
    tags = {tag for vocabulary in vocabularies.values() for tag in vocabulary.tags}
    if layout.vocabularies.keys() != vocabularies.keys() or set(layout.tags) != tags:
        requested = f"data.columns=[{','.join(config.columns)}]"
        has = ", ".join(vocabularies) + (f" and the tags {', '.join(sorted(tags))}" if tags else "")
        raise SettingsError(requested, f"the run has the stacks {has}", "name the columns as the run does")
    data = copy(config.data)
    if data.format not in OWN_SPLITS:
        data.splits = {name: files for name, files in data.splits.items() if _is_wanted(name, names)}
        for name in names:
            if not data.splits.get(name):
                raise SettingsError(f"data.splits.{name}=[]", "no file is named", "name those of the split")
    with stage("loading text"):
        corpus = load_corpus(data, config.task.name)
    corpus.splits = {name: split for name, split in corpus.splits.items() if _is_wanted(name, names)}
    if not corpus.splits:
        raise SettingsError("data.splits", "there is no split to score", "name one: data.splits.test=[FILE,FILE]")
    notes = _find_conventions(corpus, config)
    of = {layout.vocabularies[stack]: vocabulary for stack, vocabulary in vocabularies.items()}

    def encode(split: str, name: str, column: str) -> EncodedLines:
        return EncodedLines.of(of[name].encode(corpus.splits[split].texts[column]))

    prepared = Prepared(
        corpus=corpus,
        layout=layout,
        vocabularies=dict(vocabularies),
        encoded=_encoded(layout, corpus.splits, encode),
        features={split: read.features for split, read in corpus.splits.items()},
        overlap_rows={split: {} for split in corpus.splits},
        notes=[note for note in corpus.notes if not note.startswith("train: ")] + notes,
    )
    check_known(prepared)
    if config.task.name == "mt":
        splits = corpus.splits.items()
        blank = {split: {c: blank_rows(lines) for c, lines in read.texts.items()} for split, read in splits}
        note_scored(prepared, config, blank)
    return prepared


def _encoded(layout: Layout, splits: Iterable[str], lines: Callable[[str, str, str], EncodedLines]) -> Encoded:
    """Split -> vocabulary of the layout -> column -> its lines."""
    named = layout.columns.items()
    return {split: {name: {c: lines(split, name, c) for c in columns} for name, columns in named} for split in splits}


def _text_columns(layout: Layout) -> list[str]:
    """The columns of text that are read, each once."""
    return list(dict.fromkeys(itertools.chain.from_iterable(layout.columns.values())))


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps([CACHE_VERSION, sentencepiece.__version__, *parts]).encode()).hexdigest()[:32]


def _partial(config: RunConfig) -> tuple[float, ...]:
    """What a coverage below 1 adds to a key; entries of full coverage keep the keys they had before there was any other."""
    coverage = config.data.character_coverage
    return () if coverage == 1 else (coverage,)


def _apart(config: RunConfig) -> tuple[object, ...]:
    """The same of vocabularies that are given, or whose sizes differ."""
    contents = config.data.vocabulary_contents
    size = config.model.target_vocab_size
    if config.data.kind == TOKENIZER:
        return (contents, library().__version__)
    return (contents,) if contents else () if size is None else (size,)


def _requested(config: RunConfig, layout: Layout) -> dict[str, int]:
    """Vocabulary -> pieces requested of it."""
    return {layout.vocabularies[stack]: size for stack, size in requested_sizes(config).items()}


def _packed(arrays: Arrays, what: str, *names: str) -> tuple[np.ndarray, np.ndarray]:
    return arrays["/".join([what, *names])], arrays["/".join(["offsets", *names])]


def _lines(arrays: Arrays, split: str, name: str, column: str) -> EncodedLines:
    if split != "train":
        return EncodedLines(*_packed(arrays, "ids", split, name, column))
    kind = EndedLines if f"starts/{column}" in arrays else EncodedLines
    lengths = arrays[f"lengths/{name}/{column}"].astype(np.int64)
    return kind(arrays[f"ids/{name}/{column}"], offsets_of(lengths + kind.gap))


def _build(config: RunConfig, layout: Layout, source_key: str, folder: Path) -> None:
    corpus = load_corpus(config.data, config.task.name)
    _find_conventions(corpus, config)
    texts = _text_columns(layout)
    train = corpus.splits["train"].texts
    kind = config.data.kind

    def learn(columns: Collection[str], size: int, tags: tuple[str, ...] = ()) -> Vocabulary:
        """The vocabulary of one or more columns: learned once, then read from the cache."""
        lines = Joined([train[column] for column in columns])
        settings = (kind, size, config.data.byte_fallback)
        key = _key(*settings, tags, source_key, *columns, *_partial(config))

        def build(entry: Path) -> None:
            with stage(f"learning a vocabulary of {' and '.join(columns)}"):
                learned = train_vocabulary(lines, *settings, tags, config.data.character_coverage)
            learned.save(entry / "vocabulary.model")

        with cached(cache_root(config.data.cache), "vocabulary", key, build) as entry:
            return load_vocabulary(entry / "vocabulary.model")

    files = config.data.vocabulary_files
    own: dict[str, Vocabulary] = {}
    reference = None
    if files:
        root = Path(config.data.root or ".").expanduser()
        for part, name in layout.vocabularies.items():
            lines = Joined([train[column] for column in layout.columns[name]])
            content = config.data.vocabulary_contents[part]
            own[name] = given_vocabulary(root / files[part], kind, content, layout.tags, lines)
    else:
        # The joint vocabulary of all text that is read, whatever the arm.
        reference = learn([column for column in corpus.columns if column in texts], config.model.vocab_size)
        for name, size in _requested(config, layout).items():
            columns = layout.columns[name]
            is_reference = not layout.tags and len(columns) == len(texts)
            own[name] = reference if is_reference else learn(columns, size, layout.tags)
    arrays: Arrays = {}
    mapped: dict[str, tuple[str, str]] = {}
    pieces: dict[str, dict[str, dict[str, int]]] = {split: {} for split in corpus.splits}

    def count(split: str, column: str, n_pieces: int, unknown: int) -> None:
        pieces[split].setdefault(column, {"pieces": n_pieces, "unk": unknown})

    for column in texts:
        cut_by = {name: own[name] for name, columns in layout.columns.items() if column in columns}
        same = next((name for name, vocabulary in cut_by.items() if reference in (None, vocabulary)), None)
        vocabularies = {**cut_by, REFERENCE: reference} if reference and not same else cut_by
        with ExitStack() as stack:

            def new_file(what: str, largest: int, stack: ExitStack = stack) -> ArrayFile:
                file = stack.enter_context(ArrayFile(folder / f"train.{len(mapped)}", largest))
                mapped[what] = (file.name, file.dtype.name)
                return file

            ids = {name: new_file(f"ids/{name}/{column}", v.size - 1) for name, v in cut_by.items()}
            starts = None
            if config.task.name != "mt":
                with stage(f"measuring {column} of train"):
                    longest = max(map(len, train[column]))
                starts = new_file(f"starts/{column}", longest)
            found = encode_lines(train[column], f"{column} of train", vocabularies, ids, starts)
        for name in cut_by:
            lengths = arrays[f"lengths/{name}/{column}"] = found[f"lengths/{name}"]
            count("train", column, int(lengths.sum(dtype=np.int64)), int(found[f"unknown/{name}"].sum()))
        arrays[f"reference/{column}"] = found[f"lengths/{same or REFERENCE}"].copy()
        arrays[f"characters/{column}"] = found["characters"]
        arrays[f"blank/train/{column}"] = found["blank"]
    for split, read in corpus.splits.items():
        for column, rows in read.features.items():
            arrays[f"values/{split}/{column}"] = rows.values
            arrays[f"offsets/{split}/{column}"] = rows.offsets
        if split == "train":
            continue
        for name, columns in layout.columns.items():
            for column in columns:
                encoded = EncodedLines.of(own[name].encode(read.texts[column]))
                arrays[f"ids/{split}/{name}/{column}"] = encoded.values
                arrays[f"offsets/{split}/{name}/{column}"] = encoded.offsets
                count(split, column, len(encoded.values), int(np.count_nonzero(encoded.values == UNK_ID)))
        for column in texts:
            arrays[f"blank/{split}/{column}"] = blank_rows(read.texts[column])
            arrays[f"seen/{split}/{column}"] = corpus.overlap[split][column,]
    save_file(arrays, folder / ARRAYS)
    for i, vocabulary in enumerate(own.values()):
        vocabulary.save(folder / f"{i}.model")
    scored = {
        name: {"texts": s.texts, "generator_nats": s.generator_nats}
        for name, s in corpus.splits.items()
        if name != "train"
    }
    (folder / TEXTS).write_text(json.dumps(scored), encoding="utf-8")
    meta = {"splits": list(corpus.splits), "mapped": mapped, "about": {**corpus.about, "pieces": pieces}}
    meta |= {key: getattr(corpus, key) for key in ("name", "columns", "fingerprint", "notes")}
    (folder / META).write_text(json.dumps(meta), encoding="utf-8")


def _find_conventions(corpus: Corpus, config: RunConfig) -> list[str]:
    """Keep what is found in `about`, for the cache, and only then: other entries stay as they are. Returns its notes."""
    if found := find_in_corpus(corpus):
        corpus.about["conventions"] = found
    return convention_notes(found, config)


def _is_wanted(split: str, names: Collection[str]) -> bool:
    return split in names if names else split != "train"
