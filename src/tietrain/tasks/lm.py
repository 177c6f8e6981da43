"""Language modelling: windows of running text, perplexity per token and word, bits per byte."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from tietrain.config import RunConfig
from tietrain.data.batching import Batch
from tietrain.data.prepare import Prepared
from tietrain.data.tokenizer import PAD_ID, UNK_ID
from tietrain.data.windows import LmBatches, lm_eval_windows, make_stream
from tietrain.model.transformer import Transformer
from tietrain.tasks.loss import LossSum
from tietrain.tasks.scoring import Scores, SplitScores, add_generator, score_nats
from tietrain.tasks.task import batch_loss, batch_nats


class LanguageModelling:
    """The language-model task; a line of text ends with an end mark, and lines follow one another in one stream."""

    def __init__(self, config: RunConfig, prepared: Prepared):
        self.config, self.prepared = config, prepared
        self.vocabulary = prepared.vocabularies["decoder"]

    @cached_property
    def batches(self) -> LmBatches:
        """What to learn from; needs `train`, as nothing else does."""
        window, train, starts = self.config.task.window, self.config.train, self.prepared.token_starts
        return LmBatches(self._stream("train"), window, train.batch_tokens, self.config.seed, starts)

    def _stream(self, split: str, n_lines: int | None = None) -> np.ndarray:
        return make_stream(self.prepared.encoded[split]["decoder"][:n_lines])

    def loss(self, model: Transformer, batch: Batch) -> LossSum:
        """Summed objective and nats of one batch."""
        return batch_loss(model, batch, self.config.task.label_smoothing)

    def evaluate(self, model: Transformer) -> Scores:
        """`nats_per_token` on the first lines of `valid`."""
        nats = self._nats(model, self._stream("valid", self.config.train.eval_sentences))
        return {"nats_per_token": float(nats.mean())}

    def score(self, model: Transformer, split: str) -> SplitScores:
        """Perplexities of a whole split, and the excess over its generator where that is known."""
        encoded, source = self.prepared.encoded[split]["decoder"], self.prepared.corpus.splits[split]
        stream, tokens = make_stream(encoded), encoded.lengths + 1
        nats = np.add.reduceat(self._nats(model, stream), np.cumsum(tokens) - tokens)
        lines = source.texts[self.prepared.corpus.columns[-1]]
        result = score_nats(nats, tokens, lines, int((stream == UNK_ID).sum()), self.vocabulary.lossless)
        if source.generator_nats is not None:
            add_generator(result, source.generator_nats)
        return result

    def _nats(self, model: Transformer, stream: np.ndarray) -> np.ndarray:
        """Plain nats of each token of a stream."""
        task, nats = self.config.task, np.zeros(len(stream))
        for batch, starts in lm_eval_windows(stream, task.window, task.eval_stride, self.config.train.batch_tokens):
            scored = batch.tgt_out_ids.numpy() != PAD_ID
            at = starts[:, None] + np.arange(scored.shape[1])
            nats[at[scored]] = batch_nats(model, batch)[scored]
        return nats
