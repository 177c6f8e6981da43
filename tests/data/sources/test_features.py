import numpy as np
import pytest

from tietrain.data.sources.features import FeatureRows

DRAW = np.random.default_rng(0)
ARRAYS = [DRAW.normal(size=(s, 3)).astype(np.float32) for s in (2, 5, 1, 4)]


def equal(rows, arrays) -> bool:
    return len(rows) == len(arrays) and all(np.array_equal(a, b) for a, b in zip(rows, arrays, strict=True))


def test_rows_are_packed_and_found_again():
    rows = FeatureRows.of(ARRAYS)
    assert equal(rows, ARRAYS)
    assert (rows.width, rows.values.shape, rows.values.dtype) == (3, (12, 3), np.float32)
    assert (rows.offsets.dtype, rows.lengths.tolist()) == (np.int64, [2, 5, 1, 4])
    assert np.array_equal(rows[-1], ARRAYS[3])
    with pytest.raises(IndexError):
        rows[4]


@pytest.mark.parametrize(
    "cut", [slice(2), slice(1, 3), slice(None, None, -1), slice(0, 4, 2), slice(3, 1), slice(9, 12)]
)
def test_slices_are_those_of_a_list(cut):
    rows = FeatureRows.of(ARRAYS)[cut]
    assert equal(rows, ARRAYS[cut])
    assert rows.width == 3


def test_rows_are_taken_in_any_order():
    rows = FeatureRows.of(ARRAYS)[1:]
    assert equal(rows.take(np.array([2, 0, 2])), [ARRAYS[3], ARRAYS[1], ARRAYS[3]])
    assert equal(FeatureRows.joined([rows, rows[:0], rows[:1]]), [*ARRAYS[1:], ARRAYS[1]])


def test_the_fingerprint_knows_numbers_order_and_where_rows_end():
    rows = FeatureRows.of(ARRAYS)
    changed = [a.copy() for a in ARRAYS]
    changed[1][4, 2] = np.nextafter(changed[1][4, 2], 9)
    others = [FeatureRows.of(a) for a in (changed, ARRAYS[::-1], [np.concatenate(ARRAYS[:2]), *ARRAYS[2:]])]
    others += [FeatureRows(rows.values.reshape(-1, 6), rows.offsets), rows[:0]]
    assert len({rows.fingerprint, *(o.fingerprint for o in others)}) == 6
    assert FeatureRows.of([a.astype(np.float64) for a in ARRAYS])[:].fingerprint == rows.fingerprint
