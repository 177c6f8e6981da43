"""Greedy translation with a cache keyed by depth; finished sentences leave the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from tietrain.data.tokenizer import BOS_ID, EOS_ID, PAD_ID
from tietrain.model.transformer import Cache, Transformer


@torch.inference_mode()
def greedy(
    model: Transformer,
    sources: Sequence[np.ndarray],
    max_output: Callable[[int], int],
    device: torch.device,
    batch_rows: int = 128,
) -> list[list[int]]:
    """The most probable next piece, again and again, for every source.

    Args:
        sources: pieces of each source sentence, without end mark.
        max_output: source pieces -> most pieces to write.
    Returns:
        Pieces of each translation, without end mark, in the order of `sources`.
    """
    model.eval()
    outputs: list[list[int]] = [[] for _ in sources]
    order = sorted(range(len(sources)), key=lambda i: (-len(sources[i]), i))
    for start in range(0, len(order), batch_rows):
        rows = order[start : start + batch_rows]
        for row, pieces in zip(rows, _greedy_batch(model, [sources[i] for i in rows], max_output, device), strict=True):
            outputs[row] = pieces
    return outputs


def _greedy_batch(
    model: Transformer, sources: list[np.ndarray], max_output: Callable[[int], int], device: torch.device
) -> list[list[int]]:
    width = max(len(s) for s in sources) + 1
    src_ids = torch.full((len(sources), width), PAD_ID, dtype=torch.long)
    for row, source in enumerate(sources):
        src_ids[row, : len(source)] = torch.from_numpy(np.asarray(source, dtype=np.int64))
        src_ids[row, len(source)] = EOS_ID
    memory, cache = model.encode(src_ids.to(device)), Cache()
    limits = torch.tensor([max_output(len(s)) for s in sources], device=device)
    alive = torch.arange(len(sources), device=device)
    written = torch.full((len(sources), int(limits.max())), EOS_ID, dtype=torch.long, device=device)
    last = torch.full((len(sources), 1), BOS_ID, dtype=torch.long, device=device)
    for position in range(written.size(1)):
        logits = model.logits(model.decode(last, memory, cache))[:, -1].float()
        logits[:, [PAD_ID, BOS_ID]] = -torch.inf
        pieces = logits.argmax(-1)
        written[alive, position] = pieces
        going = (pieces != EOS_ID) & (position + 1 < limits[alive])
        if not going.all():
            keep = going.nonzero().squeeze(1)
            if not len(keep):
                break
            alive, pieces, memory = alive[keep], pieces[keep], memory.select(keep)
            cache.select(keep)
        last = pieces[:, None]
    return [_before_end(row) for row in written.tolist()]


def _before_end(pieces: list[int]) -> list[int]:
    return pieces[: pieces.index(EOS_ID)] if EOS_ID in pieces else pieces
