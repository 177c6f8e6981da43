"""What training and scoring read: encoded rows of every split, and which rows of train are pairs of which direction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from tietrain.config import RunConfig
from tietrain.config.directions import Direction
from tietrain.config.layout import Layout
from tietrain.data.encoded import CHARS_PER_TOKEN, Counts, EncodedLines, TokenStarts, draws, shuffle
from tietrain.data.sources.features import FeatureRows
from tietrain.data.sources.files import Corpus
from tietrain.data.tokenizer import UNK_ID, Vocabulary
from tietrain.errors import DataError

if TYPE_CHECKING:  # they load torch, which describing a corpus does without
    from tietrain.data.batches.pairs import Pairs, Sources, TrainingPairs


@dataclass
class Prepared:
    """All that training and scoring read.

    corpus: texts of the scored splits, not of `train`; `about` holds counts of every split: `about["splits"]` lines,
        words and bytes, `about["pieces"]` pieces and unk, `about["overlap"]`.
    vocabularies: stack -> vocabulary, one object if several share it; none for feature vectors.
    encoded: split -> vocabulary of `layout` -> column -> lines of ids, without bos and eos; those of train are mapped from
        the cache, so that processes share their memory. features: split -> column ->
        vectors.
    overlap_rows: split -> column -> rows whose text also stands in train; empty if there is no train.
    reference_lengths: column -> length of each row of train by which translation batches are cut. It does not depend on
        the arm's own vocabularies: it is the number of pieces in the reference vocabulary (the joint one of all text that
        is read, of the same kind and size and without tags), or in one that is given; with train.batch_by=chars a number made of the row's
        characters; for vectors their number.
    rows: trained direction -> its pairs, as rows of train.
    token_starts: for a language model with train.batch_by=chars where the tokens of the training text begin; else None.
    """

    corpus: Corpus
    layout: Layout
    vocabularies: dict[str, Vocabulary]
    encoded: dict[str, dict[str, dict[str, EncodedLines]]]
    features: dict[str, dict[str, FeatureRows]]
    overlap_rows: dict[str, dict[str, Counts]]
    notes: list[str]
    reference_lengths: dict[str, Counts] = field(default_factory=dict)
    rows: dict[str, Counts] = field(default_factory=dict)
    token_starts: TokenStarts | None = None

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Those of the corpus and of the vocabulary of every stack, as a run records them."""
        of_stacks = {f"vocabulary.{stack}": v.fingerprint for stack, v in self.vocabularies.items()}
        return {"corpus": self.corpus.fingerprint} | of_stacks

    @property
    def scored(self) -> dict[str, tuple[str, Direction]]:
        """Name -> split and direction of each text that is scored: the split's, or SPLIT.DIRECTION if there are several."""
        several = len(self.layout.directions) > 1
        scored = product([split for split in self.corpus.splits if split != "train"], self.layout.directions)
        return {f"{split}.{direction.name}" if several else split: (split, direction) for split, direction in scored}

    def used_pieces(self) -> dict[str, dict[str, set[int]]]:
        """Vocabulary of `layout` -> column -> the pieces that its lines of train have."""
        return {
            name: {column: set(np.flatnonzero(lines.counts).tolist()) for column, lines in columns.items()}
            for name, columns in self.encoded["train"].items()
        }

    def lines(self, split: str, stack: str, column: str) -> EncodedLines:
        """The lines of a column of text, as a stack reads them."""
        return self.encoded[split][self.layout.vocabularies[stack]][column]

    def sources(self, split: str, direction: Direction) -> "Sources":
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

    def pairs(self, split: str, direction: Direction) -> "Pairs":
        """The rows of a split as pairs of a direction. Of train, `rows` names those that are trained on."""
        from tietrain.data.batches.pairs import Pairs

        stack = self.layout.decoders[direction.target]
        return Pairs(self.sources(split, direction), stack, self.lines(split, stack, direction.target))

    def training_pairs(self, direction: Direction) -> "TrainingPairs":
        """The pairs of a trained direction that are trained on."""
        from tietrain.data.batches.pairs import TrainingPairs

        rows = self.rows[direction.name]
        lengths = self.reference_lengths
        longest = np.maximum.reduce([lengths[column] for column in direction.sources])
        pairs = self.pairs("train", direction)
        return TrainingPairs(direction.name, pairs, rows, longest[rows], lengths[direction.target][rows])

    @property
    def most_tokens(self) -> int:
        """Tokens of the longest side of any pair that is trained on or scored, end mark included."""
        trained = [direction for direction in self.layout.directions if direction.name in self.rows]
        used = [self.pairs("train", direction).longest[self.rows[direction.name]] for direction in trained]
        used += [self.pairs(split, direction).longest for split, direction in self.scored.values()]
        return 1 + max(int(lengths.max(initial=0)) for lengths in used)


def training_rows(
    config: RunConfig, lengths: Mapping[str, Counts], blank: Mapping[str, Counts], notes: list[str]
) -> dict[str, Counts]:
    """Trained direction -> its rows: with text on all sides, none of them above task.max_len.

    The same in every arm and for every seed. With task.disjoint a row belongs to one direction only, drawn by its number.
    task.train_pairs keeps the rows whose numbers are drawn first. Notes count what is left out; nothing is ever cut.

    Args:
        lengths: column -> reference length of each row. blank: column -> rows without text.
    Raises:
        DataError: a direction has no pairs.
    """
    n_rows = len(next(iter(lengths.values())))
    task = config.task
    unit = f"times {CHARS_PER_TOKEN} characters" if config.train.batch_by == "chars" else "pieces"
    owners = draws(n_rows, "disjoint") % np.uint64(len(config.directions))
    chosen = {}
    for number, direction in enumerate(config.directions):
        where = label("train", direction, config.directions)
        owned = np.flatnonzero(owners == number) if task.disjoint else np.arange(n_rows)
        full = np.setdiff1d(owned, empty_rows(direction, blank))
        if len(full) < len(owned):
            notes.append(f"{where}: {len(owned) - len(full)} pairs with an empty side are left out")
        if not len(full):
            problem = f"no row of train is a pair of {direction.name} with text on all sides"
            raise DataError("data.splits.train", problem, "give more text, or ask for fewer directions")
        longest = np.maximum.reduce([lengths[c] for c in direction.columns])[full]
        rows = full[longest <= task.max_len]
        if not len(rows):
            remedy = f"give at least {longest.min()} {unit}"
            raise DataError(f"task.max_len={task.max_len}", "every training pair is longer", remedy)
        if len(rows) < len(full):
            limit = f"task.max_len={task.max_len} {unit}"
            notes.append(f"{where}: {len(full) - len(rows)} pairs with a side of more than {limit} are left out")
        most = task.train_pairs.get(direction.name, len(rows))
        if len(rows) > most:
            notes.append(f"{where}: {most} of {len(rows)} pairs are learned, as task.train_pairs asks")
            order = shuffle(n_rows, "train_pairs", direction.name)
            rows = np.sort(order[np.isin(order, rows)][:most])
        chosen[direction.name] = rows
    return chosen


def label(split: str, direction: Direction, directions: Sequence[Direction]) -> str:
    """A split and, if there are several directions, the direction."""
    return split if len(directions) == 1 else f"{split} {direction.name}"


def empty_rows(direction: Direction, blank: Mapping[str, Counts]) -> Counts:
    """Rows without text in a column of the direction."""
    return np.unique(np.concatenate([blank[column] for column in direction.columns if column in blank]))


def check_known(prepared: Prepared) -> None:
    """Note the scored splits of whose pieces half or more are unknown: a perplexity of them says little.

    Raises:
        DataError: all are unknown.
    """
    vocabularies = {name: prepared.vocabularies[stack] for stack, name in prepared.layout.vocabularies.items()}
    unknown: dict[tuple[str, str], float] = {}
    for split, (name, vocabulary) in product(prepared.corpus.splits, vocabularies.items()):
        for column, lines in prepared.encoded[split][name].items():
            n_unknown = int(np.count_nonzero(lines.values == UNK_ID))
            n_known = int(np.count_nonzero(~np.isin(lines.values, (UNK_ID, vocabulary.blank_id))))
            unknown[split, column] = n_unknown / max(1, n_unknown + n_known)
    for (split, column), share in unknown.items():
        if share == 1:
            problem = f"the vocabulary of train knows no word of {column}"
            raise DataError(f"data.splits.{split}", problem, "check the file, or spell it: data.byte_fallback=true")
        if share >= 0.5:
            found = f"{100 * share:.0f} % of the pieces of {column} are unknown to the vocabulary of train"
            prepared.notes.append(f"{split}: {found}, so its scores say little; data.byte_fallback=true spells them")


def note_scored(prepared: Prepared, config: RunConfig, blank: Mapping[str, Mapping[str, Counts]]) -> None:
    """Note what is unusual in the scored splits: pairs with an empty side, directions that are not trained.

    Args:
        blank: split -> column -> rows without text.
    """
    if len(prepared.corpus.columns) > 2:  # with two columns `load_corpus` has noted it
        for split, direction in prepared.scored.values():
            where = label(split, direction, prepared.layout.directions)
            if n := len(empty_rows(direction, blank[split])):
                prepared.notes.append(f"{where}: {n} pairs with an empty side are kept and scored")
    if config.zero_shot:
        names = ", ".join(direction.name for direction in config.zero_shot)
        apart = "no row of train is" if config.task.disjoint else "task.disjoint=false: rows of train may be"
        prepared.notes.append(f"zero-shot: {names} are scored and never trained; {apart} in more than one direction")
