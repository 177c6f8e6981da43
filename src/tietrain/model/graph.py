"""A step of a search or of sampling as one graph of the compiler, which serves batches of all sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import torch
from torch.fx.experimental import _config as sizes

if TYPE_CHECKING:
    from tietrain.model.cache import Cache
    from tietrain.model.transformer import Transformer

P = ParamSpec("P")
R = TypeVar("R")

# Each model has graphs of its own, so that those of other runs of the process do not count against the compiler's limit.
OPTIONS: dict[str, Any] = {"dynamic": True, "isolate_recompiles": True}


def step_of(model: Transformer, step: Callable[P, R], cache: Cache, n_tokens: int) -> Callable[P, R]:
    """The step, compiled if the model's `graphs` are to be used.

    The first step of a sequence is not compiled: it makes the keys of the sources and the first room of the cache. Nor is
    one that finds a single token, as the compiler makes constants of the numbers 0 and 1.

    Args:
        cache: what the step extends by n_tokens; it grows here, outside of the graph.
    """
    if model.graphs is None or cache.position < 2:
        return step
    cache.reserve(n_tokens)
    if step not in model.graphs:
        model.graphs[step] = torch.compile(step, **OPTIONS)
    graph = model.graphs[step]

    def compute(*args: P.args, **kwargs: P.kwargs) -> R:
        with sizes.patch(use_duck_shape=False):  # type: ignore[attr-defined]  # sizes that are equal once need not stay so
            found: R = graph(*args, **kwargs)
            return found

    return compute
