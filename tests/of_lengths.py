"""Sentence pairs of given lengths, and what a batch of them must hold."""

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st

from tietrain.data.batches.batching import Batch
from tietrain.data.batches.pairs import MtBatches, Pairs, Sources, TrainingPairs
from tietrain.data.encoded import EncodedLines
from tietrain.data.tokenizer import BOS_ID, EOS_ID, PAD_ID

lengths = st.integers(0, 40)
pairs_of_lengths = st.lists(st.tuples(lengths, lengths), min_size=1, max_size=120)
quick = settings(max_examples=60, deadline=None)


def lines_of(sizes, start=4) -> list[np.ndarray]:
    """Lines of the given sizes; every id is different, so that a mixed-up row shows."""
    ends = np.cumsum(sizes) + start
    return [np.arange(end - n, end, dtype=np.int32) for n, end in zip(sizes, ends, strict=True)]


def pairs_of(sizes) -> Pairs:
    """Of one source and one target."""
    src, tgt = (EncodedLines.of(lines_of(side)) for side in zip(*sizes, strict=True))
    return Pairs(Sources({"encoder": src}), "decoder", tgt)


def training_pairs(sizes, own=None, name="a-b", rows=None, pairs=None) -> TrainingPairs:
    """A direction with these reference lengths; `own` are those in the arm's vocabularies, `rows` those that are learned."""
    rows = np.arange(len(sizes)) if rows is None else np.asarray(rows)
    src, tgt = np.asarray(sizes).T
    return TrainingPairs(name, pairs or pairs_of(own or sizes), rows, src[rows], tgt[rows])


def mt(sizes, batch_tokens=60, seed=1, own=None) -> MtBatches:
    return MtBatches([training_pairs(sizes, own)], batch_tokens, seed)


def epoch_rows(batches, epoch) -> list[list[int]]:
    return [batches.step(epoch, i)[1].tolist() for i in range(batches.n_batches(epoch))]


def check_rows(batch: Batch, src, tgt, rows) -> None:
    """Every row is its sentence, shifted, ended and padded."""
    for i, row in enumerate(rows):
        for ids, want in (
            (batch.sources["encoder"], [*src[row], EOS_ID]),
            (batch.tgt_out_ids, [*tgt[row], EOS_ID]),
            (batch.tgt_in_ids, [BOS_ID, *tgt[row]]),
        ):
            assert ids.dtype == torch.int64
            assert ids[i].tolist() == [*want, *[PAD_ID] * (ids.shape[1] - len(want))]
        assert (batch.lengths["encoder"][i], batch.lengths["decoder"][i]) == (len(src[row]) + 1, len(tgt[row]) + 1)
    assert batch.n_tokens == sum(len(tgt[row]) + 1 for row in rows) == int((batch.tgt_out_ids != PAD_ID).sum())
