"""Which rows are decoded together: those of one prefix length, sorted by length, cut by a budget of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from tietrain.data.ordering import cut
from tietrain.data.tokenizer import BOS_ID, EOS_ID, PAD_ID
from tietrain.model.transformer import Transformer
from tietrain.tasks.beam import Hypothesis, Search, search_batch
from tietrain.tasks.task import device_of

# Padded tokens of source and prefix times the beam; more a batch is no faster on a CPU, and a GPU wants more at once.
BATCH_TOKENS = {"cpu": 4096}
DEVICE_BATCH_TOKENS = 2**16

Pieces = Sequence[int] | np.ndarray


def search(
    model: Transformer,
    sources: Sequence[Pieces] | None,
    prefixes: Sequence[Pieces],
    limits: Sequence[int],
    settings: Search,
    batch_tokens: int | None = None,
) -> Iterator[tuple[int, list[Hypothesis]]]:
    """Row and best hypotheses of every row, as its batch is done; what they are does not depend on the batches.

    Args:
        sources: pieces of each source, without end mark; None for a language model.
        prefixes: pieces each output begins with.
        limits: most tokens of each output after its prefix, end mark included; at least 1.
        batch_tokens: padded tokens of source and prefix, times the beam, in a batch; None: what suits the device.
    """
    device = device_of(model)
    budget = batch_tokens or BATCH_TOKENS.get(device.type, DEVICE_BATCH_TOKENS)
    first = EOS_ID if sources is None else BOS_ID  # a language model reads lines that follow on one another
    n_forced = np.asarray([len(prefix) for prefix in prefixes], dtype=np.int64)
    n_read = n_forced + 1
    if sources is not None:
        n_read += np.asarray([len(source) for source in sources], dtype=np.int64)
    for n in np.unique(n_forced):
        rows = np.flatnonzero(n_forced == n)
        order = rows[np.argsort(-n_read[rows], kind="stable")]
        for batch in cut(order, n_read[order] * settings.beam, budget):
            src_ids = None if sources is None else source_ids([sources[i] for i in batch]).to(device)
            start = torch.tensor([[first, *map(int, prefixes[i])] for i in batch], device=device)
            limit = torch.tensor([limits[i] for i in batch], device=device)
            found = search_batch(model, src_ids, start, limit, settings)
            yield from zip(map(int, batch), found, strict=True)


def source_ids(sources: Sequence[Pieces]) -> Tensor:
    """Pieces and an end mark each, right-padded: [B, S]."""
    ids = torch.full((len(sources), max(map(len, sources)) + 1), PAD_ID)
    for row, source in enumerate(sources):
        ids[row, : len(source)] = torch.as_tensor(np.asarray(source, dtype=np.int64))
        ids[row, len(source)] = EOS_ID
    return ids
