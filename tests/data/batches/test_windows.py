import itertools
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from refusals import refusal
from tietrain.data.batches.batching import split_batch
from tietrain.data.batches.windows import LmBatches, MlmBatches, lm_eval_windows, make_stream
from tietrain.data.encoded import CHARS_PER_TOKEN, EncodedLines, TokenStarts, offsets_of
from tietrain.data.tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID, train_vocabulary
from tietrain.errors import SettingsError

quick = settings(max_examples=60, deadline=None)


def lines_of(sizes, start=4) -> list[np.ndarray]:
    """Lines of the given sizes; every id is different, so that a mixed-up row shows."""
    ends = np.cumsum(sizes) + start
    return [np.arange(end - n, end, dtype=np.int32) for n, end in zip(sizes, ends, strict=True)]


def rows_of(batches, epoch) -> list[tuple[int, list[int], list[int]]]:
    """Step, what is read and what is asked of every row of an epoch, padding checked and taken away."""
    rows = []
    for index in range(batches.n_batches(epoch)):
        batch = batches.batch(epoch, index)
        assert not batch.sources
        assert batch.tgt_in_ids.shape == batch.tgt_out_ids.shape
        for read, wanted, n in zip(
            batch.tgt_in_ids.tolist(), batch.tgt_out_ids.tolist(), batch.lengths["decoder"], strict=True
        ):
            assert n > 0
            assert read[n:] == wanted[n:] == [PAD_ID] * (len(wanted) - n)
            assert PAD_ID not in [*read[:n], *wanted[:n]]
            rows.append((index, read[:n], wanted[:n]))
        assert batch.n_tokens == sum(batch.lengths["decoder"]) == int((batch.tgt_out_ids != PAD_ID).sum())
        assert batch.tgt_out_ids.shape[1] == max(batch.lengths["decoder"])
    with pytest.raises(IndexError):
        batches.batch(epoch, batches.n_batches(epoch))
    return rows


@quick
@given(st.integers(0, 60), st.integers(2, 12), st.integers(1, 50), st.integers(0, 3), st.integers(0, 4))
def test_lm_batches_follow_the_stream(extra, window, batch_tokens, seed, epoch):
    stream = np.arange(4, 4 + window + extra, dtype=np.int32)
    batches = LmBatches(stream, window, batch_tokens, seed)
    starts = []
    for index in range(batches.n_batches(epoch)):
        batch = batches.batch(epoch, index)
        assert not batch.sources
        assert batch.tgt_out_ids.shape[1] == window
        assert batch.tgt_out_ids.numel() <= max(window, batch_tokens)
        assert batch.n_tokens == batch.tgt_out_ids.numel()
        assert batch.lengths == {"decoder": [window] * len(batch.tgt_out_ids)}
        for read, wanted in zip(batch.tgt_in_ids.tolist(), batch.tgt_out_ids.tolist(), strict=True):
            at = wanted[0] - 4
            assert wanted == stream[at : at + window].tolist()
            assert read == [stream[at - 1] if at else BOS_ID, *wanted[:-1]]
            starts.append(at)
    starts.sort()
    assert starts[0] < window
    assert all(b - a == window for a, b in itertools.pairwise(starts))
    assert len(stream) - (starts[-1] + window) < window
    with pytest.raises(IndexError):
        batches.batch(epoch, batches.n_batches(epoch))


def test_lm_batches_keep_their_order_from_version_to_version():
    assert LmBatches(np.arange(4, 40, dtype=np.int32), 8, 16, 7).batch(0, 0).tgt_out_ids[:, 0].tolist() == [11, 19]


def test_lm_batches_cut_elsewhere_every_epoch():
    batches = LmBatches(np.arange(4, 5000, dtype=np.int32), 64, 640, 1)
    phases = {int(batches.batch(epoch, 0).tgt_out_ids[0, 0] - 4) % 64 for epoch in range(20)}
    assert len(phases) > 10
    assert batches.fingerprint == LmBatches(np.arange(4, 5000, dtype=np.int32), 64, 640, 1).fingerprint
    assert batches.fingerprint != LmBatches(np.arange(4, 5000, dtype=np.int32), 64, 640, 2).fingerprint


def test_lm_batches_refuse_a_text_shorter_than_a_window():
    error = refusal(LmBatches, np.arange(9, dtype=np.int32), 10, 100, 1)
    assert isinstance(error, SettingsError) and error.setting == "task.window=10"


def test_lm_eval_windows_of_nothing():
    assert not list(lm_eval_windows(np.empty(0, dtype=np.int32), 8, None, 100))


@quick
@given(st.lists(st.integers(0, 40), min_size=1, max_size=20))
def test_make_stream_puts_end_marks_after_lines(sizes):
    lines = lines_of(sizes)
    assert make_stream(lines).tolist() == [i for line in lines for i in [*line, EOS_ID]]


@quick
@given(st.integers(0, 80), st.integers(1, 12), st.integers(1, 12), st.integers(1, 60))
def test_lm_eval_windows_score_every_token_once(n, window, stride, batch_tokens):
    stride = min(stride, window)
    stream = np.arange(4, 4 + n, dtype=np.int32)
    scored = np.zeros(n, dtype=int)
    for batch, starts in lm_eval_windows(stream, window, stride, batch_tokens):
        width = batch.tgt_out_ids.shape[1]
        assert batch.n_tokens == int((batch.tgt_out_ids != PAD_ID).sum())
        for start, read, wanted in zip(starts, batch.tgt_in_ids.tolist(), batch.tgt_out_ids.tolist(), strict=True):
            assert read == [stream[start - 1] if start else BOS_ID, *stream[start : start + width - 1].tolist()]
            for t, target in enumerate(wanted):
                if target != PAD_ID:
                    assert target == stream[start + t]
                    scored[start + t] += 1
                    assert start == 0 or t >= width - stride or start + width == n
    assert (scored == 1).all()


def test_split_batch_keeps_what_is_not_scored():
    ((batch, _),) = lm_eval_windows(np.arange(4, 44, dtype=np.int32), 8, 4, 1000)
    parts = split_batch(batch, 16)
    assert [len(p.tgt_in_ids) for p in parts] == [2, 2, 2, 2, 1]
    assert torch.equal(torch.cat([p.tgt_out_ids for p in parts]), batch.tgt_out_ids)
    assert [p.n_tokens for p in parts] == [12, 8, 8, 8, 4]
    assert split_batch(batch, 10**6) == [batch]


pieces_of_a_line = st.lists(st.integers(0, 8), max_size=12)  # characters of each piece, 0 for a later byte of one
texts = st.lists(pieces_of_a_line, min_size=1, max_size=12)


def cut_again(lines, random) -> list[list[int]]:
    """The same lines in other pieces."""
    cuts = [sorted({0, n, *range(0, n, 8), *random.sample(range(n), n // 3)}) for n in map(sum, lines)]
    return [[b - a for a, b in itertools.pairwise(line)] for line in cuts]


def token_starts(begins: EncodedLines, characters) -> TokenStarts:
    """From the character of its line at which each piece begins, and the characters of each line."""
    within = np.insert(begins.values, begins.offsets[1:], characters)
    return TokenStarts(within, begins.offsets + np.arange(len(begins.offsets)), offsets_of(np.asarray(characters) + 1))


def starts_of(lines) -> TokenStarts:
    """Where in the text the tokens of lines begin, from the characters of each piece."""
    ends = [np.cumsum(sizes, dtype=np.int32) for sizes in lines]
    begins = [end - np.asarray(np.maximum(sizes, 1), dtype=np.int32) for end, sizes in zip(ends, lines, strict=True)]
    begins = [np.maximum(begin, 0) for begin in begins]  # bytes that begin a line have no character before them
    return token_starts(EncodedLines.of(begins), [sum(sizes) for sizes in lines])


def global_starts(starts: TokenStarts) -> np.ndarray:
    """The character of the text at which each token begins."""
    return starts.within + np.repeat(starts.line_starts[:-1], np.diff(starts.offsets))


def possible_offsets(rows, starts, width) -> set[int]:
    """Offsets at which these rows, first and last + 1 token of each in order, are all the windows of the text."""
    assert all(ended == begun for (_, ended), (begun, _) in itertools.pairwise(rows))
    at, end, size = rows[0][0], rows[-1][1], int(starts[-1]) + 1
    found = set()
    for offset in range(width):
        edges = [offset + i * width for i in range(len(rows) + 1)]
        inside = all(edges[i] <= starts[a] and starts[b - 1] < edges[i + 1] for i, (a, b) in enumerate(rows))
        before = at == 0 or starts[at - 1] < offset
        after = end == len(starts) or starts[end] >= edges[-1]
        if inside and before and after and edges[-1] <= size < edges[-1] + width:
            found.add(offset)
    return found


@quick
@given(texts, st.integers(2, 6), st.integers(1, 30), st.integers(0, 3), st.integers(0, 4), st.randoms())
def test_lm_batches_by_chars_hold_every_character_once_in_the_same_row(
    lines, window, batch_tokens, seed, epoch, random
):
    width, size = CHARS_PER_TOKEN * window, sum(map(sum, lines)) + len(lines)
    offsets, orders = [], []
    for starts in (starts_of(lines), starts_of(cut_again(lines, random))):
        ids = np.arange(4, 4 + len(starts.within), dtype=np.int32)
        if size < width:
            assert f"{size} characters" in refusal(LmBatches, ids, window, batch_tokens, seed, starts).problem
            return
        rows = rows_of(LmBatches(ids, window, batch_tokens, seed, starts), epoch)
        for _, read, wanted in rows:
            assert wanted == list(range(wanted[0], wanted[-1] + 1))
            assert read == [wanted[0] - 1 if wanted[0] > 4 else BOS_ID, *wanted[:-1]]
        by_place = sorted(wanted[0] for _, _, wanted in rows)
        orders.append([(step, by_place.index(wanted[0])) for step, _, wanted in rows])
        edges = sorted((w[0] - 4, w[-1] - 3) for _, _, w in rows)
        offsets.append(possible_offsets(edges, global_starts(starts), width))
        assert max(len(w) for _, _, w in rows) <= starts.most_tokens(window)
    assert offsets[0] & offsets[1]
    assert orders[0] == orders[1]
    steps = [step for step, _ in orders[0]]
    assert steps == [i // max(1, batch_tokens // window) for i in range(len(steps))]


WORDS = ("the", "cat", "sat", "unbelievably", "on", "a", "mat", "naïve", "Ж", "日本", "and", "ran", "home")
TEXT = [" ".join([*WORDS[: i % 11], f"{i * i}", *WORDS[i % 7 :: 2]]) + "  \t\u2581"[: i % 5] for i in range(200)]
WINDOW, EDGE = 20, 16  # tokens of a window; no piece of these vocabularies has more characters


def text_rows(kind, size, byte_fallback, epoch) -> tuple[str, list[tuple[int, str]]]:
    """Fingerprint, and step and text of every row, of windows over TEXT under a vocabulary learned from it."""
    vocabulary = train_vocabulary(TEXT, kind, size, byte_fallback)
    encoded = EncodedLines.of(vocabulary.encode(TEXT))
    assert UNK_ID not in encoded.values
    begins = EncodedLines(vocabulary.starts(TEXT, encoded), encoded.offsets)
    starts = token_starts(begins, [len(line) for line in TEXT])
    batches = LmBatches(make_stream(encoded), WINDOW, 80, 1, starts)
    return batches.fingerprint, [
        (step, text_of(read[0], wanted, vocabulary.pieces, blank="" if kind == "char" else " "))
        for step, read, wanted in rows_of(batches, epoch)
    ]


def text_of(before, ids, pieces, blank) -> str:
    """The text of a row, without the blank that stands before every line; a character that is cut is no UTF-8."""
    spelled = [re.fullmatch("<0x(..)>", pieces[i]) or pieces[i] for i in ids]
    parts = [bytes.fromhex(p[1]) if isinstance(p, re.Match) else p.encode() for p in spelled]
    text = b"".join(b"\n" if i == EOS_ID else part for i, part in zip(ids, parts, strict=True)).decode()
    text = text.replace("\u2581", " ").replace("\n" + blank, "\n").replace("\x1a1", "\u2581")
    return text.removeprefix(blank) if before in (BOS_ID, EOS_ID) else text


@pytest.mark.parametrize(
    ("kind", "size", "byte_fallback", "epoch"),
    [("unigram", 60, False, 0), ("bpe", 100, False, 3), ("unigram", 400, True, 3), ("word", 265, True, 0)],
)
def test_lm_batches_by_chars_are_the_same_text_under_two_vocabularies(kind, size, byte_fallback, epoch):
    """`char` has a piece a character: the text of its rows is that of the windows."""
    text, width = "".join(line + "\n" for line in TEXT), CHARS_PER_TOKEN * WINDOW
    fingerprint, windows = text_rows("char", 100, False, epoch)
    other_fingerprint, rows = text_rows(kind, size, byte_fallback, epoch)
    assert other_fingerprint == fingerprint
    assert [step for step, _ in rows] == [step for step, _ in windows]
    n_exact = 0
    for (_, window), (_, row) in zip(windows, rows, strict=True):
        assert len(window) == width
        assert text.count(window) == 1
        at = text.index(window)
        missing = next(n for n in range(EDGE) if text.startswith(row, at + n))
        assert width <= missing + len(row) < width + EDGE
        n_exact += row == window
    assert n_exact < len(rows)  # some piece did stand on an edge


def test_lm_batches_refuse_a_piece_longer_than_a_window():
    starts = TokenStarts(np.asarray([0, 1, 10, 12]), np.asarray([0, 4]), np.asarray([0, 13]))
    error = refusal(LmBatches, np.arange(4, 8, dtype=np.int32), 2, 2, 1, starts)
    assert error.setting == "task.window=2" and "at least 3" in error.remedy
    LmBatches(np.arange(4, 8, dtype=np.int32), 3, 3, 1, starts)


MASK_ID, SIZE, MASKED_WINDOW = 4, 50, 20


def masked_batches(rate=0.15, seed=1, n=2000):
    stream = np.random.default_rng(0).integers(MASK_ID + 1, SIZE, n).astype(np.int32)
    return MlmBatches(LmBatches(stream, MASKED_WINDOW, 100, seed), MASK_ID, SIZE, rate, seed)


@given(rate=st.floats(0.01, 1), epoch=st.integers(0, 3))
def test_mlm_batches_ask_for_a_share_of_every_row(rate, epoch):
    batches = masked_batches(rate)
    batch, plain = batches.batch(epoch, 0), batches.windows.batch(epoch, 0)
    requested = (batch.tgt_out_ids != PAD_ID).numpy()
    assert set(requested.sum(axis=1)) == {max(1, round(rate * MASKED_WINDOW))}
    assert batch.n_tokens == requested.sum() == sum(batch.lengths["encoder?"])
    assert batch.lengths["encoder"] == plain.lengths["decoder"] and batch.stack == "encoder" and not batch.sources
    text, read = plain.tgt_out_ids.numpy(), batch.tgt_in_ids.numpy()
    assert np.array_equal(read[~requested], text[~requested])
    assert np.array_equal(batch.tgt_out_ids.numpy()[requested], text[requested])


def test_mlm_batches_read_a_mask_another_piece_or_the_piece():
    batches = masked_batches(rate=0.5, n=40_000)
    counts = np.zeros(3)
    for index in range(batches.n_batches(0)):
        batch, plain = batches.batch(0, index), batches.windows.batch(0, index)
        requested = (batch.tgt_out_ids != PAD_ID).numpy()
        text, read = plain.tgt_out_ids.numpy()[requested], batch.tgt_in_ids.numpy()[requested]
        assert read.min() >= MASK_ID and read.max() < SIZE
        counts += [(read == MASK_ID).sum(), ((read != MASK_ID) & (read != text)).sum(), (read == text).sum()]
    # A random piece is the right one once in SIZE - 5 draws.
    assert counts / counts.sum() == pytest.approx([0.8, 0.1 * 44 / 45, 0.1 + 0.1 / 45], abs=0.012)


def test_mlm_batches_are_a_function_of_seed_epoch_and_index():
    first, again, other = masked_batches(), masked_batches(), masked_batches(seed=2)
    assert first.fingerprint == again.fingerprint and first.n_batches(0) == again.n_batches(0)
    for index in (3, 0):
        assert np.array_equal(first.batch(1, index).tgt_in_ids, again.batch(1, index).tgt_in_ids)
    assert not np.array_equal(first.batch(0, 0).tgt_out_ids, other.batch(0, 0).tgt_out_ids)
    masks = [(first.batch(epoch, 0).tgt_out_ids == PAD_ID).numpy() for epoch in (0, 1)]
    assert not np.array_equal(*masks)
