"""What decoding keeps between steps: keys and values by place, never by module or owner."""

from collections.abc import Callable

import torch
from torch import Tensor

from tietrain.data.batches.batching import to_device

Place = tuple[str, int, str]
KeysValues = tuple[Tensor, Tensor]


class Cache:
    """Keys and values of every attention by (stack, layer depth, part).

    A layer that reads another layer's parameters still attends to its own past, so depth is the key. They are kept head
    by head, [B, H_kv, T, K], so that attention reads them where they lie.

    length: tokens a row holds. position: where the next token stands; less than `length` once beams have branched.
    visible: which of the held tokens each of the next ones attends to, [B, W, length + W] if they stand side by side at
        one position; None while a row is a plain sequence.
    """

    def __init__(self) -> None:
        self.length = self.position = 0
        self.visible: Tensor | None = None
        self._past: dict[Place, KeysValues] = {}
        self._memory: dict[Place, KeysValues] = {}

    def reserve(self, n_tokens: int) -> None:
        """Make room for this many new tokens, at every place that has been extended before."""
        end = self.length + n_tokens
        for place, (k, v) in self._past.items():
            if k.shape[2] < end:
                self._past[place] = self._grown(k, end), self._grown(v, end)

    def _grown(self, old: Tensor, end: int) -> Tensor:
        room = _room(old, old.shape[1], end)
        room[:, :, : self.length] = old[:, :, : self.length]
        return room

    def extend(self, place: Place, k: Tensor, v: Tensor) -> KeysValues:
        """Keys and values of all tokens so far, [B, length + T, H_kv, K], after adding k and v of T new ones."""
        end = self.length + k.shape[1]
        if place not in self._past:
            self._past[place] = _room(k, k.shape[2], end), _room(v, v.shape[2], end)
        keys, values = self._past[place]  # [B, H_kv, room, K]
        keys[:, :, self.length : end] = k.transpose(1, 2)
        values[:, :, self.length : end] = v.transpose(1, 2)
        return keys[:, :, :end].transpose(1, 2), values[:, :, :end].transpose(1, 2)

    def advance(self, n_tokens: int) -> None:
        """Count the tokens that every place has been extended by."""
        self.length += n_tokens
        self.position += n_tokens if self.visible is None else 1

    def branch(self, parents: Tensor) -> None:
        """Let the next W tokens of a row stand side by side: token w continues token parents[b, w] of the last step.

        It attends to that token, to what that one attended to, and to itself. No key moves: those of other branches are masked.
        """
        rows, width = parents.shape
        visible = self.visible
        if visible is None:  # the last token of a plain sequence attends to all of it
            visible = torch.ones(rows, 1, self.length, dtype=torch.bool, device=parents.device)
        inherited = visible.gather(1, parents[..., None].expand(-1, -1, self.length))
        itself = torch.eye(width, dtype=torch.bool, device=parents.device).expand(rows, -1, -1)
        self.visible = torch.cat((inherited, itself), dim=2)  # [B, W, length + W]

    def memory(self, place: Place, make: Callable[[], KeysValues]) -> KeysValues:
        """Keys and values of the source, [B, S, H_kv, K], made at the first step and kept."""
        if place not in self._memory:
            k, v = make()
            self._memory[place] = k.transpose(1, 2).contiguous(), v.transpose(1, 2).contiguous()
        k, v = self._memory[place]
        return k.transpose(1, 2), v.transpose(1, 2)

    def select(self, rows: Tensor) -> None:
        """Keep these rows of the batch, in this order; those that keep their place are not moved.

        Args:
            rows: [B] on the CPU, whatever the device of the model: how many move is then known without waiting for it.
        """
        device = next(iter(self._past.values()))[0].device
        moved = (rows != torch.arange(len(rows))).nonzero().squeeze(1)
        sources = to_device(rows[moved], device)
        moved = to_device(moved, device)
        for kept in (self._past, self._memory):
            for place, tensors in kept.items():
                for tensor in tensors:
                    tensor[moved] = tensor[sources]
                k, v = tensors
                kept[place] = k[: len(rows)], v[: len(rows)]
        if self.visible is not None:
            self.visible = self.visible[to_device(rows, device)]


def _room(like: Tensor, n_heads: int, end: int) -> Tensor:
    """For twice the tokens needed, so that growing costs a constant per token: [B, H_kv, room, K]."""
    return like.new_empty(like.shape[0], n_heads, max(32, 2 * end), like.shape[3])
