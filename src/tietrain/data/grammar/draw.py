"""Draws that come out the same on every platform: integer tables and labelled random streams."""

import hashlib
import math
import random
from bisect import bisect_right
from collections.abc import Callable, Hashable, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

Uniform = Callable[[], float]
T = TypeVar("T", bound=Hashable)


def stream_digest(*label: object) -> bytes:
    """32 bytes that a label decides, to seed a generator with."""
    return hashlib.sha256("\x1f".join(map(str, label)).encode()).digest()


def make_stream(*label: object) -> Uniform:
    """A source of uniform numbers in [0, 1) named by its label; equal labels give equal numbers.

    Only `random.Random.random` is ever called, the one method whose sequence Python promises to
    keep between versions.
    """
    return random.Random(int.from_bytes(stream_digest(*label)[:8], "big")).random


def zipf_mandelbrot(n_ranks: int, exponent_quarters: int) -> list[int]:
    """Integer weights proportional to (rank + 2.7) ** -exponent, the most frequent first.

    2.7 is Mandelbrot's offset as it is often quoted for running text. Four quarters are the classic Zipf exponent 1.

    Raises:
        ValueError: a weight would come out as zero.
    Source: Mandelbrot 1953, "An informational theory of the statistical structure of language".
    """
    powers = ((10 * rank + 27) ** exponent_quarters << 32 for rank in range(1, n_ranks + 1))
    # Fourth root by two integer square roots: a float power may differ between C libraries.
    weights = [(1 << 40) // math.isqrt(math.isqrt(power)) for power in powers]
    if weights and weights[-1] <= 0:
        raise ValueError(f"{n_ranks} ranks: too many for exponent {exponent_quarters}/4")
    return weights


class Table(Generic[T]):
    """A distribution over items by integer weight: it draws, and knows the probability of what it draws.

    Equal items are merged and items of weight zero dropped, so `nats` is the probability of the
    item itself, not of one way to it.

    >>> table = Table("abc", (2, 1, 1))
    >>> table.draw(lambda: 0.6), round(table.nats("a"), 3)
    ('b', 0.693)
    """

    __slots__ = ("_cumulative", "_weight_of", "items", "total", "weights")

    def __init__(self, items: Sequence[T], weights: Sequence[int]) -> None:
        merged: dict[T, int] = {}
        for item, weight in zip(items, weights, strict=True):
            if weight < 0:
                raise ValueError(f"weight {weight} of {item!r} is negative")
            if weight:
                merged[item] = merged.get(item, 0) + weight
        if not merged:
            raise ValueError("a table needs an item of positive weight")
        self.items = tuple(merged)
        self.weights = tuple(merged.values())
        self._weight_of = merged
        self._cumulative = list(accumulate(self.weights))
        self.total = self._cumulative[-1]

    def draw(self, uniform: Uniform) -> T:
        """One item; takes one number from `uniform`."""
        # random() * total stays below total in IEEE doubles as long as total < 2**53.
        return self.items[bisect_right(self._cumulative, int(uniform() * self.total))]

    def draw_other(self, uniform: Uniform, excluded: T) -> T:
        """One item that is not `excluded`, in proportion to the weights that remain."""
        place = self.items.index(excluded)
        point = int(uniform() * (self.total - self.weights[place]))
        if point >= self._cumulative[place] - self.weights[place]:
            point += self.weights[place]
        return self.items[bisect_right(self._cumulative, point)]

    def nats(self, item: T) -> float:
        """-log probability of an item; infinite if the table does not hold it."""
        weight = self._weight_of.get(item, 0)
        return math.log(self.total / weight) if weight else math.inf

    def nats_other(self, item: T, excluded: T) -> float:
        """-log probability that `draw_other` gives `item`."""
        weight = self._weight_of.get(item, 0)
        if not weight or item == excluded:
            return math.inf
        return math.log((self.total - self._weight_of[excluded]) / weight)

    def share(self, item: T) -> float:
        """Probability of an item, zero if the table does not hold it."""
        return self._weight_of.get(item, 0) / self.total

    def best(self) -> T:
        """The most probable item, the earlier one of equals."""
        return self.items[self.weights.index(max(self.weights))]
