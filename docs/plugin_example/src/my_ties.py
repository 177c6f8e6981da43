"""An example of a tying rule, a metric and a reader."""

from itertools import pairwise


def lower_half(slots, share=0.5):
    """The lower part of each stack shares one layer.

    Args:
        slots: every parameter that the model could have; `slots.shape.stacks` are its stacks, each with a name and n_layers.
        share: of the layers.

    Returns:
        Pairs of names that are one: layers, parts of layers, or single parameters.
    """
    pairs = []
    for stack in slots.shape.stacks:
        lower = range(round(share * stack.n_layers))
        pairs += pairwise(f"{stack.name}.{layer}" for layer in lower)
    return pairs


def exact(hypotheses, references):
    """The share of translations that are the reference itself, in percent.

    Args:
        hypotheses, references: lists of lines, one of each for every sentence of a split.

    Returns:
        One finite number for all of them.
    """
    n_exact = sum(map(str.__eq__, hypotheses, references))
    return 100 * n_exact / len(references)


exact.higher_is_better = True


def two_lines(path):
    """Pairs of a file in which a line and its translation follow one another.

    Args:
        path: a `pathlib.Path`.

    Returns:
        For each row a text per column; for a corpus of one column the text itself.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    return zip(lines[::2], lines[1::2], strict=True)
