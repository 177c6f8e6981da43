import os
import random
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tietrain.config import DataConfig
from tietrain.data.sources import features as feature_files
from tietrain.data.sources.corpora import corpus_key, load_corpus
from tietrain.data.sources.features import check_rows, read_features
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


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "f2", "f8", "i1"])
def test_npz_of_vectors_and_offsets(tmp_path, save, dtype):
    values = (VECTORS * 8).astype(dtype)
    save(tmp_path / "f.npz", **{"image": np.asfortranarray(values), "image.offsets": OFFSETS.astype("u4"), "x": [1]})
    rows = read(tmp_path / "f.npz")
    assert equal(rows, np.split(values.astype(np.float32), OFFSETS[1:-1]))
    assert (rows.values.dtype, rows.offsets.dtype) == (np.float32, np.int64)


def test_npz_of_rows_of_equal_length(tmp_path):
    values = DRAW.normal(size=(4, 2, 3)).astype(np.float32)
    assert equal(read(npz(tmp_path, image=values)), list(values))
    assert equal(read(npz(tmp_path, image=values[:, 0])), [v[None] for v in values[:, 0]])


@pytest.mark.parametrize("number", [pa.float16(), pa.float32(), pa.float64(), pa.int32()])
@pytest.mark.parametrize("vector", [pa.list_, pa.large_list, lambda number: pa.list_(number, 3)])
@pytest.mark.parametrize("outer", [pa.list_, pa.large_list])
def test_parquet_of_lists_of_vectors(tmp_path, monkeypatch, number, vector, outer):
    monkeypatch.setattr(feature_files, "BATCH_ROWS", 3)
    arrays = [(a * 8).astype(number.to_pandas_dtype()) for a in ARRAYS]
    column = pa.array(
        [a.tolist() if number != pa.float16() else [list(v) for v in a] for a in arrays], outer(vector(number))
    )
    assert equal(read(parquet(tmp_path, column, row_group_size=2)), [a.astype(np.float32) for a in arrays])


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float32(), 3)])
def test_parquet_of_one_vector_a_row(tmp_path, kind):
    assert equal(read(parquet(tmp_path, VECTORS.tolist(), kind)), [v[None] for v in VECTORS])


def test_parquet_of_fields_of_structs(tmp_path):
    column = pa.array([{"cnn": row, "other": 1} for row in RAGGED], pa.struct({"cnn": LISTS, "other": pa.int8()}))
    assert equal(read(parquet(tmp_path, column), "image.cnn"), ARRAYS)
    with pytest.raises(DataError, match=r"row 2: 'image.cnn' is null"):
        read(parquet(tmp_path, pa.array([{"cnn": RAGGED[0]}, None], pa.struct({"cnn": LISTS}))), "image.cnn")


def test_both_files_give_the_same_rows(tmp_path):
    one, two = read(parquet(tmp_path, RAGGED)), read(npz(tmp_path, image=VECTORS, image__offsets=OFFSETS))
    assert one.fingerprint == two.fingerprint


def test_files_without_rows_have_a_width(tmp_path):
    for path in (
        parquet(tmp_path, []),
        npz(tmp_path, image=VECTORS[:0]),
        npz(tmp_path, image=VECTORS[:0], image__offsets=[0]),
    ):
        assert (len(read(path)), read(path).width) == (0, 3)


def changed(row, vector, value):
    rows = [[list(v) for v in r] for r in RAGGED]
    rows[row][vector] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (changed(1, 4, [1, 2]), r"row 2: 'image' has a vector of 2 numbers and data\.features\.image=3"),
        (changed(2, 0, [1, 2, 3, 4]), "row 3: 'image' has a vector of 4 numbers"),
        (changed(3, 3, []), "row 4: 'image' has a vector of 0 numbers"),
        (changed(3, 3, None), "row 4: 'image' has a null for a vector"),
        (changed(1, 0, [1, None, 2]), "row 2: 'image' has a null in a vector"),
        (changed(3, 0, [1, float("nan"), 2]), "row 4: 'image' has a number that is NaN or infinite"),
        (changed(0, 1, [1, 2, float("-inf")]), "row 1: 'image' has a number that is NaN or infinite"),
        ([*RAGGED, None], "row 5: 'image' is null"),
        ([*RAGGED, []], "row 5: 'image' has no vector"),
    ],
)
@pytest.mark.parametrize("batch_rows", [1, 3, 256])
def test_rows_of_parquet_are_refused_by_number(tmp_path, monkeypatch, rows, says, batch_rows):
    monkeypatch.setattr(feature_files, "BATCH_ROWS", batch_rows)
    with pytest.raises(DataError, match=rf"f\.parquet, {says}"):
        read(parquet(tmp_path, rows))


def test_nulls_in_vectors_of_fixed_width_are_refused(tmp_path):
    fixed = pa.list_(pa.float32(), 3)
    with pytest.raises(DataError, match="row 2: 'image' has a null in a vector"):
        read(parquet(tmp_path, [[1, 2, 3], [1, 2, None]], fixed))
    with pytest.raises(DataError, match="row 2: 'image' is null"):
        read(parquet(tmp_path, [[1, 2, 3], None], fixed))
    with pytest.raises(DataError, match=r"row 1: 'image' has a vector of 3 numbers and data.features.image=4"):
        read(parquet(tmp_path, [[1, 2, 3]], fixed), width=4)


def test_what_float32_cannot_hold_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"row 1: .* infinite as float32"):
        read(parquet(tmp_path, [[1, 1e39, 0]], pa.list_(pa.float64())))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1.0], pa.float32()),
        (["a"], pa.string()),
        ([["a"]], pa.list_(pa.string())),
        ([[True]], pa.list_(pa.bool_())),
        ([[[[1.0]]]], pa.list_(LISTS)),
        ([None], pa.null()),
    ],
)
def test_columns_of_other_things_are_refused(tmp_path, values, kind):
    with pytest.raises(DataError, match=r"f\.parquet: column 'image' holds .*, not vectors"):
        read(parquet(tmp_path, values, kind))


def test_a_missing_column_names_those_there_are(tmp_path):
    with pytest.raises(DataError, match=r"f\.parquet: there is no column 'pixels', only 'text', 'image'"):
        read(parquet(tmp_path, RAGGED), "pixels")
    with pytest.raises(DataError, match=r"f\.npz: there is no array 'pixels', only 'image', 'b';"):
        read(npz(tmp_path, image=VECTORS, image__offsets=OFFSETS, b=[1]), "pixels")


def at(row, column, value):
    values = VECTORS.copy()
    values[row, column] = value
    return values


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"image": VECTORS[:, :2]}, r": 'image' has a vector of 2 numbers and data\.features\.image=3"),
        ({"image": at(7, 2, np.nan), "image__offsets": OFFSETS}, ", row 3: 'image' has a number that is NaN"),
        ({"image": at(7, 0, np.inf)}, ", row 8: 'image' has a number that is NaN or infinite"),
        ({"image": at(7, 0, -np.inf).reshape(4, 3, 3)}, ", row 3: 'image' has a number that is NaN"),
        ({"image": np.full((1, 3), 1e39)}, ", row 1: .* infinite as float32"),
        ({"image": np.zeros((2, 0, 3))}, ", row 1: 'image' has no vector"),
        ({"image": VECTORS, "image__offsets": [0, 2, 2, 12]}, ", row 2: 'image' has no vector"),
        ({"image": VECTORS, "image__offsets": [0, 8, 2, 12]}, ", row 2: 'image.offsets' falls"),
        (
            {"image": VECTORS, "image__offsets": [0, 11]},
            r": 'image.offsets' goes from 0 to 11 and there are 12 vectors",
        ),
        ({"image": VECTORS, "image__offsets": [1, 12]}, r": 'image.offsets' goes from 1 to 12"),
        ({"image": VECTORS, "image__offsets": np.array([0, 2**63, 12], "u8")}, ", row 1: 'image.offsets' falls"),
        ({"image": VECTORS, "image__offsets": [0.0, 12.0]}, r": 'image.offsets' is float64 of shape \[2\], not rows"),
        ({"image": VECTORS, "image__offsets": [[0, 12]]}, r": 'image.offsets' is int64 of shape \[1, 2\]"),
        ({"image": VECTORS, "image__offsets": np.zeros(0, int)}, r": 'image.offsets' is int64 of shape \[0\]"),
        (
            {"image": VECTORS.reshape(4, 3, 3), "image__offsets": [0, 4]},
            r": 'image' has shape \[4, 3, 3\], not \[vectors",
        ),
        ({"image": VECTORS[0]}, r": 'image' has shape \[3\], not \[rows, vectors, numbers\] or \[rows, numbers\]"),
        ({"image": np.float32(1)}, r": 'image' has shape \[\]"),
        ({"image": VECTORS.astype(str)}, ": 'image' holds <U.*, not numbers"),
        ({"image": VECTORS > 0}, ": 'image' holds bool, not numbers"),
        ({"image": VECTORS + 1j}, ": 'image' holds complex64, not numbers"),
        ({"image": np.array([[1, None, 2]])}, ": it is no .npz file of numbers.*[Oo]bject"),
    ],
)
def test_arrays_of_npz_are_refused(tmp_path, arrays, says):
    with pytest.raises(DataError, match=rf"f\.npz{says}"):
        read(npz(tmp_path, **arrays))


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_a_damaged_file_is_refused_or_read_and_nothing_else(tmp_path, suffix):
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
            assert np.isfinite(rows.values).all() and rows.width == 3
        except DataError:
            n_refused += 1
    assert n_refused > 150


def member(name, header: bytes, data: bytes) -> tuple[str, bytes]:
    return name, b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    "content",
    [
        member("image.npy", b"{'descr': '<f4', 'fortran_order': False, 'shape': (999999999999999, 3)}", b""),
        member("image.npy", b"{'descr': '<f4', 'fortran_order': False, 'shape': (2000000000, 3)}", b"\0" * 12),
        member("image.npy", b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3)}", b"\0" * 13),
        member(
            "image.npy", b"{'descr': '|O', 'fortran_order': False, 'shape': (1, 3)}", b"cos\nsystem\n(S'false'\ntR."
        ),
        member("image.npy", b"((((", b""),
        ("image.npy", b"\x80\x04."),
        ("image", b""),
    ],
)
def test_headers_that_lie_are_refused(tmp_path, content):
    with zipfile.ZipFile(tmp_path / "f.npz", "w") as file:
        file.writestr(*content)
    with pytest.raises(DataError, match=r"f\.npz: it is no \.npz file of numbers"):
        read(tmp_path / "f.npz")


@pytest.mark.parametrize("content", [b"", b"PK", b"PAR1", b"text\n", b"\x93NUMPY"])
@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_what_is_no_such_file_is_refused(tmp_path, content, suffix):
    (tmp_path / f"f.{suffix}").write_bytes(content)
    with pytest.raises(DataError, match=rf"f\.{suffix}: it is no "):
        read(tmp_path / f"f.{suffix}")


def test_an_array_alone_is_no_npz(tmp_path):
    np.save(tmp_path / "f.npy", VECTORS)
    (tmp_path / "f.npy").rename(tmp_path / "f.npz")
    with pytest.raises(DataError, match=r"it is no .npz file"):
        read(tmp_path / "f.npz")


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_giants_are_refused_before_all_of_them_is_unpacked(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(feature_files, "MAX_BYTES", 100_000)
    zeros, path = np.zeros((20_000, 3), np.float32), tmp_path / f"f.{suffix}"
    if suffix == "npz":
        np.savez_compressed(path, image=zeros, small=zeros[:10])
        assert len(read(path, "small")) == 10
        monkeypatch.setattr(np.lib.format, "read_array", pytest.fail)
    else:
        pq.write_table(pa.table({"image": zeros.tolist()}), path)
        monkeypatch.setattr(feature_files.FeatureRows, "joined", pytest.fail)
    assert path.stat().st_size < 10_000
    with pytest.raises(DataError, match="more than 0 GiB of feature vectors"):
        read(path)


def test_only_regular_files_of_known_names_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    for name in ("pipe.npz", "missing.parquet"):
        with pytest.raises(DataError, match=r"data\.splits\.train="):
            read(tmp_path / name)
    for name in ("f.txt", "f.npy", "f"):
        with pytest.raises(SettingsError, match=r"column 'image' holds feature vectors and f.* is neither \.npz nor"):
            read(tmp_path / name)


def test_files_of_other_lengths_are_named_with_their_counts(tmp_path):
    counts = [(tmp_path / "a.en", 3, "lines"), (tmp_path / "a.npz", 3, "rows")]
    check_rows("data.splits.train=[x]", counts)
    with pytest.raises(DataError, match=r"train=\[x\]: .*a\.en has 3 lines and .*a\.npz has 4 rows"):
        check_rows("data.splits.train=[x]", [counts[0], (tmp_path / "a.npz", 4, "rows")])


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


def test_a_corpus_is_the_same_wherever_its_vectors_are(tmp_path):
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


def test_a_table_may_be_named_after_its_features(tmp_path):
    write_all(tmp_path)
    for i in (1, 2):
        (tmp_path / f"{i}.parquet").rename(tmp_path / f"{i}.image.parquet")
    corpus, _ = corpus_of(tmp_path, "parquet", "1.image.parquet", "2.image.parquet")
    assert equal(corpus.splits["train"].features["image"], ARRAYS)


def test_another_number_is_another_corpus(tmp_path):
    write_all(tmp_path)
    corpus, key = corpus_of(tmp_path, "text", "a.image.npz", "a.de")
    write_all(tmp_path, vectors=at(11, 2, 7))
    other, other_key = corpus_of(tmp_path, "text", "a.image.npz", "a.de")
    assert corpus.fingerprint != other.fingerprint and key != other_key


def test_rows_without_text_leave_their_vectors_out_of_train(tmp_path):
    write_all(tmp_path, de=["A", " ", "C", ""])
    corpus, _ = corpus_of(tmp_path, "text", "a.image.npz", "a.de")
    assert equal(corpus.splits["train"].features["image"], [ARRAYS[0], ARRAYS[2]])
    assert equal(corpus.splits["valid"].features["image"], ARRAYS)
    assert "train: 2 pairs with an empty side are left out" in corpus.notes


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("text", "a.image.npz", "a.de"), r"a\.de has 3 lines and .*a\.image\.npz has 4 rows"),
        (("parquet", "a.parquet", "a.image.npz"), r"a\.parquet has 3 rows and .*a\.image\.npz has 4 rows"),
        (("parquet", "a.image.npz", "2.parquet", "2.parquet"), r"2\.parquet \+ .*2\.parquet has 4 rows and .* 2 rows"),
    ],
)
def test_vectors_of_more_rows_than_the_text_are_refused(tmp_path, names, says):
    write_all(tmp_path)
    if len(names) == 3:
        (tmp_path / "a.de").write_text("A\nB\nC\n")
        pq.write_table(pa.table({"de": DE[:3]}), tmp_path / "a.parquet")
    else:
        pq.write_table(pa.table({"de": DE[:2]}), tmp_path / "2.parquet")
        np.savez(tmp_path / "a.image.npz", image=VECTORS[:2])
    with pytest.raises(DataError, match=rf"data\.splits\.train=\[.*{says}"):
        corpus_of(tmp_path, *names)


def test_only_text_and_parquet_have_places_for_vectors(tmp_path):
    write_all(tmp_path)
    (tmp_path / "a.tsv").write_text("image\tde\n1\tA\n")
    with pytest.raises(SettingsError, match=r"data\.features\.image: a file of data\.format=tsv holds text alone"):
        corpus_of(tmp_path, "tsv", "a.tsv")
    with pytest.raises(SettingsError, match=r"a\.de is neither \.npz nor \.parquet"):
        corpus_of(tmp_path, "text", "a.de", "a.de")


def test_the_fingerprint_of_text_alone_stays(tmp_path):
    for name, lines in {"t.en": "a b\n\nc\n", "t.de": "A B\nB\nC\n", "v.en": "c\nx\n", "v.de": "C\nX\n"}.items():
        (tmp_path / name).write_text(lines)
    splits = {"train": ["t.en", "t.de"], "valid": ["v.en", "v.de"]}
    cache = str(tmp_path / "cache")
    data = DataConfig(format="text", root=str(tmp_path), cache=cache, columns=["en", "de"], splits=splits)
    assert load_corpus(data, "mt").fingerprint == "bdd58dc5a92e6c68296986e799e65e37a725e74037de5aecd079f86869d634f9"
    assert corpus_key(data, "mt") == "bd9d8d4759c5d4daec9e122ad5994cc60ae8e2e49cce01768a699a862208c1ff"
