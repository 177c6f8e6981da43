"""Whatever the bytes of a corpus file, they give its rows or one DataError that names it; valid text comes back as it was."""

import gzip
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from refusals import refusal
from tietrain.data.sources.features import read_features
from tietrain.data.sources.parquet import read_parquet
from tietrain.data.sources.validate import jsonl_parser, read_text_file, tsv_parser
from tietrain.errors import DataError

FEW = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
# A text of one line, as every format can hold it.
LINES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n\ufeff"), max_size=12)
ROWS = st.lists(st.tuples(LINES, LINES), min_size=1, max_size=8).filter(lambda rows: any(map(any, rows)))
FIELDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n\t\ufeff"), max_size=12)
TSV_ROWS = st.lists(st.tuples(FIELDS, FIELDS), min_size=1, max_size=8).filter(lambda rows: any(map(any, rows)))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=5,
)


def parser_of(kind, path):
    if kind == "jsonl":
        return jsonl_parser(path, ["a", "b"], one_line=True)
    return tsv_parser(path, ["a", "b"]) if kind == "tsv" else lambda number, line: [line, line]


def rows_of(path, kind, content):
    """The rows of a file, as a corpus reads them."""
    path.write_bytes(content)
    found = ([], [])
    read_text_file(path, f"data.splits.train=[{path.name}]", parser_of(kind, path), found)
    return list(zip(*found, strict=True))


def rows_or_none(path, kind, content):
    """The rows, or None where they were refused with the name of the file."""
    try:
        return rows_of(path, kind, content)
    except DataError as e:
        assert path.name in str(e) and str(e).count("\n") == 0
        return None


@pytest.mark.parametrize("kind", ["text", "tsv", "jsonl"])
@FEW
@given(content=st.binary(max_size=60) | st.text('ab{}[]:",\\t\t\n\r\0\ufeff\ud7ff1e', max_size=40).map(str.encode))
@example(b"\x1f\x8b")
@example(b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\xff\xff")
@example(b'{"a":' * 100_000)
@example(b'{"a": ' + b"9" * 5000 + b"}")
@example(b'{"a": "\\ud800", "b": "\\u0000"}\n')
@example(b"a\tb")
def test_read_text_file_gives_rows_or_refuses_any_bytes(tmp_path, kind, content):
    for name, packed in (("x.txt", content), ("x.gz", gzip.compress(content))):
        found = rows_or_none(tmp_path / name, kind, packed)
        if found is not None:
            assert found and all(isinstance(text, str) and "\0" not in text for row in found for text in row)


@FEW
@given(values=st.lists(JSON, min_size=1, max_size=3))
def test_jsonl_parser_refuses_other_shapes_with_their_line(tmp_path, values):
    path = tmp_path / "x.jsonl"
    good = '{"a": "one", "b": "two"}\n'
    try:
        assert rows_of(path, "jsonl", (good + "".join(json.dumps(v) + "\n" for v in values)).encode())
    except DataError as e:
        bad = [i for i, v in enumerate(values, start=2) if not _is_row(v)]
        assert bad and f"{path}:{bad[0]}:" in str(e)
    else:
        assert all(map(_is_row, values))


def _is_row(value):
    if not isinstance(value, dict) or not {"a", "b"} <= value.keys():
        return False
    return all(isinstance(value[c], str) and not set(value[c]) & set("\0\r\n") for c in "ab")


@FEW
@given(rows=ROWS, ascii_only=st.booleans(), end=st.sampled_from(["\n", "\r\n"]), bom=st.booleans())
def test_jsonl_parser_gives_back_what_was_written(tmp_path, rows, ascii_only, end, bom):
    lines = [json.dumps({"b": b, "more": [1], "a": a}, ensure_ascii=ascii_only) for a, b in rows]
    content = ("\ufeff" if bom else "") + end.join(lines) + end
    assert rows_of(tmp_path / "x.jsonl", "jsonl", content.encode()) == rows
    assert rows_of(tmp_path / "x.gz", "jsonl", gzip.compress(content.encode())) == rows


@FEW
@given(rows=TSV_ROWS, end=st.sampled_from(["\n", "\r\n"]), closed=st.booleans())
def test_tsv_parser_gives_back_what_was_written(tmp_path, rows, end, closed):
    content = end.join(["b\tmore\ta", *(f"{b}\t1\t{a}" for a, b in rows)]) + (end if closed else "")
    assert rows_of(tmp_path / "x.tsv", "tsv", content.encode()) == rows


def parquet_of(rows):
    out = io.BytesIO()
    vectors = pa.array([[[1.0, 2.0]] * (1 + len(a)) for a, _ in rows], pa.list_(pa.list_(pa.float32())))
    texts = {"a": [a for a, _ in rows], "b": [b for _, b in rows]}
    pq.write_table(pa.table({**texts, "v": vectors}), out, write_page_checksum=True)
    return out.getvalue()


@FEW
@given(rows=ROWS)
def test_read_parquet_gives_back_what_was_written(tmp_path, rows):
    path = tmp_path / "x.parquet"
    path.write_bytes(parquet_of(rows))
    texts = {"a": [], "b": []}
    read_parquet(texts, path, "x", True)
    assert list(zip(*texts.values(), strict=True)) == rows
    assert read_features(path, "x", "v", 2).lengths.tolist() == [1 + len(a) for a, _ in rows]


WHOLE = parquet_of([("one", "two"), ("", "four"), ("five", "")])


@settings(FEW, max_examples=150)
@given(at=st.integers(0, len(WHOLE) - 1), by=st.integers(1, 255), cut=st.booleans())
def test_read_parquet_gives_rows_or_refuses_damage(tmp_path, at, by, cut):
    path = tmp_path / "x.parquet"
    path.write_bytes(WHOLE[:at] if cut else WHOLE[:at] + bytes([WHOLE[at] ^ by]) + WHOLE[at + 1 :])
    texts = {"a": [], "b": []}
    for read in (lambda: read_parquet(texts, path, "x", True), lambda: read_features(path, "x", "v", 2)):
        try:
            read()
        except DataError as e:
            assert path.name in str(e) and str(e).count("\n") == 0


def npz_of(array):
    out = io.BytesIO()
    np.savez(out, v=array)
    return out.getvalue()


VECTORS = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
NPZ = npz_of(VECTORS)


@settings(FEW, max_examples=150)
@given(at=st.integers(0, len(NPZ) - 1), by=st.integers(1, 255), cut=st.booleans())
def test_read_features_gives_rows_or_refuses_damage(tmp_path, at, by, cut):
    path = tmp_path / "x.npz"
    path.write_bytes(NPZ[:at] if cut else NPZ[:at] + bytes([NPZ[at] ^ by]) + NPZ[at + 1 :])
    try:
        found = read_features(path, "x", "v", 2)
    except DataError as e:
        assert path.name in str(e) and str(e).count("\n") == 0
    else:  # what the damage did not reach
        assert np.array_equal(found.values, VECTORS.reshape(-1, 2))


@FEW
@given(st.binary(max_size=80), st.sampled_from([".npz", ".parquet"]))
def test_read_features_refuses_any_bytes(tmp_path, content, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=path.name):
        read_features(path, "data.splits.train=[x]", "v", 2)


class Trap:
    """An object whose unpickling would be seen."""

    def __reduce__(self):
        return (print, ("unpickled",))


def test_read_features_never_unpickles(tmp_path, capsys):
    path = tmp_path / "x.npz"
    path.write_bytes(npz_of(np.array([Trap()], dtype=object)))
    assert refusal(read_features, path, "x", "v", 2).setting == str(path)
    assert "unpickled" not in capsys.readouterr().out
