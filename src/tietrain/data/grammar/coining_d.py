"""Coins language D, related to no other: stems of its own that take suffixes in a row, in vowel harmony.

D has one word a concept, so that training which has the concept has the word. The forms of a noun
are ordered by number, definiteness and case: form 6 x plural + 3 x definite + case; those of a verb
by tense and number, 2 x tense + plural, then a participle for each tense from form 6 on. Names take
the case alone, behind a hyphen; all other words have one form.
"""

from itertools import product

from tietrain.data.grammar.draw import Table, make_stream
from tietrain.data.grammar.lexicon import CONTENT_KINDS, NOUN_KINDS, VERB_KINDS, Lexicon, Word
from tietrain.data.grammar.stems import SYLLABLES, FormRegister, coin_stem

FIXED = {
    "that": ("hoda",),
    "conjunction": ("zakum", "tabo", "nuzot", "vamal", "honuk"),
    "preposition": ("mol", "tasu", "kovun", "juzak", "dzal"),
}
PLURAL, DEFINITE = "ak", "un"
CASES = ("", "ot", "as")
"""Of the subject, of the object, and before a postposition."""
TENSES = ("a", "ud", "osh")
VERB_PLURAL, PARTICIPLE = "nok", "va"
FRONTED = str.maketrans("aou", "eiy")
"""Back vowels and their front ones; a word has one kind, and its suffixes follow."""
IS_FRONT = Table((False, True), (1, 1))


def coin_d(lexicon: Lexicon, register: FormRegister, language_seed: int) -> None:
    """Gives every concept its word of D."""
    uniform = make_stream("language d", language_seed)
    for kind, fixed in FIXED.items():
        register.reserve("d", fixed)
        for concept, form in zip(lexicon.members(kind), fixed, strict=True):
            lexicon.words["d"][concept] = ((Word((form,)), 1),)
    kinds = [lexicon.members(kind) for kind in CONTENT_KINDS]
    frequent = {concept for members in kinds for concept in members[: -(-len(members) // 10)]}
    for concept, kind in enumerate(lexicon.kind):
        if kind in FIXED:
            continue
        if kind in ("name", "number"):
            forms = inflect(kind, lexicon.words["a"][concept][0][0].forms[0])
            register.take("d", forms, concept)
        else:
            forms = ()
            while not forms or not register.take("d", forms, concept):
                stem = coin_stem(uniform, "d", SYLLABLES[0 if concept in frequent else 1].draw(uniform)).text
                forms = inflect(kind, stem.translate(FRONTED) if IS_FRONT.draw(uniform) else stem)
        lexicon.words["d"][concept] = ((Word(forms), 1),)


def inflect(kind: str, stem: str) -> tuple[str, ...]:
    """All forms of a stem, the vowels of the suffixes after its last.

    >>> inflect("name", "Mer")
    ('Mer', 'Mer-it', 'Mer-es')
    """
    if kind in NOUN_KINDS:
        suffixes = ["".join(parts) for parts in product(("", PLURAL), ("", DEFINITE), CASES)]
    elif kind in VERB_KINDS:
        suffixes = [tense + number for tense, number in product(TENSES, ("", VERB_PLURAL))]
        suffixes += [tense + PARTICIPLE for tense in TENSES]
    elif kind == "name":
        suffixes = ["", *("-" + case for case in CASES[1:])]
    else:
        suffixes = [""]
    last = [letter for letter in stem if letter in "aoueiy"][-1:]
    is_front = last and last[0] in "eiy"
    return tuple(stem + (suffix.translate(FRONTED) if is_front else suffix) for suffix in suffixes)
