"""Decoding as it is written in textbooks, one sentence at a time and without a cache: what the fast code must equal."""

import numpy as np
import torch

from tietrain.data.batches.pairs import Sources
from tietrain.data.encoded import EncodedLines
from tietrain.data.tokenizer import BOS_ID, EOS_ID, PAD_ID
from tiny_models import build


def peaked(task, scheme, end=1.2, **options):
    """A random model that is sure of what it says, so that outputs differ and end at different lengths.

    end: factor on the end mark's row of a table of its own.
    """
    model = build(task, scheme, seed=3, **options)
    with torch.no_grad():
        weight, _ = model.output_weights()
        weight.mul_(60)
        if scheme == "none":
            weight[EOS_ID].mul_(end)
    return model


def read(sources):
    """Lists of pieces as what the encoder reads."""
    return Sources({"encoder": EncodedLines.of(sources)})


@torch.no_grad()
def log_probs(model, source, *outputs):
    """Log-probabilities after BOS and each piece of outputs of one length, by one pass over all: [B, T, V]."""
    memory = None
    if source is not None:
        memory = model.encode(read([source]).padded(np.arange(1))).select(torch.zeros(len(outputs), dtype=torch.long))
    first = EOS_ID if source is None else BOS_ID
    hidden = model.decode(torch.tensor([[first, *pieces] for pieces in outputs]), memory)
    return model.logits(hidden).log_softmax(-1)


def score_of(model, source, pieces, n_forced=0, alpha=0.0):
    """What `Hypothesis.score` should be."""
    rows, written = log_probs(model, source, pieces)[0], [*pieces, EOS_ID]
    total = sum(float(rows[i, written[i]]) for i in range(n_forced, len(written)))
    return total / ((5 + len(written) - n_forced) / 6) ** alpha


def plain_beam(model, source, prefix, limit, beam, alpha):
    """The textbook: all candidates of all hypotheses in one list, until `beam` have ended or the limit is reached."""
    alive, ended = [(0.0, list(prefix))], []
    for length in range(1, limit + 1):
        candidates = []
        after = log_probs(model, source, *(pieces for _, pieces in alive))[:, -1].tolist()
        for (total, pieces), row in zip(alive, after, strict=True):
            usable = [EOS_ID] if length == limit else [i for i in range(len(row)) if i not in (PAD_ID, BOS_ID)]
            candidates += [(total + row[i], [*pieces, i]) for i in usable]
        candidates.sort(key=lambda c: -c[0])
        best = candidates[:beam]
        ended += [(total / ((5 + length) / 6) ** alpha, pieces[:-1]) for total, pieces in best if pieces[-1] == EOS_ID]
        if len(ended) >= beam:
            break
        alive = [c for c in candidates if c[1][-1] != EOS_ID][:beam]
    return sorted(ended, key=lambda e: -e[0])
