"""Splits to be scored with vocabularies there are already: neither training text nor a cache is needed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import copy

from tietrain.config import OWN_SPLITS, STACKS, RunConfig
from tietrain.data.corpora import load_corpus
from tietrain.data.encoded import EncodedLines
from tietrain.data.prepare import Prepared
from tietrain.data.tokenizer import Vocabulary
from tietrain.errors import SettingsError


def prepare_scored(config: RunConfig, vocabularies: Mapping[str, Vocabulary], names: Collection[str]) -> Prepared:
    """The named splits of a corpus, encoded; `train` is not there, nor what batches to learn from need.

    Args:
        names: of splits; without any, all but `train`.
    Raises:
        SettingsError: there is no such split, or none at all.
        DataError: see `load_corpus`.
    """
    data = copy(config.data)
    if data.format not in OWN_SPLITS:
        data.splits = {name: files for name, files in data.splits.items() if _is_wanted(name, names)}
        for name in names:
            if not data.splits.get(name):
                raise SettingsError(f"data.splits.{name}=[]", "no file is named", "name those of the split")
    corpus = load_corpus(data, config.task.name)
    corpus.splits = {name: split for name, split in corpus.splits.items() if _is_wanted(name, names)}
    if not corpus.splits:
        raise SettingsError("data.splits", "there is no split to score", "name one: data.splits.test=[FILE,FILE]")
    columns = dict(zip(STACKS[config.task.name], corpus.columns, strict=True))
    encoded = {
        name: {stack: EncodedLines.of(vocabularies[stack].encode(split.texts[c])) for stack, c in columns.items()}
        for name, split in corpus.splits.items()
    }
    notes = [note for note in corpus.notes if not note.startswith("train: ")]
    fingerprints = {"corpus": corpus.fingerprint} | {f"vocabulary.{s}": v.fingerprint for s, v in vocabularies.items()}
    return Prepared(corpus, columns, dict(vocabularies), encoded, {}, None, notes, fingerprints)


def _is_wanted(split: str, names: Collection[str]) -> bool:
    return split in names if names else split != "train"
