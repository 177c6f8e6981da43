import os
import random
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from refusals import refusal, spelled
from tietrain.config import DataConfig
from tietrain.data.sources import features
from tietrain.data.sources.corpora import load_corpus
from tietrain.data.sources.features import FeatureRows, read_features
from tietrain.data.sources.named import corpus_key
from tietrain.errors import DataError, SettingsError

DRAW = np.random.default_rng(0)
ARRAYS = [DRAW.normal(size=(s, 3)).astype(np.float32) for s in (2, 5, 1, 4)]
VECTORS = np.concatenate(ARRAYS)
OFFSETS = np.array([0, 2, 7, 8, 12])
LISTS = pa.list_(pa.list_(pa.float32()))
RAGGED = [a.tolist() for a in ARRAYS]


def read(path, column="image", width=3):
    return read_features(path, "data.splits.train=[x]", column, width)


def npz(tmp_path, **arrays):
    np.savez(tmp_path / "f.npz", **{name.replace("__", "."): array for name, array in arrays.items()})
    return tmp_path / "f.npz"


def parquet(tmp_path, values, kind=LISTS, **settings):
    path = tmp_path / "f.parquet"
    column = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, kind)
    pq.write_table(pa.table({"text": ["x"] * len(column), "image": column}), path, **settings)
    return path


def equal(rows, arrays) -> bool:
    return len(rows) == len(arrays) and all(np.array_equal(a, b) for a, b in zip(rows, arrays, strict=True))


def test_feature_rows_pack_arrays():
    rows = FeatureRows.of(ARRAYS)
    assert equal(rows, ARRAYS)
    assert (rows.values.shape, rows.values.dtype) == ((12, 3), np.float32)
    assert (rows.offsets.dtype, rows.lengths.tolist()) == (np.int64, [2, 5, 1, 4])
    assert np.array_equal(rows[-1], ARRAYS[3])
    with pytest.raises(IndexError):
        rows[4]


def test_feature_rows_slices_are_those_of_a_list():
    for cut in (slice(2), slice(1, 3), slice(None, None, -1), slice(0, 4, 2), slice(3, 1), slice(9, 12)):
        rows = FeatureRows.of(ARRAYS)[cut]
        assert equal(rows, ARRAYS[cut]) and rows.values.shape[1] == 3


def test_feature_rows_take_rows_in_any_order():
    rows = FeatureRows.of(ARRAYS)[1:]
    assert equal(rows.take(np.array([2, 0, 2])), [ARRAYS[3], ARRAYS[1], ARRAYS[3]])
    assert equal(FeatureRows.joined([rows, rows[:0], rows[:1]]), [*ARRAYS[1:], ARRAYS[1]])


def test_feature_rows_fingerprint_knows_numbers_order_and_ends():
    rows = FeatureRows.of(ARRAYS)
    changed = [a.copy() for a in ARRAYS]
    changed[1][4, 2] = np.nextafter(changed[1][4, 2], 9)
    others = [FeatureRows.of(a) for a in (changed, ARRAYS[::-1], [np.concatenate(ARRAYS[:2]), *ARRAYS[2:]])]
    others += [FeatureRows(rows.values.reshape(-1, 6), rows.offsets), rows[:0]]
    assert len({rows.fingerprint, *(o.fingerprint for o in others)}) == 6
    assert FeatureRows.of([a.astype(np.float64) for a in ARRAYS])[:].fingerprint == rows.fingerprint


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "f2", "f8", "i1"])
def test_read_features_of_npz_with_offsets(tmp_path, dtype):
    values = (VECTORS * 8).astype(dtype)
    save = np.savez if dtype == "<f4" else np.savez_compressed
    save(tmp_path / "f.npz", **{"image": np.asfortranarray(values), "image.offsets": OFFSETS.astype("u4"), "x": [1]})
    rows = read(tmp_path / "f.npz")
    assert equal(rows, np.split(values.astype(np.float32), OFFSETS[1:-1]))
    assert (rows.values.dtype, rows.offsets.dtype) == (np.float32, np.int64)


def test_read_features_of_npz_with_rows_of_equal_length(tmp_path):
    values = DRAW.normal(size=(4, 2, 3)).astype(np.float32)
    assert equal(read(npz(tmp_path, image=values)), list(values))
    assert equal(read(npz(tmp_path, image=values[:, 0])), [v[None] for v in values[:, 0]])


@pytest.mark.parametrize(
    ("number", "vector", "outer"),
    [
        (pa.float16(), pa.list_, pa.list_),
        (pa.float32(), pa.large_list, pa.large_list),
        (pa.float64(), lambda number: pa.list_(number, 3), pa.list_),
        (pa.int32(), pa.list_, pa.large_list),
    ],
)
def test_read_features_of_lists_of_vectors(tmp_path, monkeypatch, number, vector, outer):
    monkeypatch.setattr(features, "BATCH_ROWS", 3)
    arrays = [(a * 8).astype(number.to_pandas_dtype()) for a in ARRAYS]
    column = pa.array(
        [a.tolist() if number != pa.float16() else [list(v) for v in a] for a in arrays], outer(vector(number))
    )
    assert equal(read(parquet(tmp_path, column, row_group_size=2)), [a.astype(np.float32) for a in arrays])


def test_read_features_of_one_vector_per_row(tmp_path):
    for kind in (pa.list_(pa.float32()), pa.list_(pa.float32(), 3)):
        assert equal(read(parquet(tmp_path, VECTORS.tolist(), kind)), [v[None] for v in VECTORS])


def test_read_features_of_fields_of_structs(tmp_path):
    column = pa.array([{"cnn": row, "other": 1} for row in RAGGED], pa.struct({"cnn": LISTS, "other": pa.int8()}))
    assert equal(read(parquet(tmp_path, column), "image.cnn"), ARRAYS)
    path = parquet(tmp_path, pa.array([{"cnn": RAGGED[0]}, None], pa.struct({"cnn": LISTS})))
    assert refusal(read, path, "image.cnn").setting == f"{path}, row 2"


def test_read_features_gives_the_same_rows_of_both_files(tmp_path):
    one, two = read(parquet(tmp_path, RAGGED)), read(npz(tmp_path, image=VECTORS, image__offsets=OFFSETS))
    assert one.fingerprint == two.fingerprint


def test_read_features_without_rows_has_a_width(tmp_path):
    for path in (
        parquet(tmp_path, []),
        npz(tmp_path, image=VECTORS[:0]),
        npz(tmp_path, image=VECTORS[:0], image__offsets=[0]),
    ):
        assert read(path).values.shape == (0, 3) and len(read(path)) == 0


def changed(row, vector, value):
    rows = [[list(v) for v in r] for r in RAGGED]
    rows[row][vector] = value
    return rows


FIXED = pa.list_(pa.float32(), 3)
BAD_ROWS = {
    "few numbers": (changed(1, 4, [1, 2]), LISTS, 2),
    "many numbers": (changed(2, 0, [1, 2, 3, 4]), LISTS, 3),
    "no numbers": (changed(3, 3, []), LISTS, 4),
    "null vector": (changed(3, 3, None), LISTS, 4),
    "null number": (changed(1, 0, [1, None, 2]), LISTS, 2),
    "NaN": (changed(3, 0, [1, float("nan"), 2]), LISTS, 4),
    "infinite": (changed(0, 1, [1, 2, float("-inf")]), LISTS, 1),
    "null row": ([*RAGGED, None], LISTS, 5),
    "empty row": ([*RAGGED, []], LISTS, 5),
    "null number of fixed width": ([[1, 2, 3], [1, 2, None]], FIXED, 2),
    "null row of fixed width": ([[1, 2, 3], None], FIXED, 2),
    "other fixed width": ([[1, 2, 3, 4]], pa.list_(pa.float32(), 4), 1),
    "too large for float32": ([[1, 1e39, 0]], pa.list_(pa.float64()), 1),
    "numbers": ([1.0], pa.float32(), None),
    "texts": (["a"], pa.string(), None),
    "lists of texts": ([["a"]], pa.list_(pa.string()), None),
    "booleans": ([[True]], pa.list_(pa.bool_()), None),
    "lists of lists of lists": ([[[[1.0]]]], pa.list_(LISTS), None),
    "nulls alone": ([None], pa.null(), None),
}


def test_read_features_refuses_rows_of_parquet(tmp_path, monkeypatch, golden):
    texts = {}
    for name, (rows, kind, row) in BAD_ROWS.items():
        for batch_rows in (1, 3, 256):
            monkeypatch.setattr(features, "BATCH_ROWS", batch_rows)
            error = refusal(read, parquet(tmp_path, rows, kind))
            assert (error.setting, error.exit_code) == (f"{tmp_path}/f.parquet" + (f", row {row}" if row else ""), 3)
        texts[name] = spelled(error, tmp_path)
    texts["missing column"] = spelled(refusal(read, parquet(tmp_path, RAGGED), "pixels"), tmp_path)
    golden("data_refusals_parquet_vectors", texts)


def at(row, column, value):
    values = VECTORS.copy()
    values[row, column] = value
    return values


BAD_ARRAYS = {
    "few numbers": ({"image": VECTORS[:, :2]}, None),
    "NaN": ({"image": at(7, 2, np.nan), "image__offsets": OFFSETS}, 3),
    "infinite": ({"image": at(7, 0, np.inf)}, 8),
    "infinite of rows": ({"image": at(7, 0, -np.inf).reshape(4, 3, 3)}, 3),
    "too large for float32": ({"image": np.full((1, 3), 1e39)}, 1),
    "no vectors": ({"image": np.zeros((2, 0, 3))}, 1),
    "a row without vectors": ({"image": VECTORS, "image__offsets": [0, 2, 2, 12]}, 2),
    "offsets fall": ({"image": VECTORS, "image__offsets": [0, 8, 2, 12]}, 2),
    "offsets end early": ({"image": VECTORS, "image__offsets": [0, 11]}, None),
    "offsets begin late": ({"image": VECTORS, "image__offsets": [1, 12]}, None),
    "offsets overflow": ({"image": VECTORS, "image__offsets": np.array([0, 2**63, 12], "u8")}, 1),
    "offsets are floats": ({"image": VECTORS, "image__offsets": [0.0, 12.0]}, None),
    "offsets are a table": ({"image": VECTORS, "image__offsets": [[0, 12]]}, None),
    "offsets are empty": ({"image": VECTORS, "image__offsets": np.zeros(0, int)}, None),
    "rows with offsets": ({"image": VECTORS.reshape(4, 3, 3), "image__offsets": [0, 4]}, None),
    "one vector": ({"image": VECTORS[0]}, None),
    "one number": ({"image": np.float32(1)}, None),
    "texts": ({"image": VECTORS.astype(str)}, None),
    "booleans": ({"image": VECTORS > 0}, None),
    "complex numbers": ({"image": VECTORS + 1j}, None),
    "objects": ({"image": np.array([[1, None, 2]])}, None),
}


def test_read_features_refuses_arrays_of_npz(tmp_path, golden):
    texts = {}
    for name, (arrays, row) in BAD_ARRAYS.items():
        error = refusal(read, npz(tmp_path, **arrays))
        assert (error.setting, error.exit_code) == (f"{tmp_path}/f.npz" + (f", row {row}" if row else ""), 3)
        texts[name] = spelled(error, tmp_path)
    several = npz(tmp_path, image=VECTORS, image__offsets=OFFSETS, b=[1])
    texts["missing array"] = spelled(refusal(read, several, "pixels"), tmp_path)
    golden("data_refusals_npz", texts)


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_read_features_reads_or_refuses_a_damaged_file(tmp_path, suffix):
    if suffix == "npz":
        path = npz(tmp_path, image=VECTORS, image__offsets=OFFSETS)
    else:
        path = parquet(tmp_path, RAGGED, write_page_checksum=True)
    whole, draw = path.read_bytes(), random.Random(1)
    n_refused = 0
    for i in range(300):
        damaged = bytearray(whole)
        if i % 10:
            damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        else:
            del damaged[draw.randrange(len(whole)) :]
        path.write_bytes(damaged)
        try:
            rows = read(path)
            assert np.isfinite(rows.values).all() and rows.values.shape[1] == 3
        except DataError:
            n_refused += 1
    assert n_refused > 150


def member(name, header: bytes, data: bytes) -> tuple[str, bytes]:
    return name, b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


LYING_HEADERS = [
    member("image.npy", b"{'descr': '<f4', 'fortran_order': False, 'shape': (999999999999999, 3)}", b""),
    member("image.npy", b"{'descr': '<f4', 'fortran_order': False, 'shape': (2000000000, 3)}", b"\0" * 12),
    member("image.npy", b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3)}", b"\0" * 13),
    member("image.npy", b"{'descr': '|O', 'fortran_order': False, 'shape': (1, 3)}", b"cos\nsystem\n(S'false'\ntR."),
    member("image.npy", b"((((", b""),
    ("image.npy", b"\x80\x04."),
    ("image", b""),
]


def test_read_features_refuses_headers_that_lie(tmp_path):
    for content in LYING_HEADERS:
        with zipfile.ZipFile(tmp_path / "f.npz", "w") as file:
            file.writestr(*content)
        assert refusal(read, tmp_path / "f.npz").setting == f"{tmp_path}/f.npz"


def test_read_features_refuses_other_files(tmp_path):
    np.save(tmp_path / "array.npy", VECTORS)
    for content in (b"", b"PK", b"PAR1", b"text\n", b"\x93NUMPY", (tmp_path / "array.npy").read_bytes()):
        for name in ("f.npz", "f.parquet"):
            (tmp_path / name).write_bytes(content)
            assert refusal(read, tmp_path / name).setting == f"{tmp_path}/{name}"


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_read_features_refuses_giants_before_unpacking_all(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(features, "MAX_BYTES", 100_000)
    zeros, path = np.zeros((20_000, 3), np.float32), tmp_path / f"f.{suffix}"
    if suffix == "npz":
        np.savez_compressed(path, image=zeros, small=zeros[:10])
        assert len(read(path, "small")) == 10
        monkeypatch.setattr(np.lib.format, "read_array", pytest.fail)
    else:
        pq.write_table(pa.table({"image": zeros.tolist()}), path)
        monkeypatch.setattr(features.FeatureRows, "joined", pytest.fail)
    assert path.stat().st_size < 10_000
    assert refusal(read, path).setting == str(path)


def test_read_features_reads_only_regular_files_of_known_names(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    for name in ("pipe.npz", "missing.parquet"):
        error = refusal(read, tmp_path / name)
        assert isinstance(error, DataError) and error.setting == "data.splits.train=[x]"
    for name in ("f.txt", "f.npy", "f"):
        assert isinstance(refusal(read, tmp_path / name), SettingsError)


DE = ["A", "B", "C", "D"]


def corpus_of(tmp_path, data_format, *names, width=3):
    data = DataConfig(
        format=data_format,
        root=str(tmp_path),
        cache=str(tmp_path / "cache"),
        columns=["image", "de"],
        features={"image": width},
        splits={"train": list(names), "valid": list(names)},
    )
    return load_corpus(data, "mt"), corpus_key(data, "mt")


def write_all(tmp_path, de=DE, vectors=VECTORS, offsets=OFFSETS):
    rows = [v.tolist() for v in np.split(vectors, offsets[1:-1])]
    (tmp_path / "a.de").write_text("".join(f"{line}\n" for line in de))
    np.savez(tmp_path / "a.image.npz", **{"image": vectors, "image.offsets": offsets})
    pq.write_table(pa.table({"image": pa.array(rows, LISTS)}), tmp_path / "a.image.parquet")
    pq.write_table(pa.table({"de": de}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"de": de[:1], "image": pa.array(rows[:1], LISTS)}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"de": de[1:], "image": pa.array(rows[1:], LISTS)}), tmp_path / "2.parquet")


def test_load_corpus_is_the_same_wherever_its_vectors_are(tmp_path):
    write_all(tmp_path)
    named = [
        ("text", "a.image.npz", "a.de"),
        ("text", "a.image.parquet", "a.de"),
        ("parquet", "1.parquet", "2.parquet"),
        ("parquet", "a.parquet", "a.image.parquet"),
        ("parquet", "a.image.npz", "a.parquet"),
        ("parquet", "a.parquet", "a.image.npz"),
    ]
    corpora = [corpus_of(tmp_path, *names) for names in named]
    assert len({corpus.fingerprint for corpus, _ in corpora}) == 1
    assert len({key for _, key in corpora}) == len(named)
    for corpus, _ in corpora:
        train = corpus.splits["train"]
        assert train.texts == {"de": DE} and corpus.columns == ["image", "de"]
        assert equal(train.features["image"], ARRAYS)
        assert corpus.about["splits"]["valid"]["image"] == {"lines": 4, "vectors": 12}


def test_load_corpus_of_a_table_named_after_its_features(tmp_path):
    write_all(tmp_path)
    for i in (1, 2):
        (tmp_path / f"{i}.parquet").rename(tmp_path / f"{i}.image.parquet")
    corpus, _ = corpus_of(tmp_path, "parquet", "1.image.parquet", "2.image.parquet")
    assert equal(corpus.splits["train"].features["image"], ARRAYS)


def test_load_corpus_fingerprint_knows_the_vectors(tmp_path):
    write_all(tmp_path)
    corpus, key = corpus_of(tmp_path, "text", "a.image.npz", "a.de")
    write_all(tmp_path, vectors=at(11, 2, 7))
    other, other_key = corpus_of(tmp_path, "text", "a.image.npz", "a.de")
    assert corpus.fingerprint != other.fingerprint and key != other_key


def test_load_corpus_leaves_out_vectors_of_rows_without_text(tmp_path):
    write_all(tmp_path, de=["A", " ", "C", ""])
    corpus, _ = corpus_of(tmp_path, "text", "a.image.npz", "a.de")
    assert equal(corpus.splits["train"].features["image"], [ARRAYS[0], ARRAYS[2]])
    assert equal(corpus.splits["valid"].features["image"], ARRAYS)
    assert "train: 2 pairs with an empty side are left out" in corpus.notes


def test_load_corpus_refuses_vectors_that_do_not_fit_the_text(tmp_path, golden):
    write_all(tmp_path)
    (tmp_path / "a.de").write_text("A\nB\nC\n")
    (tmp_path / "a.tsv").write_text("image\tde\n1\tA\n")
    pq.write_table(pa.table({"de": DE[:3]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"de": DE[:2]}), tmp_path / "2.parquet")
    np.savez(tmp_path / "2.image.npz", image=VECTORS[:2])
    cases = {
        "text": ("text", "a.image.npz", "a.de"),
        "parquet": ("parquet", "a.parquet", "a.image.npz"),
        "several parquet": ("parquet", "2.image.npz", "2.parquet", "2.parquet"),
        "tsv": ("tsv", "a.tsv"),
        "text in the place of vectors": ("text", "a.de", "a.de"),
    }
    golden("data_refusals_vectors", {k: spelled(refusal(corpus_of, tmp_path, *v), tmp_path) for k, v in cases.items()})


def test_corpus_key_and_fingerprint_of_text_stay(tmp_path):
    for name, lines in {"t.en": "a b\n\nc\n", "t.de": "A B\nB\nC\n", "v.en": "c\nx\n", "v.de": "C\nX\n"}.items():
        (tmp_path / name).write_text(lines)
    splits = {"train": ["t.en", "t.de"], "valid": ["v.en", "v.de"]}
    cache = str(tmp_path / "cache")
    data = DataConfig(format="text", root=str(tmp_path), cache=cache, columns=["en", "de"], splits=splits)
    assert load_corpus(data, "mt").fingerprint == "bdd58dc5a92e6c68296986e799e65e37a725e74037de5aecd079f86869d634f9"
    assert corpus_key(data, "mt") == "bd9d8d4759c5d4daec9e122ad5994cc60ae8e2e49cce01768a699a862208c1ff"
