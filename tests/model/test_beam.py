"""Beam search against what it approximates: every sequence there is, and the textbook loop without cache or batch."""

import itertools
import random

import pytest
import torch
from slow_decoding import log_probs, peaked, plain_beam, read, score_of

from tietrain.data.tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID
from tietrain.model import beam as beam_search
from tietrain.model.beam import Search, best_pieces, penalty, search
from tiny_models import MECHANISMS_FIRST, build

SOURCES = [[4, 9, 4, 7, 12, 5, 6], [5], [20, 21], [11, 11, 11, 4], [8, 7, 6, 5, 4], [22]]


def found(model, sources, settings, *, prefixes=None, limits=None, **options):
    n = len(sources or prefixes)
    rows = search(model, sources and read(sources), prefixes or [[]] * n, limits or [12] * n, settings, **options)
    by_row = dict(itertools.chain.from_iterable(rows))
    return [by_row[i] for i in range(n)]


@pytest.mark.parametrize(("task", "scheme"), MECHANISMS_FIRST)
def test_search_with_beam_1_is_the_argmax_of_the_uncached_model(task, scheme):
    """For every scheme, with rows that leave the batch at different times."""
    model = peaked(task, scheme)
    sources = SOURCES if task == "mt" else None
    prefixes = [[]] * len(SOURCES) if task == "mt" else [source[:2] for source in SOURCES]
    limits = [3, 12, 7, 12, 12, 5]
    lengths = set()
    for row, (hypothesis,) in enumerate(found(model, sources, Search(), prefixes=prefixes, limits=limits)):
        pieces = list(prefixes[row])
        for _ in range(limits[row] - 1):
            scores = log_probs(model, sources and sources[row], pieces)[0, -1]
            scores[[PAD_ID, BOS_ID]] = -torch.inf
            if int(scores.argmax()) == EOS_ID:
                break
            pieces.append(int(scores.argmax()))
        assert hypothesis.pieces == pieces
        lengths.add(len(pieces))
    assert len(lengths) > 1


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("task", ["lm", "mt"])
def test_search_with_a_wide_beam_finds_the_best_of_all_sequences_in_order(task, alpha):
    model, limit = peaked(task, "none", vocab_size=7), 4
    pieces = [UNK_ID, 4, 5, 6]
    sources = [[4, 6, 5], [5]] if task == "mt" else [None, None]
    prefixes = [[], []] if task == "mt" else [[5], [6]]
    every = [list(s) for n in range(limit) for s in itertools.product(pieces, repeat=n)]
    settings = Search(beam=100, length_penalty=alpha, n_best=len(every))
    results = found(model, sources if task == "mt" else None, settings, prefixes=prefixes, limits=[limit] * 2)
    for source, prefix, hypotheses in zip(sources, prefixes, results, strict=True):
        scored = {
            tuple(prefix + s): score_of(model, source, prefix + s, n_forced=len(prefix), alpha=alpha) for s in every
        }
        assert {tuple(h.pieces) for h in hypotheses} == scored.keys()
        expected = sorted(scored.values(), reverse=True)
        assert [h.score for h in hypotheses] == pytest.approx(expected, abs=1e-4)
        assert [scored[tuple(h.pieces)] for h in hypotheses] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("scheme", ["none", "three_way+cycle-2"])
@pytest.mark.parametrize(
    ("beam", "alpha", "n_best"), [(2, 0.0, 1), (3, 0.0, 3), (2, 3.0, 1), (4, 5.0, 1), (4, 1.0, 2), (5, 0.6, 5)]
)
def test_search_with_small_beams_is_the_textbooks(scheme, beam, alpha, n_best):
    """Also that stopping early, where nothing alive can enter the list any more, changes nothing."""
    model, draw = peaked("mt", scheme, end=1.5), random.Random(1)
    sources = [[draw.randrange(4, 23) for _ in range(draw.randrange(1, 8))] for _ in range(12)]
    limits = [draw.randrange(1, 14) for _ in sources]
    results = found(model, sources, Search(beam, alpha, n_best), limits=limits)
    for source, limit, hypotheses in zip(sources, limits, results, strict=True):
        expected = plain_beam(model, source, [], limit, beam, alpha)[:n_best]
        assert [h.pieces for h in hypotheses] == [pieces for _, pieces in expected]
        assert [h.score for h in hypotheses] == pytest.approx([score for score, _ in expected], abs=1e-4)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])
@pytest.mark.parametrize("n_kv_heads", [4, 2])
def test_search_scores_are_the_models_own(positions, n_kv_heads):
    model = peaked("mt", "none", positions=positions, n_kv_heads=n_kv_heads, norm_position="post")
    settings = Search(beam=4, length_penalty=0.5, n_best=4)
    for source, hypotheses in zip(SOURCES, found(model, SOURCES, settings), strict=True):
        assert len({tuple(h.pieces) for h in hypotheses}) == 4
        for hypothesis in hypotheses:
            assert hypothesis.score == pytest.approx(score_of(model, source, hypothesis.pieces, alpha=0.5), abs=1e-4)


@pytest.mark.parametrize("beam", [1, 3])
def test_search_keeps_prefixes_of_any_length(beam):
    model = peaked("mt", "none")
    prefixes = [[], [7], [4, 4, 4], [9, 8], [7], []]
    results = found(model, SOURCES, Search(beam=beam, n_best=beam), prefixes=prefixes)
    for source, prefix, hypotheses in zip(SOURCES, prefixes, results, strict=True):
        for hypothesis in hypotheses:
            assert hypothesis.pieces[: len(prefix)] == prefix
            expected = score_of(model, source, hypothesis.pieces, n_forced=len(prefix))
            assert hypothesis.score == pytest.approx(expected, abs=1e-4)
        expected = plain_beam(model, source, prefix, 12, beam, 0.0)[:beam]
        assert [h.pieces for h in hypotheses] == [pieces for _, pieces in expected]


def test_search_continues_prompts_of_language_models():
    model, prompts = peaked("lm", "cycle_rev-2"), [[4, 5], [6, 7], [8], []]
    results = found(model, None, Search(beam=3), prefixes=prompts)
    for prompt, (hypothesis,) in zip(prompts, results, strict=True):
        assert hypothesis.pieces == plain_beam(model, None, prompt, 12, 3, 0.0)[0][1]


@pytest.mark.parametrize("beam", [1, 4])
def test_search_does_not_depend_on_batches(beam):
    model, settings = peaked("mt", "none"), Search(beam=beam, n_best=beam)
    together = found(model, SOURCES, settings, batch_tokens=10**6)
    for other in (found(model, SOURCES, settings, batch_tokens=1), found(model, SOURCES[::-1], settings)[::-1]):
        for a, b in zip(together, other, strict=True):
            assert [h.pieces for h in a] == [h.pieces for h in b]
            assert [h.score for h in a] == pytest.approx([h.score for h in b], abs=1e-4)


def test_search_does_not_depend_on_which_sources_are_read_together(monkeypatch):
    model, settings = peaked("mt", "none"), Search(beam=3)
    results = []
    for tokens in (1, 9, 10**6):
        monkeypatch.setattr(beam_search, "READ_TOKENS", {"cpu": tokens})
        results.append(found(model, SOURCES, settings))
    for (a,), (b,), (c,) in zip(*results, strict=True):
        assert a.pieces == b.pieces == c.pieces
        assert [a.score, b.score] == pytest.approx([c.score] * 2, abs=1e-4)


def test_searches_share_what_they_keep():
    model, kept = peaked("mt", "three_way"), {}
    first = found(model, SOURCES, Search(beam=3), kept=kept)
    matrices = {name: dict(weights.products) for name, weights in kept.items()}
    assert matrices["decoder.output"]
    assert found(model, SOURCES, Search(beam=3), kept=kept) == first == found(model, SOURCES, Search(beam=3))
    assert all(kept[name].products[k][0] is m[0] for name, products in matrices.items() for k, m in products.items())


def test_search_orders_equal_scores_the_same_way_every_time():
    model = build("mt", "none", vocab_size=100)
    with torch.no_grad():
        model.output_weights()[0].zero_()
    settings = Search(beam=4, n_best=4)
    runs = [found(model, SOURCES, settings, batch_tokens=n) for n in (1, 50, 10**6)]
    assert runs[0] == runs[1] == runs[2]


def test_penalty_is_the_papers():
    assert float(penalty(torch.tensor(1), 0.6)) == pytest.approx(1)
    assert float(penalty(torch.tensor(13), 1.0)) == pytest.approx(3)
    assert float(penalty(torch.tensor(13), 0.0)) == 1


@pytest.mark.parametrize("size", [7, 32, 64, 75, 1000])
def test_best_pieces_are_those_of_a_whole_sort(size):
    for width, n in [(1, 1), (1, 5), (5, 5), (3, 40)]:
        generator = torch.Generator().manual_seed(size + n)
        values = torch.randn(4, width, size, generator=generator).log_softmax(-1)
        scores = torch.randn(4, width, generator=generator)
        best, parents, pieces = best_pieces(values, scores, n)
        expected, order = (values + scores[..., None]).flatten(1).sort(dim=1, descending=True)
        n = min(n, width * size)
        assert torch.equal(best, expected[:, :n]), (width, n)
        assert torch.equal(parents * size + pieces, order[:, :n]), (width, n)


@pytest.mark.parametrize(("task", "scheme"), [("lm", "pre_softmax"), ("mt", "three_way+cycle-2")])
def test_search_with_packed_products_writes_what_plain_ones_do_and_forgets_them(task, scheme, monkeypatch):
    model = peaked(task, scheme)
    sources = SOURCES if task == "mt" else None
    prefixes = [[]] * len(SOURCES) if task == "mt" else [source[:2] for source in SOURCES]
    settings = Search(beam=3, n_best=3)
    packed = found(model, sources, settings, prefixes=prefixes)
    with torch.no_grad():
        model.output_weights()[0].mul_(0.5)
    halved = found(model, sources, settings, prefixes=prefixes)
    monkeypatch.setattr("tietrain.model.layers.PACKED", set())
    assert found(model, sources, settings, prefixes=prefixes) == halved != packed
