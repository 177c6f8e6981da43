"""Coins C, a sister of B, and D, which is related to no other language.

C has B's stems after regular sound changes, with endings of its own. D has stems of its own that
take suffixes in a row, in vowel harmony. Both have one word per concept (C the most frequent of B),
so that training which has the concept has the word.

The forms of a noun of D are ordered by number, definiteness and case: form 6 x plural + 3 x definite
+ case; those of a verb by tense and number, 2 x tense + plural, then a participle for each tense from
form 6 on. Names take the case alone, behind a hyphen; all other words of D have one form.
"""

import re
from itertools import product

from tietrain.data.grammar.draw import Table, Uniform, make_stream
from tietrain.data.grammar.language_b import LanguageB, LanguageC
from tietrain.data.grammar.lexicon import (
    CONTENT_KINDS,
    NOUN_KINDS,
    SYLLABLES,
    SYLLABLES_FREQUENT,
    VERB_KINDS,
    FormRegister,
    Lexicon,
    Word,
    coin_stem,
)

CLOSED_KINDS = ("that", "conjunction", "preposition")
CLOSED = {
    "c": (("att",), ("wail", "wen", "obwol", "solang", "befor"), ("in", "up", "bai", "hinta", "unda")),
    "d": (("hoda",), ("zakum", "tabo", "nuzot", "vamal", "honuk"), ("mol", "tasu", "kovun", "juzak", "dzal")),
}
"""Words of the closed kinds."""

SOUND_CHANGES = {"sch": "sk", "ch": "k", "pf": "p", "tz": "tt", "z": "t", "ei": "ai", "au": "oa"}
"""What C has for a sound of B; a stem with none of these sounds is spelled alike."""
REPLACED_PERCENT = 15
"""Concepts for which C has another stem than B."""
PARTICLES = dict(zip(LanguageB.particles, LanguageC.particles, strict=True)) | {"": ""}
PLURALS = {"e": "a", "en": "en", "er": "er", "s": "s"}
_CHANGE = re.compile("|".join(SOUND_CHANGES))

PLURAL = "ak"
DEFINITE = "un"
CASES = ("", "ot", "as")
"""Of the subject, of the object, and before a postposition."""
TENSES = ("a", "ud", "osh")
VERB_PLURAL = "nok"
PARTICIPLE = "va"
FRONTED = str.maketrans("aou", "eiy")
"""Back vowels and their front ones; a word has one kind, and its suffixes follow."""
IS_FRONT = Table((False, True), (1, 1))


def _add_closed(lexicon: Lexicon, register: FormRegister, language: str) -> None:
    for kind, forms in zip(CLOSED_KINDS, CLOSED[language], strict=True):
        register.reserve(language, forms)
        for concept, form in zip(lexicon.members(kind), forms, strict=True):
            lexicon.words[language][concept] = ((Word((form,)), 1),)


def coin_c(lexicon: Lexicon, register: FormRegister, language_seed: int) -> None:
    """Gives every concept its word of C, from that of B."""
    register.reserve("c", LanguageC.function_words)
    _add_closed(lexicon, register, "c")
    coiner = _CoinerC(register, make_stream("language c", language_seed))
    first_sense = {second: verb for verb, second in lexicon.second_sense.items()}
    for concept, kind in enumerate(lexicon.kind):
        of_b = lexicon.words["b"][concept][0][0]
        verb = first_sense.get(concept, concept)
        if verb != concept and lexicon.split_in[verb] == "a":
            lexicon.words["c"][concept] = lexicon.words["c"][verb]
        elif kind not in CLOSED_KINDS:
            lexicon.words["c"][concept] = ((coiner.coin(concept, kind, of_b), 1),)


class _CoinerC:
    """Coins words in the order of the concepts, from one stream."""

    def __init__(self, register: FormRegister, uniform: Uniform) -> None:
        self.register = register
        self.uniform = uniform
        # By those of B: separable verbs of B may share a stem, and then share it in C.
        self.forms: dict[tuple[str, ...], tuple[str, ...]] = {}

    def coin(self, concept: int, kind: str, of_b: Word) -> Word:
        """A word whose forms are all free, with B's stem unless that is replaced or taken."""
        if kind in ("name", "number"):
            self.register.take("c", of_b.forms, concept)
            return of_b
        particle = PARTICLES[of_b.particle]
        shared = self.forms.get(of_b.forms)
        if shared and self.register.take("c", _join(particle, shared), concept):
            return Word(shared, particle)
        forms = _inherit(kind, of_b)
        is_replaced = int(self.uniform() * 100) < REPLACED_PERCENT
        while is_replaced or not self.register.take("c", (*forms, *_join(particle, forms)), concept):
            stem = coin_stem(self.uniform, "c", SYLLABLES.draw(self.uniform)).text
            forms = inflect_c(kind, stem, of_b)
            is_replaced = False
        self.forms.setdefault(of_b.forms, forms)
        return Word(forms, particle)


def _join(particle: str, forms: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(particle + form for form in forms) if particle else ()


def change_sounds(text: str) -> str:
    """A stem of B as C has it.

    >>> change_sounds("scheicht"), change_sounds("pfaumon")
    ('skaikt', 'poamon')
    """
    return _CHANGE.sub(lambda found: SOUND_CHANGES[found[0]], text)


def _inherit(kind: str, of_b: Word) -> tuple[str, ...]:
    """The forms of B's word as C has them, those of an irregular past included."""
    if kind not in VERB_KINDS:
        # Singular nouns, adverbs: the stem; adjectives: the stem and -e.
        stem = of_b.forms[0][:-1] if kind == "adjective" else of_b.forms[0]
        return inflect_c(kind, change_sounds(stem), of_b)
    stem = change_sounds(of_b.forms[1].removesuffix("en"))
    past = change_sounds(of_b.forms[2])
    forms = inflect_c(kind, stem, of_b)
    # Regular if the changes make one sound of two and nothing would mark the past.
    is_irregular = of_b.forms[3] == of_b.forms[2] + "en" and past != stem
    return (*forms[:2], past, past + "en", forms[4]) if is_irregular else forms


def inflect_c(kind: str, stem: str, of_b: Word) -> tuple[str, ...]:
    """All forms of a stem of C; a noun has the plural of its class in B."""
    if kind in NOUN_KINDS:
        return (stem, stem + PLURALS[of_b.forms[1].removeprefix(of_b.forms[0])])
    if kind in VERB_KINDS:
        return (stem + "es", stem + "en", stem + "ed", stem + "eden", stem + "en")
    if kind == "adjective":
        return tuple(stem + ending for ending in ("a", "er", "et", "en"))
    return (stem,)


def coin_d(lexicon: Lexicon, register: FormRegister, language_seed: int) -> None:
    """Gives every concept its word of D."""
    uniform = make_stream("language d", language_seed)
    _add_closed(lexicon, register, "d")
    frequent: set[int] = set()
    for kind in CONTENT_KINDS:
        members = lexicon.members(kind)
        frequent.update(members[: -(-len(members) // 10)])
    for concept, kind in enumerate(lexicon.kind):
        if kind in CLOSED_KINDS:
            continue
        if kind in ("name", "number"):
            forms = inflect_d(kind, lexicon.words["a"][concept][0][0].forms[0])
            register.take("d", forms, concept)
        else:
            forms = ()
            syllables = SYLLABLES_FREQUENT if concept in frequent else SYLLABLES
            while not forms or not register.take("d", forms, concept):
                stem = coin_stem(uniform, "d", syllables.draw(uniform)).text
                forms = inflect_d(kind, stem.translate(FRONTED) if IS_FRONT.draw(uniform) else stem)
        lexicon.words["d"][concept] = ((Word(forms), 1),)


def inflect_d(kind: str, stem: str) -> tuple[str, ...]:
    """All forms of a stem of D, the vowels of the suffixes after its last.

    >>> inflect_d("name", "Mer")
    ('Mer', 'Mer-it', 'Mer-es')
    """
    suffixes = [""]
    if kind in NOUN_KINDS:
        suffixes = ["".join(parts) for parts in product(("", PLURAL), ("", DEFINITE), CASES)]
    elif kind in VERB_KINDS:
        suffixes = [tense + number for tense, number in product(TENSES, ("", VERB_PLURAL))]
        suffixes += [tense + PARTICIPLE for tense in TENSES]
    elif kind == "name":
        suffixes += ["-" + case for case in CASES[1:]]
    vowels = [letter for letter in stem if letter in "aoueiy"]
    if vowels and vowels[-1] in "eiy":
        suffixes = [suffix.translate(FRONTED) for suffix in suffixes]
    return tuple(stem + suffix for suffix in suffixes)
