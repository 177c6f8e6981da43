import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from of_lengths import lengths, lines_of, quick
from tietrain.data.encoded import EncodedLines, char_lengths, cut, most_tokens, token_starts


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


def test_token_starts_lie_in_lines_and_at_their_ends():
    # "ab c", "", "de" as "ab| c", nothing, "d|e"
    lines = EncodedLines.of([[7, 8], [], [9, 9]])
    starts = token_starts(lines, np.asarray([0, 2, 0, 1], dtype=np.int32), np.asarray([4, 0, 2]))
    assert starts.tolist() == [0, 2, 4, 5, 6, 7, 8]


def test_most_tokens_of_a_window_wherever_it_is_cut():
    starts = np.asarray([0, 5, 6, 7, 7, 7, 13, 20])
    assert most_tokens(starts, 1) == 5  # the characters from 5 up to 9
    assert most_tokens(starts, 2) == 6  # and up to 8
    assert most_tokens(starts, 4) == 7
    assert most_tokens(starts, 100) == 8
