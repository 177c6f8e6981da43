"""XOR strings: probabilities that sum to one, lines drawn as these say, and what `crossed` and `aligned` mean."""

import itertools
import math
from collections import Counter

import pytest
from scipy import stats

from refusals import refusal
from tietrain.config import DataConfig
from tietrain.data.sources.corpora import load_corpus
from tietrain.data.sources.named import corpus_key
from tietrain.data.sources.xor_strings import N_CLASSES, N_WORDS, WEIGHTS, XorStrings, class_of

# Of test: they never change.
FIRST = ["26 49 38", "39 58 23"]
TEXTS = ("crossed", "aligned")
# Entropy of a line: which meanings the first two words have, which word of each, and which of the third's class.
LINE_ENTROPY = 2 * stats.entropy(WEIGHTS) + 3 * math.log(N_WORDS // N_CLASSES)


def load(**settings):
    return load_corpus(DataConfig(format="xor", **settings), "lm")


@pytest.mark.parametrize("meanings", TEXTS)
def test_probabilities_of_all_lines_sum_to_one_and_give_the_stated_entropy(meanings):
    strings = XorStrings(meanings)
    total, entropy = 0.0, 0.0
    for first, second in itertools.product(range(N_WORDS), repeat=2):
        for third in strings.third(first, second).items:
            nats = strings.nats(first, second, third)
            total += math.exp(-nats)
            entropy += nats * math.exp(-nats)
    assert (total, entropy) == pytest.approx((1.0, LINE_ENTROPY))
    assert strings.nats(0, 0, 1) == math.inf


@pytest.mark.parametrize("meanings", TEXTS)
def test_lines_are_drawn_as_their_probabilities_say(meanings):
    strings = XorStrings(meanings)
    corpus = load(meanings=meanings)
    lines = [tuple(map(int, line.split())) for line in corpus.splits["train"].texts["text"]]
    assert all(math.isfinite(strings.nats(*line)) for line in lines)
    for place, table in ((0, strings.read), (1, strings.read), (2, None)):
        counts = Counter(line[place] for line in lines)
        expected = [
            len(lines) * (table.share(word) if table else written_share(strings, word)) for word in range(N_WORDS)
        ]
        assert stats.chisquare([counts[word] for word in range(N_WORDS)], expected).pvalue > 0.001
    test = corpus.splits["test"]
    assert test.generator_nats == [strings.nats(*map(int, line.split())) for line in test.texts["text"]]
    assert math.fsum(test.generator_nats) / len(test.generator_nats) == pytest.approx(LINE_ENTROPY, rel=0.01)


def written_share(strings, word):
    """The chance of a word in the third place."""
    pairs = itertools.product(range(N_CLASSES), repeat=2)
    weights = [WEIGHTS[one] * WEIGHTS[other] for one, other in pairs if one ^ other == class_of(word)]
    return sum(weights) / sum(WEIGHTS) ** 2 / (N_WORDS // N_CLASSES)


def test_words_of_one_class_mean_the_same_if_aligned_and_everything_if_crossed():
    for meanings, expected in (("aligned", [16]), ("crossed", [4, 4, 4, 4])):
        of = XorStrings(meanings).meanings
        for own in range(N_CLASSES):
            counts = Counter(of[word] for word in range(N_WORDS) if class_of(word) == own)
            assert list(counts.values()) == expected


def test_xor_strings_are_the_same_everywhere_and_others_by_seed_and_meanings():
    corpus = load()
    assert corpus.splits["test"].texts["text"][:2] == FIRST
    assert load().fingerprint == corpus.fingerprint
    others = [{"seed": 1}, {"meanings": "aligned"}]
    assert len({corpus.fingerprint, *(load(**other).fingerprint for other in others)}) == 3
    assert len({corpus_key(DataConfig(format="xor", **other), "lm") for other in [{}, *others]}) == 3


def test_xor_strings_have_no_translation():
    error = refusal(load_corpus, DataConfig(format="xor"), "mt")
    assert (error.setting, error.remedy) == ("task=mt", "choose task=lm")
