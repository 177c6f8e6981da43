"""Language modelling: windows of running text, perplexity per token and word, bits per byte."""

from __future__ import annotations

import numpy as np

from tietrain.config import RunConfig
from tietrain.data.batching import Batch, LmBatches, lm_eval_windows, make_stream
from tietrain.data.prepare import Prepared
from tietrain.data.tokenizer import UNK_ID
from tietrain.model.transformer import Transformer
from tietrain.tasks.loss import LossSum
from tietrain.tasks.scoring import Scores, SplitScores, add_generator, score_nats
from tietrain.tasks.task import batch_loss, total_nats


class LanguageModelling:
    """The language-model task; a line of text ends with an end mark, and lines follow one another in one stream."""

    def __init__(self, config: RunConfig, prepared: Prepared):
        self.config, self.prepared = config, prepared
        self.vocabulary = prepared.vocabularies["decoder"]
        self.batches = LmBatches(self._stream("train"), config.task.window, config.train.batch_tokens, config.seed)

    def _stream(self, split: str, n_lines: int | None = None) -> np.ndarray:
        return make_stream(self.prepared.encoded[split]["decoder"][:n_lines])

    def loss(self, model: Transformer, batch: Batch) -> LossSum:
        """Summed objective and nats of one batch."""
        return batch_loss(model, batch, self.config.task.label_smoothing)

    def evaluate(self, model: Transformer) -> Scores:
        """`nats_per_token` on the first lines of `valid`."""
        nats, n_tokens = self._nats(model, self._stream("valid", self.config.train.eval_sentences))
        return {"nats_per_token": nats / n_tokens}

    def score(self, model: Transformer, split: str) -> SplitScores:
        """Perplexities of a whole split, and the excess over its generator where that is known."""
        stream, source = self._stream(split), self.prepared.corpus.splits[split]
        nats, n_tokens = self._nats(model, stream)
        lines = source.texts[self.prepared.corpus.columns[-1]]
        result = score_nats(nats, n_tokens, lines, int((stream == UNK_ID).sum()), self.vocabulary.lossless)
        if source.generator_nats is not None:
            add_generator(result, source.generator_nats)
        return result

    def _nats(self, model: Transformer, stream: np.ndarray) -> tuple[float, int]:
        task = self.config.task
        windows = lm_eval_windows(stream, task.window, task.eval_stride, self.config.train.batch_tokens)
        return total_nats(model, (batch for batch, _ in windows))
