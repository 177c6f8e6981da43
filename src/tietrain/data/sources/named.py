"""What settings name: the columns, splits and files of a corpus, or its grammar; and a key of it all. Loads no numpy."""

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tietrain.config import DataConfig
from tietrain.data.progress import stage
from tietrain.data.sources.foreign_files import foreign_sha256
from tietrain.data.sources.packed import PACKED
from tietrain.data.sources.validate import file_sha256
from tietrain.errors import SettingsError
from tietrain.plan.installed import is_foreign

if TYPE_CHECKING:
    from tietrain.data.grammar.settings import GrammarSettings

_SPLIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

# A file and the setting that names it, for messages.
Named = tuple[Path, str]


def corpus_key(data: DataConfig, task: str) -> str:
    """sha256 over everything that decides the corpus, without parsing: bytes of files, a commit, settings of the grammar.

    Files that the reader of a package reads are parsed: their rows decide.

    Raises:
        SettingsError, DataError, StorageError: as `load_corpus`.
    """
    with stage("looking for the text"):
        return _corpus_key(data, task)


def _corpus_key(data: DataConfig, task: str) -> str:
    if data.format == "grammar":
        from tietrain.data.grammar.settings import GRAMMAR_VERSION

        return _sha256({"grammar": GRAMMAR_VERSION, "settings": repr(grammar_settings(data, task))})
    key: dict[str, object] = {"format": data.format, "task": task, "columns": all_columns(data, task)}
    if data.format == "hub":
        from tietrain.data.sources.hub import hub_key

        key["files"] = hub_key(data)
    elif data.format == "stdlib_docs":
        from tietrain.data.sources.stdlib_docs import stdlib_key

        key["files"] = stdlib_key()
    elif data.format == "xor":
        from tietrain.data.sources.xor_strings import RULES_VERSION

        key["files"] = [RULES_VERSION, data.meanings, data.seed]
    else:
        files = split_files(data, task)

        def content(path: Path, requested: str) -> str:
            if is_foreign(data.format):
                return foreign_sha256(data.format, path, requested, all_columns(data, task), one_line=task == "mt")
            return file_sha256(path, requested)

        key["files"] = {split: [content(*file) for file in named] for split, named in files.items()}
    if data.features:
        key["features"] = data.features
    return _sha256(key)


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def grammar_settings(data: DataConfig, task: str) -> "GrammarSettings":
    """The settings of the generator; SettingsError if no corpus can be generated so."""
    from tietrain.data.grammar.settings import FEATURES, N_FEATURES, GrammarSettings

    shared = {key: getattr(data, key) for key in ("preset", "seed", "language_seed", "difficulty", "alphabet_b")}
    settings = GrammarSettings("mt" if task == "mt" else "lm", **shared, columns=tuple(data.columns or ()))
    vectors = {FEATURES: N_FEATURES} if FEATURES in settings.columns else {}
    if data.features != vectors:
        problem = f"the generated corpus of data.columns=[{','.join(settings.columns)}] has {vectors or 'none'}"
        raise SettingsError(f"data.features={data.features}", problem, f"give data.features={vectors}")
    return settings


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
