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

from tietrain.data.grammar.draw import Table, Uniform
from tietrain.data.grammar.lexicon import Lexicon
from tietrain.data.grammar.meaning import NONE, Meaning, MeaningDrawer, MeaningScore, Structure, Term

NEW_NAME_WEIGHT = 1
N_SENTENCES = Table((3, 4, 5, 6, 7, 8), (1, 2, 3, 3, 2, 1))

Paragraph = tuple[Meaning, ...]


class Cast:
    """Names mentioned so far, and a way to draw the next; see the module's words."""

    def __init__(self, names: Table[int]) -> None:
        self.names = names
        self.mentions: list[int] = []

    def draw(self, uniform: Uniform) -> int:
        """The next name mentioned."""
        n_mentions = len(self.mentions)
        if n_mentions and not Table((True, False), (NEW_NAME_WEIGHT, n_mentions)).draw(uniform):
            # Each mention is an item of its own: equal names must add up.
            name = self.mentions[Table(range(n_mentions), [1] * n_mentions).draw(uniform)]
        else:
            name = self.names.draw(uniform)
        self.mentions.append(name)
        return name


def cast_nats(mentions: Sequence[int], names: Table[int]) -> float:
    """-log probability of a sequence of mentions, summed over all casts."""
    nats = 0.0
    counts: Counter[int] = Counter()
    for n_before, name in enumerate(mentions):
        mass = NEW_NAME_WEIGHT * names.share(name) + counts[name]
        nats -= math.log(mass / (NEW_NAME_WEIGHT + n_before))
        counts[name] += 1
    return nats


class ParagraphModel:
    """Draws paragraphs and knows their probability; all topics are equally likely unless a table says otherwise."""

    def __init__(
        self,
        structure: Structure,
        lexicon: Lexicon,
        n_sentences: Table[int] = N_SENTENCES,
        topics: Table[int] | None = None,
    ) -> None:
        self.structure = structure
        self.lexicon = lexicon
        self.n_sentences = n_sentences
        self.topics = topics or Table(range(lexicon.n_topics), [1] * lexicon.n_topics)
        self.names = lexicon.table("name")
        self._drawers = {topic: MeaningDrawer(structure, lexicon, topic) for topic in self.topics.items}

    def draw(self, uniform: Uniform) -> Paragraph:
        """One paragraph of meanings; its topic is drawn too, and no reader of the text sees it."""
        n_sentences = self.n_sentences.draw(uniform)
        drawer = self._drawers[self.topics.draw(uniform)]
        drawer.draw_name = Cast(self.names).draw
        return tuple(drawer.draw(uniform) for _ in range(n_sentences))

    def meaning_nats(self, paragraph: Paragraph) -> float:
        """-log probability of a paragraph of meanings, summed over topics and casts."""
        shape_nats = 0.0
        names: list[int] = []
        terms: Counter[Term] = Counter()
        for meaning in paragraph:
            score = MeaningScore(meaning, self.structure, self.lexicon)
            shape_nats += score.shape_nats
            names += score.names
            terms.update(score.terms)
        by_topic = []
        for topic in self.topics.items:
            topic_nats = self.topics.nats(topic)
            for (kind, concept, excluded), count in terms.items():
                table = self.lexicon.table(kind, topic)
                nats = table.nats(concept) if excluded == NONE else table.nats_other(concept, excluded)
                topic_nats += count * nats
            by_topic.append(topic_nats)
        nats = self.n_sentences.nats(len(paragraph)) + shape_nats + cast_nats(names, self.names)
        # The sum of probabilities given as nats, without underflow.
        least = min(by_topic)
        if math.isfinite(least):
            least -= math.log(math.fsum(math.exp(least - value) for value in by_topic))
        return nats + least
