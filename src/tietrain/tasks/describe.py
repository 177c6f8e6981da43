"""What `tietrain data` says: a corpus, its vocabulary, and the scores nothing can beat."""

from __future__ import annotations

import math
from typing import Any

from tietrain.config import RunConfig
from tietrain.data.prepare import describe, prepare
from tietrain.tasks.scoring import N_REDRAWN, count_words, oracle_scores


def describe_data(config: RunConfig) -> dict[str, Any]:
    """Corpus and vocabulary, with ceilings a split where the corpus knows its own generator.

    ceilings: `generator_ppl_word`, the perplexity of a perfect model; `oracle_bleu` and its spread over re-drawn
    references, for translation.
    """
    prepared = prepare(config)
    description = describe(prepared)
    ceilings: dict[str, dict[str, float]] = {}
    corpus = prepared.corpus
    for name, split in corpus.splits.items():
        if name == "train" or split.generator_nats is None:
            continue
        lines = split.texts[corpus.columns[-1]]
        ceilings[name] = {"generator_ppl_word": math.exp(math.fsum(split.generator_nats) / count_words(lines))}
        if config.task.name == "mt" and corpus.grammar is not None:
            redrawn = corpus.grammar.redrawn_references(name, N_REDRAWN)
            best = corpus.grammar.best_spellings(name)
            ceilings[name] |= oracle_scores(best, lines, redrawn, config.task.bleu_tokenize)
    return {**description, "ceilings": ceilings}
