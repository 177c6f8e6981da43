"""Translation: sentence pairs, teacher-forced nats, hypotheses and their scores, of every direction apart."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import chain
from typing import NamedTuple

import numpy as np

from tietrain.config import RunConfig
from tietrain.config.directions import Direction
from tietrain.data.batches.batching import Batch
from tietrain.data.batches.pairs import MtBatches, Pairs, Sources, mt_eval_batches
from tietrain.data.grammar.corpus import GrammarCorpus
from tietrain.data.prepared import Prepared
from tietrain.data.tokenizer import UNK_ID, Vocabulary
from tietrain.model.beam import Pieces, Search, search
from tietrain.model.layers import StillWeights
from tietrain.model.loss import LossSum
from tietrain.model.transformer import Transformer
from tietrain.plan.installed import METRIC, is_missing
from tietrain.plan.slots import clip_length
from tietrain.train.processes import ALONE, Alone
from tietrain.train.tasks import scoring
from tietrain.train.tasks.scoring import Scores, SplitScores
from tietrain.train.tasks.task import batch_loss, batch_nats

# Sentences of valid that are shown.
N_SAMPLES = 3


class Translation:
    """The translation task, over the stacks of the layout: those that read the sources, and one that writes the target."""

    def __init__(self, config: RunConfig, prepared: Prepared, team: Alone = ALONE) -> None:
        self.config, self.prepared, self.team = config, prepared, team

    @cached_property
    def batches(self) -> MtBatches:
        """What to learn from; needs `train`, as nothing else does."""
        learned = [self.prepared.training_pairs(direction) for direction in self.config.directions]
        train = self.config.train
        return MtBatches(learned, train.batch_tokens, self.config.seed, self.config.task.temperature)

    def loss(self, model: Transformer, batch: Batch) -> LossSum:
        """Summed objective and nats of one batch."""
        return batch_loss(model, batch, self.config.task.label_smoothing)

    def evaluate(self, model: Transformer) -> Scores:
        """`nats_per_token` of the first pairs of `valid`, over the tokens of all trained directions."""
        nats, tokens = 0.0, 0
        for direction in self.config.directions:
            pairs = self.prepared.pairs("valid", direction).first(self.config.train.eval_sentences)
            nats += float(self._nats(model, pairs).sum())
            tokens += int((pairs.target.lengths + 1).sum())
        return {"nats_per_token": nats / tokens}

    def samples(self, model: Transformer) -> list[dict[str, str]]:
        """Greedy translations of the first pairs of `valid` in the first direction, beside sources and references."""
        if self.config.is_trial:
            return []
        direction, texts = self.config.directions[0], self.prepared.corpus.splits["valid"].texts
        pairs = self.prepared.pairs("valid", direction).first(N_SAMPLES)
        shown = {column: texts[column] for column in direction.sources if column in texts}  # vectors have no text
        shown |= {"reference": texts[direction.target], "hypothesis": self.translate(model, pairs, Search())}
        return [{name: lines[row] for name, lines in shown.items()} for row in range(len(pairs.target))]

    def score(self, model: Transformer, name: str) -> SplitScores:
        """Nats and translations of one of `prepared.scored`; against its generator if that is known."""
        split, direction = self.prepared.scored[name]
        pairs, task = self.prepared.pairs(split, direction), self.config.task
        texts = self.prepared.corpus.splits[split].texts
        references = texts[direction.target]
        n_unknown = int((pairs.target.values == UNK_ID).sum())
        lossless = self.prepared.vocabularies[pairs.stack].lossless
        result = scoring.score_nats(self._nats(model, pairs), pairs.target.lengths + 1, references, n_unknown, lossless)
        if self.config.is_trial:  # which is judged by its nats, so nothing is translated
            return result
        hypotheses = self.translate(model, pairs, Search(task.beam, task.length_penalty))
        missing = [metric for metric in task.metrics if is_missing(METRIC, metric)]
        result.reasons |= dict.fromkeys(missing, "no installed package brings it")
        metrics = [metric for metric in task.metrics if metric not in missing]
        scores, result.signatures = scoring.score_translations(hypotheses, references, metrics, task.bleu_tokenize)
        limit = f"{task.max_output_ratio:g}*src+{task.max_output_extra}"
        result.signatures["decoding"] = f"beam:{task.beam}|length_penalty:{task.length_penalty:g}|max:{limit}"
        result.texts = {"hypotheses": hypotheses, "references": references}
        result.scores |= scores | self._unseen_scores(split, direction, result.texts, metrics)
        for column in (column for column in direction.sources if column in texts):
            result.texts["sources" if "sources" not in result.texts else f"sources.{column}"] = texts[column]
        self._add_generator(result, split, direction)
        return result

    def translate(self, model: Transformer, pairs: Pairs, settings: Search) -> list[str]:
        """The best translation of each pair's sources as text, in their order."""
        vocabulary = self.prepared.vocabularies[pairs.stack]
        mine = pairs.sources[self.team.rank :: self.team.size]
        found = dict(translations(model, self.config, vocabulary, mine, pairs.stack, settings))
        return self.team.gather([found[row][0].text for row in range(len(mine))])

    def _nats(self, model: Transformer, pairs: Pairs) -> np.ndarray:
        """Plain nats of each pair."""
        nats = np.zeros(len(pairs.target))
        for batch, rows in self.team.deal(mt_eval_batches(pairs, self.config.train.batch_tokens)):
            nats[rows] = batch_nats(model, batch).sum(axis=1)
        return self.team.total(nats)

    def _unseen_scores(
        self, split: str, direction: Direction, texts: Mapping[str, Sequence[str]], metrics: Sequence[str]
    ) -> Scores:
        """Of a split some of whose sources also stand in train: how many rows those are, and the scores of the others."""
        known = self.prepared.overlap_rows[split]
        columns = [set(known[column].tolist()) for column in direction.sources if column in known]
        seen = set.intersection(*columns) if columns else set()
        new = [row for row in range(len(texts["references"])) if row not in seen]
        if not seen or not new:
            return {}
        written, wanted = ([texts[name][row] for row in new] for name in ("hypotheses", "references"))
        scores, _ = scoring.score_translations(written, wanted, metrics, self.config.task.bleu_tokenize)
        return {f"{name}_new": scores[name] for name in metrics} | {"n_seen_sources": len(seen)}

    def _add_generator(self, result: SplitScores, split: str, direction: Direction) -> None:
        """Add what the generator of the corpus knows about the pairs and the hypotheses."""
        grammar, task, target = self.prepared.corpus.grammar, self.config.task, direction.target
        if grammar is None:
            return
        legal = grammar.is_legal(split, result.texts["hypotheses"], target)
        result.scores["legal"] = sum(legal) / len(legal)
        generator_nats = grammar.generator_nats(split, target, direction.sources)
        if generator_nats is None:  # a source gives away how the reference was drawn
            return
        scoring.add_generator(result, generator_nats)
        if "bleu" in task.metrics:
            result.scores |= _oracle_scores(grammar, split, target, task.bleu_tokenize)


@lru_cache(maxsize=64)
def _oracle_scores(grammar: GrammarCorpus, split: str, target: str, tokenize: str) -> scoring.Scores:
    """The ceiling of a split, which belongs to the corpus: the same for all cells of a grid."""
    best = grammar.best_spellings(split, target)
    redrawn = grammar.redrawn_references(split, scoring.N_REDRAWN, target)
    return scoring.oracle_scores(best, grammar.splits[split].texts[target], redrawn, tokenize)


class Translated(NamedTuple):
    """A translation and its score, see `beam.Hypothesis`."""

    text: str
    score: float


def translations(
    model: Transformer,
    config: RunConfig,
    vocabulary: Vocabulary,
    sources: Sources,
    stack: str,
    settings: Search,
    prefixes: Sequence[Pieces] | None = None,
    batch_tokens: int | None = None,
    kept: dict[str, StillWeights] | None = None,
) -> Iterator[tuple[int, list[Translated]]]:
    """Row and best translations of each row of the sources, as its batch is done.

    Args:
        vocabulary: of the target. stack: the one that writes. prefixes: pieces each translation begins with; None for
            none.
        batch_tokens, kept: see `beam.search`.
    """
    prefixes = [()] * len(sources) if prefixes is None else prefixes
    read = sources.length_basis.tolist()
    limits = [max(1, max_output(config, n) - len(p)) for n, p in zip(read, prefixes, strict=True)]
    for batch in search(model, sources, prefixes, limits, settings, batch_tokens, stack, kept):
        every = chain.from_iterable(found for _, found in batch)
        texts = iter(vocabulary.decode([h.pieces for h in every]))
        for row, found in batch:
            # Byte pieces can spell a line end, and translations are kept one per line.
            yield row, [Translated(" ".join(next(texts).splitlines()), h.score) for h in found]


def max_output(config: RunConfig, n_pieces: int) -> int:
    """Most tokens written for a source of n_pieces, end mark included."""
    limit = int(config.task.max_output_ratio * n_pieces) + config.task.max_output_extra
    return clip_length(config.model, limit)
