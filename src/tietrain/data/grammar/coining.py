"""Draws the lexicon: which concepts there are and what A and B call them; then C and D."""

from tietrain.data.grammar.coining_c import coin_c
from tietrain.data.grammar.coining_d import coin_d
from tietrain.data.grammar.draw import Table, Uniform, make_stream
from tietrain.data.grammar.lexicon import (
    KIND_SIZES,
    NOUN_KINDS,
    PARTICLES,
    VERB_KINDS,
    Lexicon,
    Word,
    concept_sizes,
)
from tietrain.data.grammar.settings import GrammarSettings
from tietrain.data.grammar.stems import (
    SYLLABLES,
    VOWELS,
    FormRegister,
    Stem,
    coin_stem,
    make_cognate,
)

FUNCTION_WORDS = {
    "a": ("the", "a", "will", "that", "who", "which"),
    "b": tuple(["der", "die", "das", "den", "dem", "ein", "eine", "einen", "einem", "einer", "wird", "werden", "dass"]),
}
PREPOSITIONS = (("in", "in"), ("on", "auf"), ("near", "bei"), ("behind", "hinter"), ("under", "unter"))
CONJUNCTIONS = (
    ("because", "weil"),
    ("when", "wenn"),
    ("although", "obwohl"),
    ("while", "solange"),
    ("before", "bevor"),
)
OBJECT_KINDS = ("name", *NOUN_KINDS)
ANY_OBJECT = Table(OBJECT_KINDS, (3, 5, 3, 8, 2))
OBJECT_PATTERNS = Table(
    (ANY_OBJECT, Table(OBJECT_KINDS, (4, 6, 4, 2, 1)), Table(OBJECT_KINDS, (1, 1, 2, 10, 4))),
    (2, 1, 2),
)
GENDERS = {"person": Table((0, 1), (1, 1)), "other": Table((0, 1, 2), (4, 4, 3))}
PLURALS = Table(("e", "en", "er", "s"), (4, 3, 2, 1))
N_SYNONYMS = Table((2, 3), (3, 1))
SYNONYM_WEIGHTS = {1: (1,), 2: (2, 1), 3: (3, 2, 1)}
COGNATE_PERCENT = 30
SEPARABLE_PERCENT = 35


def make_lexicon(settings: GrammarSettings) -> Lexicon:
    """The lexicon of a preset, difficulty and language seed; the corpus seed plays no part."""
    coiner = _Coiner(settings)
    lexicon = coiner.coin()
    # Last, from streams of their own: A and B are the same with them and without.
    coin_c(lexicon, coiner.register, settings.language_seed)
    coin_d(lexicon, coiner.register, settings.language_seed)
    return lexicon


class _Coiner:
    """Coins words concept by concept, in a fixed order, from one stream."""

    def __init__(self, settings: GrammarSettings) -> None:
        level = settings.difficulty
        self.uniform: Uniform = make_stream("language", settings.language_seed)
        self.sizes = concept_sizes(KIND_SIZES, settings.sizes.lexicon_percent, level)
        self.double_percent = min(80, 10 * level)
        self.synonym_percent = min(80, 10 * level)
        self.irregular_percent = min(40, 5 * level)
        self.lexicon = Lexicon(n_topics=settings.sizes.n_topics)
        self.register = FormRegister()
        self.separable_bases: list[Word] = []
        self.separable_taken: set[tuple[str, str]] = set()

    def coin(self) -> Lexicon:
        for language, forms in FUNCTION_WORDS.items():
            self.register.take(language, forms, -1)
        self.register.take("b", PARTICLES, -1)
        lexicon = self.lexicon
        lexicon.that = self._add_fixed("that", "that", "dass", known=True)
        for of_a, of_b in CONJUNCTIONS:
            self._add_fixed("conjunction", of_a, of_b)
        for of_a, of_b in PREPOSITIONS:
            self._add_fixed("preposition", of_a, of_b)
        for kind, size in self.sizes.items():
            for rank in range(size):
                if kind == "number":
                    self._add_fixed(kind, str(rank + 2), str(rank + 2))
                elif kind == "name":
                    self._add_name()
                else:
                    self._add_content(kind, rank, size)
        return lexicon

    def _percent(self, percent: int) -> bool:
        return int(self.uniform() * 100) < percent

    def _below(self, n: int) -> int:
        return int(self.uniform() * n)

    def _add_fixed(self, kind: str, of_a: str, of_b: str, known: bool = False) -> int:
        concept = self.lexicon.add(kind)
        for language, form in (("a", of_a), ("b", of_b)):
            if not known and not self.register.take(language, (form,), concept):
                raise AssertionError(f"{form} is already a word of {language}")
            self.lexicon.words[language][concept] = ((Word((form,)), 1),)
        return concept

    def _add_name(self) -> None:
        concept = self.lexicon.add("name")
        while True:
            name = coin_stem(self.uniform, "name", 2).text.capitalize()
            if self.register.is_free("a", name, concept):
                break
        for language in "ab":
            self.register.take(language, (name,), concept)
            self.lexicon.words[language][concept] = ((Word((name,)), 1),)

    def _add_content(self, kind: str, rank: int, size: int) -> None:
        """One concept with its words in both languages; a double verb gets its second sense."""
        lexicon = self.lexicon
        gender = -1
        if kind in NOUN_KINDS:
            gender = GENDERS["person" if kind == "person" else "other"].draw(self.uniform)
        concept = lexicon.add(kind, self._below(lexicon.n_topics), gender)
        double = kind == "transitive" and self._percent(self.double_percent)
        if kind == "transitive":
            pattern = OBJECT_PATTERNS.draw(self.uniform)
            lexicon.object_kinds[concept] = ANY_OBJECT if double else pattern
        self._add_words(concept, kind, rank, size)
        if not double:
            return
        sense = lexicon.add("second_sense", lexicon.home[concept])
        split = "b" if self._percent(65) else "a"
        lexicon.second_sense[concept] = sense
        lexicon.split_in[concept] = split
        other = "a" if split == "b" else "b"
        lexicon.words[other][sense] = lexicon.words[other][concept]
        # One word a sense: which word it is must say nothing beyond the object's class.
        lexicon.words[split][concept] = lexicon.words[split][concept][:1]
        frequent = 10 * rank < size
        word, _ = self._coin_word(split, sense, "transitive", frequent, None)
        if split == "b":
            word = self._separate(sense, word)
        lexicon.words[split][sense] = ((word, 1),)

    def _add_words(self, concept: int, kind: str, rank: int, size: int) -> None:
        """Words of both languages; frequent concepts may have synonyms."""
        lexicon = self.lexicon
        frequent = 10 * rank < size
        first_stem: Stem | None = None
        for language in "ab":
            n_words = 1
            # Only the frequent half has synonyms: a scarce word of a scarce concept would never
            # be seen in training.
            if 2 * rank < size and self._percent(self.synonym_percent):
                n_words = N_SYNONYMS.draw(self.uniform)
            words = []
            for place in range(n_words):
                cognate = None
                if language == "b" and place == 0 and self._percent(COGNATE_PERCENT):
                    cognate = first_stem
                word, stem = self._coin_word(language, concept, kind, frequent, cognate)
                if language == "b" and n_words == 1 and kind in VERB_KINDS:
                    word = self._separate(concept, word)
                first_stem = first_stem or stem
                words.append(word)
            weights = SYNONYM_WEIGHTS[n_words]
            lexicon.words[language][concept] = tuple(zip(words, weights, strict=True))

    def _coin_word(
        self, language: str, concept: int, kind: str, frequent: bool, cognate: Stem | None
    ) -> tuple[Word, Stem]:
        """A word whose forms are all free, related to `cognate` where that is free."""
        inflect = {"a": self._inflect_a, "b": self._inflect_b}[language]
        if cognate is not None:
            stem = make_cognate(cognate)
            forms = inflect(kind, stem)
            if self.register.take(language, forms, concept):
                self.lexicon.cognates.append(concept)
                return Word(forms), stem
        while True:
            n_syllables = SYLLABLES[0 if frequent else 1].draw(self.uniform)
            stem = coin_stem(self.uniform, language, n_syllables)
            forms = inflect(kind, stem)
            if self.register.take(language, forms, concept):
                return Word(forms), stem

    def _other_vowel(self, language: str, stem: Stem) -> str:
        return stem.head + VOWELS[language].draw_other(self.uniform, stem.vowel) + stem.tail

    def _inflect_a(self, kind: str, stem: Stem) -> tuple[str, ...]:
        text = stem.text
        if kind in NOUN_KINDS:
            return (text, text + ("es" if text.endswith(("sh", "x")) else "s"))
        if kind in VERB_KINDS:
            third = text + ("es" if text.endswith(("sh", "x")) else "s")
            irregular = self._percent(self.irregular_percent)
            return (third, text, self._other_vowel("a", stem) if irregular else text + "ed")
        if kind == "manner":
            return (text + "ly",)
        return (text,)

    def _inflect_b(self, kind: str, stem: Stem) -> tuple[str, ...]:
        text = stem.text
        if kind in NOUN_KINDS:
            return (text, text + PLURALS.draw(self.uniform))
        if kind in VERB_KINDS:
            link = "e" if text.endswith(("t", "d", "tz")) else ""
            if self._percent(self.irregular_percent):
                vowel = self._change_vowel_b(stem)
                past = (vowel, vowel + "en")
            else:
                past = (text + link + "te", text + link + "ten")
            return (text + link + "t", text + "en", *past, text + "en")
        if kind == "adjective":
            return tuple(text + ending for ending in ("e", "er", "es", "en"))
        return (text,)

    def _change_vowel_b(self, stem: Stem) -> str:
        # A cognate may carry a vowel that B's own stems lack.
        if stem.vowel in VOWELS["b"].items:
            return self._other_vowel("b", stem)
        return stem.head + VOWELS["b"].draw(self.uniform) + stem.tail

    def _separate(self, concept: int, word: Word) -> Word:
        """The word, or a separable verb in its place: a particle before its stem or another's.

        Verbs that share a stem are told apart by the particle alone, which in a main clause
        stands at the far end.
        """
        if not self._percent(SEPARABLE_PERCENT):
            self.separable_bases.append(word)
            return word
        base = word
        shares = self._percent(50) and concept not in self.lexicon.cognates
        if shares and self.separable_bases:
            base = self.separable_bases[self._below(len(self.separable_bases))]
        particle = PARTICLES[self._below(len(PARTICLES))]
        joined = tuple(particle + form for form in base.forms)
        key = (base.forms[0], particle)
        if key in self.separable_taken or not self.register.take("b", joined, concept):
            self.separable_bases.append(word)
            return word
        self.separable_taken.add(key)
        return Word(base.forms, particle)
