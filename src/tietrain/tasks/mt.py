"""Translation: sentence pairs, teacher-forced nats, greedy hypotheses with BLEU and chrF."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tietrain.config import RunConfig
from tietrain.data.batching import Batch, MtBatches, mt_eval_batches
from tietrain.data.prepare import Prepared
from tietrain.data.tokenizer import UNK_ID
from tietrain.model.transformer import Transformer
from tietrain.tasks.decoding import greedy
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
from tietrain.tasks.task import batch_loss, device_of, total_nats


class Translation:
    """The translation task over two stacks, `encoder` for the source and `decoder` for the target."""

    def __init__(self, config: RunConfig, prepared: Prepared):
        self.config, self.prepared = config, prepared
        self.vocabulary = prepared.vocabularies["decoder"]
        train = prepared.encoded["train"]
        self.batches = MtBatches(
            train["encoder"], train["decoder"], prepared.reference_lengths, config.train.batch_tokens, config.seed
        )

    def loss(self, model: Transformer, batch: Batch) -> LossSum:
        """Summed objective and nats of one batch."""
        return batch_loss(model, batch, self.config.task.label_smoothing)

    def evaluate(self, model: Transformer) -> Scores:
        """`nats_per_token` of the first pairs of `valid`."""
        nats, n_tokens = self._nats(model, "valid", self.config.train.eval_sentences)
        return {"nats_per_token": nats / n_tokens}

    def score(self, model: Transformer, split: str) -> SplitScores:
        """Nats and greedy translations of a whole split; against its generator where that is known."""
        encoded = self.prepared.encoded[split]
        nats, n_tokens = self._nats(model, split)
        corpus = self.prepared.corpus
        source_lines, references = (corpus.splits[split].texts[column] for column in corpus.columns)
        n_unknown = sum(int((ids == UNK_ID).sum()) for ids in encoded["decoder"])
        result = score_nats(nats, n_tokens, references, n_unknown, self.vocabulary.lossless)
        hypotheses = self.translate(model, encoded["encoder"])
        scores, result.signatures = score_translations(hypotheses, references)
        result.scores |= scores
        result.texts = {"hypotheses": hypotheses, "references": references, "sources": source_lines}
        generator_nats = corpus.splits[split].generator_nats
        if generator_nats is not None:
            add_generator(result, generator_nats)
        if corpus.grammar is not None:
            legal = corpus.grammar.is_legal(split, hypotheses)
            result.scores["legal"] = sum(legal) / len(legal)
            best = corpus.grammar.best_spellings(split)
            result.scores |= oracle_scores(best, references, corpus.grammar.redrawn_references(split, N_REDRAWN))
        return result

    def translate(self, model: Transformer, sources: Sequence[np.ndarray]) -> list[str]:
        """Greedy translations as text, in the order of the sources."""
        pieces = greedy(model, sources, self._max_output, device_of(model))
        # Byte pieces can spell a line end, and hypotheses are kept one a line.
        return [" ".join(line.splitlines()) for line in self.vocabulary.decode(pieces)]

    def _max_output(self, n_pieces: int) -> int:
        """Most pieces written for a source of n_pieces."""
        limit = int(self.config.task.max_output_ratio * n_pieces) + self.config.task.max_output_extra
        return min(limit, self.config.model.max_len) if self.config.model.positions == "learned" else limit

    def _nats(self, model: Transformer, split: str, n_pairs: int | None = None) -> tuple[float, int]:
        src, tgt = (self.prepared.encoded[split][stack][:n_pairs] for stack in ("encoder", "decoder"))
        batches = mt_eval_batches(src, tgt, self.config.train.batch_tokens)
        return total_nats(model, (batch for batch, _ in batches))
