"""Names of slots in few words: parts instead of leaves, runs of layers instead of lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

MOST_RUNS = 6


class Place(NamedTuple):
    """Where a slot is: `decoder`, 3, `self_attn`, `q.weight`; the layer is None for tables and final norms."""

    stack: str
    layer: int | None
    part: str
    leaf: str


def place_of(slot: str) -> Place:
    """The place a slot's name says.

    >>> place_of("decoder.3.self_attn.q.weight"), place_of("decoder.embed.weight")
    (Place(stack='decoder', layer=3, part='self_attn', leaf='q.weight'), Place(stack='decoder', layer=None, part='embed', leaf='weight'))
    """
    stack, rest = slot.split(".", 1)
    first, after = rest.split(".", 1)
    if not first.isdigit():
        return Place(stack, None, first, after)
    part, leaf = after.split(".", 1)
    return Place(stack, int(first), part, leaf)


def part_words(leaves: Iterable[str], have: Iterable[str]) -> list[str]:
    """Leaves by part: the part's name where all of it is meant, else its weights or biases, else leaf by leaf.

    Args:
        leaves: the leaves that are meant, `ffn.in.weight`.
        have: every leaf there is, in forward order.

    >>> part_words(["ffn.in.weight", "ffn.out.weight"], ["ffn.in.weight", "ffn.in.bias", "ffn.out.weight", "ffn.out.bias"])
    ['ffn weights']
    """
    meant, by_part = set(leaves), dict[str, list[str]]()
    for leaf in have:
        by_part.setdefault(leaf.split(".")[0], []).append(leaf)
    words: list[str] = []
    for part, all_leaves in by_part.items():
        chosen = [leaf for leaf in all_leaves if leaf in meant]
        weights = [leaf for leaf in all_leaves if leaf.endswith("weight")]
        biases = [leaf for leaf in all_leaves if leaf.endswith("bias")]
        if not chosen:
            continue
        if chosen in (all_leaves, weights, biases):
            words.append(part if chosen == all_leaves else f"{part} {'weights' if chosen == weights else 'biases'}")
        else:
            words += chosen
    return words


def spans(numbers: Sequence[int]) -> str:
    """Numbers in their order, three and more in a row as a run; of very many the first and the last.

    >>> spans([0, 1, 2, 3, 7, 8]), spans([5, 4, 3, 0])
    ('0-3, 7, 8', '5-3, 0')
    """
    words: list[str] = []
    i = 0
    while i < len(numbers):
        step = numbers[i + 1] - numbers[i] if i + 1 < len(numbers) else 0
        end = i
        while abs(step) == 1 and end + 1 < len(numbers) and numbers[end + 1] - numbers[end] == step:
            end += 1
        long = end - i >= 2
        words.append(f"{numbers[i]}-{numbers[end]}" if long else str(numbers[i]))
        i = end + 1 if long else i + 1
    return ", ".join(shortened(words, MOST_RUNS))


def shortened(words: Sequence[str], most: int) -> list[str]:
    """The words; of more than `most` the first ones, a mark and the last."""
    return [*words[: most - 2], "…", words[-1]] if len(words) > most else list(words)
