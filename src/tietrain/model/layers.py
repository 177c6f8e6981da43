"""The arithmetic of a Transformer: plain functions of activations and weights that know nothing of tying.

Weights come as a mapping from leaf to tensor, `{"q.weight": [H K, D], ...}`; a missing bias is not added.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Mapping[str, Tensor]
# A product's matrix [E, D] and bias [E].
Product = tuple[Tensor, Tensor | None]

# Of feed-forwards without a gate; gelu_tanh is the approximation that GPT-2 computes.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
}

NORM_EPS = 1e-5
WAVELENGTH = 10_000.0

# PyTorch's fused attention kernel on a CPU has a fixed cost per call and does not compute bfloat16 faster than float32.
# Three plain products beat it up to so many scores of a batch in float32, and of one row, all heads, in bfloat16, if no more
# rows than fit into the cache are taken together. docs/performance.md has the table.
MOST_SCORES = 2**20
MOST_SCORES_OF_BF16_ROW = 2**23
SCORES_AT_ONCE = 2**21

# What the number of columns of logits is a multiple of: tensor cores read whole tiles.
COLUMNS = {"cpu": 1}
DEVICE_COLUMNS = 64

_HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
# Types whose matrices oneDNN packs.
PACKED = {torch.float32}
if _HAS_ONEDNN and torch.ops.mkldnn._is_mkldnn_bf16_supported():
    PACKED.add(torch.bfloat16)


class StillWeights(dict[str, Tensor]):
    """Weights that do not change while they are read again and again; their products are joined and packed once.

    packs: whether a product may be `packed`; a graph of the compiler takes it as it is.
    """

    def __init__(self, weights: Weights, *, packs: bool):
        super().__init__(weights)
        self.packs = packs
        self.products: dict[tuple[str, ...], Product] = {}


def project(x: Tensor, weights: Weights, *leaves: str) -> Tensor:
    """The leaves' projections of x side by side, in one product: [..., D] -> [..., sum of their widths].

    Without leaves: that of the only matrix of the block, which has no name of its own; of weights that stay as they are, in
    whole tiles, so that there may be more columns.
    """
    if not isinstance(weights, StillWeights):
        return linear(x, *_joined(weights, leaves))
    if leaves not in weights.products:
        matrix, bias = _joined(weights, leaves)
        if not leaves:
            matrix, bias = in_tiles(matrix), bias if bias is None else in_tiles(bias)
        weights.products[leaves] = packed(matrix) if weights.packs else matrix, bias
    return linear(x, *weights.products[leaves])


def _joined(weights: Weights, leaves: tuple[str, ...]) -> Product:
    if not leaves:
        return weights["weight"], weights.get("bias")
    names = [f"{leaf}.bias" for leaf in leaves]
    matrices = [weights[f"{leaf}.weight"] for leaf in leaves]
    biases = [weights[name] for name in names if name in weights]
    if len(leaves) == 1:
        return matrices[0], biases[0] if biases else None
    return torch.cat(matrices), torch.cat(biases) if biases else None


def in_tiles(x: Tensor) -> Tensor:
    """A table [V, D], or its bias [V], and zeros up to a multiple of COLUMNS: [W, D] or [W]."""
    n_missing = -len(x) % COLUMNS.get(x.device.type, DEVICE_COLUMNS)
    return F.pad(x, (0, 0) * (x.ndim - 1) + (0, n_missing)) if n_missing else x


def packed(matrix: Tensor) -> Tensor:
    """A matrix as oneDNN reads it fastest, for `linear` in inference alone; as it is where oneDNN cannot use it."""
    if not _HAS_ONEDNN or matrix.device.type != "cpu" or matrix.dtype not in PACKED:
        return matrix
    reordered: Tensor = torch.ops.mkldnn._reorder_linear_weight(matrix, None)
    return reordered


def linear(x: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """x times the transposed matrix [E, D], which may be `packed`, plus bias [E]: [..., D] -> [..., E].

    PyTorch gives float32 products on a CPU to MKL, which leaves the widest instructions of AMD cores unused: 95 of the
    230 GFLOP/s oneDNN reaches on an EPYC core, with equal errors. Inference, which needs no gradient, takes the latter.
    """
    inference = not torch.compiler.is_compiling() and torch.is_inference_mode_enabled()  # the latter has no graph
    if matrix.is_mkldnn or (_HAS_ONEDNN and inference and x.device.type == "cpu" and x.dtype == torch.float32):
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, matrix, bias, "none", [], "")
        return product
    return F.linear(x, matrix, bias)


def normalize(x: Tensor, weights: Weights, norm: str) -> Tensor:
    """LayerNorm or RMSNorm over the last dimension; the shape of x.

    Source: Ba et al. 2016; Zhang & Sennrich 2019.
    """
    if norm == "rms":
        return F.rms_norm(x, x.shape[-1:], weights["weight"], NORM_EPS)
    return F.layer_norm(x, x.shape[-1:], weights["weight"], weights.get("bias"), NORM_EPS)


def feed_forward(x: Tensor, weights: Weights, activation: str) -> Tensor:
    """Two matrices around a nonlinearity: [..., D] -> [..., D].

    Source: Vaswani et al. 2017, section 3.3; swiglu: Shazeer 2020; gelu and gelu_tanh:
    Hendrycks & Gimpel 2016, section 2.
    """
    if activation == "swiglu":
        gate, inner = project(x, weights, "gate", "in").chunk(2, dim=-1)
        return project(F.silu(gate) * inner, weights, "out")
    return project(ACTIVATIONS[activation](project(x, weights, "in")), weights, "out")


def split_heads(x: Tensor, d_head: int) -> Tensor:
    """[B, T, H K] -> [B, T, H, K]."""
    return torch.unflatten(x, -1, (-1, d_head))


def attend(q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None, causal: bool = False) -> Tensor:
    """Attention of every query over its visible keys: [B, T, H, K] -> [B, T, H K].

    Args:
        q: [B, T, H, K]; k, v: [B, S, H_kv, K], where H_kv divides H and each key serves H / H_kv query heads.
        mask: boolean, True where a key is visible, broadcast to [B, H, T, S]; None: all are.
        causal: only keys 0 to t are visible to query t; not together with a mask.
    Source: Vaswani et al. 2017, section 3.2.1; grouped heads: Ainslie et al. 2023.
    """
    q = q.transpose(1, 2)  # [B, H, T, K]
    k = k.transpose(1, 2)  # [B, H_kv, S, K]
    v = v.transpose(1, 2)
    if _products_are_faster(q, k):
        out = _attend_by_products(q, k, v, causal_mask(q.shape[2], k.shape[2], q.device) if causal else mask)
    else:
        # A condition on sizes would stay one in a compiled graph, and the kernel wants an answer.
        grouped = {} if q.shape[1] == k.shape[1] else {"enable_gqa": True}
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, **grouped)
    return out.transpose(1, 2).flatten(2)  # [B, H, T, K] -> [B, T, H K]


def _products_are_faster(q: Tensor, k: Tensor) -> bool:
    if q.device.type != "cpu" or q.shape[1] != k.shape[1]:
        return False
    of_row = q.shape[1] * q.shape[2] * k.shape[2]
    if q.dtype == torch.bfloat16:
        return of_row <= MOST_SCORES_OF_BF16_ROW
    return q.dtype == torch.float32 and q.shape[0] * of_row <= MOST_SCORES


def _attend_by_products(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """A few rows at a time, so that their scores stay in the cache: [B, H, T, K]."""
    n_rows = max(1, SCORES_AT_ONCE // (q.shape[1] * q.shape[2] * k.shape[2]))
    if torch.compiler.is_compiling() or q.shape[0] <= n_rows:
        return _attend_rows(q, k, v, mask)
    n_slices = math.ceil(q.shape[0] / n_rows)
    masks = mask.split(n_rows) if mask is not None and mask.ndim == 4 and mask.shape[0] > 1 else [mask] * n_slices
    slices = zip(q.split(n_rows), k.split(n_rows), v.split(n_rows), masks, strict=True)
    return torch.cat([_attend_rows(*rows) for rows in slices])


def _attend_rows(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    q = q * q.shape[-1] ** -0.5
    keys = k.transpose(-1, -2)  # [B, H, K, S]
    if mask is not None and mask.ndim == 2:
        # One mask for all rows: a sum inside the product is cheaper than a pass over its result.
        bias = torch.zeros(mask.shape, dtype=q.dtype, device=q.device).masked_fill_(~mask, float("-inf"))
        many = q.shape[0] * q.shape[1]
        scores = torch.baddbmm(bias.expand(many, -1, -1), q.flatten(0, 1), keys.flatten(0, 1)).unflatten(0, q.shape[:2])
    else:
        if q.dtype == torch.bfloat16 and k.shape[2] >= 8 * q.shape[2]:
            # A product in bfloat16 copies its second factor if that is a part of a cache: let it be the smaller one.
            scores = torch.matmul(k, q.transpose(-1, -2)).transpose(-1, -2)  # [B, H, T, S]
        else:
            scores = torch.matmul(q, keys)
        if mask is not None:
            scores = scores.masked_fill_(~mask, float("-inf"))
    return torch.matmul(scores.softmax(dim=-1), v)


def causal_mask(n_queries: int, n_keys: int, device: torch.device) -> Tensor:
    """True where a key is visible, [T, S], for queries that are the last T of S positions."""
    return torch.ones(n_queries, n_keys, dtype=torch.bool, device=device).tril(n_keys - n_queries)


def rotation(positions: Tensor, d_head: int) -> Tensor:
    """The turn of every position, cosine and sine of each pair's angle: [T, 1, K / 2, 2].

    Source: Su et al. 2021, section 3.4.2.
    """
    angles = _angles(positions, d_head)[:, None]  # [T, 1, K / 2]
    return torch.stack((angles.cos(), angles.sin()), dim=-1)


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Pairs (2 i, 2 i + 1) of every head turned by its position's angles, [B, T, H, K], in float32 or better.

    One product of complex numbers takes a third of the time of the same sum of real ones; compiled code fuses the sum.
    """
    pairs = x.to(torch.promote_types(x.dtype, torch.float32)).unflatten(-1, (-1, 2))  # [B, T, H, K / 2, 2]
    if torch.compiler.is_compiling():
        (a, b), (cos, sin) = pairs.unbind(-1), turn.unbind(-1)
        turned = torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1)
    else:
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(turn))
    return turned.flatten(-2).to(x.dtype)


def sinusoids(positions: Tensor, d_model: int) -> Tensor:
    """Sines and cosines of every position, [T, D], in float32.

    Source: Vaswani et al. 2017, section 3.5; sines first, then cosines, which only permutes the dimensions.
    """
    angles = _angles(positions, d_model + d_model % 2)
    return torch.cat((angles.sin(), angles.cos()), dim=-1)[:, :d_model]


def _angles(positions: Tensor, width: int) -> Tensor:
    """Position times frequency, [T, width / 2]."""
    exponents = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32) / width
    return positions.to(torch.float32)[:, None] * WAVELENGTH**-exponents


def hash32(x: Tensor) -> Tensor:
    """int32 tensor -> int32 tensor of the same shape: each number's lowbias32, in which every bit depends on every bit.

    An operator of its own to the compiler, because products overflow: tensors wrap around, but a compiled loop in C++ may
    not count on it (seen on a CPU: torch.compile without this gave other hashes). Its call would load the compiler.
    Source: Wellons 2018, "Prospecting for hash functions" (nullprogram.com/blog/2018/07/31), lowbias32.
    """
    if torch.compiler.is_compiling():
        found: Tensor = _operator(x)
        return found
    return _hash32(x)


def _hash32(x: Tensor) -> Tensor:
    # torch shifts copies of the sign in from the left, the hash wants zeros.
    high = (x >> 16).bitwise_and_(0xFFFF)
    h = x ^ high
    h *= 0x7FEB352D
    h ^= torch.bitwise_right_shift(h, 15, out=high).bitwise_and_(0x1FFFF)
    h *= 0x846CA68B - 2**32
    h ^= torch.bitwise_right_shift(h, 16, out=high).bitwise_and_(0xFFFF)
    return h


_operator = torch.library.custom_op("tietrain::hash32", _hash32, mutates_args=())
_operator.register_fake(torch.empty_like)


def _hash32_in_a_loop(x: Tensor) -> Tensor:
    """The same for the compiler, which makes one loop of it and of what stands around it: no number here overflows."""
    h = x.long() & 0xFFFFFFFF
    h = h ^ (h >> 16)
    h = h * 0x7FEB352D & 0xFFFFFFFF
    h = h ^ (h >> 15)
    h = h * (0x846CA68B - 2**32) & 0xFFFFFFFF
    h = h ^ (h >> 16)
    return h.int()


def token_seeds(row_seeds: Tensor, positions: Tensor) -> Tensor:
    """One int32 seed for every token, [B, T], of its row's seed [B] and its position [T]."""
    return hash32(row_seeds[:, None] ^ hash32(positions.int()))


def dropout(x: Tensor, rate: float, seeds: Tensor, place: int) -> Tensor:
    """x with a share `rate` of its numbers zero and the others scaled so that the mean stays: [B, T, D].

    What is dropped is a function of the token's seed, the place and the dimension alone, so neither the cut of a batch
    nor the device nor the compiler moves it. One hash serves two dimensions, 16 bits each; on a CPU forward and backward
    take less than half the time of F.dropout, and one byte per number is kept for backward instead of a float.

    Args:
        rate: rounded to 1/65536; the scale is that of the rounded rate.
        seeds: from `token_seeds`.
        place: 32 bits that stand for the place in the model.
    Source: Srivastava et al. 2014, section 4; counters instead of a generator's state: Salmon et al. 2011, section 2.
    """
    n_dropped = round(rate * 2**16)
    width = x.shape[-1]
    # Pairs are hashed before they meet the key, so two keys never give runs of the same bits side by side.
    pairs = hash32(torch.arange((width + 1) // 2, dtype=torch.int32, device=x.device))  # [D / 2]
    if torch.compiler.is_compiling():  # a view as other numbers would end the loop
        column = torch.arange(width, device=x.device)
        keys = _hash32_in_a_loop(seeds ^ place)  # [B, T]
        bits = (_hash32_in_a_loop(keys[..., None] ^ pairs[column // 2]) >> column % 2 * 16).short()  # [B, T, D]
    else:
        keys = hash32(seeds ^ place)
        bits = hash32(keys[..., None] ^ pairs).view(torch.int16)[..., :width]
    # As bytes: a product of floats and booleans is twice as slow. The scale is not a tensor, so bfloat16 does not round it.
    kept: Tensor = (bits >= n_dropped - 2**15).view(torch.uint8)
    return x * (2**16 / (2**16 - n_dropped)) * kept
