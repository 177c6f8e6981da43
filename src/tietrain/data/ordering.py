"""The order of rows: reproducible shuffling, sorting by length, cutting into runs of a budget. NumPy only."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tietrain.data.encoded import Counts


def draws(n: int, *names: object) -> NDArray[np.uint64]:
    """n numbers of 64 bits that depend on the names and on nothing else, in every NumPy version (raw PCG64)."""
    seed = int.from_bytes(hashlib.sha256(" ".join(map(str, names)).encode()).digest(), "big")
    return np.random.PCG64(seed).random_raw(n)


def shuffle(n: int, *names: object) -> Counts:
    """The numbers below n in an order drawn from the names."""
    return np.argsort(draws(n, *names), kind="stable")


def length_order(src_lengths: Counts, tgt_lengths: Counts, ties: NDArray[Any], turn: int) -> Counts:
    """Rows by their longer side, and within one length by source minus target, up and down in turn.

    So neighbours differ little in both lengths, also where one longer side gives way to the next: of the positions of
    Multi30k batches (joint 8,000 pieces, 4,096 tokens a step) 0.966 are real; sorted by (longer, target) 0.939.
    `turn` odd swaps up and down, which moves the cuts.
    """
    longer = np.maximum(src_lengths, tgt_lengths)
    direction = 1 - 2 * ((longer + turn) % 2)
    return np.lexsort((ties, (src_lengths - tgt_lengths) * direction, longer))


def cut(order: Counts, lengths: Counts, budget: int) -> list[Counts]:
    """Cut ordered rows into runs with rows x longest at most `budget`, or one row."""
    runs, start = [], 0
    while start < len(order):
        ahead = lengths[start : start + max(1, budget // int(lengths[start]))]
        padded = np.maximum.accumulate(ahead) * np.arange(1, len(ahead) + 1)
        end = start + max(1, int(np.searchsorted(padded, budget, side="right")))
        runs.append(order[start:end])
        start = end
    return runs
