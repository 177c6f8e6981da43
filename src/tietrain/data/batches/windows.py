"""Windows of running text: the batches of a language model, as a pure function of (text, seed, epoch, index)."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from tietrain.data.batches.batching import Batch, as_tensor
from tietrain.data.encoded import (
    CHARS_PER_TOKEN,
    Counts,
    EncodedLines,
    EndedLines,
    Ids,
    TokenStarts,
    draws,
    parts,
    shuffle,
)
from tietrain.data.tokenizer import BOS_ID, EOS_ID, PAD_ID
from tietrain.errors import SettingsError


class LmBatches:
    """Windows of a token stream, each `window` tokens long, `batch_tokens // window` (at least one) a step.

    Every epoch cuts the stream at another offset below `window`, so that no token is always the first of its window;
    what is left before the first and after the last window is not seen in that epoch. Windows are shuffled; the last
    step of an epoch may have fewer.

    With `starts` a window is CHARS_PER_TOKEN times as many characters, and has the tokens that begin in them: offsets,
    windows and their order are then those of the text, the same whatever the vocabulary.

    Args:
        stream: token ids, see `make_stream`.
        starts: the character of the text at which each token begins.
    Raises:
        SettingsError: the text is shorter than a window, or a window could have no token.
    """

    def __init__(self, stream: Ids, window: int, batch_tokens: int, seed: int, starts: TokenStarts | None = None):
        self._stream, self._starts = stream, starts
        self._rows, self._seed = max(1, batch_tokens // window), seed
        if starts is None:
            self._size, self._width, of_text = len(stream), window, parts(stream)
        else:
            of_text = parts(starts.line_starts[1:] - 1)  # the line ends: no vocabulary moves them
            self._size, self._width = starts.n_characters, CHARS_PER_TOKEN * window
        requested = f"task.window={window}"
        if self._size < self._width:
            unit = "tokens" if starts is None else f"characters and a window {self._width}"
            problem = f"the training text has {self._size} {unit}"
            raise SettingsError(requested, problem, "choose a shorter window or a longer text")
        longest = 1 if starts is None else starts.longest
        if longest > self._width:
            problem = f"a piece of the training text has {longest} characters and a window {self._width}"
            least = -(-longest // CHARS_PER_TOKEN)
            remedy = f"give at least {least}, or another vocabulary (data.byte_fallback=true)"
            raise SettingsError(requested, problem, remedy)
        digest = hashlib.sha256()
        for part in of_text:
            digest.update(part.astype(np.int32 if starts is None else np.int64).tobytes())
        self._data = digest.hexdigest()
        self._epoch: tuple[int, Counts] = (-1, np.empty(0, dtype=np.int64))
        plan = f"{self._data} {self._width} {self._rows}".encode() + self._plan(0).tobytes()
        self.fingerprint = hashlib.sha256(plan).hexdigest()

    def n_batches(self, epoch: int) -> int:
        """Steps of an epoch; the offset makes it differ by one at times."""
        return -(-len(self._plan(epoch)) // self._rows)

    def batch(self, epoch: int, index: int) -> Batch:
        """Step `index` of an epoch: [B, window], or [B, T] for the most tokens of its windows of characters."""
        begins = self._plan(epoch)[index * self._rows : (index + 1) * self._rows]
        if not len(begins):
            raise IndexError(f"epoch {epoch} has no batch {index}")
        ends = begins + self._width
        if self._starts is not None:
            begins, ends = (np.asarray([self._starts.find(at) for at in edges.tolist()]) for edges in (begins, ends))
        return _lm_batch(self._stream, begins, ends)

    def _plan(self, epoch: int) -> Counts:
        """Where each window begins, in tokens or characters, in the order of training."""
        if self._epoch[0] != epoch:
            spare = self._size - self._width + 1
            offset = int(draws(1, self._data, self._seed, epoch, "offset")[0] % min(self._width, spare))
            begins = np.arange(offset, spare, self._width)
            self._epoch = (epoch, begins[shuffle(len(begins), self._data, self._seed, epoch, "order")])
        return self._epoch[1]


def make_stream(lines: Sequence[Ids]) -> Ids:
    """The token stream of a language model: each line's pieces and EOS, one line after the other."""
    if isinstance(lines, EndedLines):
        return lines.values
    packed = EncodedLines.of(lines)
    return np.insert(packed.values, packed.offsets[1:], EOS_ID)


def lm_eval_windows(stream: Ids, window: int, stride: int | None, batch_tokens: int) -> Iterator[tuple[Batch, Counts]]:
    """Windows that score every token of a stream exactly once, and the stream position each window begins at.

    The first window scores all its tokens; each later one begins `stride` tokens further and scores its last `stride`,
    the others are context. None for stride is the whole window: no context, one pass.

    Token (b, t) of the batch is position `starts[b] + t` of the stream.
    """
    stride = stride or window
    n = len(stream)
    if not n:
        return
    window = min(window, n)
    # A last window ends with the stream: if the rest is shorter than a stride, it begins earlier than that.
    ends = np.minimum(np.arange(window, n + stride, stride), n)
    ends = ends[: np.searchsorted(ends, n) + 1]
    scored_from = np.concatenate([[0], ends[:-1]])
    per_batch = max(1, batch_tokens // window)
    for i in range(0, len(ends), per_batch):
        starts = ends[i : i + per_batch] - window
        batch = _lm_batch(stream, starts, starts + window)
        unscored = torch.from_numpy(starts[:, None] + np.arange(window) < scored_from[i : i + per_batch, None])
        targets = batch.tgt_out_ids.masked_fill(unscored, PAD_ID)
        yield replace(batch, tgt_out_ids=targets, n_tokens=int((~unscored).sum())), starts


def _lm_batch(stream: Ids, begins: Counts, ends: Counts) -> Batch:
    """The tokens from begins[b] up to ends[b] of the stream as row b, right-padded; each is read after the one before."""
    lengths = ends - begins
    at = begins[:, None] + np.arange(lengths.max())
    real = at < ends[:, None]
    at = np.minimum(at, len(stream) - 1)
    before = np.where(at > 0, stream[at - 1], BOS_ID)
    tgt_in_ids, tgt_out_ids = (as_tensor(np.where(real, ids, PAD_ID)) for ids in (before, stream[at]))
    return Batch({}, "decoder", tgt_in_ids, tgt_out_ids, {"decoder": lengths.tolist()}, int(lengths.sum()))


# Masked language models: of the tokens to predict, the shares read as the mask and as a random piece; the rest is read
# as it is. STACK is the stack that predicts them.
MASKED, RANDOM = 0.8, 0.1
STACK = "encoder"


class MlmBatches:
    """The windows of a language model with a share of each row's tokens hidden, others in every epoch.

    Args:
        mask_id: the piece that stands for a hidden token; pieces from mask_id + 1 to vocab_size are text.
        rate: share of a row's tokens that is to be predicted, at least one token.
    Source: Devlin et al. 2019, section 3.1; masks drawn anew every time: Liu et al. 2019.
    """

    def __init__(self, windows: LmBatches, mask_id: int, vocab_size: int, rate: float, seed: int):
        self.windows, self.fingerprint = windows, windows.fingerprint
        self._mask_id, self._vocab_size, self._rate, self._seed = mask_id, vocab_size, rate, seed

    def n_batches(self, epoch: int) -> int:
        """Steps of an epoch."""
        return self.windows.n_batches(epoch)

    def batch(self, epoch: int, index: int) -> Batch:
        """Step `index` of an epoch."""
        batch = self.windows.batch(epoch, index)
        text = batch.tgt_out_ids.numpy()

        def draw(what: str) -> np.ndarray:
            return draws(text.size, "mask", self._seed, epoch, index, what).reshape(text.shape) / 2.0**64

        real = text != PAD_ID
        rank = np.where(real, draw("which"), 2.0).argsort(axis=1).argsort(axis=1)
        requested = rank < np.maximum(1, np.round(self._rate * real.sum(axis=1, keepdims=True)))
        first = self._mask_id + 1
        how = draw("how")
        random = first + (draw("piece") * (self._vocab_size - first)).astype(np.int64)
        other = np.where(how < MASKED, self._mask_id, random)
        return ask(batch, np.where(requested & (how < MASKED + RANDOM), other, text), requested)


def ask(batch: Batch, read: np.ndarray, requested: np.ndarray) -> Batch:
    """The windows of a batch with some tokens to be predicted.

    Args:
        read: what is read, [B, T]: the text with hidden tokens, right-padded. requested: boolean [B, T].
    """
    counts = requested.sum(axis=1)
    return replace(
        batch,
        stack=STACK,
        tgt_in_ids=as_tensor(read),
        tgt_out_ids=batch.tgt_out_ids.masked_fill(~torch.from_numpy(requested), PAD_ID),
        lengths={STACK: batch.lengths["decoder"], f"{STACK}?": counts.tolist()},
        n_tokens=int(counts.sum()),
    )
