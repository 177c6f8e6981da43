"""Which rows are decoded together: those of one prefix length, sorted by length, cut by a budget of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from tietrain.data.batches.pairs import Sources
from tietrain.data.encoded import Counts, cut
from tietrain.data.tokenizer import BOS_ID, EOS_ID
from tietrain.model.beam import Hypothesis, Search, search_batch
from tietrain.model.transformer import Memory, Transformer, device_of

# Padded tokens of sources and prefix times the beam; more a batch is no faster on a CPU, and a GPU wants more at once.
BATCH_TOKENS = {"cpu": 4096}
DEVICE_BATCH_TOKENS = 2**16

Pieces = Sequence[int] | np.ndarray


def search(
    model: Transformer,
    sources: Sources | None,
    prefixes: Sequence[Pieces],
    limits: Sequence[int],
    settings: Search,
    batch_tokens: int | None = None,
    stack: str | None = None,
) -> Iterator[tuple[int, list[Hypothesis]]]:
    """Row and best hypotheses of every row, as its batch is done; what they are does not depend on the batches.

    Args:
        sources: what is read; None for a language model.
        prefixes: pieces each output begins with.
        limits: most tokens of each output after its prefix, end mark included; at least 1.
        batch_tokens: padded tokens of sources and prefix, times the beam, in a batch; None: what suits the device.
        stack: the one that writes; None for the only one that can.
    """
    device = device_of(model)
    budget = batch_tokens or BATCH_TOKENS.get(device.type, DEVICE_BATCH_TOKENS)
    first = EOS_ID if sources is None else BOS_ID  # a language model reads lines that follow on one another
    n_forced = np.asarray([len(prefix) for prefix in prefixes], dtype=np.int64)
    n_read = n_forced + (1 if sources is None else sum(sources.lengths.values()))
    for n in np.unique(n_forced):
        rows = np.flatnonzero(n_forced == n)
        order = rows[np.argsort(-n_read[rows], kind="stable")]
        for batch in cut(order, n_read[order] * settings.beam, budget):
            memory = None if sources is None else _read(model, sources, batch, stack)
            start = torch.tensor([[first, *map(int, prefixes[i])] for i in batch], device=device)
            limit = torch.tensor([limits[i] for i in batch], device=device)
            found = search_batch(model, memory, start, limit, settings)
            yield from zip(map(int, batch), found, strict=True)


@torch.inference_mode()
def _read(model: Transformer, sources: Sources, rows: Counts, stack: str | None) -> Memory:
    device = device_of(model)
    return model.encode({name: ids.to(device) for name, ids in sources.padded(rows).items()}, stack=stack)
