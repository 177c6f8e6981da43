"""Parquet files and Arrow tables -> checked lines: every row of a column of text is a text, or refused by its number.

`datasets` would let nulls and numbers in the place of text pass.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tietrain.config import DataConfig
from tietrain.data.progress import stage
from tietrain.data.sources.features import FeatureRows, check_rows, read_feature_parquet, read_features
from tietrain.data.sources.files import Corpus, Split
from tietrain.data.sources.named import all_columns, first_files, split_files, text_columns
from tietrain.data.sources.validate import MAX_BYTES, check_blank, of_machine, open_regular, text_problem
from tietrain.data.stored_lines import StoredLines, store_for
from tietrain.errors import DataError, storage_error

# Names of the fields that lead to a column: one, or several for a field of a struct.
FieldPath = tuple[str, ...]


def load_parquet(data: DataConfig, task: str, folder: Path) -> Corpus:
    """The rows of every split: those of its files, one file after the other, the texts of train kept in a folder.

    It raises as `corpora.load_corpus`.

    Files named after a column of feature vectors, `NAME.COLUMN.npz`, hold it; else the files with the text do.
    """
    columns = text_columns(data, task)
    files = split_files(data, task)
    first, *more = first_files(files)
    corpus = Corpus(f"{first} and {len(more)} more" if more else first, all_columns(data, task))
    for split, named in files.items():
        beside = {c: own for c in data.features if (own := [n for n in named if f".{n[0].stem}".endswith(f".{c}")])}
        tables = [n for n in named if not any(n in own for own in beside.values())]
        if not tables:
            tables, beside = named, {}
        texts = {column: store_for(split, folder)() for column in columns}
        read = corpus.splits[split] = Split({**texts})
        for path, requested in tables:
            read_parquet(texts, path, requested, task == "mt")
        for column, width in data.features.items():
            own = beside.get(column, tables)
            reader = read_feature_parquet if own is tables else read_features
            rows = FeatureRows.joined([reader(path, requested, column, width) for path, requested in own])
            counts = ((tables, read.n_lines), (own, len(rows)))
            check_rows(own[0][1], [(" + ".join(str(path) for path, _ in of), n, "rows") for of, n in counts])
            read.features[column] = rows
    return corpus


def read_parquet(texts: Mapping[str, list[str] | StoredLines], path: Path, requested: str, one_line: bool) -> None:
    """Add the texts of a file to those of each column; see `read_texts`."""
    with open_parquet(path, requested) as file:
        paths = find_columns(file.schema_arrow, texts, str(path))
        batches = file.iter_batches(columns=[".".join(names) for names in paths])
        read_texts(texts, batches, paths, str(path), one_line)


@contextmanager
def open_parquet(path: Path, requested: str) -> Iterator[pq.ParquetFile]:
    """A Parquet file, to be read in this context; DataError if it cannot be opened or is damaged."""
    with open_regular(path, requested) as f, stage(f"reading {path.name}"):
        try:
            yield pq.ParquetFile(f, page_checksum_verification=True)
        except (pa.ArrowException, OSError, ValueError) as e:
            if refused := of_machine(e):
                raise storage_error(f"reading {path}", refused) from e
            problem = f"it is not a Parquet file, or cut off or damaged ({str(e).partition(chr(10))[0]})"
            raise DataError(str(path), problem, "get the whole file again") from None


def find_columns(schema: pa.Schema, columns: Iterable[str], where: str) -> list[FieldPath]:
    """The place of each text column; `translation.en` is the field en of the column translation.

    Raises:
        DataError: there is no such column, there are two, or it does not hold text.
    """
    paths = []
    # A column of nulls alone is of type null; its first row is refused.
    is_text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    for column in columns:
        path, kind = find_column(schema, column, where)
        decoded = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not any(holds(decoded) for holds in is_text):
            raise DataError(where, f"column {column!r} holds {kind}, not text", "name a column of strings")
        paths.append(path)
    return paths


def find_column(schema: pa.Schema, column: str, where: str) -> tuple[FieldPath, pa.DataType]:
    """The place of a column, and what it holds; raises as `find_columns` does."""
    leaves = list(_leaves((), schema))
    found = [(path, kind) for path, kind in leaves if ".".join(path) == column]
    if not found:
        names = ", ".join(repr(".".join(path)) for path, _ in leaves) or "none"
        raise DataError(where, f"there is no column {column!r}, only {names}", "set data.columns to fit")
    if len(found) > 1 or schema.names.count(found[0][0][0]) > 1:
        raise DataError(where, f"there are two columns {column!r}", "give each column its own name")
    return found[0]


def _leaves(above: FieldPath, fields: Iterable[pa.Field]) -> Iterator[tuple[FieldPath, pa.DataType]]:
    for field in fields:
        path = (*above, field.name)
        if pa.types.is_struct(field.type):
            yield from _leaves(path, field.type)
        else:
            yield path, field.type


def read_texts(
    texts: Mapping[str, list[str] | StoredLines],
    batches: Iterable[pa.RecordBatch],
    paths: list[FieldPath],
    where: str,
    one_line: bool,
    first_row: int = 1,
) -> None:
    """Add to the texts of each column; DataError for the first row that is not a text, rows numbered from `first_row`.

    Args:
        texts: column -> its texts. paths: the place of each column.
        one_line: whether a text with a line break in it is refused: translations are scored line by line.
    """
    n_bytes = n_rows = n_texts = 0
    for batch in batches:
        for path, read in zip(paths, texts.values(), strict=True):
            values = column_at(batch, path, where, first_row).to_pylist()
            for row, value in enumerate(values, start=first_row):
                if refused := text_problem(".".join(path), value, one_line):
                    raise DataError(f"{where}, row {row}", *refused)
            read.extend(values)
            n_texts += sum(map(bool, map(str.strip, values)))
        first_row += len(batch)
        n_rows += len(batch)
        check_blank(where, n_rows, n_texts)
        n_bytes += batch.nbytes
        if n_bytes > MAX_BYTES:
            raise DataError(where, f"it holds more than {MAX_BYTES // 2**30} GiB of text", "split it")


def column_at(batch: pa.RecordBatch, path: FieldPath, where: str, first_row: int) -> pa.Array:
    """A column of a batch, checked: its lists and strings lie within it and are UTF-8. Arrow itself trusts the file."""
    column = batch.column(path[0])
    if not _is_valid(column):
        row = next(i for i in range(len(column)) if not _is_valid(column[i : i + 1]))
        problem = f"{path[0]!r} is not UTF-8 or damaged"
        raise DataError(f"{where}, row {first_row + row}", problem, "write the file again")
    return pc.struct_field(column, list(path[1:])) if len(path) > 1 else column


def _is_valid(column: pa.Array) -> bool:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
