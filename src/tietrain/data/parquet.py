"""Parquet files -> checked lines of every split, read with pyarrow."""

from __future__ import annotations

from pathlib import Path

from tietrain.config import DataConfig
from tietrain.data.files import FileCorpus, split_files, text_columns
from tietrain.data.validate import open_regular
from tietrain.errors import DataError


def load_parquet(data: DataConfig, task: str) -> FileCorpus:
    """The lines of every split: the rows of its files, one file after the other.

    Raises:
        SettingsError, DataError: see `corpora.load_corpus`.
    """
    columns, files = text_columns(data, task), split_files(data, task)
    texts: dict[str, dict[str, list[str]]] = {}
    for split, named in files.items():
        texts[split] = {column: [] for column in columns}
        for path, asked in named:
            for column, read in zip(columns, read_parquet(path, asked, columns, task == "mt"), strict=True):
                texts[split][column] += read
    first, *more = (path.name for path, _ in files.get("train") or next(iter(files.values())))
    return FileCorpus(f"{first} and {len(more)} more" if more else first, columns, texts, [])


def read_parquet(path: Path, asked: str, columns: list[str], one_line: bool) -> list[list[str]]:
    """The texts of each column of a file; see `columns.read_texts`.

    Args:
        asked: the setting that names the file, for messages.
    Raises:
        DataError: naming file and row.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tietrain.data.columns import find_columns, read_texts

    with open_regular(path, asked) as f:
        try:
            file = pq.ParquetFile(f, page_checksum_verification=True)
            paths = find_columns(file.schema_arrow, columns, str(path))
            batches = file.iter_batches(columns=[".".join(names) for names in paths])
            return read_texts(batches, paths, str(path), one_line)
        except (pa.ArrowException, OSError, ValueError) as e:
            is_so = f"it is no Parquet file, or cut off or damaged ({str(e).partition(chr(10))[0]})"
            raise DataError(str(path), is_so, "get the whole file again") from None
