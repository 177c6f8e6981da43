"""Feature vectors of meanings: a second modality that says which concepts a sentence has, and nothing of its form."""

import hashlib

import numpy as np

from tietrain.data.grammar.lexicon import Lexicon
from tietrain.data.grammar.meaning import Meaning, iterate_concepts
from tietrain.data.grammar.settings import N_FEATURES

NOISE = 0.5
"""Most that a number is off, where those of the vectors are uniform in [-1, 1)."""


def make_features(
    meanings: list[Meaning], lexicon: Lexicon, language_seed: int, label: tuple[object, ...]
) -> list[np.ndarray]:
    """For each meaning float32 [S, F]: a vector for each of its S concepts, in the order of the meaning.

    A concept has one vector a language seed, seen through noise of its own each time. Of a verb with
    two translations each sense has its own.

    Args:
        label: names the noise.
    """
    concepts = [list(iterate_concepts(meaning, lexicon)) for meaning in meanings]
    flat = np.array([concept for line in concepts for concept in line])
    table = _uniform(("features", language_seed), len(lexicon.kind))
    vectors = (table[flat] + NOISE * _uniform(label, len(flat))).astype(np.float32)
    return np.split(vectors, np.cumsum([len(line) for line in concepts])[:-1])


def _uniform(label: tuple[object, ...], n_rows: int) -> np.ndarray:
    """Uniform draws from [-1, 1), [n_rows, F]."""
    digest = hashlib.sha256("\x1f".join(map(str, label)).encode()).digest()
    # RandomState, whose sequence NumPy promises never to change.
    state = np.random.RandomState(np.frombuffer(digest, "<u4"))
    return 2 * state.random_sample((n_rows, N_FEATURES)) - 1
