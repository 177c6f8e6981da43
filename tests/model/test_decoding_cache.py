"""Cached decoding equals the full pass for every scheme: keys and values belong to a depth, not to an owner.

Tying bugs 41 and 42: caches keyed by module or by the index of a shared layer.
"""

import pytest
import torch

from tietrain.model.cache import Cache
from tiny_models import CASES, build


def compare(model, steps, *, rows=3, length=40):
    generator = torch.Generator().manual_seed(2)
    source = torch.randint(4, 23, (rows, 9), generator=generator)
    source[1, 5:] = 0
    target = torch.randint(4, 23, (rows, length), generator=generator)
    with torch.no_grad():
        memory = model.encode(source) if model.encoder_stack else None
        full = model.decode(target, memory)
        cache, hidden, start = Cache(), [], 0
        while start < length:
            step = steps[min(len(hidden), len(steps) - 1)]
            hidden.append(model.decode(target[:, start : start + step], memory, cache))
            start += step
    assert cache.length == length
    torch.testing.assert_close(torch.cat(hidden, dim=1), full, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("task", "scheme"), CASES)
def test_one_token_at_a_time(task, scheme):
    compare(build(task, scheme), [1])


@pytest.mark.parametrize("task", ["lm", "mt"])
@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])
@pytest.mark.parametrize("n_kv_heads", [4, 2])
def test_positions_and_heads_in_steps_of_any_size(task, positions, n_kv_heads):
    model = build(task, "cycle_rev-2", positions=positions, n_kv_heads=n_kv_heads, norm_position="post", max_len=64)
    compare(model, [5, 1, 1, 30, 3])


def test_selected_rows_go_on_alone():
    model = build("mt", "three_way+cycle-2")
    source, target = torch.randint(4, 23, (4, 6)), torch.randint(4, 23, (4, 8))
    rows = torch.tensor([2, 0, 2])
    with torch.no_grad():
        memory, cache = model.encode(source), Cache()
        model.decode(target[:, :5], memory, cache)
        cache.select(rows)
        after = model.decode(target[rows, 5:], memory.select(rows), cache)
        full = model.decode(target[rows], model.encode(source[rows]))
    torch.testing.assert_close(after, full[:, 5:], rtol=1e-4, atol=1e-5)


def test_source_keys_are_made_once():
    model, made = build("mt", "none"), []
    original = Cache.memory

    def counting(self, place, make):
        return original(self, place, lambda: made.append(place) or make())

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(Cache, "memory", counting)
        memory, cache = model.encode(torch.randint(4, 23, (2, 6))), Cache()
        for _ in range(5):
            model.decode(torch.full((2, 1), 5), memory, cache)
    assert made == [("decoder", layer, "cross_attn") for layer in range(4)]
