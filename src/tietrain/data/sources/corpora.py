"""Corpora: files, datasets, docstrings or the generated grammar -> checked lines of every split, counted and fingerprinted."""

import hashlib
import itertools
import json
from collections.abc import Collection
from pathlib import Path

import numpy as np

from tietrain.config import DataConfig
from tietrain.data.cache import cache_root, in_use
from tietrain.data.encoded import Counts
from tietrain.data.progress import counted, stage
from tietrain.data.sources.files import Corpus, Overlap, Split, load_files
from tietrain.data.sources.hub import load_hub
from tietrain.data.sources.named import corpus_key, grammar_settings
from tietrain.data.sources.stdlib_docs import load_stdlib_docs
from tietrain.data.sources.validate import lines_sha256
from tietrain.data.sources.xor_strings import load_xor_strings
from tietrain.data.stored_lines import StoredLines, chunks
from tietrain.errors import DataError


def load_corpus(data: DataConfig, task: str) -> Corpus:
    """The corpus a configuration names: two or more columns for `mt`, else one.

    Pairs of `train` with an empty side are left out and counted; in other splits they are kept and counted. With more than
    two columns, which rows are pairs depends on the direction: see `prepared.training_rows`.

    Raises:
        SettingsError: splits or columns do not fit the format or the task.
        DataError: a file or dataset cannot be used; names file and line, or row.
        StorageError: the system refuses to read it, or to keep it beside the cache.
    """
    corpus = _load(data, task)
    _leave_out_empty(corpus, cache_root(data.cache))
    corpus.about["splits"] = {
        name: {c: _count(t, f"{c} of {name}") for c, t in split.texts.items()}
        | {c: {"lines": len(rows), "vectors": len(rows.values)} for c, rows in split.features.items()}
        for name, split in corpus.splits.items()
    }
    corpus.overlap = find_overlap(corpus)
    corpus.about["overlap"] = _count_overlap(corpus)
    for name, counts in corpus.about["overlap"].items():
        found = [f"{n} of its {corpus.splits[name].n_lines} {what}" for what, n in counts.items() if n]
        if found:
            corpus.notes.append(f"{name}: {' and '.join(found)} also stand in train")
    if not corpus.fingerprint:
        digest = hashlib.sha256(json.dumps(corpus.columns).encode())
        for name, split in sorted(corpus.splits.items()):
            for column in corpus.columns:
                vectors = split.features.get(column)
                with stage(f"hashing {column} of {name}"):
                    content = lines_sha256(split.texts[column]) if vectors is None else vectors.fingerprint
                digest.update(f"\0{name}\0{column}\0{content}".encode())
        corpus.fingerprint = digest.hexdigest()
    return corpus


def _load_grammar(data: DataConfig, task: str) -> Corpus:
    from tietrain.data.grammar.corpus import generate
    from tietrain.data.grammar.settings import FEATURES

    settings = grammar_settings(data, task)
    with stage("generating text"):
        made = generate(settings)
    columns = list(settings.columns if task == "mt" else made.columns)
    corpus = Corpus(f"grammar-{data.preset}", columns, {}, made.fingerprint, list(made.notes), {}, settings)
    corpus.grammar = made
    for name, split in made.splits.items():
        # The probability of training text is not used, and it is slow to sum.
        nats = None if name == "train" else made.generator_nats(name)
        features = {} if split.features is None else {FEATURES: split.features}
        corpus.splits[name] = Split({c: list(split.texts[c]) for c in made.columns}, nats, features)
    return corpus


def _load(data: DataConfig, task: str) -> Corpus:
    if data.format == "grammar":
        return _load_grammar(data, task)
    root = cache_root(data.cache)
    if data.format == "parquet":
        from tietrain.data.sources.parquet import load_parquet

        corpus = load_parquet(data, task, root)
    elif data.format == "stdlib_docs":
        corpus = load_stdlib_docs(data, task)
    elif data.format == "xor":
        corpus = load_xor_strings(data, task)
    elif data.format == "hub":
        with in_use(root), stage(f"loading {data.dataset}"):
            corpus = load_hub(data, task, root / "datasets" / corpus_key(data, task)[:16], root)
    else:
        corpus = load_files(data, task, root)
    for name, split in corpus.splits.items():
        for column, lines in split.texts.items():
            if not any(map(str.strip, lines)):
                requested = f"data.splits.{name}=[{','.join(data.splits.get(name, []))}]"
                raise DataError(requested, f"there is no text in it, column {column}", "give a split with text")
    return corpus


def _leave_out_empty(corpus: Corpus, folder: Path) -> None:
    for name, split in corpus.splits.items() if len(corpus.columns) == 2 else ():
        empty = np.unique(np.concatenate([blank_rows(texts) for texts in split.texts.values()]))
        if not len(empty):
            continue
        done = "left out" if name == "train" else "kept and scored"
        corpus.notes.append(f"{name}: {len(empty)} pairs with an empty side are {done}")
        if name != "train":
            continue
        is_full = np.ones(split.n_lines, dtype=bool)
        is_full[empty] = False
        if not is_full.any():
            raise DataError("data.splits.train", "every pair has an empty side", "check that the files belong together")
        split.texts = {
            c: StoredLines(folder).extend(itertools.compress(texts, is_full)) for c, texts in split.texts.items()
        }
        split.features = {c: rows.take(np.flatnonzero(is_full)) for c, rows in split.features.items()}


def blank_rows(lines: Collection[str]) -> Counts:
    """Numbers of the lines without text."""
    return np.flatnonzero(np.fromiter((not line.strip() for line in lines), dtype=bool, count=len(lines)))


def _count(lines: Collection[str], what: str) -> dict[str, int]:
    """Lines, whitespace words and UTF-8 bytes with one newline per line."""
    counts = {"lines": 0, "words": 0, "bytes": 0}
    with stage(f"counting {what}", len(lines)) as now:
        for chunk in chunks(lines):
            counts["lines"] += len(chunk)
            counts["words"] += sum(len(line.split()) for line in chunk)
            counts["bytes"] += sum(len(line.encode()) for line in chunk) + len(chunk)
            now.done = counts["lines"]
    return counts


def find_overlap(corpus: Corpus) -> Overlap:
    """Rows whose text also stands in train, of each column of text and of all together; those blank in the first not."""
    if "train" not in corpus.splits:
        return {}
    train = corpus.splits["train"]
    columns = tuple(column for column in corpus.columns if column in train.texts)
    found: Overlap = {name: {} for name in corpus.splits if name != "train"}
    for compared in dict.fromkeys([*((column,) for column in columns), columns]):
        rows = {name: list(zip(*(corpus.splits[name].texts[c] for c in compared), strict=True)) for name in found}
        # Only what the scored splits have is kept in memory; train goes by.
        scored = set(itertools.chain.from_iterable(rows.values()))
        with stage(f"comparing {' and '.join(compared)} of train with other splits", train.n_lines) as now:
            going_by = zip(*(train.texts[c] for c in compared), strict=True)
            known = scored.intersection(counted(going_by, now))
        for name, of_split in rows.items():
            seen = (row[0].strip() != "" and row in known for row in of_split)
            found[name][compared] = np.flatnonzero(np.fromiter(seen, dtype=bool, count=len(of_split)))
    return found


def _count_overlap(corpus: Corpus) -> dict[str, dict[str, int]]:
    """Split -> how many of its lines also stand in train.

    Of one column: lines. Of a source and a target: pairs and source lines. Of more columns: rows and lines of each.
    """
    counts = {}
    for name, seen in corpus.overlap.items():
        *single, columns = seen
        named = {f"lines of {column}": (column,) for column in columns} if single else {}
        what = "rows" if single else "lines"
        if len(corpus.columns) == len(columns) == 2:
            named = {"source lines": columns[:1]}
            what = "pairs"
        counts[name] = {what: len(seen[columns])} | {of: len(seen[compared]) for of, compared in named.items()}
    return counts
