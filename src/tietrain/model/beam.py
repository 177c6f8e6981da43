"""Beam search. The hypotheses of a sentence are tokens side by side in its row: no cache is re-ordered.

Rows that are decoded together have prefixes of one length, are sorted by length, and are cut by a budget of tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tietrain.data.batches.pairs import Sources
from tietrain.data.encoded import Counts, cut
from tietrain.data.tokenizer import BOS_ID, EOS_ID, PAD_ID
from tietrain.model.cache import Cache
from tietrain.model.layers import StillWeights
from tietrain.model.transformer import Memory, Transformer, device_of

# Pieces of the vocabulary that are compared by their maximum first.
BLOCK = 32
# Padded tokens of sources and prefix times the beam; larger batches are no faster on a CPU, and a GPU needs larger ones.
BATCH_TOKENS = {"cpu": 4096}
DEVICE_BATCH_TOKENS = 2**16
# Padded tokens of sources that are read at once: on a CPU few, so that rows of about one length stand together.
READ_TOKENS = {"cpu": 256}

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
    while len(beams.sentences):
        beams.step()
    return [sorted(found, key=lambda h: -h.score)[: search.n_best] for found in beams.found]


class _Beams:
    """W live hypotheses of each of B sentences, W growing from 1 to the beam.

    sentences: [B] the row of the caller's batch. new_ids: [B, W] the last token of each; at first the start.
    scores: [B, W] log-probabilities. written: [B, W, T] pieces, prefix included. best_ended: [B, n_best].
    """

    def __init__(self, model: Transformer, memory: Memory | None, start_ids: Tensor, limits: Tensor, search: Search):
        rows, device = len(start_ids), start_ids.device
        self.model = model
        self.memory = memory
        self.search = search
        self.cache = Cache()
        self.found: list[list[Hypothesis]] = [[] for _ in range(rows)]
        self.length = 0
        self.sentences = torch.arange(rows, device=device)
        self.limits = limits
        self.new_ids = start_ids
        self.written = start_ids[:, None, 1:]
        self.scores = torch.zeros(rows, 1, device=device)
        self.n_ended = torch.zeros(rows, dtype=torch.long, device=device)
        self.best_ended = torch.full((rows, search.n_best), -torch.inf, device=device)

    def step(self) -> None:
        """Write one more token of every hypothesis, and drop the sentences that are done."""
        self.length += 1
        hidden = self.model.decode(self.new_ids, self.memory, self.cache)[:, -self.scores.shape[1] :]  # [B, W, D]
        ends, log_probs = _log_probs(self.model.logits(hidden, self.memory.stack if self.memory else None))
        scores, parents, new_ids = best_pieces(log_probs, self.scores, self.search.beam)
        done, are_any = self._end(ends + self.scores, scores)
        if are_any:
            rows = _without(done)
            self._keep(rows)
            scores, parents, new_ids = scores[rows], parents[rows], new_ids[rows]
        self.new_ids = new_ids
        self.scores = scores
        inherited = self.written.gather(1, parents[..., None].expand(-1, -1, self.written.shape[2]))
        self.written = torch.cat((inherited, new_ids[..., None]), dim=2)  # [B, W, T + 1]
        if self.search.beam > 1:
            self.cache.branch(parents)

    def _end(self, ends: Tensor, going: Tensor) -> tuple[Tensor, bool]:
        """Note the hypotheses that end here; returns of which sentences the search is over, [B], and whether of any.

        A step waits for the device here, once, unless a hypothesis ends.

        Args:
            ends: [B, W] scores with the end mark. going: [B, beam] the best scores without, sorted.
        """
        last = self.limits == self.length
        better = (going[:, None] > ends[..., None]).sum(2) + (ends[:, None] > ends[..., None]).sum(2)
        ended = ((better < self.search.beam) | last[:, None]) & (ends > -torch.inf)
        scores = ends / penalty(self.limits.new_full((), self.length), self.search.length_penalty)
        self.n_ended += ended.sum(1)
        known = torch.cat((self.best_ended, scores.masked_fill(~ended, -torch.inf)), dim=1)
        self.best_ended = known.topk(self.search.n_best).values
        # Log-probabilities only fall, and no divisor is larger than the one at the limit.
        bound = going[:, 0] / penalty(self.limits, self.search.length_penalty)
        done = last | (self.n_ended >= self.search.beam) | (self.best_ended[:, -1] >= bound)
        have_ended, are_done = torch.stack((ended.any(), done.any())).tolist()
        if have_ended:
            rows, places = ended.nonzero(as_tuple=True)
            events = self.sentences[rows].tolist(), self.written[rows, places].tolist(), scores[rows, places].tolist()
            for sentence, pieces, score in zip(*events, strict=True):
                self.found[sentence].append(Hypothesis(pieces, score))
        return done, are_done

    def _keep(self, rows: Tensor) -> None:
        self.memory = None if self.memory is None else self.memory.select(rows)
        self.cache.select(rows)
        for name in ("sentences", "limits", "written", "n_ended", "best_ended"):
            setattr(self, name, getattr(self, name)[rows])


def _log_probs(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of the end mark, [B, W], and of every piece that continues, [B, W, V]."""
    log_probs = logits.to(torch.promote_types(logits.dtype, torch.float32))
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
    values, order = values.sort(dim=1, descending=True, stable=True)
    places = places.gather(1, order[:, :n])
    return values[:, :n], places // size, places % size


def _without(done: Tensor) -> Tensor:
    """The rows that stay, in an order that moves few of them: the last ones fill the gaps."""
    stay = (~done).nonzero().squeeze(1)
    rows = torch.arange(len(stay), device=done.device)
    rows[done[: len(stay)]] = stay[stay >= len(stay)]
    return rows
