"""What is known of words of the generated text: their class, which neighbours of an input table should have in common, and which of
them may stand for each other, whose scores should rise and fall together.
"""

from itertools import combinations

from tietrain.data.grammar.coining import make_lexicon
from tietrain.data.grammar.settings import GrammarSettings


def word_classes(settings: GrammarSettings, language: str) -> dict[str, str]:
    """Word as written -> part of speech or noun class of its concept; words that belong to several are left out."""
    lexicon = make_lexicon(settings)
    found: dict[str, set[str]] = {}
    for kind, words in zip(lexicon.kind, lexicon.words[language], strict=True):
        for word, _ in words:
            for form in word.forms:
                found.setdefault(form, set()).add(kind)
    return {form: next(iter(kinds)) for form, kinds in found.items() if len(kinds) == 1}


def exchangeable_words(settings: GrammarSettings, language: str) -> list[tuple[str, str]]:
    """Pairs of synonyms in the same form: the generator draws one of them whatever the context is."""
    lexicon = make_lexicon(settings)
    pairs = set()
    for words in lexicon.words[language]:
        for (one, _), (other, _) in combinations(words, 2):
            pairs |= {(a, b) for a, b in zip(one.forms, other.forms, strict=True) if a != b}
    return sorted(pairs)
