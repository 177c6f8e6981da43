"""Notes of bytes that a vocabulary has, a scored split needs and train never shows."""

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from tietrain.data.encoded import EncodedLines
from tietrain.data.prepared import Prepared
from tietrain.data.tokenizer import Vocabulary, left_to_bytes

# What others set where rare characters are to be spelled in bytes.
USUAL_COVERAGE = 0.9995


def note_untrained_bytes(prepared: Prepared, coverage: float | None) -> None:
    """Note how many pieces of each scored split are bytes that no step trains, and what would train them.

    At coverage 1 every character of train is a piece of its own, so that no byte is: what a model makes of one is what its
    initial values are, and another in every arm.

    Args:
        coverage: data.character_coverage; None if the vocabulary is given.
    """
    vocabularies = {name: prepared.vocabularies[stack] for stack, name in prepared.layout.vocabularies.items()}
    for name, vocabulary in vocabularies.items():
        if vocabulary.byte_ids:
            prepared.notes += _notes(prepared, name, vocabulary, coverage)


def _notes(prepared: Prepared, name: str, vocabulary: Vocabulary, coverage: float | None) -> Iterator[str]:
    train = _counts(prepared.encoded["train"][name].values(), vocabulary)
    untrained = [i for i in vocabulary.byte_ids.values() if not train[i]]
    usual = _spelled_at_usual(vocabulary, train) if (coverage or 0) > USUAL_COVERAGE else set()
    trainable = [i in usual for i in untrained]
    for split in prepared.corpus.splits:
        for column, lines in prepared.encoded[split][name].items():
            missing = _counts([lines], vocabulary)[untrained]
            if n := int(missing.sum()):
                found = (
                    f"{split}: {n:,} of its {lines.lengths.sum():,} pieces ({column}) are bytes that train never has"
                )
                why = "so no step trains them, and arms differ there by their initial values"
                yield f"{found}, {why}; {_remedy(int(missing[trainable].sum()), split)}"


def _counts(columns: Iterable[EncodedLines], vocabulary: Vocabulary) -> NDArray[np.int64]:
    """How often each piece occurs in all columns."""
    total = np.zeros(vocabulary.size, dtype=np.int64)
    for lines in columns:
        total[: len(lines.counts)] += lines.counts
    return total


def _spelled_at_usual(vocabulary: Vocabulary, train: NDArray[np.int64]) -> set[int]:
    """The byte pieces that the text of train would have at the usual coverage."""
    counts: Counter[str] = Counter()
    for piece, n in zip(vocabulary.pieces, train.tolist(), strict=True):
        for character in piece if n else "":
            counts[character] += n
    rare = "".join(left_to_bytes(counts, USUAL_COVERAGE)).encode()
    return {vocabulary.byte_ids[byte] for byte in rare}


def _remedy(n_trained: int, split: str) -> str:
    if n_trained:
        return f"data.character_coverage={USUAL_COVERAGE} trains {n_trained:,} of them"
    return f"give train text with such characters, or compare no bits per byte on {split}"
