"""Where the cache keeps what: source keys once, branches apart. That it changes nothing: `tietrain.train.check.checks.check_cache`."""

import pytest
import torch

from tietrain.model.cache import Cache
from tiny_models import MECHANISMS_FIRST, build


def test_cache_makes_source_keys_once():
    model, made = build("mt", "none"), []
    original = Cache.memory

    def counting(self, place, make):
        return original(self, place, lambda: made.append(place) or make())

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(Cache, "memory", counting)
        memory, cache = model.encode({"encoder": torch.randint(4, 23, (2, 6))}), Cache()
        for _ in range(5):
            model.decode(torch.full((2, 1), 5), memory, cache)
    assert made == [("decoder", layer, "cross_attn") for layer in range(4)]


@pytest.mark.parametrize(("task", "scheme"), MECHANISMS_FIRST)
def test_cache_branches_attend_to_their_own_past_only(task, scheme):
    """Tokens side by side in one row equal the full pass over each path, after rows have left the batch too."""
    model, generator = build(task, scheme), torch.Generator().manual_seed(3)
    source = torch.randint(4, 23, (3, 6), generator=generator)
    prefix = torch.randint(4, 23, (3, 4), generator=generator)
    with torch.no_grad():
        memory, cache = model.encode({"encoder": source}) if task == "mt" else None, Cache()
        model.decode(prefix, memory, cache)
        paths = prefix[:, None]
        for step in range(4):
            parents = torch.randint(paths.shape[1], (len(paths), 3 + step % 2), generator=generator)
            new_ids = torch.randint(4, 23, parents.shape, generator=generator)
            cache.branch(parents)
            hidden = model.decode(new_ids, memory, cache)
            paths = torch.stack(
                [torch.cat((p[q], n[:, None]), dim=1) for p, q, n in zip(paths, parents, new_ids, strict=True)]
            )
            for row, row_paths in enumerate(paths):
                copies = None if memory is None else memory.select(torch.full((len(row_paths),), row))
                full = model.decode(row_paths, copies)[:, -1]
                torch.testing.assert_close(hidden[row], full, rtol=1e-4, atol=1e-5)
            if step == 1:
                rows = torch.tensor([2, 1])
                cache.select(rows)
                paths, memory = paths[rows], memory and memory.select(rows)
    assert (cache.length, cache.position) == (4 + 3 + 4 + 3 + 4, 8)
