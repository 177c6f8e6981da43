"""Language modelling: windows of running text, perplexity per token and word, bits per byte."""

from functools import cached_property

import numpy as np

from tietrain.config import RunConfig
from tietrain.data.batches.batching import Batch, Batches
from tietrain.data.batches.windows import LmBatches, lm_eval_windows, make_stream
from tietrain.data.encoded import EncodedLines
from tietrain.data.prepared import Prepared
from tietrain.data.tokenizer import EOS_ID, PAD_ID, UNK_ID
from tietrain.model.loss import LossSum
from tietrain.model.sampling import Sampling, sample
from tietrain.model.transformer import Transformer
from tietrain.train.processes import ALONE, Alone
from tietrain.train.tasks.scoring import Scores, SplitScores, add_generator, score_nats
from tietrain.train.tasks.task import batch_loss, batch_nats

# Of the text that is shown.
SAMPLE_TOKENS = 40


class LanguageModelling:
    """The language-model task; a line of text ends with an end mark, and lines follow one another in one stream."""

    stack = "decoder"

    def __init__(self, config: RunConfig, prepared: Prepared, team: Alone = ALONE) -> None:
        self.config, self.prepared, self.team = config, prepared, team
        self.vocabulary = prepared.vocabularies[self.stack]

    @cached_property
    def batches(self) -> Batches:
        """What to learn from; needs `train`, as nothing else does."""
        return self._windows()

    def _windows(self) -> LmBatches:
        window, train, starts = self.config.task.window, self.config.train, self.prepared.token_starts
        return LmBatches(self._stream("train"), window, train.batch_tokens, self.config.seed, starts)

    def _lines(self, split: str) -> EncodedLines:
        return self.prepared.lines(split, self.stack, self.config.columns[0])

    def _stream(self, split: str, n_lines: int | None = None) -> np.ndarray:
        return make_stream(self._lines(split)[:n_lines])

    def loss(self, model: Transformer, batch: Batch) -> LossSum:
        """Summed objective and nats of one batch."""
        return batch_loss(model, batch, self.config.task.label_smoothing)

    def evaluate(self, model: Transformer) -> Scores:
        """`nats_per_token` on the first lines of `valid`."""
        nats = self._nats(model, self._stream("valid", self.config.train.eval_sentences))
        return {"nats_per_token": float(nats.mean())}

    def samples(self, model: Transformer) -> list[dict[str, str]]:
        """A few tokens drawn from the model."""
        (drawn,) = sample(model, [], [0], SAMPLE_TOKENS, self.config.task.window, Sampling())
        lines = np.split(drawn, np.flatnonzero(np.asarray(drawn) == EOS_ID))
        text = self.vocabulary.decode([[piece for piece in line.tolist() if piece != EOS_ID] for line in lines])
        return [{"sample": "\n".join(text)}]

    def score(self, model: Transformer, split: str) -> SplitScores:
        """Perplexities of a whole split, and the excess over its generator if that is known."""
        result, nats = self._score_lines(model, split), self.prepared.corpus.splits[split].generator_nats
        if nats is not None:
            add_generator(result, nats)
        return result

    def _score_lines(self, model: Transformer, split: str) -> SplitScores:
        encoded, lines = self._lines(split), self.prepared.corpus.splits[split].texts[self.config.columns[0]]
        stream, tokens = make_stream(encoded), encoded.lengths + 1
        nats = np.add.reduceat(self._nats(model, stream), np.cumsum(tokens) - tokens)
        return score_nats(nats, tokens, lines, int((stream == UNK_ID).sum()), self.vocabulary.lossless)

    def _nats(self, model: Transformer, stream: np.ndarray) -> np.ndarray:
        """Plain nats of each token of a stream."""
        task, nats = self.config.task, np.zeros(len(stream))
        windows = lm_eval_windows(stream, task.window, task.eval_stride, self.config.train.batch_tokens)
        for batch, starts in self.team.deal(windows):
            scored = batch.tgt_out_ids.numpy() != PAD_ID
            at = starts[:, None] + np.arange(scored.shape[1])
            nats[at[scored]] = batch_nats(model, batch)[scored]
        return self.team.total(nats)
