"""Draws the lexicon: which concepts there are and what A and B call them; then C."""

from itertools import count

from tietrain.data.grammar.coining_c import coin_c
from tietrain.data.grammar.draw import Table, make_stream
from tietrain.data.grammar.language_a import LanguageA
from tietrain.data.grammar.language_b import LanguageB
from tietrain.data.grammar.lexicon import (
    NOUN_KINDS,
    SYLLABLES,
    SYLLABLES_FREQUENT,
    VERB_KINDS,
    VOWELS,
    FormRegister,
    Lexicon,
    Stem,
    Word,
    coin_stem,
)
from tietrain.data.grammar.settings import GrammarSettings

KIND_SIZES = {
    "person": 120,
    "animal": 80,
    "thing": 320,
    "place": 110,
    "transitive": 220,
    "intransitive": 90,
    "clausal": 24,
    "adjective": 220,
    "time": 30,
    "manner": 60,
    "name": 150,
    "number": 60,
}
"""Concepts of each kind at `small` and difficulty 4; other settings scale them, to no fewer than four."""
PREPOSITIONS = {"in": "in", "on": "auf", "near": "bei", "behind": "hinter", "under": "unter"}
CONJUNCTIONS = {"because": "weil", "when": "wenn", "although": "obwohl", "while": "solange", "before": "bevor"}
OBJECT_KINDS = ("name", *NOUN_KINDS)
ANY_OBJECT = Table(OBJECT_KINDS, (3, 5, 3, 8, 2))
PEOPLE_FIRST = Table(OBJECT_KINDS, (4, 6, 4, 2, 1))
OBJECT_PATTERNS = Table((ANY_OBJECT, PEOPLE_FIRST, Table(OBJECT_KINDS, (1, 1, 2, 10, 4))), (2, 1, 2))
GENDERS_OF_PERSONS = Table((0, 1), (1, 1))
GENDERS = Table((0, 1, 2), (4, 4, 3))
PLURALS = Table(("e", "en", "er", "s"), (4, 3, 2, 1))
N_SYNONYMS = Table((2, 3), (3, 1))
SYNONYM_WEIGHTS = {1: (1,), 2: (2, 1), 3: (3, 2, 1)}
COGNATE_PERCENT = 30
SEPARABLE_PERCENT = 35
SOUND_CHANGES = (("sh", "sch"), ("th", "t"), ("y", "j"), ("x", "chs"), ("oo", "u"), ("ea", "ie"))
"""How B spells a stem it shares with A; a stem with none of these sounds is spelled alike."""


def make_lexicon(settings: GrammarSettings) -> Lexicon:
    """The lexicon of a preset, difficulty and language seed; the corpus seed plays no part."""
    coiner = _Coiner(settings)
    coiner.coin()
    # Last, from a stream of its own: A and B are the same with it and without.
    coin_c(coiner.lexicon, coiner.register, settings.language_seed)
    return coiner.lexicon


def make_cognate(stem: Stem) -> Stem:
    """The stem of A as B writes it, by the regular sound changes.

    >>> make_cognate(Stem("sh", "i", "th")).text
    'schit'
    """
    for of_a, of_b in SOUND_CHANGES:
        stem = Stem(*(part.replace(of_a, of_b) for part in stem))
    return stem


class _Coiner:
    """Coins words concept by concept, in a fixed order, from one stream."""

    def __init__(self, settings: GrammarSettings) -> None:
        self.level = settings.difficulty
        self.size_percent = settings.sizes.lexicon_percent
        self.uniform = make_stream("language", settings.language_seed)
        self.lexicon = Lexicon(n_topics=settings.sizes.n_topics)
        self.register = FormRegister()
        self.separable_bases: list[Word] = []
        self.separable_taken: set[tuple[str, str]] = set()

    def coin(self) -> None:
        self.register.take("a", LanguageA.function_words, -1)
        self.register.take("b", LanguageB.function_words, -1)
        self.lexicon.that = self._add_fixed("that", "that", "dass")
        for of_a, of_b in CONJUNCTIONS.items():
            self._add_fixed("conjunction", of_a, of_b)
        for of_a, of_b in PREPOSITIONS.items():
            self._add_fixed("preposition", of_a, of_b)
        for kind, normal_size in KIND_SIZES.items():
            size = max(4, normal_size * self.size_percent * self.level // 400)
            for rank in range(size):
                if kind == "number":
                    self._add_fixed(kind, str(rank + 2), str(rank + 2))
                elif kind == "name":
                    names = (coin_stem(self.uniform, "name", 2).text.capitalize() for _ in count())
                    name = next(name for name in names if self.register.is_free("a", name, len(self.lexicon.kind)))
                    self._add_fixed("name", name, name)
                else:
                    self._add_content(kind, rank, size)

    def _percent(self, percent: int) -> bool:
        return int(self.uniform() * 100) < percent

    def _below(self, n: int) -> int:
        return int(self.uniform() * n)

    def _add_fixed(self, kind: str, of_a: str, of_b: str) -> int:
        concept = self.lexicon.add(kind)
        for language, form in (("a", of_a), ("b", of_b)):
            if not self.register.take(language, (form,), concept):
                raise AssertionError(f"{form} is already a word of {language}")
            self.lexicon.words[language][concept] = ((Word((form,)), 1),)
        return concept

    def _add_content(self, kind: str, rank: int, size: int) -> None:
        """One concept with its words in both languages; a double verb gets its second sense."""
        lexicon = self.lexicon
        gender = -1
        if kind in NOUN_KINDS:
            gender = (GENDERS_OF_PERSONS if kind == "person" else GENDERS).draw(self.uniform)
        concept = lexicon.add(kind, self._below(lexicon.n_topics), gender)
        is_double = kind == "transitive" and self._percent(min(80, 10 * self.level))
        if kind == "transitive":
            pattern = OBJECT_PATTERNS.draw(self.uniform)
            lexicon.object_kinds[concept] = ANY_OBJECT if is_double else pattern
        self._add_words(concept, kind, rank, size)
        if is_double:
            self._add_second_sense(concept, rank, size)

    def _add_second_sense(self, verb: int, rank: int, size: int) -> None:
        lexicon = self.lexicon
        sense = lexicon.add("second_sense", lexicon.home[verb])
        split, other = ("b", "a") if self._percent(65) else ("a", "b")
        lexicon.second_sense[verb] = sense
        lexicon.split_in[verb] = split
        lexicon.words[other][sense] = lexicon.words[other][verb]
        # One word per sense: which word it is must say nothing beyond the object's class.
        lexicon.words[split][verb] = lexicon.words[split][verb][:1]
        word, _ = self._coin_word(split, sense, "transitive", 10 * rank < size, None)
        if split == "b":
            word = self._separate(sense, word)
        lexicon.words[split][sense] = ((word, 1),)

    def _add_words(self, concept: int, kind: str, rank: int, size: int) -> None:
        """Words of both languages; frequent concepts may have synonyms."""
        first_stem: Stem | None = None
        for language in "ab":
            n_words = 1
            # Only the frequent half has synonyms: training would never have a scarce word of a
            # scarce concept.
            if 2 * rank < size and self._percent(min(80, 10 * self.level)):
                n_words = N_SYNONYMS.draw(self.uniform)
            words = []
            for place in range(n_words):
                cognate = None
                if language == "b" and place == 0 and self._percent(COGNATE_PERCENT):
                    cognate = first_stem
                word, stem = self._coin_word(language, concept, kind, 10 * rank < size, cognate)
                if language == "b" and n_words == 1 and kind in VERB_KINDS:
                    word = self._separate(concept, word)
                first_stem = first_stem or stem
                words.append(word)
            self.lexicon.words[language][concept] = tuple(zip(words, SYNONYM_WEIGHTS[n_words], strict=True))

    def _coin_word(
        self, language: str, concept: int, kind: str, is_frequent: bool, cognate: Stem | None
    ) -> tuple[Word, Stem]:
        """A word whose forms are all free, related to `cognate` if that is free."""
        inflect = self._inflect_a if language == "a" else self._inflect_b
        if cognate is not None:
            stem = make_cognate(cognate)
            forms = inflect(kind, stem)
            if self.register.take(language, forms, concept):
                self.lexicon.cognates.append(concept)
                return Word(forms), stem
        while True:
            n_syllables = (SYLLABLES_FREQUENT if is_frequent else SYLLABLES).draw(self.uniform)
            stem = coin_stem(self.uniform, language, n_syllables)
            forms = inflect(kind, stem)
            if self.register.take(language, forms, concept):
                return Word(forms), stem

    def _irregular(self, language: str, stem: Stem) -> str:
        """The stem with another vowel; empty if it is regular."""
        if not self._percent(min(40, 5 * self.level)):
            return ""
        vowels = VOWELS[language]
        # A cognate may carry a vowel that B's own stems lack.
        is_known = stem.vowel in vowels.items
        vowel = vowels.draw_other(self.uniform, stem.vowel) if is_known else vowels.draw(self.uniform)
        return stem.head + vowel + stem.tail

    def _inflect_a(self, kind: str, stem: Stem) -> tuple[str, ...]:
        text = stem.text
        with_s = text + ("es" if text.endswith(("sh", "x")) else "s")
        if kind in NOUN_KINDS:
            return (text, with_s)
        if kind in VERB_KINDS:
            return (with_s, text, self._irregular("a", stem) or text + "ed")
        return (text + "ly" if kind == "manner" else text,)

    def _inflect_b(self, kind: str, stem: Stem) -> tuple[str, ...]:
        text = stem.text
        if kind in NOUN_KINDS:
            return (text, text + PLURALS.draw(self.uniform))
        if kind in VERB_KINDS:
            link = "e" if text.endswith(("t", "d", "tz")) else ""
            changed = self._irregular("b", stem)
            past = (changed, changed + "en") if changed else (text + link + "te", text + link + "ten")
            return (text + link + "t", text + "en", *past, text + "en")
        if kind == "adjective":
            return tuple(text + ending for ending in ("e", "er", "es", "en"))
        return (text,)

    def _separate(self, concept: int, word: Word) -> Word:
        """The word, or a separable verb in its place: a particle before its stem or another's.

        Verbs that share a stem are told apart by the particle alone, which in a main clause
        stands at the far end.
        """
        if self._percent(SEPARABLE_PERCENT):
            base = word
            may_share = self._percent(50) and concept not in self.lexicon.cognates
            if may_share and self.separable_bases:
                base = self.separable_bases[self._below(len(self.separable_bases))]
            particle = LanguageB.particles[self._below(len(LanguageB.particles))]
            joined = tuple(particle + form for form in base.forms)
            key = (base.forms[0], particle)
            if key not in self.separable_taken and self.register.take("b", joined, concept):
                self.separable_taken.add(key)
                return Word(base.forms, particle)
        self.separable_bases.append(word)
        return word
