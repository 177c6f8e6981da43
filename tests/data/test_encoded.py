import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from of_lengths import lengths, lines_of, quick
from tietrain.data import encoded
from tietrain.data.encoded import EncodedLines, EndedLines, TokenStarts, char_lengths, cut, offsets_of


@quick
@given(st.lists(st.integers(1, 30), max_size=60), st.integers(1, 100))
def test_cut_makes_runs_as_long_as_the_budget_allows(sizes, budget):
    order, sizes = np.arange(len(sizes)), np.asarray(sizes, dtype=np.int64)
    runs = cut(order, sizes, budget)
    assert [int(i) for run in runs for i in run] == order.tolist()
    assert all(len(run) == 1 or len(run) * sizes[run].max() <= budget for run in runs)
    for run, following in itertools.pairwise(runs):
        assert (len(run) + 1) * max(sizes[run].max(), sizes[following[0]]) > budget


@quick
@given(st.lists(lengths, max_size=20), st.integers(-25, 25), st.integers(-25, 25))
def test_encoded_lines_are_a_sequence(sizes, start, stop):
    lines = lines_of(sizes)
    packed = EncodedLines.of(lines)
    as_lists = [line.tolist() for line in lines]
    assert [line.tolist() for line in packed] == as_lists
    for part in (slice(start, stop), slice(None, stop), slice(start, None, 2), slice(None, None, -1)):
        assert [line.tolist() for line in packed[part]] == as_lists[part]
    assert packed.lengths.tolist() == sizes
    assert EncodedLines.of(packed) is packed
    with pytest.raises(IndexError):
        packed[len(lines)]


def test_char_lengths_round_up():
    assert char_lengths(np.asarray([0, 1, 4, 5, 8])).tolist() == [0, 1, 1, 2, 2]


@quick
@given(st.lists(lengths, max_size=20), st.integers(-25, 25), st.integers(-25, 25))
def test_ended_lines_are_the_same_sequence_without_their_end_marks(sizes, start, stop):
    lines = lines_of(sizes)
    packed = EncodedLines.of(lines)
    ended = EndedLines(
        np.insert(packed.values, packed.offsets[1:], 3).astype(np.uint16), offsets_of(packed.lengths + 1)
    )
    assert [line.tolist() for line in ended] == [line.tolist() for line in packed]
    assert [line.tolist() for line in ended[start:stop]] == [line.tolist() for line in packed[start:stop]]
    assert ended.lengths.tolist() == packed.lengths.tolist() == sizes
    assert np.trim_zeros(ended.counts, "b").tolist() == np.trim_zeros(packed.counts, "b").tolist()
    assert packed.counts.tolist() == np.bincount(packed.values, minlength=1).tolist()


@quick
@given(st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=9), st.integers(1, 4))
def test_token_starts_answer_as_one_array_of_them_would(lines, window):
    lines = [[0, *sorted(line)] if line else [] for line in lines]  # the character of a line at which each piece begins
    characters = np.asarray([line[-1] + 1 if line else 0 for line in lines])
    line_starts = offsets_of(characters + 1)
    tokens = [[*line, n] for line, n in zip(lines, characters.tolist(), strict=True)]
    within = np.concatenate(tokens).astype(np.uint8)
    starts = TokenStarts(within, offsets_of([len(line) for line in tokens]), line_starts)
    whole = within + np.repeat(line_starts[:-1], [len(line) for line in tokens])
    width = encoded.CHARS_PER_TOKEN * window
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoded, "PART", 3)
        assert starts.longest == np.diff(whole).max(initial=1)
        assert starts.most_tokens(window) == (np.searchsorted(whole, whole + width) - np.arange(len(whole))).max()
    assert starts.n_characters == whole[-1] + 1
    places = range(starts.n_characters + 2)
    assert [starts.find(place) for place in places] == np.searchsorted(whole, places).tolist()
