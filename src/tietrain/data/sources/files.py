"""Text files -> lines of every split, through `datasets`; what is common to all corpora that are not generated.

`datasets` loads and caches lines only: its csv and json loaders guess types, drop blank lines, fail on unused keys and
turn dates into timestamps, so fields are read by the parsers of `validate`.
"""

from __future__ import annotations

import glob
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path

from tietrain.config import DataConfig
from tietrain.data.sources.feature_files import check_rows, read_features
from tietrain.data.sources.features import FeatureRows
from tietrain.data.sources.validate import BOM, FileCheck, Parser, check_file, jsonl_parser, lines_sha256, tsv_parser
from tietrain.errors import DataError, SettingsError

_SPLIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

# A file and the setting that names it, for messages.
Named = tuple[Path, str]


@dataclass(frozen=True)
class FileCorpus:
    """Rows as they were found.

    columns: all. texts: split -> column -> lines. features: split -> column -> vectors, of columns without text.
    notes: what is unusual in them, or worth knowing.
    """

    name: str
    columns: list[str]
    texts: dict[str, dict[str, list[str]]]
    notes: list[str]
    features: dict[str, dict[str, FeatureRows]] = field(default_factory=dict)


def load_files(data: DataConfig, task: str, cache: Path) -> FileCorpus:
    """The checked lines of every split.

    Args:
        cache: folder for `datasets`, one for every content: it knows a file by name, size and time only.
    Raises:
        SettingsError, DataError: see `corpora.load_corpus`.
    """
    columns, files = all_columns(data, task), split_files(data, task)
    of_text = [column for column in columns if column not in data.features]
    read = [column for column in columns if column in data.features]
    features = {
        split: {c: read_features(*named[columns.index(c)], c, data.features[c]) for c in read}
        for split, named in files.items()
    }
    texts_of = {s: [n for i, n in enumerate(named) if columns[i] not in read] for s, named in files.items()}
    parsers = {path: _parser(data.format, path, of_text, task) for named in texts_of.values() for path, _ in named}
    checks: dict[Path, FileCheck] = {}
    for split, named in texts_of.items():
        checks |= {path: check_file(path, requested, parsers[path]) for path, requested in named}
        counts = [(path, checks[path].n_lines, "lines") for path, _ in named]
        counts += [(files[split][columns.index(c)][0], len(rows), "rows") for c, rows in features[split].items()]
        check_rows(named[0][1], counts)
    lines = _load_lines(checks, cache)
    texts = {}
    for split, named in texts_of.items():
        rows = [_texts(path, lines[path], parsers[path]) for path, _ in named]
        texts[split] = dict(zip(of_text, [column for columns in rows for column in columns], strict=True))
    name = "+".join(path.name for path, _ in files.get("train") or next(iter(files.values())))
    return FileCorpus(name, columns, texts, [note for check in checks.values() for note in check.notes], features)


def all_columns(data: DataConfig, task: str) -> list[str]:
    """Names of the columns, text or not: data.columns, else `source` and `target` for mt, `text` for others."""
    if data.format == "stdlib_docs" and task == "mt":
        raise SettingsError(f"task={task}", "data.format=stdlib_docs is one text, no translation", "choose task=lm")
    columns = data.columns or (["source", "target"] if task == "mt" else ["text"])
    if (len(columns) < 2 if task == "mt" else len(columns) != 1) or len(set(columns)) != len(columns):
        wanted = "two or more different columns" if task == "mt" else "one text column"
        requested = f"data.columns=[{','.join(columns)}]"
        raise SettingsError(requested, f"task={task} reads {wanted}", "set data.columns and data.splits to fit")
    if len(columns) > 2 and (bad := [column for column in columns if "/" in column]):
        raise SettingsError(f"data.columns=[{','.join(columns)}]", f"{bad[0]} becomes a file name", "leave out the /")
    return columns


def text_columns(data: DataConfig, task: str) -> list[str]:
    """Names of the columns that hold text."""
    return [column for column in all_columns(data, task) if column not in data.features]


def named_splits(data: DataConfig) -> dict[str, list[str]]:
    """Split -> what data.splits names for it; a split without any, as the plain presets have, is no split."""
    for split in data.splits:
        if not _SPLIT_NAME.fullmatch(split):
            problem = "the name of a split becomes a file name"
            raise SettingsError(f"data.splits.{split}", problem, "use letters, digits, '_', '-' and '.'")
    what = "split" if data.format == "hub" else "file"
    for split in ("train", "valid"):
        if data.splits.get(split) == []:  # where it is not even a key, only what is scored is wanted, see `scored`
            key = f"data.splits.{split}"
            raise SettingsError(f"{key}=[]", f"no {what} is named", f"give one: {key}=[{what.upper()}]")
    return {split: names for split, names in data.splits.items() if names}


def split_files(data: DataConfig, task: str) -> dict[str, list[Named]]:
    """Split -> its files."""
    if data.features and data.format not in ("text", "parquet"):
        problem = f"a file of data.format={data.format} holds text alone"
        remedy = "choose data=text with a .npz or .parquet file in their place, or data=parquet"
        raise SettingsError(f"data.features.{next(iter(data.features))}", problem, remedy)
    root = Path(data.root or ".").expanduser()
    wanted = len(all_columns(data, task)) if data.format == "text" else 1
    found: dict[str, list[Named]] = {}
    for split, names in named_splits(data).items():
        requested = f"data.splits.{split}=[{','.join(names)}]"
        if len(names) != wanted and data.format != "parquet":
            a_column = f"{wanted} files a split, one a column" if wanted > 1 else "1 file a split"
            problem = f"task={task} data.format={data.format} takes {a_column}"
            raise SettingsError(requested, problem, "name as many")
        rooted = f"{requested} data.root={data.root}" if data.root else requested
        found[split] = [((root / name).absolute(), rooted) for name in names]
    return found


def _parser(data_format: str, path: Path, columns: list[str], task: str) -> Parser:
    if data_format == "jsonl":
        return jsonl_parser(path, columns, one_line=task == "mt")
    return tsv_parser(path, columns) if data_format == "tsv" else lambda number, line: [line]


def _texts(path: Path, lines: list[str], parser: Parser) -> list[list[str]]:
    """The text columns of a file."""
    rows = [row for number, line in enumerate(lines, start=1) if (row := parser(number, line)) is not None]
    columns = [list(column) for column in zip(*rows, strict=True)]
    if not any(map(any, columns)):
        raise DataError(str(path), "there is no text in it", "give a file with text")
    return columns


def quiet_datasets() -> None:
    """Keep `datasets` from drawing, counting and logging: what goes wrong is raised, with the name of the file."""
    import datasets

    # Without this every load asks the hub to count it.
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    datasets.disable_progress_bars()
    logging.getLogger("datasets").setLevel(logging.CRITICAL)


def _load_lines(checks: dict[Path, FileCheck], cache: Path) -> dict[Path, list[str]]:
    """The lines of each file through `datasets`, compared with what the validation pass saw."""
    import datasets

    quiet_datasets()
    names = {path: f"file{i}" for i, path in enumerate(checks)}
    files = {name: [glob.escape(str(path))] for path, name in names.items()}
    try:
        tables = datasets.load_dataset("text", data_files=files, cache_dir=str(cache))
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as e:
        requested = ", ".join(map(str, checks))
        raise DataError(requested, f"datasets cannot load it ({e})", f"rename the file, or make room in {cache}") from e
    loaded = {}
    for path, name in names.items():
        lines = list(tables[name]["text"])
        lines[0] = lines[0].removeprefix(BOM)
        if len(lines) != checks[path].n_lines or lines_sha256(lines) != checks[path].sha256:
            remedy = f"delete {cache}, then start the same command again"
            raise DataError(str(path), "datasets loaded other lines than the file holds", remedy)
        loaded[path] = lines
    return loaded
