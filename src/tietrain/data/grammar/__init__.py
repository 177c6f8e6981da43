"""A corpus generated from a grammar we wrote: meanings first, spelled by two languages.

Every choice comes from an explicit table, so -log p(reference | source) and -log p(paragraph) are
known exactly, and a model can be measured against the process that made its data.
"""
