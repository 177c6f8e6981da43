"""Decoding step by step as torch's counter and the tensors of the cache see it."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from several_stacks import draw
from tietrain.model.cache import Cache
from tietrain.plan.params import count_memory

ROWS, S, STEPS = 2, 5, 6


class RecordingCache(Cache):
    """Keeps, by place, the keys and values that attention was last given: the part of the cache that is in use."""

    def __init__(self):
        super().__init__()
        self.used = {}

    def extend(self, place, k, v):
        self.used[place] = super().extend(place, k, v)
        return self.used[place]

    def memory(self, place, make):
        self.used[place] = super().memory(place, make)
        return self.used[place]


def counted(run) -> tuple[object, int]:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        result = run()
    return result, counter.get_total_flops()


def held(cache) -> int:
    """Bytes of the tensors that a cache holds."""
    return sum(t.numel() * t.element_size() for pair in cache.used.values() for t in pair)


def booked(model, n_source) -> int:
    """What the memory ledger says a cache holds after STEPS steps."""
    memory = count_memory(model.plan, "adamw")
    return ROWS * (memory.kv_per_token * STEPS + memory.kv_per_source_token * n_source)


def decode_counted(model, n_source):
    """FLOPs of the first decoding step with the sources' share, of each later step, and the cache they leave.

    By the model's first route, n_source tokens a source. Attention this small runs as plain products, which the counter
    sees.
    """
    *names, target = model.shape.routes[0]
    memory, cache, flops = None, RecordingCache(), []
    source_flops = 0
    if names:
        sources = {name: draw(model, name, ROWS, n_source) for name in names}
        memory, source_flops = counted(lambda: model.encode(sources, stack=target))
    for _ in range(STEPS):
        last = torch.randint(4, 23, (ROWS, 1))
        step = counted(lambda last=last: model.logits(model.decode(last, memory, cache, stack=target), target))
        flops.append(step[1])
    flops[0] += source_flops
    return flops, cache
