import os
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refusals import refusal, spelled
from tietrain.config import DataConfig
from tietrain.data.sources import parquet
from tietrain.data.sources.corpora import load_corpus
from tietrain.data.sources.named import corpus_key
from tietrain.data.sources.parquet import read_parquet
from tietrain.errors import DataError

TEXT_TYPES = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]


def write(path, table, **options):
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), path, **options)
    return path


def read(path, names=("en", "de"), one_line=True):
    texts = {name: [] for name in names}
    read_parquet(texts, path, f"data.splits.train=[{path.name}]", one_line)
    return list(texts.values())


def data(root, **settings) -> DataConfig:
    return DataConfig(**{"format": "parquet", "root": str(root), "cache": str(root / "cache"), **settings})


def not_utf8(good: list[bytes]) -> pa.Array:
    """A column that says it is text and holds any bytes, as a broken writer leaves it."""
    return pa.Array.from_buffers(pa.string(), len(good), pa.array(good, pa.binary()).buffers())


ROWS = st.lists(st.tuples(*[st.none() | st.text("a é\n\r\0\u2028\ufeff😀", max_size=6)] * 2), max_size=30)


@given(rows=ROWS, kind=st.sampled_from(TEXT_TYPES), rows_a_group=st.integers(1, 9), one_line=st.booleans())
def test_read_parquet_reads_any_table_exactly_or_names_the_row(tmp_path_factory, rows, kind, rows_a_group, one_line):
    path = tmp_path_factory.mktemp("any") / "any.parquet"
    table = {name: pa.array([row[i] for row in rows], kind) for i, name in enumerate(("en", "de"))}
    write(path, table, row_group_size=rows_a_group)

    def is_good(text):
        return text is not None and "\0" not in text and not (one_line and ("\n" in text or "\r" in text))

    bad = [number for number, row in enumerate(rows, start=1) if not all(map(is_good, row))]
    if not bad:
        assert list(zip(*read(path, one_line=one_line), strict=True)) == rows
    else:
        with pytest.raises(DataError) as caught:
            read(path, one_line=one_line)
        # The columns are read one after the other, so the first bad row of either is a true answer.
        first = [next((n for n in bad if not is_good(rows[n - 1][i])), None) for i in range(2)]
        assert caught.value.setting in [f"{path}, row {number}" for number in first if number]


BAD_TABLES = {
    "missing column": ({"en": ["a"]}, None),
    "numbers": ({"en": ["a"], "de": [1]}, None),
    "bytes": ({"en": ["a"], "de": [b"b"]}, None),
    "lists": ({"en": ["a"], "de": [["b"]]}, None),
    "null": ({"en": ["a", "b"], "de": ["c", None]}, 2),
    "nulls alone": ({"en": ["a", "b"], "de": pa.nulls(2)}, 1),
    "line break": ({"en": ["a", "b", "c"], "de": ["x", "y", "z\nz"]}, 3),
    "NUL": ({"en": ["a", "b\0"], "de": ["x", "y"]}, 2),
    "not UTF-8": ({"en": ["a", "b"], "de": not_utf8([b"ok", b"\xff"])}, 2),
    "repeated column": (pa.table([["a"], ["b"], ["c"]], ["en", "de", "de"]), None),
}


def test_read_parquet_refuses_columns_that_do_not_fit(tmp_path, golden):
    texts = {}
    for name, (table, row) in BAD_TABLES.items():
        error = refusal(read, write(tmp_path / "a.parquet", table))
        assert (error.setting, error.exit_code) == (f"{tmp_path}/a.parquet" + (f", row {row}" if row else ""), 3)
        texts[name] = spelled(error, tmp_path)
    golden("data_refusals_parquet", texts)


def test_read_parquet_counts_rows_over_row_groups(tmp_path):
    texts = [f"line {i}" for i in range(200_000)]
    path = write(tmp_path / "a.parquet", {"en": [*texts, None], "de": [*texts, "x"]}, row_group_size=70_000)
    assert refusal(read, path).setting == f"{path}, row 200001"


def test_read_parquet_names_fields_of_a_struct_with_a_dot(tmp_path):
    rows = [{"en": "one", "de": "eins"}, {"en": "two", "de": "zwei"}]
    path = write(tmp_path / "a.parquet", {"id": [1, 2], "translation": rows})
    assert read(path, ["translation.de", "translation.en"]) == [["eins", "zwei"], ["one", "two"]]
    for missing in ("translation.fr", "translation"):
        assert repr(missing) in refusal(read, path, [missing]).problem
    error = refusal(read, write(path, {"translation": pa.array([rows[0], None])}), ["translation.en"])
    assert error.setting == f"{path}, row 2"
    literal = {"a.b": ["its own name"], "a": [{"c": "x"}]}
    assert read(write(path, literal), ["a.b", "a.c"]) == [["its own name"], ["x"]]
    assert "'a.b'" in refusal(read, write(path, {**literal, "a": [{"b": "x"}]}), ["a.b"]).problem
    twice = pa.table([pa.array([{"en": "x"}]), pa.array([{"de": "y"}])], ["pair", "pair"])
    assert "'pair.en'" in refusal(read, write(path, twice), ["pair.en"]).problem


def test_read_parquet_refuses_every_cut_of_a_file(tmp_path):
    path = write(tmp_path / "a.parquet", {"en": ["one", "two"], "de": ["eins", "zwei"]})
    whole = path.read_bytes()
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        assert refusal(read, path).setting == str(path)


def test_read_parquet_reads_or_refuses_a_damaged_file(tmp_path):
    texts = {"en": [f"line {i}" for i in range(50)], "de": [f"zeile {i % 7}" for i in range(50)]}
    path = write(tmp_path / "a.parquet", texts, write_page_checksum=True)
    whole, draw = path.read_bytes(), random.Random(1)
    n_refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        try:
            read(path)
        except DataError:
            n_refused += 1
    assert n_refused > 200


def test_read_parquet_refuses_other_files(tmp_path):
    for content in (b"", b"PAR1", b"en\tde\na\tb\n", b"PAR1" + b"\0" * 100 + b"PAR1"):
        (tmp_path / "a.parquet").write_bytes(content)
        assert refusal(read, tmp_path / "a.parquet").setting == str(tmp_path / "a.parquet")


def test_read_parquet_reads_only_regular_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "missing", "."):
        assert refusal(read, tmp_path / name).setting == f"data.splits.train=[{(tmp_path / name).name}]"


def test_read_parquet_refuses_more_than_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_BYTES", 1000)
    # A dictionary makes many long rows of a short file.
    path = write(tmp_path / "a.parquet", {"en": ["x" * 100] * 1000, "de": ["y"] * 1000})
    assert path.stat().st_size < 2000
    assert refusal(read, path).remedy == "split it"


def test_load_parquet_joins_the_files_of_a_split(tmp_path):
    for i in range(3):
        write(tmp_path / f"{i}.parquet", {"de": [f"D{i}"] * i, "en": [f"E{i}"] * i, "n": [1] * i})
    settings = data(
        tmp_path,
        columns=["en", "de"],
        splits={"train": ["0.parquet", "2.parquet", "1.parquet"], "valid": ["1.parquet"]},
    )
    corpus = load_corpus(settings, "mt")
    assert corpus.splits["train"].texts == {"en": ["E2", "E2", "E1"], "de": ["D2", "D2", "D1"]}
    assert corpus.name == "0.parquet and 2 more"
    before = corpus_key(settings, "mt")
    write(tmp_path / "2.parquet", {"en": ["other"], "de": ["andere"]})
    assert corpus_key(settings, "mt") != before


def test_load_parquet_is_the_corpus_of_the_same_text(tmp_path):
    rows = [
        ("NA", "null"),
        ("12", "1.0"),
        ('"q', "'x\\"),
        ("  two  blanks ", "a\tb"),
        ("", "empty side"),
        ("ü 😀", "é"),
    ]
    for side, lines in zip(("en", "de"), zip(*rows, strict=True), strict=True):
        (tmp_path / f"all.{side}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    write(tmp_path / "all.parquet", {"de": [de for _, de in rows], "en": [en for en, _ in rows]})
    files = {"text": ["all.en", "all.de"], "parquet": ["all.parquet"]}
    read_as = {
        f: load_corpus(data(tmp_path, format=f, columns=["en", "de"], splits={"train": names, "valid": names}), "mt")
        for f, names in files.items()
    }
    assert read_as["text"].fingerprint == read_as["parquet"].fingerprint
    assert read_as["text"].splits == read_as["parquet"].splits
    assert read_as["text"].notes == read_as["parquet"].notes
    assert "train: 1 pairs with an empty side are left out" in read_as["parquet"].notes


def test_load_parquet_refuses_a_split_without_text_or_file(tmp_path):
    write(tmp_path / "full.parquet", {"text": ["x"]})
    write(tmp_path / "empty.parquet", {"text": pa.array([], pa.string())})
    settings = data(tmp_path, splits={"train": ["full.parquet"], "valid": ["empty.parquet"]})
    assert refusal(load_corpus, settings, "lm").setting == "data.splits.valid=[empty.parquet]"
    settings = data(tmp_path, splits={"train": ["full.parquet"], "valid": []})
    assert refusal(load_corpus, settings, "lm").setting == "data.splits.valid=[]"
