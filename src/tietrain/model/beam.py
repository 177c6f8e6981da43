"""Beam search. The hypotheses of a sentence are tokens side by side in its row: no cache is re-ordered.

Rows that are decoded together have prefixes of one length, are sorted by length, and are cut by a budget of tokens.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tietrain.data.batches.batching import to_device
from tietrain.data.batches.pairs import Sources
from tietrain.data.encoded import Counts, cut
from tietrain.data.tokenizer import BOS_ID, EOS_ID, PAD_ID
from tietrain.model.cache import Cache
from tietrain.model.graph import step_of
from tietrain.model.layers import StillWeights
from tietrain.model.transformer import Memory, Transformer, device_of

# Pieces of the vocabulary that are compared by their maximum first.
BLOCK = 32
# Padded tokens of sources and prefix times the beam; larger batches are no faster on a CPU, and a GPU needs larger ones.
BATCH_TOKENS = {"cpu": 4096}
DEVICE_BATCH_TOKENS = 2**16
# Padded tokens of sources that are read at once: on a CPU few, so that rows of about one length stand together.
READ_TOKENS = {"cpu": 256}

# In the place of a token, where a hypothesis is shorter than others.
NOTHING = -1

Pieces = Sequence[int] | np.ndarray


class Hypothesis(NamedTuple):
    """An output that ended.

    pieces: prefix included, end mark not. score: log-probability, in nats, of what follows the prefix, end mark
        included, divided by its `penalty`.
    """

    pieces: list[int]
    score: float


@dataclass(frozen=True)
class Search:
    """Settings of a search.

    beam: live hypotheses per sentence; 1 takes the most probable piece at every step. length_penalty: alpha of
        `penalty`. n_best: hypotheses returned, at most as many as the beam.
    """

    beam: int = 1
    length_penalty: float = 0.0
    n_best: int = 1


def penalty(length: Tensor, alpha: float) -> Tensor:
    """What the log-probability of `length` tokens is divided by; 1 for alpha 0.

    Source: Wu et al. 2016, section 7, equation 14, without the coverage term.
    """
    return ((5 + length) / 6) ** alpha


def search(
    model: Transformer,
    sources: Sources | None,
    prefixes: Sequence[Pieces],
    limits: Sequence[int],
    settings: Search,
    batch_tokens: int | None = None,
    stack: str | None = None,
    kept: dict[str, StillWeights] | None = None,
) -> Iterator[list[tuple[int, list[Hypothesis]]]]:
    """Row and best hypotheses of the rows of each batch, as it is done; they do not depend on the batches.

    Args:
        sources: what is read; None for a language model.
        prefixes: pieces each output begins with.
        limits: most tokens of each output after its prefix, end mark included; at least 1.
        batch_tokens: padded tokens of sources and prefix, times the beam, in a batch; None: what suits the device.
        stack: the one that predicts; None for the only one.
        kept: what searches with the same weights share; empty at first.
    """
    device = device_of(model)
    kept = {} if kept is None else kept
    budget = batch_tokens or BATCH_TOKENS.get(device.type, DEVICE_BATCH_TOKENS)
    first = EOS_ID if sources is None else BOS_ID  # a language model reads lines that follow on one another
    n_forced = np.asarray([len(prefix) for prefix in prefixes], dtype=np.int64)
    n_read = n_forced + (1 if sources is None else sum(sources.lengths.values()))
    for n in np.unique(n_forced):
        rows = np.flatnonzero(n_forced == n)
        order = rows[np.argsort(-n_read[rows], kind="stable")]
        for batch in cut(order, n_read[order] * settings.beam, budget):
            start = torch.tensor([[first, *map(int, prefixes[i])] for i in batch], device=device)
            limit = torch.tensor([limits[i] for i in batch], device=device)
            with model.keeping(kept):
                memory = None if sources is None else _read(model, sources, batch, stack)
                found = search_batch(model, memory, start, limit, settings)
            yield list(zip(map(int, batch), found, strict=True))


@torch.inference_mode()
def _read(model: Transformer, sources: Sources, rows: Counts, stack: str | None) -> Memory:
    device = device_of(model)
    n_read = np.asarray(sum(sources.lengths.values()))
    parts = cut(rows, n_read[rows], READ_TOKENS.get(device.type, DEVICE_BATCH_TOKENS))
    padded = [{name: ids.to(device) for name, ids in sources.padded(part).items()} for part in parts]
    return Memory.joined([model.encode(ids, stack=stack) for ids in padded])


@torch.inference_mode()
def search_batch(
    model: Transformer, memory: Memory | None, start_ids: Tensor, limits: Tensor, search: Search
) -> list[list[Hypothesis]]:
    """The best hypotheses of every row, best first.

    A hypothesis is returned if its end mark is among the `beam` best continuations. The search of a row is over
    when `beam` have ended, when none alive can become one of the n best, or at its limit, where all end.

    Args:
        memory: of the sources, from `Transformer.encode`; None for a language model.
        start_ids: [B, 1 + P] a first token and P forced pieces.
        limits: [B] most tokens to write after those, end mark included; at least 1.
    """
    beams = _Beams(model, memory, start_ids, limits, search)
    while beams.sentences:
        compute = step_of(model, _Beams.step, beams.cache, beams.new_ids.shape[1])
        done = compute(beams).tolist()  # the only place where a step waits for the device
        if any(done):
            beams.drop(done)
    return beams.found()


class _Beams:
    """W live hypotheses of each of B sentences, W growing from 1 to the beam, and the best of those that have ended.

    sentences: B rows of the caller's batch. new_ids: [B, W] the last token of each; at first the start.
    scores: [B, W] log-probabilities. written: [B, W, T] tokens, the first one and the prefix included.
    n_ended: [B]. best: [B, n_best] scores of the ended ones, falling; -inf where there is none. best_written:
    [B, n_best, T - 1] their tokens, then NOTHING.
    """

    def __init__(self, model: Transformer, memory: Memory | None, start_ids: Tensor, limits: Tensor, search: Search):
        rows, device = len(start_ids), start_ids.device
        self.model = model
        self.memory = memory
        self.search = search
        self.cache = Cache()
        self.sentences = list(range(rows))
        self.limits = limits.clone()
        self.length = torch.zeros((), dtype=torch.long, device=device)  # a number would become part of a graph
        self.new_ids = start_ids
        self.written = start_ids[:, None]
        self.scores = torch.zeros(rows, 1, device=device)
        self.n_ended = torch.zeros(rows, dtype=torch.long, device=device)
        self.best = torch.full((rows, search.n_best), -torch.inf, device=device)
        self.best_written = start_ids.new_full((rows, search.n_best, start_ids.shape[1] - 1), NOTHING)
        self._done: list[tuple[list[int], Tensor, Tensor]] = []

    def step(self) -> Tensor:
        """Write one more token of every hypothesis; returns of which sentences the search is over, [B]."""
        hidden = self.model.decode(self.new_ids, self.memory, self.cache)[:, -self.scores.shape[1] :]  # [B, W, D]
        ends, log_probs = _log_probs(self.model.logits(hidden, self.memory.stack if self.memory else None))
        scores, parents, new_ids = best_pieces(log_probs, self.scores, self.search.beam)
        self.length = self.length + 1
        done = self._end(ends + self.scores, scores)
        self.new_ids = new_ids
        self.scores = scores
        inherited = self.written.gather(1, parents[..., None].expand(-1, -1, self.written.shape[2]))
        self.written = torch.cat((inherited, new_ids[..., None]), dim=2)  # [B, W, T + 1]
        if self.search.beam > 1:
            self.cache.branch(parents)
        return done

    def _end(self, ends: Tensor, going: Tensor) -> Tensor:
        """Note the hypotheses that end here; returns of which sentences the search is over, [B].

        Args:
            ends: [B, W] scores with the end mark. going: [B, beam] the best scores without, sorted.
        """
        n_best = self.search.n_best
        last = self.limits == self.length
        better = (going[:, None] > ends[..., None]).sum(2) + (ends[:, None] > ends[..., None]).sum(2)
        ended = ((better < self.search.beam) | last[:, None]) & (ends > -torch.inf)
        self.n_ended = self.n_ended + ended.sum(1)
        scores = ends / penalty(self.length, self.search.length_penalty)
        known = torch.cat((self.best, scores.masked_fill(~ended, -torch.inf)), dim=1)  # [B, n_best + W]
        # Of equal ones the first to end stays the first.
        order = known.argsort(dim=1, descending=True, stable=True)[:, :n_best]
        self.best = known.gather(1, order)
        written = torch.cat((F.pad(self.best_written, (0, 1), value=NOTHING), self.written), dim=1)
        self.best_written = written.gather(1, order[..., None].expand(-1, -1, written.shape[2]))
        # Log-probabilities only fall, and no divisor is larger than the one at the limit.
        bound = going[:, 0] / penalty(self.limits, self.search.length_penalty)
        return last | (self.n_ended >= self.search.beam) | (self.best[:, -1] >= bound)

    def drop(self, done: list[bool]) -> None:
        """Take out the sentences that are done."""
        gone = [row for row, is_done in enumerate(done) if is_done]
        at = to_device(torch.tensor(gone), self.best.device)
        self._done.append(([self.sentences[row] for row in gone], self.best[at], self.best_written[at]))
        rows = _without(done)
        self.sentences = [self.sentences[row] for row in rows.tolist()]
        self.cache.select(rows)
        rows = to_device(rows, self.best.device)
        self.memory = None if self.memory is None else self.memory.select(rows)
        for name in ("limits", "new_ids", "scores", "written", "n_ended", "best", "best_written"):
            setattr(self, name, getattr(self, name)[rows])

    def found(self) -> list[list[Hypothesis]]:
        """The best hypotheses of every row, when all are done."""
        sentences = [sentence for part, _, _ in self._done for sentence in part]
        longest = max(written.shape[2] for _, _, written in self._done)
        padded = [F.pad(written, (0, longest - written.shape[2]), value=NOTHING) for _, _, written in self._done]
        scores = torch.cat([best for _, best, _ in self._done]).tolist()
        rows = zip(sentences, scores, torch.cat(padded)[..., 1:].tolist(), strict=True)
        by_sentence = {
            sentence: [
                Hypothesis([piece for piece in pieces if piece != NOTHING], score)
                for score, pieces in zip(best, written, strict=True)
                if score > -math.inf
            ]
            for sentence, best, written in rows
        }
        return [by_sentence[sentence] for sentence in range(len(sentences))]


def _log_probs(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of the end mark, [B, W], and of every piece that continues, [B, W, V]."""
    log_probs = logits.to(torch.promote_types(logits.dtype, torch.float32)).contiguous()
    torch.log_softmax(log_probs, dim=-1, out=log_probs)
    ends = log_probs[..., EOS_ID].clone()
    for piece in (PAD_ID, BOS_ID, EOS_ID):
        log_probs[..., piece] = -torch.inf
    return ends, log_probs


def best_pieces(log_probs: Tensor, scores: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """The n best continuations: their scores, falling, the hypothesis each continues, and its piece, all [B, n].

    Each block of the vocabulary is first represented by its maximum, so that one pass reads all log-probabilities and
    only the n best blocks are looked into. Of equal scores the earlier hypothesis and the lower piece go first, as far
    as their blocks are among the n.

    Args:
        log_probs: [B, W, V]. scores: [B, W] of the hypotheses so far.
    """
    rows, width, size = log_probs.shape
    n_blocks = size // BLOCK
    device, whole = log_probs.device, n_blocks * BLOCK
    maxima = log_probs[..., :whole].unflatten(-1, (n_blocks, BLOCK)).amax(-1) + scores[..., None]  # [B, W, blocks]
    blocks = maxima.flatten(1).topk(min(n, width * n_blocks)).indices.sort(dim=1).values
    first = blocks // n_blocks * size + blocks % n_blocks * BLOCK
    inside = (first[..., None] + torch.arange(BLOCK, device=device)).flatten(1)
    rest = torch.arange(width, device=device)[:, None] * size + torch.arange(whole, size, device=device)
    places = torch.cat((inside, rest.flatten().expand(rows, -1)), dim=1)
    values = log_probs.flatten(1).gather(1, places) + scores.gather(1, places // size)
    order = values.argsort(dim=1, descending=True, stable=True)[:, :n]
    places = places.gather(1, order)
    return values.gather(1, order), places // size, places % size


def _without(done: Sequence[bool]) -> Tensor:
    """The rows that stay, in an order that moves few of them: the last ones fill the gaps. On the CPU."""
    stay = [row for row, is_done in enumerate(done) if not is_done]
    n = len(stay)
    fill = iter(stay[bisect_left(stay, n) :])
    return torch.tensor([next(fill) if done[row] else row for row in range(n)], dtype=torch.long)
