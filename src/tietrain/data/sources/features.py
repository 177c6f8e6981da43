"""Precomputed feature vectors, a sequence of them per row: a source beside text, read from Parquet and .npz files.

Batches are padded with NaN, so only finite numbers are accepted.
"""

import hashlib
import lzma
import tokenize
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from tietrain.data.encoded import Counts, PackedRows, offsets_of
from tietrain.data.sources.validate import MAX_BYTES, of_machine, open_regular
from tietrain.errors import DataError, SettingsError, storage_error

if TYPE_CHECKING:
    import pyarrow as pa


class FeatureRows(PackedRows):
    """float32 arrays [S, F], one per row; S differs between rows, F does not."""

    dtype = np.float32

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The rows of several, at least one, one after the other."""
        return cls(np.concatenate([p.values for p in parts]), offsets_of(np.concatenate([p.lengths for p in parts])))

    @property
    def fingerprint(self) -> str:
        """sha256 over shapes and numbers."""
        digest = hashlib.sha256(f"{self.values.shape} {len(self)}".encode())
        digest.update(np.ascontiguousarray(self.offsets, dtype="<i8").data)
        digest.update(np.ascontiguousarray(self.values, dtype="<f4").data)
        return digest.hexdigest()


# Rows of a Parquet file decoded at a time: a row may hold hundreds of thousands of numbers. The file's own account of how
# many it holds is not used: pyarrow 26 ends the process if that is damaged.
BATCH_ROWS = 64


def read_features(path: Path, requested: str, column: str, width: int) -> FeatureRows:
    """The feature vectors of each row of a file, .npz or .parquet; see `read_feature_npz` and `read_feature_parquet`.

    Raises:
        SettingsError: the name is that of another file. DataError: naming file and row.
    """
    readers = {".npz": read_feature_npz, ".parquet": read_feature_parquet}
    if path.suffix not in readers:
        problem = f"column {column!r} holds feature vectors and {path.name} is neither .npz nor .parquet"
        remedy = "name a file of feature vectors, or leave the column out of data.features"
        raise SettingsError(requested, problem, remedy)
    return readers[path.suffix](path, requested, column, width)


def check_rows(requested: str, counts: Sequence[tuple[Path | str, int, str]]) -> None:
    """Raise DataError unless all files, each with its count and what is counted, have as many rows."""
    if len({n for _, n, _ in counts}) > 1:
        problem = " and ".join(f"{path} has {n} {what}" for path, n, what in counts)
        raise DataError(requested, problem, "line i of one must belong to line i of the other")


def read_feature_npz(path: Path, requested: str, column: str, width: int) -> FeatureRows:
    """The vectors of each row of an .npz file, as `numpy.savez` and `savez_compressed` write it.

    The array COLUMN is [rows, S, F] if all rows have equally many vectors, [rows, F] if each has one vector, or, beside
    an array `COLUMN.offsets` of rows + 1 integers, [N, F] with row i in `COLUMN[offsets[i]:offsets[i + 1]]`.

    Raises:
        DataError: naming file and row; arrays of Python objects are never unpickled.
    """
    where = str(path)
    values, *stated = _read_npz(path, requested, column)
    if values.dtype.kind not in "fiu":
        raise DataError(where, f"{column!r} holds {values.dtype}, not numbers", "write floats")
    if values.ndim != 2 and (stated or values.ndim != 3):
        shapes = "[vectors, numbers]" if stated else "[rows, vectors, numbers] or [rows, numbers]"
        raise DataError(where, f"{column!r} has shape {list(values.shape)}, not {shapes}", "save it in this shape")
    if values.shape[-1] != width:
        raise _other_width(where, column, values.shape[-1], width)
    offsets = np.arange(len(values) + 1, dtype=np.int64) * (values.shape[1] if values.ndim == 3 else 1)
    if stated:
        (found,) = stated
        name = f"{column}.offsets"
        if found.dtype.kind not in "iu" or found.ndim != 1 or not len(found):
            problem = f"{name!r} is {found.dtype} of shape {list(found.shape)}, not rows + 1 integers"
            raise DataError(where, problem, "write where each row begins, and the end of the last")
        offsets = found.astype(np.int64)
        if offsets[0] != 0 or offsets[-1] != len(values):
            problem = f"{name!r} goes from {offsets[0]} to {offsets[-1]} and there are {len(values)} vectors"
            raise DataError(where, problem, f"go from 0 to {len(values)}")
        drops = np.flatnonzero(np.diff(offsets) < 0)
        _refuse(drops, where, 1, f"{name!r} decreases", "write where each row begins, in order")
    return _checked(values.reshape(-1, width), offsets, where, column)


def _read_npz(path: Path, requested: str, column: str) -> list[NDArray[Any]]:
    """The array `column` and, if there is one, that of its offsets."""
    with open_regular(path, requested) as f:
        try:
            with ZipFile(f) as file:
                names = [name.removesuffix(".npy") for name in file.namelist()]
                if column not in names:
                    there = ", ".join(repr(n) for n in names if not n.endswith(".offsets")) or "none"
                    raise DataError(str(path), f"there is no array {column!r}, only {there}", "set data.columns to fit")
                infos = [file.getinfo(f"{n}.npy") for n in (column, f"{column}.offsets") if n in names]
                _check_size(str(path), sum(info.file_size for info in infos))
                arrays = []
                for info in infos:
                    with file.open(info) as member:
                        arrays.append(np.lib.format.read_array(member, allow_pickle=False))
                        if member.read(1):
                            raise ValueError(f"{info.filename} is longer than it says")
                return arrays
        except (
            *(BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, KeyError, ValueError, SyntaxError),
            *(RuntimeError, MemoryError, tokenize.TokenError),
        ) as e:
            if refused := of_machine(e):
                raise storage_error(f"reading {path}", refused) from e
            problem = f"it is not an .npz file of numbers, or cut off or damaged ({str(e).partition(chr(10))[0]})"
            raise DataError(str(path), problem, "write it with numpy.savez, without Python objects") from None


def read_feature_parquet(path: Path, requested: str, column: str, width: int) -> FeatureRows:
    """The vectors of each row of a column of a Parquet file: a list of lists of numbers, or one list for one vector.

    Raises:
        DataError: naming file and row.
    """
    import pyarrow.types as types

    from tietrain.data.sources.parquet import column_at, find_column, open_parquet

    where = str(path)
    parts = [FeatureRows(np.empty((0, width), np.float32), np.zeros(1, np.int64))]
    first_row = 1
    n_bytes = 0
    with open_parquet(path, requested) as file:
        names, kind = find_column(file.schema_arrow, column, where)
        depth, inner = 0, kind
        while any(is_list(inner) for is_list in (types.is_list, types.is_large_list, types.is_fixed_size_list)):
            inner, depth = inner.value_type, depth + 1
        if depth not in (1, 2) or not (types.is_floating(inner) or types.is_integer(inner)):
            problem = f"column {column!r} holds {kind}, not vectors"
            raise DataError(where, problem, "name a column of lists of numbers, or of lists of such lists")
        for batch in file.iter_batches(BATCH_ROWS, columns=[column]):
            read = _flat(column_at(batch, names, where, first_row), depth, width, where, column, first_row)
            parts.append(read)
            first_row += len(read)
            n_bytes += read.values.nbytes
            _check_size(where, n_bytes)
    return FeatureRows.joined(parts)


def _flat(column: "pa.Array", depth: int, width: int, where: str, name: str, first_row: int) -> FeatureRows:
    """The rows of an Arrow array of lists, or of lists of lists."""
    import pyarrow.compute as pc

    def refuse_nulls(values: "pa.Array", rows: Counts, what: str) -> None:
        null = values.is_null().to_numpy(zero_copy_only=False)
        _refuse(rows[null], where, first_row, f"{name!r} {what}", "write numbers, or leave the row out")

    rows, vectors, lengths = np.arange(len(column)), column, np.ones(len(column), np.int64)
    refuse_nulls(column, rows, "is null")
    if depth == 2:
        lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
        rows, vectors = np.repeat(rows, lengths), column.flatten()
        refuse_nulls(vectors, rows, "has a null for a vector")
    widths = pc.list_value_length(vectors).to_numpy(zero_copy_only=False)
    if len(other := np.flatnonzero(widths != width)):
        raise _other_width(f"{where}, row {first_row + rows[other[0]]}", name, widths[other[0]], width)
    numbers = vectors.flatten()
    refuse_nulls(numbers, np.repeat(rows, width), "has a null in a vector")
    values = numbers.to_numpy(zero_copy_only=False).reshape(-1, width)
    return _checked(values, offsets_of(lengths), where, name, first_row)


def _checked(values: NDArray[Any], offsets: Counts, where: str, column: str, first_row: int = 1) -> FeatureRows:
    """The rows as float32; DataError for the first that is empty or has a number that is not finite."""
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        rows = FeatureRows(values.astype(np.float32, copy=False), offsets)
    empty = np.flatnonzero(rows.lengths == 0)
    bad = np.flatnonzero(~np.isfinite(rows.values).all(axis=1))
    _refuse(empty, where, first_row, f"{column!r} has no vector", "write one, or leave the row out")
    odd = np.searchsorted(offsets, bad, side="right") - 1
    problem = f"{column!r} has a number that is NaN or infinite as float32"
    _refuse(odd, where, first_row, problem, "write finite numbers, or leave the row out")
    return rows


def _refuse(rows: Counts, where: str, first_row: int, problem: str, remedy: str) -> None:
    """DataError for the first of the rows, if there are any."""
    if len(rows):
        raise DataError(f"{where}, row {first_row + rows[0]}", problem, remedy)


def _other_width(at: str, column: str, found: int, width: int) -> DataError:
    problem = f"{column!r} has a vector of {found} numbers and data.features.{column}={width}"
    return DataError(at, problem, "make all vectors equally wide, or set data.features to fit")


def _check_size(where: str, n_bytes: int) -> None:
    if n_bytes > MAX_BYTES:
        problem = f"it holds more than {MAX_BYTES // 2**30} GiB of feature vectors"
        raise DataError(where, problem, "keep fewer vectors per row, or split it")
