"""Strings of three words, the third from a class: the exclusive or of what the first two mean.

A word follows others as its class says, and it is read for what it means. In the text `aligned` the words of one class mean the same,
so words in similar contexts are alike to who reads them. In `crossed` each class has equally many words of each meaning, so what a
word follows does not tell what it means. Both texts have the same words, and lines are as probable.

Our own design, after the idea of Bertolotti & Cazzola 2024; their text was not seen.
"""

from tietrain.config import DataConfig
from tietrain.data.grammar.draw import Table, Uniform, make_stream
from tietrain.data.sources.files import Corpus, Split
from tietrain.data.sources.named import text_columns

# Part of the corpus's key: a change of one line makes another number.
RULES_VERSION = 1
# Words are numbers, 0 to 63; classes and meanings are numbers, 0 to 3.
N_WORDS = 64
# How frequent the meanings of the first two words are. Were they equally frequent, neither of the two alone would tell anything about
# the third, and a network would not learn the rule in a short training.
WEIGHTS = (8, 4, 2, 1)
N_CLASSES = len(WEIGHTS)
N_LINES = {"train": 20_000, "valid": 1_000, "test": 4_000}


class XorStrings:
    """The text of data.meanings: it draws lines, and knows the probability of each."""

    def __init__(self, meanings: str) -> None:
        words = range(N_WORDS)
        self.meanings = [class_of(word if meanings == "aligned" else word // N_CLASSES) for word in words]
        self.read = Table(words, [WEIGHTS[meaning] for meaning in self.meanings])
        self.written = [
            Table([w for w in words if class_of(w) == c], [1] * (N_WORDS // N_CLASSES)) for c in range(N_CLASSES)
        ]

    def draw(self, uniform: Uniform) -> tuple[int, int, int]:
        """One line; takes three numbers from `uniform`."""
        first = self.read.draw(uniform)
        second = self.read.draw(uniform)
        return first, second, self.third(first, second).draw(uniform)

    def nats(self, first: int, second: int, third: int) -> float:
        """-log probability of a line; infinite if the rule does not allow it."""
        return self.read.nats(first) + self.read.nats(second) + self.third(first, second).nats(third)

    def third(self, first: int, second: int) -> Table[int]:
        """Words that may follow two words."""
        return self.written[self.meanings[first] ^ self.meanings[second]]


def class_of(word: int) -> int:
    """In which contexts a word is written."""
    return word % N_CLASSES


def load_xor_strings(data: DataConfig, task: str) -> Corpus:
    """The lines of every split; SettingsError if the task is translation."""
    (column,) = text_columns(data, task)
    strings = XorStrings(data.meanings)
    corpus = Corpus(f"xor-{data.meanings}", [column])
    for name, n_lines in N_LINES.items():
        uniform = make_stream(f"xor strings of {name}", data.meanings, data.seed)
        drawn = [strings.draw(uniform) for _ in range(n_lines)]
        nats = None if name == "train" else [strings.nats(*line) for line in drawn]
        corpus.splits[name] = Split({column: [" ".join(map(str, line)) for line in drawn]}, nats)
    return corpus
