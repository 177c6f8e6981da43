"""The arithmetic against plain formulas."""

import math

import pytest
import torch
import torch.nn.functional as F

from tietrain.model import layers
from tietrain.model.layers import (
    attend,
    causal_mask,
    dropout,
    feed_forward,
    hash32,
    normalize,
    project,
    rotate,
    rotation,
    sinusoids,
    token_seeds,
)


def heads(t: int, h: int = 4, k: int = 6) -> torch.Tensor:
    return torch.randn(2, t, h, k, dtype=torch.float64)


def by_hand(q, k, v, seen):
    """One softmax a query, written as a loop; seen[b, t, s]."""
    out = torch.zeros(q.shape[0], q.shape[1], q.shape[2], v.shape[3], dtype=q.dtype)
    for b, t, h in torch.cartesian_prod(*(torch.arange(n) for n in q.shape[:3])):
        g = h * k.shape[2] // q.shape[2]
        scores = k[b, :, g] @ q[b, t, h] / math.sqrt(q.shape[3])
        out[b, t, h] = scores.masked_fill(~seen[b, t], -math.inf).softmax(0) @ v[b, :, g]
    return out.flatten(2)


@pytest.mark.parametrize("kind", ["all", "causal", "masked"])
@pytest.mark.parametrize("path", ["fused", "products", "products by rows"])
def test_attend(monkeypatch, path, kind):
    monkeypatch.setattr(layers, "_products_are_faster", lambda q, k: path != "fused" and q.shape[1] == k.shape[1])
    if path == "products by rows":
        monkeypatch.setattr(layers, "SCORES_AT_ONCE", 1)
    t, s = (5, 5) if kind == "causal" else (5, 7)
    seen = torch.ones(2, t, s, dtype=torch.bool)
    mask = None
    if kind == "causal":
        seen = causal_mask(t, s, torch.device("cpu")).expand(2, t, s)
    if kind == "masked":
        mask = (torch.arange(s) < torch.tensor([[4], [7]]))[:, None, None]
        seen = mask[:, 0].expand(2, t, s)
    for n_kv in (4, 2, 1):
        q, k, v = heads(t), heads(s, n_kv), heads(s, n_kv)
        torch.testing.assert_close(attend(q, k, v, mask=mask, causal=kind == "causal"), by_hand(q, k, v, seen))


def test_attend_of_few_queries_over_a_part_of_a_cache_in_bfloat16():
    """The scores are those of float32 up to the rounding of bfloat16, whichever factor is copied."""
    room = [heads(50).transpose(1, 2).contiguous() for _ in range(2)]  # [B, H, room, K]
    q, k, v = heads(2), *(part[:, :, :40].transpose(1, 2) for part in room)
    mask = torch.rand(2, 1, 2, 40) > 0.3
    mask[..., 0] = True
    rounded = [x.bfloat16() for x in (q, k, v)]
    expected = by_hand(*(x.float() for x in rounded), mask[:, 0])
    torch.testing.assert_close(attend(*rounded, mask=mask).float(), expected, atol=0.03, rtol=0.03)


def test_attend_has_one_gradient_on_both_paths(monkeypatch):
    tensors = [heads(5).requires_grad_() for _ in range(3)]
    grads = []
    for fast in (False, True):
        monkeypatch.setattr(layers, "_products_are_faster", lambda q, k, fast=fast: fast)
        grads.append(torch.autograd.grad(attend(*tensors, causal=True).square().sum(), tensors))
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("n_masks", [0, 1, 5], ids=["causal", "one mask", "a mask for each row"])
def test_rows_at_once_change_no_bit(monkeypatch, n_masks):
    """Five rows in slices of two, so the last is shorter: outputs and gradients in bfloat16, as in training."""
    q, k, v = (torch.randn(5, 7, 2, 8).bfloat16().requires_grad_() for _ in range(3))
    mask = torch.rand(n_masks, 1, 1, 7) > 0.3 if n_masks else None
    if mask is not None:
        mask[..., 0] = True
    found = []
    for scores_at_once in (2**21, 2 * (2 * 7 * 7)):
        monkeypatch.setattr(layers, "SCORES_AT_ONCE", scores_at_once)
        out = attend(q, k, v, mask=mask, causal=not n_masks)
        found.append([out, *torch.autograd.grad(out.square().sum(), (q, k, v))])
    assert all(map(torch.equal, *found))


def test_products_by_the_number_of_scores():
    """In bfloat16 the scores of one row decide, in float32 those of the batch."""
    fast = layers._products_are_faster
    row, batch = torch.empty(1, 8, 64, 4), torch.empty(2**6, 8, 64, 4)
    assert fast(row, row) and not fast(batch, batch)
    assert fast(batch.bfloat16(), batch.bfloat16())
    long = torch.empty(1, 8, 1025, 4)
    assert not fast(long.bfloat16(), long.bfloat16())
    assert not fast(row.to("meta"), row.to("meta"))


def test_causal_mask_of_later_positions():
    assert causal_mask(2, 4, torch.device("cpu")).tolist() == [[True, True, True, False], [True] * 4]


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_linear_multiplies_in_inference_as_in_training(with_bias, dtype):
    for d, e in [(1, 1), (3, 5), (64, 100), (256, 1000)]:
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(4, 7, d, generator=generator).to(dtype)
        matrix, bias = torch.randn(e, d, generator=generator).to(dtype), torch.randn(e, generator=generator).to(dtype)
        bias = bias if with_bias else None
        for part in (x, x[:, -1], x[1], x.transpose(0, 1), x[:, ::2]):
            expected = layers.linear(part, matrix, bias)
            with torch.inference_mode():
                found = layers.linear(part, matrix, bias)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_project_is_one_product_side_by_side():
    weights = {f"{leaf}.weight": torch.randn(n, 3) for leaf, n in (("q", 4), ("k", 2))}
    x = torch.randn(5, 3)
    wanted = torch.cat([x @ weights["q.weight"].t(), x @ weights["k.weight"].t()], dim=1)
    torch.testing.assert_close(project(x, weights, "q", "k"), wanted)
    biases = {"q.bias": torch.randn(4), "k.bias": torch.randn(2)}
    torch.testing.assert_close(project(x, weights | biases, "q", "k"), wanted + torch.cat([*biases.values()]))
    torch.testing.assert_close(project(x, weights | biases, "k"), wanted[:, 4:] + biases["k.bias"])


def tanh_gelu(x):
    """Hendrycks & Gimpel 2016, section 2."""
    return 0.5 * x * (1 + torch.tanh((2 / math.pi) ** 0.5 * (x + 0.044715 * x**3)))


@pytest.mark.parametrize(("activation", "function"), [("relu", F.relu), ("gelu", F.gelu), ("gelu_tanh", tanh_gelu)])
def test_feed_forward(activation, function):
    weights = {
        "in.weight": torch.randn(6, 3),
        "out.weight": torch.randn(3, 6),
        "in.bias": torch.randn(6),
        "out.bias": torch.randn(3),
    }
    x = torch.randn(2, 5, 3)
    wanted = (
        function(x @ weights["in.weight"].t() + weights["in.bias"]) @ weights["out.weight"].t() + weights["out.bias"]
    )
    torch.testing.assert_close(feed_forward(x, weights, activation), wanted)


def test_feed_forward_of_swiglu():
    """Source: Shazeer 2020, equation 6: (Swish(x W) * x V) W2."""
    weights = {"gate.weight": torch.randn(6, 3), "in.weight": torch.randn(6, 3), "out.weight": torch.randn(3, 6)}
    x = torch.randn(4, 3)
    gate = x @ weights["gate.weight"].t()
    wanted = (gate * gate.sigmoid() * (x @ weights["in.weight"].t())) @ weights["out.weight"].t()
    torch.testing.assert_close(feed_forward(x, weights, "swiglu"), wanted)


def test_normalize():
    x, gain, bias = torch.randn(4, 8), torch.randn(8), torch.randn(8)
    centred = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, unbiased=False) + layers.NORM_EPS).sqrt()
    torch.testing.assert_close(normalize(x, {"weight": gain, "bias": bias}, "layer"), centred * gain + bias)
    torch.testing.assert_close(normalize(x, {"weight": gain}, "layer"), centred * gain)
    scaled = x / (x.square().mean(1, keepdim=True) + layers.NORM_EPS).sqrt()
    torch.testing.assert_close(normalize(x, {"weight": gain}, "rms"), scaled * gain)


def test_rotate_turns_pairs_so_that_scores_depend_on_distance_only():
    """Source: Su et al. 2021, equations 13 to 16."""
    generator = torch.Generator().manual_seed(1)
    q, k = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64, generator=generator)

    def score(m: int, n: int) -> float:
        return (rotate(q, rotation(torch.tensor([m]), 8)) * rotate(k, rotation(torch.tensor([n]), 8))).sum().item()

    assert score(3, 1) == pytest.approx(score(9, 7), rel=1e-5)
    assert score(3, 1) != pytest.approx(score(3, 2), rel=1e-3)
    turned = rotate(q, rotation(torch.tensor([5]), 8)).flatten()
    for pair, frequency in enumerate([1.0, 0.1, 0.01, 0.001]):
        a, b = q.flatten()[2 * pair : 2 * pair + 2].tolist()
        c, s = math.cos(5 * frequency), math.sin(5 * frequency)
        assert turned[2 * pair : 2 * pair + 2].tolist() == pytest.approx([a * c - b * s, a * s + b * c], rel=1e-5)


def test_rotate_is_the_same_when_compiled(monkeypatch):
    x, turn = torch.randn(2, 7, 4, 6), rotation(torch.arange(7), 6)
    eager = rotate(x, turn)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(rotate(x, turn), eager)
    assert rotate(x.bfloat16(), turn).dtype == torch.bfloat16


def test_sinusoids():
    """Source: Vaswani et al. 2017, section 3.5, sines first."""
    table = sinusoids(torch.tensor([0, 3]), 6)
    assert table[0].tolist() == [0, 0, 0, 1, 1, 1]
    angles = [3 / 10_000 ** (2 * i / 6) for i in range(3)]
    wanted = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    assert table[1].tolist() == pytest.approx(wanted, abs=1e-6)
    assert sinusoids(torch.tensor([1]), 5).shape == (1, 5)


def test_hash32_is_that_of_unsigned_arithmetic():
    """Source: Wellons 2018, lowbias32."""

    def lowbias32(x: int) -> int:
        x ^= x >> 16
        x = x * 0x7FEB352D % 2**32
        x ^= x >> 15
        x = x * 0x846CA68B % 2**32
        return x ^ x >> 16

    numbers = torch.tensor([0, 1, -1, 2**31 - 1, -(2**31), 123_456_789, -99], dtype=torch.int32)
    before = numbers.tolist()
    assert [n % 2**32 for n in hash32(numbers).tolist()] == [lowbias32(n % 2**32) for n in before]
    assert numbers.tolist() == before


def dropped(rows=32, length=64, width=64, rate=0.1, places=range(4)) -> torch.Tensor:
    """Which numbers are dropped, [places, B, T, D], for the plainest seeds and places: 0, 1, 2 and so on."""
    seeds = token_seeds(torch.arange(rows, dtype=torch.int32), torch.arange(length))
    return torch.stack([dropout(torch.ones(rows, length, width), rate, seeds, place) for place in places]) == 0


def test_dropout_has_the_rate_asked_and_the_exact_scale():
    seeds = token_seeds(torch.arange(3, dtype=torch.int32), torch.arange(50))
    for rate in (0.0, 0.1, 0.5, 0.99):
        share = round(rate * 65536) / 65536
        x = torch.full((3, 50, 64), 3.0, dtype=torch.float64, requires_grad=True)
        out = dropout(x, rate, seeds, 7)
        out.sum().backward()
        kept = out != 0
        torch.testing.assert_close(out[kept], torch.full_like(out[kept], 3 / (1 - share)), rtol=1e-15, atol=0)
        assert torch.equal(x.grad, out.detach() / 3)
        assert abs(kept.double().mean() - (1 - share)) <= 4 * math.sqrt(share * (1 - share) / kept.numel())
    # 1 / 0.9 in bfloat16 is 1.109: the factor itself must not be rounded, only the product.
    out = dropout(torch.full((3, 50, 64), 3.0, dtype=torch.bfloat16), 0.1, seeds, 7)
    assert out.unique().tolist() == [0, torch.tensor(3 / 0.9, dtype=torch.bfloat16).item()]


def test_dropout_drops_independent_numbers():
    """Every mean and every product of neighbours is within 5 standard deviations of what independent draws give."""
    drops, q = dropped().double(), 6554 / 65536
    z = (drops - q) / math.sqrt(q * (1 - q))  # mean 0, variance 1
    place, row, position, dimension = range(4)
    for kept in ((), (place,), (row,), (position,), (dimension,), (place, row), (row, position), (position, dimension)):
        others = [axis for axis in range(4) if axis not in kept]
        scores = z.sum(others) / math.sqrt(math.prod(z.shape[axis] for axis in others))
        assert scores.abs().max() < 5, kept
        if scores.numel() > 1:
            assert abs(scores.square().mean() - 1) < 5 * math.sqrt(2 / scores.numel()), kept
    for axis in range(4):
        for lag in (1, 2, 3):
            n = z.shape[axis] - lag
            products = z.narrow(axis, 0, n) * z.narrow(axis, lag, n)
            assert abs(products.sum()) / math.sqrt(products.numel()) < 5, (axis, lag)
    both = z[..., ::2] * z[..., 1::2]  # the two dimensions of one hash
    assert abs(both.sum()) / math.sqrt(both.numel()) < 5


def test_dropout_depends_on_row_position_place_and_dimension_only():
    whole = dropped(rows=5, length=7, width=9)
    assert torch.equal(dropped(rows=3, length=4, width=5), whole[:, :3, :4, :5])
    seeds = token_seeds(torch.tensor([3, 1], dtype=torch.int32), torch.arange(2, 6))
    assert torch.equal(dropout(torch.ones(2, 4, 9), 0.1, seeds, 2) == 0, whole[2, [3, 1], 2:6])
    assert len({tuple(mask.flatten().tolist()) for mask in dropped(rows=5, places=[0, 1, -1, 2**31 - 1])}) == 4


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_dropout_drops_the_same_when_compiled(backend):
    def drop(x, row_seeds):
        return dropout(x, 0.1, token_seeds(row_seeds, torch.arange(x.shape[1])), 77)

    torch.compiler.reset()  # sizes seen before would be variables, and overflow shows in loops of fixed length
    compiled = torch.compile(drop, backend=backend, fullgraph=True)
    for rows, length in ((32, 256), (5, 33)):
        seeds = torch.arange(rows, dtype=torch.int32) - 2
        x = torch.ones(rows, length, 256)
        assert torch.equal(compiled(x, seeds), drop(x, seeds))
