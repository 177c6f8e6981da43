"""Parquet files -> checked lines of every split, read with pyarrow."""

from pathlib import Path

from tietrain.config import DataConfig
from tietrain.data.sources.features import FeatureRows, check_rows, read_feature_parquet, read_features
from tietrain.data.sources.files import Corpus, Named, Split, all_columns, first_files, split_files, text_columns


def load_parquet(data: DataConfig, task: str) -> Corpus:
    """The rows of every split: those of its files, one file after the other; raises as `corpora.load_corpus`."""
    columns = text_columns(data, task)
    files = split_files(data, task)
    first, *more = first_files(files)
    corpus = Corpus(f"{first} and {len(more)} more" if more else first, all_columns(data, task))
    for split, named in files.items():
        tables, beside = _apart(named, data.features)
        texts: dict[str, list[str]] = {column: [] for column in columns}
        for path, requested in tables:
            for column, read in zip(columns, read_parquet(path, requested, columns, task == "mt"), strict=True):
                texts[column] += read
        n_rows = len(texts[columns[0]])
        corpus.splits[split] = Split(texts)
        for column, width in data.features.items():
            rows = _features(column, width, tables, beside.get(column, tables), n_rows)
            corpus.splits[split].features[column] = rows
    return corpus


def _apart(named: list[Named], features: dict[str, int]) -> tuple[list[Named], dict[str, list[Named]]]:
    """The files of a split with text; and feature column -> the files beside them named after it, `NAME.COLUMN.npz`."""
    beside = {c: own for c in features if (own := [n for n in named if f".{n[0].stem}".endswith(f".{c}")])}
    tables = [n for n in named if not any(n in own for own in beside.values())]
    return (tables, beside) if tables else (named, {})


def _features(column: str, width: int, tables: list[Named], named: list[Named], n_rows: int) -> FeatureRows:
    """The vectors in `named`, as many rows as the text in `tables`."""
    read = read_feature_parquet if named is tables else read_features
    rows = FeatureRows.joined([read(path, requested, column, width) for path, requested in named])
    counts = [(" + ".join(str(p) for p, _ in f), n, "rows") for f, n in ((tables, n_rows), (named, len(rows)))]
    check_rows(named[0][1], counts)
    return rows


def read_parquet(path: Path, requested: str, columns: list[str], one_line: bool) -> list[list[str]]:
    """The texts of each column of a file; see `columns.read_texts`."""
    from tietrain.data.sources.columns import find_columns, open_parquet, read_texts

    with open_parquet(path, requested) as file:
        paths = find_columns(file.schema_arrow, columns, str(path))
        batches = file.iter_batches(columns=[".".join(names) for names in paths])
        return read_texts(batches, paths, str(path), one_line)
