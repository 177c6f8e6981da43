"""Text files -> lines of every split, through `datasets`.

`datasets` loads and caches lines only: its csv and json loaders guess types, drop blank lines, fail on unused keys and
turn dates into timestamps, so fields are read by the parsers of `validate`.
"""

from __future__ import annotations

import glob
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from tietrain.config import DataConfig
from tietrain.data.validate import BOM, FileCheck, Parser, check_file, jsonl_parser, lines_sha256, tsv_parser
from tietrain.errors import DataError, SettingsError

SIDES = {"lm": 1, "mt": 2}
_SPLIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

# A file and the setting that names it, for messages.
Named = tuple[Path, str]


@dataclass(frozen=True)
class FileCorpus:
    """Lines of text files. texts: split -> column -> lines; notes: what is unusual in the files."""

    name: str
    columns: list[str]
    texts: dict[str, dict[str, list[str]]]
    notes: list[str]


def load_files(data: DataConfig, task: str, cache: Path) -> FileCorpus:
    """The checked lines of every split.

    Args:
        cache: folder for `datasets`, one for every content: it knows a file by name, size and time only.
    Raises:
        SettingsError, DataError: see `corpora.load_corpus`.
    """
    columns, files = text_columns(data, task), split_files(data, task)
    parsers = {path: _parser(data.format, path, columns, task) for named in files.values() for path, _ in named}
    checks: dict[Path, FileCheck] = {}
    for named in files.values():
        checks |= {path: check_file(path, asked, parsers[path]) for path, asked in named}
        if len({checks[path].n_lines for path, _ in named}) > 1:
            is_so = " and ".join(f"{path} has {checks[path].n_lines} lines" for path, _ in named)
            raise DataError(named[0][1], is_so, "line i of one must belong to line i of the other")
    lines = _load_lines(checks, cache)
    texts = {}
    for split, named in files.items():
        rows = [_texts(path, lines[path], parsers[path]) for path, _ in named]
        texts[split] = dict(zip(columns, [column for columns in rows for column in columns], strict=True))
    name = "+".join(path.name for path, _ in files["train"])
    return FileCorpus(name, columns, texts, [note for check in checks.values() for note in check.notes])


def text_columns(data: DataConfig, task: str) -> list[str]:
    """Names of the text columns: data.columns, else `text` for lm, `source` and `target` for mt."""
    columns = data.columns or {"lm": ["text"], "mt": ["source", "target"]}[task]
    if len(columns) != SIDES[task] or len(set(columns)) != len(columns):
        wanted = "one text column" if task == "lm" else "two different text columns, source and target"
        asked = f"data.columns=[{','.join(columns)}]"
        raise SettingsError(asked, f"task={task} reads {wanted}", "set data.columns and data.splits to fit")
    return columns


def split_files(data: DataConfig, task: str) -> dict[str, list[Named]]:
    """Split -> its files; a split without files, as the plain presets have, is no split."""
    root = Path(data.root or ".").expanduser()
    wanted = SIDES[task] if data.format == "text" else 1
    found: dict[str, list[Named]] = {}
    for split, names in data.splits.items():
        key = f"data.splits.{split}"
        if not _SPLIT_NAME.fullmatch(split):
            raise SettingsError(key, "the name of a split becomes a file name", "use letters, digits, '_', '-' and '.'")
        if not names:
            continue
        asked = f"{key}=[{','.join(names)}]"
        if len(names) != wanted:
            is_so = f"task={task} data.format={data.format} takes {wanted} file{'s' if wanted > 1 else ''} a split"
            raise SettingsError(asked, is_so, "name as many")
        rooted = f"{asked} data.root={data.root}" if data.root else asked
        found[split] = [((root / name).absolute(), rooted) for name in names]
    for split in ("train", "valid"):
        if split not in found:
            raise SettingsError(f"data.splits.{split}=[]", "no file is named", f"give one: data.splits.{split}=[FILE]")
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


def _load_lines(checks: dict[Path, FileCheck], cache: Path) -> dict[Path, list[str]]:
    """The lines of each file through `datasets`, compared with what the validation pass saw."""
    import datasets

    # Without this every load asks the hub to count it.
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False

    datasets.disable_progress_bars()
    logging.getLogger("datasets").setLevel(logging.CRITICAL)  # errors are raised below, with the file's name
    names = {path: f"file{i}" for i, path in enumerate(checks)}
    files = {name: [glob.escape(str(path))] for path, name in names.items()}
    try:
        tables = datasets.load_dataset("text", data_files=files, cache_dir=str(cache))
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as e:
        asked = ", ".join(map(str, checks))
        raise DataError(asked, f"datasets cannot load it ({e})", f"rename the file, or make room in {cache}") from e
    loaded = {}
    for path, name in names.items():
        lines = list(tables[name]["text"])
        lines[0] = lines[0].removeprefix(BOM)
        if len(lines) != checks[path].n_lines or lines_sha256(lines) != checks[path].sha256:
            to_do = f"delete {cache}, then start the same command again"
            raise DataError(str(path), "datasets loaded other lines than the file holds", to_do)
        loaded[path] = lines
    return loaded
