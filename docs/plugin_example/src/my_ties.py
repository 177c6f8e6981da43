"""An example of a tying rule."""

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
