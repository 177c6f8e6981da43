"""Which class a word of the generated text belongs to: what neighbours of a token table should have in common."""

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
