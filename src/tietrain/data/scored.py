"""Splits to be scored with the vocabularies of a finished run: this needs neither training text nor the cache."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import copy

from tietrain.config import OWN_SPLITS, RunConfig
from tietrain.config.layout import Layout, make_layout
from tietrain.data.encoded import EncodedLines
from tietrain.data.prepare import fingerprints, note_scored
from tietrain.data.prepared import Prepared
from tietrain.data.sources.corpora import blank_rows, load_corpus
from tietrain.data.tokenizer import Vocabulary
from tietrain.errors import SettingsError


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
    _check_stacks(config, layout, vocabularies)
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
    of = {layout.vocabularies[stack]: vocabulary for stack, vocabulary in vocabularies.items()}
    prepared = Prepared(
        corpus=corpus,
        layout=layout,
        vocabularies=dict(vocabularies),
        encoded={
            split: {
                name: {c: EncodedLines.of(of[name].encode(read.texts[c])) for c in columns}
                for name, columns in layout.columns.items()
            }
            for split, read in corpus.splits.items()
        },
        features={split: read.features for split, read in corpus.splits.items()},
        reference_lengths={},
        rows={},
        overlap_rows={split: {} for split in corpus.splits},
        token_starts=None,
        notes=[note for note in corpus.notes if not note.startswith("train: ")],
        fingerprints=fingerprints(corpus.fingerprint, vocabularies),
    )
    if config.task.name == "mt":
        blank = {
            split: {c: blank_rows(lines) for c, lines in read.texts.items()} for split, read in corpus.splits.items()
        }
        note_scored(prepared, config, blank)
    return prepared


def _check_stacks(config: RunConfig, layout: Layout, vocabularies: Mapping[str, Vocabulary]) -> None:
    """SettingsError if columns have other stacks, or targets other tags, than the run that is scored."""
    tags = {tag for vocabulary in vocabularies.values() for tag in vocabulary.tags}
    if layout.vocabularies.keys() != vocabularies.keys() or set(layout.tags) != tags:
        requested = f"data.columns=[{','.join(config.columns)}]"
        has = ", ".join(vocabularies) + (f" and the tags {', '.join(sorted(tags))}" if tags else "")
        raise SettingsError(requested, f"the run has the stacks {has}", "name the columns as the run does")


def _is_wanted(split: str, names: Collection[str]) -> bool:
    return split in names if names else split != "train"
