"""Masked language modelling: every token of a text is hidden once, and guessed from both sides."""

from functools import cached_property

import numpy as np

from tietrain.config.layout import MASK
from tietrain.data.batches.windows import STACK, MlmBatches, ask, lm_eval_windows
from tietrain.data.encoded import draws
from tietrain.data.tokenizer import PAD_ID
from tietrain.model.transformer import Transformer
from tietrain.train.tasks.lm import LanguageModelling
from tietrain.train.tasks.scoring import Scores, SplitScores
from tietrain.train.tasks.task import batch_nats


class MaskedLanguageModelling(LanguageModelling):
    """The masked language model: scores are those of guessing each token while a share of the others is hidden too.

    They are not a probability of the text, so perplexities and bits per byte compare with those of masked models alone
    (pseudo-likelihood, Salazar et al. 2020, with many tokens hidden at once).
    """

    stack = STACK

    @property
    def _mask_id(self) -> int:
        return self.vocabulary.tags[MASK]

    @cached_property
    def batches(self) -> MlmBatches:
        """What to learn from; needs `train`, as nothing else does."""
        rate, seed = self.config.task.mask_rate, self.config.seed
        return MlmBatches(self._windows(), self._mask_id, self.vocabulary.size, rate, seed)

    def evaluate(self, model: Transformer) -> Scores:
        """`nats_per_token` of one share of the tokens of the first lines of `valid`."""
        nats, requested = self._guessed(model, self._stream("valid", self.config.train.eval_sentences), 0)
        return {"nats_per_token": float(nats[requested].mean())}

    def samples(self, model: Transformer) -> list[dict[str, str]]:
        """None: a masked model does not write text."""
        return []

    def score(self, model: Transformer, split: str) -> SplitScores:
        """Perplexities of a whole split, each token hidden once."""
        result = self._score_lines(model, split)
        result.signatures["masking"] = f"rate:{self.config.task.mask_rate:g}|passes:{self._n_passes}|all masked"
        return result

    @property
    def _n_passes(self) -> int:
        """Passes over a text in which each token is hidden once."""
        return max(1, round(1 / self.config.task.mask_rate))

    def _nats(self, model: Transformer, stream: np.ndarray) -> np.ndarray:
        return sum((self._guessed(model, stream, turn)[0] for turn in range(self._n_passes)), np.zeros(len(stream)))

    def _guessed(self, model: Transformer, stream: np.ndarray, turn: int) -> tuple[np.ndarray, np.ndarray]:
        """Nats of the tokens hidden in one pass, 0 for others; and which those are."""
        hidden = draws(len(stream), "mask", len(stream)) % np.uint64(self._n_passes) == turn
        nats, train = np.zeros(len(stream)), self.config.train
        for batch, starts in lm_eval_windows(stream, self.config.task.window, None, train.batch_tokens):
            at = starts[:, None] + np.arange(batch.tgt_out_ids.shape[1])
            requested = hidden[at] & (batch.tgt_out_ids.numpy() != PAD_ID)  # a last window has context, asked before
            if requested.any():
                guessed = batch_nats(model, ask(batch, stream[at], requested, self._mask_id))
                nats[at[requested]] = guessed[requested]
        return nats, hidden
