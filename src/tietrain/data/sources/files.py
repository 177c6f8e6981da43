"""What a corpus is, how settings name its columns and files; and text files -> lines of every split."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tietrain.config import DataConfig
from tietrain.data.encoded import Counts
from tietrain.data.sources.features import FeatureRows, check_rows, read_features
from tietrain.data.sources.foreign_files import read_foreign_rows
from tietrain.data.sources.packed import PACKED
from tietrain.data.sources.validate import Parser, jsonl_parser, read_text_file, tsv_parser
from tietrain.data.stored_lines import StoredLines, store_for
from tietrain.errors import SettingsError
from tietrain.plan.installed import is_foreign

if TYPE_CHECKING:
    from tietrain.data.grammar import GrammarCorpus, GrammarSettings

_SPLIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

# A file and the setting that names it, for messages.
Named = tuple[Path, str]
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
    from tietrain.data.grammar import generate

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


def first_files(files: dict[str, list[Named]]) -> list[str]:
    """Names of the files that a corpus is named after: those of train, or of its first split."""
    return [path.name for path, _ in files.get("train") or next(iter(files.values()))]


def all_columns(data: DataConfig, task: str) -> list[str]:
    """Names of the columns, text or not: data.columns, else `source` and `target` for mt, `text` for other tasks."""
    if data.format in ("stdlib_docs", "xor") and task == "mt":
        problem = f"data.format={data.format} is one text without translations"
        raise SettingsError(f"task={task}", problem, "choose task=lm")
    columns = data.columns or (["source", "target"] if task == "mt" else ["text"])
    requested = f"data.columns=[{','.join(columns)}]"
    if (len(columns) < 2 if task == "mt" else len(columns) != 1) or len(set(columns)) != len(columns):
        wanted = "two or more different columns" if task == "mt" else "one text column"
        raise SettingsError(requested, f"task={task} reads {wanted}", "set data.columns and data.splits to fit")
    if len(columns) > 2 and (bad := [column for column in columns if "/" in column]):
        raise SettingsError(requested, f"{bad[0]} becomes a file name", "leave out the /")
    return columns


def text_columns(data: DataConfig, task: str) -> list[str]:
    """Names of the columns that hold text."""
    return [column for column in all_columns(data, task) if column not in data.features]


def named_splits(data: DataConfig) -> dict[str, list[str]]:
    """Split -> what data.splits names for it. Splits with an empty list, as the plain presets have, are left out."""
    for split in data.splits:
        if not _SPLIT_NAME.fullmatch(split):
            problem = "the name of a split becomes a file name"
            raise SettingsError(f"data.splits.{split}", problem, "use letters, digits, '_', '-' and '.'")
    what = "split" if data.format == "hub" else "file"
    for split in ("train", "valid"):
        if data.splits.get(split) == []:  # a missing key is allowed: `scored` reads without train
            key = f"data.splits.{split}"
            raise SettingsError(f"{key}=[]", f"no {what} is named", f"give one: {key}=[{what.upper()}]")
    return {split: names for split, names in data.splits.items() if names}


def split_files(data: DataConfig, task: str) -> dict[str, list[Named]]:
    """Split -> its files."""
    if data.features and data.format not in ("text", "parquet"):
        problem = f"files of data.format={data.format} hold only text"
        remedy = "choose data=text with a .npz or .parquet file for this column, or data=parquet"
        raise SettingsError(f"data.features.{next(iter(data.features))}", problem, remedy)
    root = Path(data.root or ".").expanduser()
    columns = all_columns(data, task) if data.format == "text" else [""]
    n_columns = len(columns)
    found: dict[str, list[Named]] = {}
    for split, names in named_splits(data).items():
        requested = f"data.splits.{split}=[{','.join(names)}]"
        if len(names) % n_columns:
            problem = f"task={task} data.format=text takes {n_columns} files, one per column, or several times as many"
            raise SettingsError(requested, problem, "name those of all columns, then those of the next part")
        ordered = _in_order(names, columns)
        if ordered != names:
            problem = (
                f"files are read in the order of the columns {', '.join(columns)}, and their endings say another one"
            )
            raise SettingsError(requested, problem, f"write data.splits.{split}=[{','.join(ordered)}]")
        rooted = f"{requested} data.root={data.root}" if data.root else requested
        found[split] = [((root / name).absolute(), rooted) for name in names]
    return found


def _in_order(names: list[str], columns: list[str]) -> list[str]:
    """Files of text as their endings order them: all columns of one part, then of the next; as they are if nothing is told.

    An ending tells the column if each column has one of its own, in as many files.

    >>> _in_order(["a.en", "b.en", "a.de.gz", "b.de.gz"], ["source", "target"])
    ['a.en', 'a.de.gz', 'b.en', 'b.de.gz']
    """
    of_ending: dict[str, list[str]] = {}
    for name in names:
        packed = Path(name).suffix in PACKED
        of_ending.setdefault(Path(Path(name).stem if packed else name).suffix.removeprefix("."), []).append(name)
    endings = columns if set(columns) == set(of_ending) else list(of_ending)
    parts = [of_ending[ending] for ending in endings]
    if len(parts) != len(columns) or len(set(map(len, parts))) > 1:
        return names
    return [name for part in zip(*parts, strict=True) for name in part]


def _parser(data_format: str, path: Path, columns: list[str], task: str) -> Parser:
    if data_format == "jsonl":
        return jsonl_parser(path, columns, one_line=task == "mt")
    return tsv_parser(path, columns) if data_format == "tsv" else lambda number, line: [line]
