"""Matmul FLOPs as torch counts them while it runs, with nothing that computes attention left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from tietrain.train.check.reference import CheckFailed


def _flash_forward(q, k, v, *args, out_shape=None, **kwargs) -> int:
    b, h, t, d = q
    return 2 * b * h * t * k[2] * (d + v[-1])


# torch 2.13 has no formula for the CPU's fused attention and counts it as nothing (pytorch issue 195460).
FUSED: dict[Any, Callable[..., int]] = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _flash_forward}


class _NoUncountedAttention(TorchDispatchMode):
    """Fails where an attention kernel runs for which no formula is known."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        known = func.overloadpacket in flop_registry or func.overloadpacket in FUSED
        if not known and "attention" in func.name():
            raise CheckFailed(f"FLOPs of {func.name()}", "torch's counter has no formula for it")
        return func(*args, **(kwargs or {}))


def count_matmul_flops(run: Callable[[], object]) -> int:
    """Matmul FLOPs of everything `run` computes, backward passes included.

    Raises:
        CheckFailed: an attention kernel runs that would be counted as nothing.
    """
    with FlopCounterMode(display=False, custom_mapping=FUSED) as counter, _NoUncountedAttention():
        run()
    return counter.get_total_flops()
