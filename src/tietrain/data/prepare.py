"""Configuration -> vocabularies and encoded corpus, cached by content: a second start parses and learns nothing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from safetensors.numpy import load_file, save_file

from tietrain.config import STACKS, DataConfig, RunConfig
from tietrain.data.cache import cached
from tietrain.data.characters import CHARS_PER_TOKEN, char_lengths, token_starts
from tietrain.data.corpora import Corpus, Split, corpus_key, grammar_settings, load_corpus
from tietrain.data.encoded import Counts, EncodedLines
from tietrain.data.tokenizer import UNK_ID, Vocabulary, load_vocabulary, train_vocabulary
from tietrain.errors import DataError

# Part of every cache key: a change in what the entries hold or mean makes another number.
CACHE_VERSION = 2
META, ARRAYS, TEXTS = "meta.json", "encoded.safetensors", "texts.json"


@dataclass
class Prepared:
    """All that training and scoring read.

    corpus: texts of the scored splits, not of `train`; `about` holds counts of every split: `about["splits"]` lines,
        words and bytes, `about["pieces"]` pieces and unk, `about["overlap"]`.
    columns: stack -> text column. vocabularies: stack -> vocabulary, one object where both share it.
    encoded: split -> stack -> lines of ids, without bos and eos.
    reference_lengths: stack -> length of each training line by which translation batches are cut, the same whatever
        the arm's own vocabulary: its pieces in the reference vocabulary, the joint one of the same kind and size, or
        with train.batch_by=chars a number made of its characters.
    token_starts: the character of the training text at which each token of the stream begins, of a language model with
        train.batch_by=chars; else None.
    fingerprints: corpus and the vocabulary of every stack.
    """

    corpus: Corpus
    columns: dict[str, str]
    vocabularies: dict[str, Vocabulary]
    encoded: dict[str, dict[str, EncodedLines]]
    reference_lengths: dict[str, Counts]
    token_starts: Counts | None
    notes: list[str]
    fingerprints: dict[str, str]


def prepare(config: RunConfig) -> Prepared:
    """Vocabularies learned from `train`, and every split encoded.

    Sentence pairs with a side whose reference length is above task.max_len are left out of `train` and counted;
    nothing is ever cut.

    Raises:
        SettingsError, DataError: see `load_corpus` and `train_vocabulary`; or max_len leaves nothing.
    """
    task, root = config.task.name, Path(config.data.cache)
    source_key = corpus_key(config.data, task)
    joint = config.joint_vocabulary
    key = _key(source_key, joint, config.model.vocab_size, config.data.kind, config.data.byte_fallback)
    folder = cached(root, "corpus", key, lambda beside: _build(config, source_key, beside))
    meta = json.loads((folder / META).read_bytes())
    columns = dict(zip(STACKS[task], meta["columns"], strict=True))
    named = {name: load_vocabulary(folder / f"{name}.model") for name in (("joint",) if joint else columns)}
    vocabularies = {stack: named["joint" if joint else stack] for stack in columns}
    arrays = load_file(folder / ARRAYS)
    encoded = {
        split: {s: EncodedLines(arrays[f"{split}.{s}.ids"], arrays[f"{split}.{s}.offsets"]) for s in columns}
        for split in meta["splits"]
    }
    notes, by_chars = list(meta["notes"]), config.train.batch_by == "chars"
    characters = {stack: arrays[f"characters.{stack}"] for stack in columns}
    lengths = {
        stack: char_lengths(characters[stack]) if by_chars else arrays[f"reference.{stack}"] for stack in columns
    }
    starts = None
    if by_chars:
        same = "the same text in every arm, whatever its vocabulary"
        notes.append(f"batches are cut by characters, {CHARS_PER_TOKEN} counted as one token: {same}")
    if task == "mt":
        lengths = _leave_out_long(encoded["train"], lengths, config, notes)
    elif by_chars:
        starts = token_starts(encoded["train"]["decoder"], arrays["starts.decoder"], characters["decoder"])
    for name, vocabulary in named.items():
        if vocabulary.size < config.model.vocab_size:
            said = f"{vocabulary.size} pieces instead of {config.model.vocab_size}: the training text supports no more"
            notes.append(f"vocabulary ({columns.get(name, name)}): {said}")
    fingerprints = {
        "corpus": meta["fingerprint"],
        **{f"vocabulary.{s}": v.fingerprint for s, v in vocabularies.items()},
    }
    return Prepared(
        _load_texts(folder, meta, config.data, task),
        columns,
        vocabularies,
        encoded,
        lengths,
        starts,
        notes,
        fingerprints,
    )


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps([CACHE_VERSION, sentencepiece.__version__, *parts]).encode()).hexdigest()[:32]


def _build(config: RunConfig, source_key: str, folder: Path) -> None:
    task = config.task.name
    corpus = load_corpus(config.data, task)
    columns = dict(zip(STACKS[task], corpus.columns, strict=True))
    train = corpus.splits["train"].texts

    def learn(*names: str) -> Vocabulary:
        return _learned(config, [source_key, *names], [train[name] for name in names])

    # The reference vocabulary: for one language its own, for two the joint one.
    reference = learn(*corpus.columns)
    own = {
        stack: reference if config.joint_vocabulary or task == "lm" else learn(column)
        for stack, column in columns.items()
    }
    arrays: dict[str, np.ndarray] = {}
    pieces: dict[str, dict[str, dict[str, int]]] = {split: {} for split in corpus.splits}
    for split, stack in ((split, stack) for split in corpus.splits for stack in columns):
        lines = corpus.splits[split].texts[columns[stack]]
        encoded = EncodedLines.of(own[stack].encode(lines))
        arrays |= {f"{split}.{stack}.ids": encoded.ids, f"{split}.{stack}.offsets": encoded.offsets}
        pieces[split][columns[stack]] = {
            "pieces": len(encoded.ids),
            "unk": int(np.count_nonzero(encoded.ids == UNK_ID)),
        }
        if split == "train":
            of_reference = encoded if own[stack] is reference else EncodedLines.of(reference.encode(lines))
            arrays[f"reference.{stack}"] = of_reference.lengths
            arrays[f"characters.{stack}"] = np.asarray([len(line) for line in lines])
            if task == "lm":
                arrays[f"starts.{stack}"] = own[stack].starts(lines, encoded)
    save_file(arrays, folder / ARRAYS)
    for name, vocabulary in {"joint": reference}.items() if config.joint_vocabulary else own.items():
        vocabulary.save(folder / f"{name}.model")
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


def _learned(config: RunConfig, of: list[str], texts: list[list[str]]) -> Vocabulary:
    """The vocabulary of one or more columns: learned once, then read from the cache."""
    kind, size, byte_fallback = config.data.kind, config.model.vocab_size, config.data.byte_fallback

    def build(folder: Path) -> None:
        train_vocabulary([line for lines in texts for line in lines], kind, size, byte_fallback).save(
            folder / "vocabulary.model"
        )

    folder = cached(Path(config.data.cache), "vocabulary", _key(kind, size, byte_fallback, *of), build)
    return load_vocabulary(folder / "vocabulary.model")


def _load_texts(folder: Path, meta: dict[str, Any], data: DataConfig, task: str) -> Corpus:
    scored = json.loads((folder / TEXTS).read_bytes())
    splits = {name: Split(s["texts"], s["generator_nats"]) for name, s in scored.items()}
    settings = grammar_settings(data, task) if data.format == "grammar" else None
    return Corpus(meta["name"], meta["columns"], splits, meta["fingerprint"], meta["notes"], meta["about"], settings)


def _leave_out_long(
    train: dict[str, EncodedLines], lengths: dict[str, Counts], config: RunConfig, notes: list[str]
) -> dict[str, Counts]:
    max_len, longest = config.task.max_len, np.maximum.reduce(list(lengths.values()))
    unit = f"times {CHARS_PER_TOKEN} characters" if config.train.batch_by == "chars" else "pieces"
    kept = np.flatnonzero(longest <= max_len)
    if len(kept) == len(longest):
        return lengths
    if not len(kept):
        raise DataError(
            f"task.max_len={max_len}", "every training pair is longer", f"give at least {longest.min()} {unit}"
        )
    notes.append(
        f"train: {len(longest) - len(kept)} pairs with a side of more than task.max_len={max_len} {unit} are left out"
    )
    for stack in train:
        train[stack] = train[stack].take(kept)
    return {stack: values[kept] for stack, values in lengths.items()}


def describe(prepared: Prepared) -> dict[str, Any]:
    """What `tietrain data` says: counts per split and column, vocabularies, pieces, overlap with train, notes.

    `shared_pieces` counts the pieces, by their text, that occur in both sides of `train`.
    """
    about = prepared.corpus.about
    splits: dict[str, Any] = {}
    for split, counts in about["splits"].items():
        splits[split] = {c: {**counts[c], **about["pieces"][split][c]} for c in counts}
        for column in splits[split].values():
            column["pieces_per_word"] = column["pieces"] / column["words"] if column["words"] else None
    used = {stack: set(np.unique(prepared.encoded["train"][stack].ids).tolist()) for stack in prepared.columns}
    pieces = {stack: v.pieces for stack, v in prepared.vocabularies.items()}
    texts = {stack: {pieces[stack][i] for i in ids} for stack, ids in used.items()}
    vocabularies = {
        stack: {
            "kind": v.kind,
            "size": v.size,
            "used_in_train": len(used[stack]),
            "lossless": v.lossless,
            "fingerprint": v.fingerprint,
        }
        for stack, v in prepared.vocabularies.items()
    }
    return {
        "name": prepared.corpus.name,
        "columns": prepared.columns,
        "splits": splits,
        "vocabularies": vocabularies,
        "shared_pieces": len(set.intersection(*texts.values())) if len(texts) > 1 else None,
        "overlap": about["overlap"],
        "generator_nats": {
            name: sum(s.generator_nats) for name, s in prepared.corpus.splits.items() if s.generator_nats is not None
        },
        "notes": prepared.notes,
        "fingerprints": prepared.fingerprints,
    }


def description_lines(description: dict[str, Any]) -> list[str]:
    """`describe` for people: a table of splits, then vocabularies, overlap and notes; ceilings where they were added."""
    rows = [("split", "column", "lines", "words", "bytes", "pieces", "pieces/word", "unk")]
    for split, columns in description["splits"].items():
        for column, n in columns.items():
            counts = [f"{n[key]:,}" for key in ("lines", "words", "bytes", "pieces")]
            per_word = f"{n['pieces_per_word']:.2f}" if n["pieces_per_word"] else ""
            rows.append((split, column, *counts, per_word, f"{n['unk']:,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [description["name"]]
    for row in rows:
        cells = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    for stack, v in description["vocabularies"].items():
        said = f"{v['kind']}, {v['size']:,} pieces, {v['used_in_train']:,} used in train"
        lines.append(f"vocabulary of the {stack}: {said}{'' if v['lossless'] else ', not lossless'}")
    if description["shared_pieces"] is not None:
        lines.append(f"pieces used in both languages of train: {description['shared_pieces']:,}")
    # Where there is overlap, a note says how much.
    lines += [f"{split}: no line stands in train" for split, n in description["overlap"].items() if not any(n.values())]
    for split, scores in description.get("ceilings", {}).items():
        lines.append(f"{split} at best: " + ", ".join(f"{name} {value:.2f}" for name, value in scores.items()))
    return [*lines, *description["notes"]]
