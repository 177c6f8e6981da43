"""What a user may set about the generated corpus, and the sizes behind each preset."""

from dataclasses import dataclass

from tietrain.errors import SettingsError

GRAMMAR_VERSION = 1
"""Raised by every change that moves one byte of any corpus; part of the fingerprint."""

MAX_DIFFICULTY = 12


@dataclass(frozen=True)
class Preset:
    """Sizes of one preset; bytes are of UTF-8 text in the Latin alphabet, language A or B."""

    train_pairs: int
    valid_pairs: int
    test_pairs: int
    train_bytes: int
    valid_bytes: int
    test_bytes: int
    lexicon_percent: int
    n_topics: int


PRESETS = {
    "tiny": Preset(2_000, 250, 250, 120_000, 15_000, 15_000, 20, 4),
    "small": Preset(20_000, 1_000, 2_000, 2_100_000, 105_000, 210_000, 100, 8),
    "full": Preset(100_000, 2_000, 3_000, 10_500_000, 210_000, 420_000, 250, 12),
}


@dataclass(frozen=True)
class GrammarSettings:
    """Everything that decides the bytes of a generated corpus.

    Attributes:
        task: "lm" for running paragraphs of one language, "mt" for sentence pairs.
        preset: size: "tiny" (seconds to train), "small" (20,000 pairs), "full" (100,000).
        seed: draws corpus and splits; unrelated to the seed of a run.
        language_seed: draws the languages: stems, genders, cognates, synonyms, double verbs.
        difficulty: 1 to 12. It scales the lexicon (in proportion; 4 is about 1,270 content
            lexemes at `small`), the share of verbs with two translations (10 percent a step, at
            most 80), the share of frequent lexemes with synonyms (10 percent a step, at most 80),
            the share of irregular verbs (5 percent a step, at most 40) and the most clauses in a
            sentence (2 at 1, 3 from 3, 4 from 6, 5 from 9, 6 at 12).
        alphabet_b: "latin", or "other" to spell the same sentences of B in another script, which
            shares no letter and no digit with A.
        source: language of the source side; the language of a language-model corpus.
        target: language of the target side; unused by "lm".
    Raises:
        SettingsError: a value outside its range; the message names the key.
    """

    task: str
    preset: str = "small"
    seed: int = 0
    language_seed: int = 0
    difficulty: int = 4
    alphabet_b: str = "latin"
    source: str = "a"
    target: str = "b"

    def __post_init__(self) -> None:
        _check_choice("task", self.task, ("lm", "mt"))
        _check_choice("data.preset", self.preset, tuple(PRESETS))
        _check_choice("data.alphabet_b", self.alphabet_b, ("latin", "other"))
        _check_choice("source", self.source, ("a", "b"))
        _check_choice("target", self.target, ("a", "b"))
        for key in ("seed", "language_seed", "difficulty"):
            value = getattr(self, key)
            if not isinstance(value, int) or isinstance(value, bool):
                raise SettingsError(f"data.{key}={value!r}", "it is not a whole number", "give one, e.g. 4")
        if not 1 <= self.difficulty <= MAX_DIFFICULTY:
            to_do = f"choose a whole number from 1 to {MAX_DIFFICULTY}"
            raise SettingsError(f"data.difficulty={self.difficulty}", "it is out of range", to_do)
        if self.task == "mt" and self.source == self.target:
            raise SettingsError(f"target={self.target}", "it is the source too", "choose the other language")

    @property
    def sizes(self) -> Preset:
        """Sizes of the preset."""
        return PRESETS[self.preset]


def _check_choice(key: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SettingsError(f"{key}={value}", "there is no such choice", f"choose from {', '.join(choices)}")
