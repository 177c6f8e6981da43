"""What a user may set about the generated corpus, and the sizes behind each preset."""

from dataclasses import asdict, dataclass

from tietrain.errors import SettingsError

GRAMMAR_VERSION = 1
"""Raised by every change that moves one byte of any corpus; part of the fingerprint."""

LANGUAGES = ("a", "b", "c")
FAULTY = {f"{language}_mt": language for language in LANGUAGES}
"""Column of a language after the fault channel -> the language."""
FEATURES = "features"
"""The column of feature vectors."""
N_FEATURES = 32
"""Width of a vector."""


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

    DataConfig refuses a preset, alphabet or difficulty that does not exist.

    Attributes:
        task: "lm" for running paragraphs of one language, "mt" for sentence pairs.
        preset: size: "tiny" (seconds to train), "small" (20,000 pairs), "full" (100,000).
        seed: draws corpus and splits; unrelated to the seed of a run.
        language_seed: draws the languages: stems, genders, cognates, synonyms, double verbs.
        difficulty: 1 to 12. It scales the lexicon (in proportion; 4 is about 1,270 content
            lexemes at `small`), the share of verbs with two translations (10 percent per step, at
            most 80), the share of frequent lexemes with synonyms (10 percent per step, at most 80),
            the share of irregular verbs (5 percent per step, at most 40) and the most clauses in a
            sentence (2 at 1, 3 from 3, 4 from 6, 5 from 9, 6 at 12).
        alphabet_b: "latin", or "other" to spell the same sentences of B in another script, which
            shares no letter and no digit with A.
        columns: for "lm" one of LANGUAGES, "a" if empty. For "mt" two or more of LANGUAGES, FAULTY and
            FEATURES, the last a language; ("a", "b") if empty.
    Raises:
        SettingsError: a number that is not whole, or columns that no corpus can have.
    """

    task: str
    preset: str = "small"
    seed: int = 0
    language_seed: int = 0
    difficulty: int = 4
    alphabet_b: str = "latin"
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key in ("seed", "language_seed", "difficulty"):
            value = getattr(self, key)
            if not isinstance(value, int) or isinstance(value, bool):
                raise SettingsError(f"data.{key}={value!r}", "it is not a whole number", "give one, e.g. 4")
        if not self.columns:
            object.__setattr__(self, "columns", ("a",) if self.task == "lm" else ("a", "b"))
        requested = f"data.columns=[{','.join(self.columns)}]"
        languages = ", ".join(LANGUAGES)
        if self.task == "lm":
            if len(self.columns) > 1 or self.columns[0] not in LANGUAGES:
                problem = "a generated corpus of running text has one language"
                raise SettingsError(requested, problem, f"choose one of {languages}")
            return
        known = (*LANGUAGES, *FAULTY, FEATURES)
        if len(self.columns) < 2 or len(set(self.columns)) < len(self.columns) or not set(self.columns) <= set(known):
            problem = "a generated translation has two or more different columns, the target last"
            raise SettingsError(requested, problem, f"choose from {', '.join(known)}")
        if self.columns[-1] not in LANGUAGES:
            raise SettingsError(requested, f"{self.columns[-1]} can only be a source", f"put one of {languages} last")

    @property
    def sizes(self) -> Preset:
        """Sizes of the preset."""
        return PRESETS[self.preset]

    @property
    def max_clauses(self) -> int:
        """Most clauses in a sentence at the difficulty."""
        return 2 + self.difficulty // 3

    @property
    def stream_label(self) -> tuple[object, ...]:
        """What names the streams of a corpus: neither columns nor alphabet, so that all of them share meanings."""
        return (self.preset, self.difficulty, self.seed, self.language_seed)

    @property
    def identity(self) -> dict[str, object]:
        """The settings as part of the fingerprint: of `columns` the first and the last, as when there were no others.

        The fingerprint takes in every column by name, so that none is lost.
        """
        stated = asdict(self)
        columns = stated.pop("columns")
        return stated | {"source": columns[0], "target": "b" if self.task == "lm" else columns[-1]}
