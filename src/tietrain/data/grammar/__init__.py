"""A corpus generated from a grammar we wrote: meanings first, spelled by two languages.

Every choice comes from an explicit table, so -log p(reference | source) and -log p(paragraph) are
known exactly, and a model can be measured against the process that made its data.
"""

from tietrain.data.grammar.corpus import GrammarCorpus, GrammarSplit, generate
from tietrain.data.grammar.settings import GRAMMAR_VERSION, PRESETS, GrammarSettings

__all__ = ["GRAMMAR_VERSION", "PRESETS", "GrammarCorpus", "GrammarSettings", "GrammarSplit", "generate"]
