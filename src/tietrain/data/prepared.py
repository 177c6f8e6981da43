"""What training and scoring read: encoded rows of every split, by the stack that reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tietrain.config.directions import Direction
from tietrain.config.layout import Layout
from tietrain.data.encoded import Counts, EncodedLines
from tietrain.data.sources.corpora import Corpus
from tietrain.data.sources.features import FeatureRows
from tietrain.data.tokenizer import Vocabulary

if TYPE_CHECKING:
    from tietrain.data.batches.pairs import (  # they load torch, which describing a corpus does without
        Learned,
        Pairs,
        Sources,
    )


@dataclass
class Prepared:
    """All that training and scoring read.

    corpus: texts of the scored splits, not of `train`; `about` holds counts of every split: `about["splits"]` lines,
        words and bytes, `about["pieces"]` pieces and unk, `about["overlap"]`.
    vocabularies: stack -> vocabulary, one object where several share it; none for feature vectors.
    encoded: split -> vocabulary of `layout` -> column -> lines of ids, without bos and eos. features: split -> column ->
        vectors.
    reference_lengths: column -> length of each row of train by which translation batches are cut, the same whatever the
        arm's own vocabularies: its pieces in the reference vocabulary, the joint one of all text that is read, of the same
        kind and size and without tags; or with train.batch_by=chars a number made of its characters; or its vectors.
    rows: trained direction -> its pairs, as rows of train.
    seen: split -> column -> rows whose text stands in train; empty where there is no train.
    token_starts: the character of the training text at which each token of the stream begins, of a language model with
        train.batch_by=chars; else None.
    fingerprints: corpus and the vocabulary of every stack.
    """

    corpus: Corpus
    layout: Layout
    vocabularies: dict[str, Vocabulary]
    encoded: dict[str, dict[str, dict[str, EncodedLines]]]
    features: dict[str, dict[str, FeatureRows]]
    reference_lengths: dict[str, Counts]
    rows: dict[str, Counts]
    seen: dict[str, dict[str, Counts]]
    token_starts: Counts | None
    notes: list[str]
    fingerprints: dict[str, str]

    @property
    def scored(self) -> dict[str, tuple[str, Direction]]:
        """Name -> split and direction of each text that is scored: the split's, or SPLIT.DIRECTION if there are several."""
        directions = self.layout.directions
        return {
            f"{split}.{direction.name}" if len(directions) > 1 else split: (split, direction)
            for split in self.corpus.splits
            if split != "train"
            for direction in directions
        }

    def lines(self, split: str, stack: str, column: str) -> EncodedLines:
        """The lines of a column of text, as a stack reads them."""
        return self.encoded[split][self.layout.vocabularies[stack]][column]

    def sources(self, split: str, direction: Direction) -> Sources:
        """What is read in a direction."""
        from tietrain.data.batches.pairs import Sources

        stacks = {self.layout.encoders[column]: column for column in direction.sources}
        texts = [stack for stack in stacks if stack in self.vocabularies]
        lines = {
            stack: self.lines(split, stack, column) if stack in texts else self.features[split][column]
            for stack, column in stacks.items()
        }
        tagged = direction.target in self.layout.tags
        return Sources(lines, self.vocabularies[texts[0]].tags[direction.target] if tagged else None)

    def pairs(self, split: str, direction: Direction) -> Pairs:
        """The rows of a split as pairs of a direction; of train, those that are learned are named by `rows`."""
        from tietrain.data.batches.pairs import Pairs

        stack = self.layout.decoders[direction.target]
        return Pairs(self.sources(split, direction), stack, self.lines(split, stack, direction.target))

    def learned(self, direction: Direction) -> Learned:
        """What is learned of a trained direction."""
        from tietrain.data.batches.pairs import Learned

        rows, lengths = self.rows[direction.name], self.reference_lengths
        longest = np.maximum.reduce([lengths[column] for column in direction.sources])
        pairs = self.pairs("train", direction)
        return Learned(direction.name, pairs, rows, longest[rows], lengths[direction.target][rows])

    @property
    def most_tokens(self) -> int:
        """Those of the longest side of any pair that is learned or scored."""
        trained = [d for d in self.layout.directions if d.name in self.rows]
        used = [(self.pairs("train", d), self.rows[d.name]) for d in trained]
        used += [
            (pairs, np.arange(len(pairs.target))) for pairs in (self.pairs(*name) for name in self.scored.values())
        ]
        return 1 + max(
            int(lengths[rows].max(initial=0))
            for pairs, rows in used
            for lengths in (pairs.sources.longest, pairs.target.lengths)
        )
