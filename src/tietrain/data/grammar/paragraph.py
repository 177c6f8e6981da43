"""Paragraphs: sentences that share a topic and a cast, and their exact probability.

A paragraph is drawn as: its number of sentences; a topic, which brings its own concepts to the
front of every table; then sentence by sentence a meaning and its spelling. Names come from a cast
that nobody writes down: each mention is a new draw from the table of names with weight
`NEW_NAME_WEIGHT`, or repeats one of the n mentions so far with weight n. Summed over who is in
the cast, the probability of the next name is (w * p(name) + mentions of name) / (w + n): the cast
in closed form, so that only the topics are left to sum over.

Source: Blackwell and MacQueen 1973, "Ferguson distributions via Polya urn schemes".
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tietrain.data.grammar.draw import Table, Uniform
from tietrain.data.grammar.lexicon import Lexicon
from tietrain.data.grammar.meaning import (
    NONE,
    Meaning,
    MeaningDrawer,
    Structure,
    score_meaning,
)

NEW_NAME_WEIGHT = 1
N_SENTENCES = Table((3, 4, 5, 6, 7, 8), (1, 2, 3, 3, 2, 1))

Paragraph = tuple[Meaning, ...]


class DrawnParagraph(NamedTuple):
    """A paragraph and the topic it was drawn in, which a reader of the text does not see."""

    topic: int
    meanings: Paragraph


class Cast:
    """Names mentioned so far, and a way to draw the next; see the module's words."""

    def __init__(self, names: Table[int], new_weight: int = NEW_NAME_WEIGHT) -> None:
        self.names = names
        self.new_weight = new_weight
        self.mentions: list[int] = []

    def draw(self, uniform: Uniform) -> int:
        """The next name mentioned."""
        n_mentions = len(self.mentions)
        name = NONE
        if n_mentions and not Table((True, False), (self.new_weight, n_mentions)).draw(uniform):
            # Each mention is an item of its own: equal names must add up.
            place = Table(range(n_mentions), [1] * n_mentions).draw(uniform)
            name = self.mentions[place]
        else:
            name = self.names.draw(uniform)
        self.mentions.append(name)
        return name


def cast_nats(mentions: Sequence[int], names: Table[int], new_weight: int = NEW_NAME_WEIGHT) -> float:
    """-log probability of a sequence of mentions, summed over all casts."""
    nats = 0.0
    counts: Counter[int] = Counter()
    for n_before, name in enumerate(mentions):
        mass = new_weight * names.share(name) + counts[name]
        nats -= math.log(mass / (new_weight + n_before))
        counts[name] += 1
    return nats


class ParagraphModel:
    """Draws paragraphs and knows their probability.

    Args:
        structure: shapes of sentences.
        lexicon: concepts and topics.
        n_sentences: table of paragraph lengths.
        topics: table of topics; even when left out.
    """

    def __init__(
        self,
        structure: Structure,
        lexicon: Lexicon,
        n_sentences: Table[int] = N_SENTENCES,
        topics: Table[int] | None = None,
    ) -> None:
        self.structure, self.lexicon = structure, lexicon
        self.n_sentences = n_sentences
        self.topics = topics or Table(range(lexicon.n_topics), [1] * lexicon.n_topics)
        self.names = lexicon.table("name")
        self._drawers = {topic: MeaningDrawer(structure, lexicon, topic) for topic in self.topics.items}

    def draw(self, uniform: Uniform) -> DrawnParagraph:
        """One paragraph of meanings."""
        n_sentences = self.n_sentences.draw(uniform)
        topic = self.topics.draw(uniform)
        drawer = self._drawers[topic]
        drawer.draw_name = Cast(self.names).draw
        return DrawnParagraph(topic, tuple(drawer.draw(uniform) for _ in range(n_sentences)))

    def meaning_nats(self, paragraph: Paragraph) -> float:
        """-log probability of a paragraph of meanings, summed over topics and casts."""
        nats = self.n_sentences.nats(len(paragraph))
        scores = [score_meaning(meaning, self.structure, self.lexicon) for meaning in paragraph]
        nats += sum(score.shape_nats for score in scores)
        nats += cast_nats([name for score in scores for name in score.names], self.names)
        terms = Counter(term for score in scores for term in score.terms)
        by_topic = []
        for topic in self.topics.items:
            topic_nats = self.topics.nats(topic)
            for (kind, concept, excluded), count in terms.items():
                table = self.lexicon.table(kind, topic)
                if excluded == NONE:
                    topic_nats += count * table.nats(concept)
                else:
                    topic_nats += count * table.nats_other(concept, excluded)
            by_topic.append(topic_nats)
        return nats + _sum_in_nats(by_topic)


def _sum_in_nats(nats: list[float]) -> float:
    """-log of a sum of probabilities given as nats."""
    least = min(nats)
    if math.isinf(least):
        return least
    return least - math.log(math.fsum(math.exp(least - value) for value in nats))
