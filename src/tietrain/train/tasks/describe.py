"""What `tietrain data` shows: a corpus, its vocabulary, what copying a source scores, and the scores nothing can beat."""

import math
from typing import Any

from tietrain.config import RunConfig
from tietrain.data.description import describe
from tietrain.data.prepare import prepare
from tietrain.data.prepared import Prepared
from tietrain.train.tasks.scoring import N_REDRAWN, count_words, oracle_scores, score_translations

# Of a hypothesis that is the source: what a system that does nothing gets.
COPY_METRICS = ("bleu", "chrf", "ter")


def describe_data(config: RunConfig) -> dict[str, Any]:
    """Corpus and vocabulary, with floors and ceilings of every scored text, see `prepared.scored`.

    copies: for translation, source column -> scores and signatures of its text taken for the hypothesis.
    ceilings: if the corpus knows its own generator, `generator_ppl_word`, the perplexity of a perfect model;
    `oracle_bleu` and its spread over re-drawn references, for translation.
    """
    prepared = prepare(config)
    description = describe(prepared) | {"ceilings": _ceilings(config, prepared)}
    return description | ({"copies": _copies(config, prepared)} if config.task.name == "mt" else {})


def _copies(config: RunConfig, prepared: Prepared) -> dict[str, dict[str, Any]]:
    copies: dict[str, dict[str, Any]] = {}
    for name, (split, direction) in prepared.scored.items():
        texts = prepared.corpus.splits[split].texts
        for column in (column for column in direction.sources if column in texts):
            references = texts[direction.target]
            found = score_translations(texts[column], references, COPY_METRICS, config.task.bleu_tokenize)
            copies.setdefault(name, {})[column] = dict(zip(("scores", "signatures"), found, strict=True))
    return copies


def _ceilings(config: RunConfig, prepared: Prepared) -> dict[str, dict[str, float]]:
    ceilings: dict[str, dict[str, float]] = {}
    grammar = prepared.corpus.grammar
    for name, (split, direction) in prepared.scored.items():
        of_split = prepared.corpus.splits[split]
        lines = of_split.texts[direction.target]
        nats = of_split.generator_nats
        if grammar:  # of this direction
            nats = grammar.generator_nats(split, direction.target, direction.sources)
        if nats is None:  # real text, or a source gives away how the reference was drawn
            continue
        ceilings[name] = {"generator_ppl_word": math.exp(math.fsum(nats) / count_words(lines))}
        if grammar and config.task.name == "mt":
            redrawn = grammar.redrawn_references(split, N_REDRAWN, direction.target)
            best = grammar.best_spellings(split, direction.target)
            ceilings[name] |= oracle_scores(best, lines, redrawn, config.task.bleu_tokenize)
    return ceilings
