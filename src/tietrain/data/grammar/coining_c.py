"""Coins C, a sister of B: B's stems after regular sound changes, with endings of its own.

C has one word per concept, the most frequent of B, so that training which has the concept has the word.
"""

import re

from tietrain.data.grammar.draw import make_stream
from tietrain.data.grammar.language_b import LanguageB, LanguageC
from tietrain.data.grammar.lexicon import NOUN_KINDS, SYLLABLES, VERB_KINDS, FormRegister, Lexicon, Word, coin_stem

CLOSED = {
    "that": ("att",),
    "conjunction": ("wail", "wen", "obwol", "solang", "befor"),
    "preposition": ("in", "up", "bai", "hinta", "unda"),
}
"""Words of the closed kinds."""
SOUND_CHANGES = {"sch": "sk", "ch": "k", "pf": "p", "tz": "tt", "z": "t", "ei": "ai", "au": "oa"}
"""What C has for a sound of B; a stem with none of these sounds is spelled alike."""
REPLACED_PERCENT = 15
"""Concepts for which C has another stem than B."""
PARTICLES = dict(zip(LanguageB.particles, LanguageC.particles, strict=True)) | {"": ""}
PLURALS = {"e": "a", "en": "en", "er": "er", "s": "s"}
_CHANGE = re.compile("|".join(SOUND_CHANGES))


def coin_c(lexicon: Lexicon, register: FormRegister, language_seed: int) -> None:
    """Gives every concept its word of C, from that of B."""
    register.reserve("c", LanguageC.function_words)
    for kind, forms in CLOSED.items():
        register.reserve("c", forms)
        for concept, form in zip(lexicon.members(kind), forms, strict=True):
            lexicon.words["c"][concept] = ((Word((form,)), 1),)
    uniform = make_stream("language c", language_seed)
    # By those of B: separable verbs of B may share a stem, and then share it in C.
    forms_of: dict[tuple[str, ...], tuple[str, ...]] = {}

    def coin(concept: int, kind: str, of_b: Word) -> Word:
        """A word whose forms are all free, with B's stem unless that is replaced or taken."""
        if kind in ("name", "number"):
            register.take("c", of_b.forms, concept)
            return of_b
        particle = PARTICLES[of_b.particle]
        shared = forms_of.get(of_b.forms)
        if shared and register.take("c", _join(particle, shared), concept):
            return Word(shared, particle)
        forms = _inherit(kind, of_b)
        is_replaced = int(uniform() * 100) < REPLACED_PERCENT
        while is_replaced or not register.take("c", (*forms, *_join(particle, forms)), concept):
            stem = coin_stem(uniform, "c", SYLLABLES.draw(uniform)).text
            forms = inflect_c(kind, stem, of_b)
            is_replaced = False
        forms_of.setdefault(of_b.forms, forms)
        return Word(forms, particle)

    first_sense = {second: verb for verb, second in lexicon.second_sense.items()}
    for concept, kind in enumerate(lexicon.kind):
        of_b = lexicon.words["b"][concept][0][0]
        verb = first_sense.get(concept, concept)
        if verb != concept and lexicon.split_in[verb] == "a":
            lexicon.words["c"][concept] = lexicon.words["c"][verb]
        elif kind not in CLOSED:
            lexicon.words["c"][concept] = ((coin(concept, kind, of_b), 1),)


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
