import numpy as np

from tietrain.data.encoded import EncodedLines, char_lengths, most_tokens, token_starts


def test_four_characters_are_a_token_and_a_rest_is_one_too():
    assert char_lengths(np.asarray([0, 1, 4, 5, 8])).tolist() == [0, 1, 1, 2, 2]


def test_tokens_of_a_text_begin_in_its_lines_and_at_their_ends():
    # "ab c", "", "de" as "ab| c", nothing, "d|e"
    lines = EncodedLines.of([[7, 8], [], [9, 9]])
    starts = token_starts(lines, np.asarray([0, 2, 0, 1], dtype=np.int32), np.asarray([4, 0, 2]))
    assert starts.tolist() == [0, 2, 4, 5, 6, 7, 8]


def test_the_fullest_window_wherever_it_is_cut():
    starts = np.asarray([0, 5, 6, 7, 7, 7, 13, 20])
    assert most_tokens(starts, 1) == 5  # the characters from 5 up to 9
    assert most_tokens(starts, 2) == 6  # and up to 8
    assert most_tokens(starts, 4) == 7
    assert most_tokens(starts, 100) == 8
