"""Training text measured in characters, so that batches hold the same text whatever the vocabulary."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tietrain.data.encoded import Counts, EncodedLines

# Characters counted as one token: what European text has under a vocabulary of some thousand pieces. The same for every
# vocabulary and text: an average of either would cut its arms differently.
CHARS_PER_TOKEN = 4


def char_lengths(characters: Counts) -> Counts:
    """Lengths in tokens of lines with the given numbers of characters."""
    return -(-characters // CHARS_PER_TOKEN)


def token_starts(lines: EncodedLines, piece_starts: NDArray[np.int32], characters: Counts) -> Counts:
    """The character of the whole text at which each token of `windows.make_stream` begins.

    Lines are joined with a line end after each, at which the end mark of the line begins.

    Args:
        piece_starts: the character of its line at which each piece begins.
        characters: of each line.
    """
    line_ends = np.cumsum(characters + 1) - 1
    pieces = np.repeat(line_ends - characters, lines.lengths) + piece_starts
    return np.insert(pieces, lines.offsets[1:], line_ends)


def most_tokens(starts: Counts, window: int) -> int:
    """Tokens of the fullest window of `window` tokens' worth of characters, wherever windows are cut."""
    ends = np.searchsorted(starts, starts + CHARS_PER_TOKEN * window)
    return int((ends - np.arange(len(starts))).max(initial=0))
