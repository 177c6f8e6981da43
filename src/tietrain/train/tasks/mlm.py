"""Masked language modelling: every token of a text is hidden once, and guessed from both sides."""

import math
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
        """Passes over a text in which each token is asked for once; none asks for more than it may hide."""
        return math.ceil(1 / self.config.task.mask_rate)

    def _nats(self, model: Transformer, stream: np.ndarray) -> np.ndarray:
        return sum((self._guessed(model, stream, turn)[0] for turn in range(self._n_passes)), np.zeros(len(stream)))

    def _guessed(self, model: Transformer, stream: np.ndarray, turn: int) -> tuple[np.ndarray, np.ndarray]:
        """Nats of the tokens asked for in one pass, 0 for others; and which those are.

        Tokens lie on a circle in an order that is drawn. Pass by pass, the next `1 / passes` of it are asked for, and as many
        more hidden that exactly task.mask_rate of the text is.
        """
        n = len(stream)
        around = self._n_passes * n  # in integers: each token is asked for once, whatever is rounded
        place = (self._n_passes * draws(n, "mask", n).argsort().argsort() - turn * n) % around
        is_asked = place < n
        is_hidden = is_asked | (place < self.config.task.mask_rate * around)
        nats = np.zeros(n)
        windows = lm_eval_windows(stream, self.config.task.window, None, self.config.train.batch_tokens)
        for batch, starts in self.team.deal(windows):
            at = starts[:, None] + np.arange(batch.tgt_out_ids.shape[1])
            requested = is_asked[at] & (batch.tgt_out_ids.numpy() != PAD_ID)  # a last window has context, asked before
            if requested.any():
                read = np.where(is_hidden[at], self._mask_id, stream[at])
                nats[at[requested]] = batch_nats(model, ask(batch, read, requested))[requested]
        return self.team.total(nats), is_asked
