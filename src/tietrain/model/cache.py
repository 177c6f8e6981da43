"""What decoding keeps between steps: keys and values by place, never by module or owner."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Place = tuple[str, int, str]
KeysValues = tuple[Tensor, Tensor]


class Cache:
    """Keys and values of every attention by (stack, layer depth, part).

    A layer that reads another layer's parameters still attends to its own past, so depth is the key. `length` is the
    number of positions decoded so far.
    """

    def __init__(self) -> None:
        self.length = 0
        self._past: dict[Place, KeysValues] = {}
        self._memory: dict[Place, KeysValues] = {}

    def extend(self, place: Place, k: Tensor, v: Tensor) -> KeysValues:
        """Keys and values of all positions so far, [B, length + T, H_kv, K], after adding k and v of T new ones."""
        end = self.length + k.shape[1]
        if place not in self._past or self._past[place][0].shape[1] < end:
            self._past[place] = self._grown(place, k, end), self._grown(place, v, end, which=1)
        keys, values = self._past[place]
        keys[:, self.length : end] = k
        values[:, self.length : end] = v
        return keys[:, :end], values[:, :end]

    def _grown(self, place: Place, new: Tensor, end: int, which: int = 0) -> Tensor:
        """Room for twice the positions needed, so that growing costs a constant per position."""
        room = new.new_empty(new.shape[0], max(32, 2 * end), *new.shape[2:])
        if place in self._past:
            room[:, : self.length] = self._past[place][which][:, : self.length]
        return room

    def memory(self, place: Place, make: Callable[[], KeysValues]) -> KeysValues:
        """Keys and values of the source, made at the first step and kept."""
        if place not in self._memory:
            self._memory[place] = make()
        return self._memory[place]

    def select(self, rows: Tensor) -> None:
        """Keep these rows of the batch, in this order; a row may repeat (beams) or be left out (finished)."""
        for kept in (self._past, self._memory):
            for place, (k, v) in kept.items():
                kept[place] = torch.index_select(k, 0, rows), torch.index_select(v, 0, rows)
