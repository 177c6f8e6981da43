"""tietrain: which parts of a Transformer should share parameters, and what does it cost or buy?"""

__version__ = "0.6.0"
