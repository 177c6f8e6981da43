"""What a corpus is; and text files -> lines of every split."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tietrain.config import DataConfig
from tietrain.data.encoded import Counts
from tietrain.data.sources.features import FeatureRows, check_rows, read_features
from tietrain.data.sources.foreign_files import read_foreign_rows
from tietrain.data.sources.named import all_columns, first_files, split_files, text_columns
from tietrain.data.sources.validate import Parser, jsonl_parser, read_text_file, tsv_parser
from tietrain.data.stored_lines import StoredLines, store_for
from tietrain.plan.installed import is_foreign

if TYPE_CHECKING:
    from tietrain.data.grammar.corpus import GrammarCorpus
    from tietrain.data.grammar.settings import GrammarSettings

# Split -> columns that are compared with those of train -> numbers of its rows.
Overlap = dict[str, dict[tuple[str, ...], Counts]]


@dataclass
class Split:
    """Lines of one split.

    texts: column -> lines; features: column -> vectors, of columns without text. Row i of every column belongs together.
    generator_nats: -log p of each line under the grammar that made it; None for real text and for train.
    """

    texts: dict[str, Sequence[str]] = field(default_factory=dict)
    generator_nats: list[float] | None = None
    features: dict[str, FeatureRows] = field(default_factory=dict)

    @property
    def n_lines(self) -> int:
        """Lines of each column."""
        return len(next(iter(self.texts.values())))


@dataclass
class Corpus:
    """Rows of every split.

    columns: all, text or not. fingerprint: sha256 over splits, columns and lines, never over paths.
    overlap: rows of the scored splits that also stand in train. notes: what a reader of the results should know. about: counts, for `tietrain data` and the run record.
    """

    name: str
    columns: list[str]
    splits: dict[str, Split] = field(default_factory=dict)
    fingerprint: str = ""
    notes: list[str] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)
    grammar_settings: "GrammarSettings | None" = None
    overlap: Overlap = field(default_factory=dict)

    @cached_property
    def grammar(self) -> "GrammarCorpus | None":
        """The generated corpus with its language, for exact references; made at the first use. None for other text."""
        if self.grammar_settings is None:
            return None
        return _generated(self.grammar_settings)


@lru_cache(maxsize=1)
def _generated(settings: "GrammarSettings") -> "GrammarCorpus":
    """One corpus for all cells of a grid, with what it has computed of itself."""
    from tietrain.data.grammar.corpus import generate

    return generate(settings)


def load_files(data: DataConfig, task: str, folder: Path) -> Corpus:
    """The checked lines of every split, those of train kept in a folder; raises as `corpora.load_corpus`."""
    columns = all_columns(data, task)
    files = split_files(data, task)
    groups = [[column] for column in columns] if data.format == "text" else [columns]
    first = first_files(files)
    names = "+".join(first[: len(groups)])
    corpus = Corpus(f"{names} and {len(first) - len(groups)} more" if first[len(groups) :] else names, columns)
    notes: dict[Path, list[str]] = {}
    for split, named in files.items():
        texts: dict[str, list[str] | StoredLines] = {c: store_for(split, folder)() for c in text_columns(data, task)}
        vectors: dict[str, list[FeatureRows]] = {column: [] for column in data.features}
        for i in range(0, len(named), len(groups)):
            together = named[i : i + len(groups)]
            counts = []
            for (path, requested), group in zip(together, groups, strict=True):
                if group[0] in vectors:
                    rows = read_features(path, requested, group[0], data.features[group[0]])
                    vectors[group[0]].append(rows)
                    counts.append((path, len(rows), "rows"))
                else:
                    into = [texts[column] for column in group]
                    before = len(into[0])
                    if is_foreign(data.format):
                        for row in read_foreign_rows(data.format, path, requested, group, one_line=task == "mt"):
                            for column, text in zip(into, row, strict=True):
                                column.append(text)
                    else:
                        notes[path] = read_text_file(path, requested, _parser(data.format, path, group, task), into)
                    counts.append((path, len(into[0]) - before, "lines"))
            check_rows(together[0][1], counts)
        corpus.splits[split] = Split({**texts}, None, {c: FeatureRows.joined(parts) for c, parts in vectors.items()})
    corpus.notes += [note for of_file in notes.values() for note in of_file]
    return corpus


def _parser(data_format: str, path: Path, columns: list[str], task: str) -> Parser:
    if data_format == "jsonl":
        return jsonl_parser(path, columns, one_line=task == "mt")
    return tsv_parser(path, columns) if data_format == "tsv" else lambda number, line: [line]
