"""Masked batches: what is hidden, how, and that it is the same wherever it is asked again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tietrain.data.batches.windows import LmBatches, MlmBatches
from tietrain.data.tokenizer import PAD_ID

MASK_ID, SIZE, WINDOW = 4, 50, 20


def make_batches(rate=0.15, seed=1, n=2000):
    stream = np.random.default_rng(0).integers(MASK_ID + 1, SIZE, n).astype(np.int32)
    return MlmBatches(LmBatches(stream, WINDOW, 100, seed), MASK_ID, SIZE, rate, seed)


@given(rate=st.floats(0.01, 1), epoch=st.integers(0, 3))
def test_a_share_of_every_row_is_asked_and_the_rest_is_read(rate, epoch):
    batches = make_batches(rate)
    batch, plain = batches.batch(epoch, 0), batches.windows.batch(epoch, 0)
    requested = (batch.tgt_out_ids != PAD_ID).numpy()
    assert set(requested.sum(axis=1)) == {max(1, round(rate * WINDOW))}
    assert batch.n_tokens == requested.sum() == sum(batch.lengths["encoder?"])
    assert batch.lengths["encoder"] == plain.lengths["decoder"] and batch.stack == "encoder" and not batch.sources
    text, read = plain.tgt_out_ids.numpy(), batch.tgt_in_ids.numpy()
    assert np.array_equal(read[~requested], text[~requested])
    assert np.array_equal(batch.tgt_out_ids.numpy()[requested], text[requested])


def test_most_are_masked_some_another_piece_some_themselves():
    batches = make_batches(rate=0.5, n=40_000)
    counts = np.zeros(3)
    for index in range(batches.n_batches(0)):
        batch, plain = batches.batch(0, index), batches.windows.batch(0, index)
        requested = (batch.tgt_out_ids != PAD_ID).numpy()
        text, read = plain.tgt_out_ids.numpy()[requested], batch.tgt_in_ids.numpy()[requested]
        assert read.min() >= MASK_ID and read.max() < SIZE
        counts += [(read == MASK_ID).sum(), ((read != MASK_ID) & (read != text)).sum(), (read == text).sum()]
    # A random piece is the right one once in SIZE - 5 draws.
    assert counts / counts.sum() == pytest.approx([0.8, 0.1 * 44 / 45, 0.1 + 0.1 / 45], abs=0.012)


def test_masks_are_a_function_of_seed_epoch_and_index():
    first, again, other = make_batches(), make_batches(), make_batches(seed=2)
    assert first.fingerprint == again.fingerprint and first.n_batches(0) == again.n_batches(0)
    for index in (3, 0):
        assert np.array_equal(first.batch(1, index).tgt_in_ids, again.batch(1, index).tgt_in_ids)
    assert not np.array_equal(first.batch(0, 0).tgt_out_ids, other.batch(0, 0).tgt_out_ids)
    masks = [(first.batch(epoch, 0).tgt_out_ids == PAD_ID).numpy() for epoch in (0, 1)]
    assert not np.array_equal(*masks)
