"""A step of a search or of sampling compiles to one graph, which serves batches of all sizes and finds what eager code does."""

import random
from functools import partial
from itertools import chain

import pytest
import torch
from slow_decoding import peaked, read
from torch._dynamo.utils import counters

from tietrain.model import layers
from tietrain.model.beam import Search, search
from tietrain.model.sampling import Sampling, sample
from tiny_models import CASES, MECHANISMS_FIRST

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning"
)  # of torch's compiler, about torch


@pytest.fixture(autouse=True)
def compiler(monkeypatch):
    """Graphs must be whole, and those of other tests do not count; returns a function that chooses who compiles them."""
    original = torch.compile

    def choose(backend: str) -> None:
        monkeypatch.setattr(torch, "compile", partial(original, backend=backend, fullgraph=True))

    torch.compiler.reset()
    counters.clear()
    choose("eager")
    yield choose
    torch.compiler.reset()


def pair(task: str, scheme: str, **options):
    """A model and its like whose steps are compiled, in float64."""
    models = [peaked(task, scheme, **options).double() for _ in range(2)]
    models[1].compile_steps()
    return models


def found(model, sources, prefixes, limits, settings):
    rows = search(model, sources and read(sources), prefixes, limits, settings)
    by_row = dict(chain.from_iterable(rows))
    return [by_row[i] for i in range(len(prefixes))]


def require_same_searches(eager, compiled, *args) -> None:
    for mine, right in zip(found(compiled, *args), found(eager, *args), strict=True):
        assert [h.pieces for h in mine] == [h.pieces for h in right]
        assert [h.score for h in mine] == pytest.approx([h.score for h in right], abs=1e-9)


def require_same_decoding(task: str, scheme: str) -> None:
    """Of two sentences that go on side by side, in a search; and samples, if it is a language model."""
    eager, compiled = pair(task, scheme)
    sources = [[4, 9, 4, 7, 12], [20, 21]] if task == "mt" else None
    require_same_searches(eager, compiled, sources, [[5, 6], [7, 8]], [6, 6], Search(3, 0.6, 2))
    assert counters["stats"]["unique_graphs"] > 0
    if task == "lm":
        drawn = [sample(model, [4, 5], range(3), 8, 40, Sampling(0.9, 9, 0.95)) for model in (eager, compiled)]
        assert drawn[0] == drawn[1]


@pytest.mark.slow
@pytest.mark.parametrize(("task", "beam"), [("lm", 5), ("mt", 1), ("mt", 5)])
def test_searches_of_all_sizes_take_a_graph_for_one_row_and_one_for_several(task, beam):
    """Sources of a single piece each would take two more; the first step, and one after a single token, take none."""
    eager, compiled = pair(task, "none", n_layers=1, max_len=80)
    draw = random.Random(1)
    settings = Search(beam, 0.6, min(beam, 2))
    for n in (2, 1, 16, 5, 40, 3):
        lines = [[draw.randrange(4, 23) for _ in range(draw.randrange(2, 20))] for _ in range(n)]
        sources = lines if task == "mt" else None
        prefixes = [line[: draw.randrange(3)] for line in lines]
        limits = [draw.randrange(1, 50) for _ in lines]  # more tokens than the cache has room for at first
        require_same_searches(eager, compiled, sources, prefixes, limits, settings)
    assert counters["stats"]["unique_graphs"] == 2


def test_samples_of_all_sizes_take_a_graph_for_one_row_and_one_for_several():
    eager, compiled = pair("lm", "none", n_layers=1, max_len=80)
    for n, length, window in ((3, 9, 40), (1, 5, 40), (16, 60, 80), (2, 30, 12), (1, 8, 40)):
        for prompt in ([], [4, 5]):
            drawn = [sample(model, prompt, range(n), length, window, Sampling()) for model in (eager, compiled)]
            assert drawn[0] == drawn[1]
    assert counters["stats"]["unique_graphs"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(("task", "scheme"), [("lm", "cycle_rev-2"), ("mt", "three_way+cycle-2")])
def test_compiled_steps_of_ties_find_what_eager_ones_do_in_float32_and_bfloat16(task, scheme):
    """Up to rounding, so scores are compared loosely, and pieces not at all."""
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 0.5)):
        eager, compiled = (model.to(dtype) for model in pair(task, scheme))
        sources = [[4, 9, 4, 7, 12], [20, 21]] if task == "mt" else None
        args = sources, [[5, 6], [7, 8]], [6, 6], Search()
        for (mine,), (right,) in zip(found(compiled, *args), found(eager, *args), strict=True):
            assert mine.score == pytest.approx(right.score, abs=tolerance)


def test_compiled_steps_of_ties_find_what_eager_ones_do():
    require_same_decoding("mt", "three_way+cycle-2")


@pytest.mark.slow
@pytest.mark.parametrize(("task", "scheme"), CASES)
def test_compiled_steps_of_every_scheme_find_what_eager_ones_do(task, scheme, compiler):
    compiler("aot_eager")
    require_same_decoding(task, scheme)


@pytest.mark.slow
@pytest.mark.parametrize(("task", "scheme"), [("lm", "pre_softmax"), ("mt", "three_way+cycle-2")])
def test_compiled_steps_find_what_eager_ones_do_with_the_compiler_of_a_run(task, scheme, compiler):
    compiler("inductor")
    require_same_decoding(task, scheme)


@pytest.mark.parametrize(("task", "scheme"), MECHANISMS_FIRST)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_whole_tiles_of_columns_change_no_search_and_no_sample(task, scheme, dtype, monkeypatch):
    """23 pieces in 64 columns, as they are on a GPU."""
    model = peaked(task, scheme).to(dtype)
    sources = [[4, 9, 4, 7, 12, 5, 6], [5], [20, 21]] if task == "mt" else None

    def decoded():
        hypotheses = found(model, sources, [[5], [6], []], [12] * 3, Search(30, 0.6, 3))
        return hypotheses, sample(model, [4], range(3), 12, 30, Sampling()) if task == "lm" else None

    plain, widths = decoded(), []
    project = layers.linear
    monkeypatch.setattr(layers, "COLUMNS", {"cpu": 64})
    monkeypatch.setattr(layers, "linear", lambda x, *product: widths.append((y := project(x, *product)).shape[-1]) or y)
    tiled = decoded()
    assert 64 in widths and 23 not in widths
    assert tiled[1] == plain[1]
    for mine, right in zip(tiled[0], plain[0], strict=True):
        assert [h.pieces for h in mine] == [h.pieces for h in right]
        assert [h.score for h in mine] == pytest.approx(
            [h.score for h in right], abs=1e-12 if dtype.itemsize == 8 else 1e-5
        )
