"""Translation: sentence pairs, teacher-forced nats, hypotheses and their scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from tietrain.config import RunConfig
from tietrain.data.batching import Batch, MtBatches, mt_eval_batches
from tietrain.data.encoded import Counts
from tietrain.data.prepare import Prepared
from tietrain.data.tokenizer import UNK_ID, Vocabulary
from tietrain.model.transformer import Transformer
from tietrain.tasks.beam import Search
from tietrain.tasks.decoding import Pieces, search
from tietrain.tasks.loss import LossSum
from tietrain.tasks.scoring import (
    N_REDRAWN,
    Scores,
    SplitScores,
    add_generator,
    oracle_scores,
    score_nats,
    score_translations,
)
from tietrain.tasks.task import batch_loss, batch_nats


class Translation:
    """The translation task over two stacks, `encoder` for the source and `decoder` for the target."""

    def __init__(self, config: RunConfig, prepared: Prepared):
        self.config, self.prepared = config, prepared
        self.vocabulary = prepared.vocabularies["decoder"]

    @cached_property
    def batches(self) -> MtBatches:
        """What to learn from; needs `train`, as nothing else does."""
        train, lengths = self.prepared.encoded["train"], self.prepared.reference_lengths
        return MtBatches(train["encoder"], train["decoder"], lengths, self.config.train.batch_tokens, self.config.seed)

    def loss(self, model: Transformer, batch: Batch) -> LossSum:
        """Summed objective and nats of one batch."""
        return batch_loss(model, batch, self.config.task.label_smoothing)

    def evaluate(self, model: Transformer) -> Scores:
        """`nats_per_token` of the first pairs of `valid`."""
        nats, tokens = self._nats(model, "valid", self.config.train.eval_sentences)
        return {"nats_per_token": float(nats.sum() / tokens.sum())}

    def score(self, model: Transformer, split: str) -> SplitScores:
        """Nats and translations of a whole split; against its generator where that is known."""
        encoded, task = self.prepared.encoded[split], self.config.task
        nats, tokens = self._nats(model, split)
        corpus = self.prepared.corpus
        source_lines, references = (corpus.splits[split].texts[column] for column in corpus.columns)
        n_unknown = sum(int((ids == UNK_ID).sum()) for ids in encoded["decoder"])
        result = score_nats(nats, tokens, references, n_unknown, self.vocabulary.lossless)
        hypotheses = self.translate(model, encoded["encoder"])
        scores, result.signatures = score_translations(hypotheses, references, task.metrics, task.bleu_tokenize)
        result.signatures["decoding"] = decoding_signature(self.config)
        result.scores |= scores
        result.texts = {"hypotheses": hypotheses, "references": references, "sources": source_lines}
        generator_nats = corpus.splits[split].generator_nats
        if generator_nats is not None:
            add_generator(result, generator_nats)
        if corpus.grammar is not None:
            legal = corpus.grammar.is_legal(split, hypotheses)
            result.scores["legal"] = sum(legal) / len(legal)
            if "bleu" in task.metrics:
                best, redrawn = (
                    corpus.grammar.best_spellings(split),
                    corpus.grammar.redrawn_references(split, N_REDRAWN),
                )
                result.scores |= oracle_scores(best, references, redrawn, task.bleu_tokenize)
        return result

    def translate(self, model: Transformer, sources: Sequence[np.ndarray]) -> list[str]:
        """The best translation of each source as text, in the order of the sources."""
        task = self.config.task
        found = dict(translations(model, self.config, self.vocabulary, sources, Search(task.beam, task.length_penalty)))
        return [found[row][0].text for row in range(len(sources))]

    def _nats(self, model: Transformer, split: str, n_pairs: int | None = None) -> tuple[np.ndarray, Counts]:
        """Plain nats and target tokens of each of the first pairs of a split."""
        src, tgt = (self.prepared.encoded[split][stack][:n_pairs] for stack in ("encoder", "decoder"))
        nats = np.zeros(len(tgt))
        for batch, rows in mt_eval_batches(src, tgt, self.config.train.batch_tokens):
            nats[rows] = batch_nats(model, batch).sum(axis=1)
        return nats, tgt.lengths + 1


class Translated(NamedTuple):
    """A translation and its score, see `beam.Hypothesis`."""

    text: str
    score: float


def translations(
    model: Transformer,
    config: RunConfig,
    vocabulary: Vocabulary,
    sources: Sequence[Pieces],
    settings: Search,
    prefixes: Sequence[Pieces] | None = None,
    batch_tokens: int | None = None,
) -> Iterator[tuple[int, list[Translated]]]:
    """Row and best translations of each source, as its batch is done.

    Args:
        vocabulary: of the target. sources: pieces. prefixes: pieces each translation begins with; None for none.
        batch_tokens: see `decoding.search`.
    """
    prefixes = [()] * len(sources) if prefixes is None else prefixes
    limits = [max_output(config, len(s)) - len(p) for s, p in zip(sources, prefixes, strict=True)]
    for row, found in search(model, sources, prefixes, [max(1, n) for n in limits], settings, batch_tokens):
        # Byte pieces can spell a line end, and translations are kept one a line.
        texts = [" ".join(text.splitlines()) for text in vocabulary.decode([h.pieces for h in found])]
        yield row, [Translated(text, h.score) for text, h in zip(texts, found, strict=True)]


def max_output(config: RunConfig, n_pieces: int) -> int:
    """Most tokens written for a source of n_pieces, end mark included."""
    limit = int(config.task.max_output_ratio * n_pieces) + config.task.max_output_extra
    return min(limit, config.model.max_len) if config.model.positions == "learned" else limit


def decoding_signature(config: RunConfig) -> str:
    """How translations were searched for, in the manner of sacrebleu's signatures."""
    task = config.task
    limit = f"{task.max_output_ratio:g}*src+{task.max_output_extra}"
    return f"beam:{task.beam}|length_penalty:{task.length_penalty:g}|max:{limit}"
