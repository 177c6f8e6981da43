"""The one token loss of all tasks, without ever holding all logits.

Rows go through the output projection in chunks. Training computes each chunk's gradient beside its loss, so a chunk's
logits are read while they are in cache and then dropped: the memory of one chunk instead of [B, T, V].
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tietrain.data.tokenizer import PAD_ID
from tietrain.model.layers import in_tiles
from tietrain.model.transformer import Transformer

# Of hidden rows [N, D], table [W, D] and bias [V].
Gradients = tuple[Tensor, Tensor, Tensor | None]
# Logits of one chunk: 8 MB in float32 where caches are small, 512 MB where launching kernels is what costs.
CHUNK_LOGITS = {"cpu": 2**21}
DEVICE_CHUNK_LOGITS = 2**27


@dataclass(frozen=True)
class LossSum:
    """Sums over scored tokens, so that callers divide once.

    objective: smoothed, nats, carries the gradient. nll: plain negative log-likelihood, nats, float64.
    n_tokens: how many were scored.
    """

    objective: Tensor
    nll: Tensor
    n_tokens: int


def token_loss(
    model: Transformer,
    hidden: Tensor,
    tgt_out_ids: Tensor,
    label_smoothing: float = 0.0,
    stack: str | None = None,
    n_tokens: int | None = None,
) -> LossSum:
    """Summed cross-entropy over real target tokens, the softmax in float32.

    Args:
        hidden: [B, T, D] from the model.
        tgt_out_ids: [B, T]; positions equal to PAD_ID are neither scored nor computed.
        label_smoothing: mass spread evenly over the vocabulary.
        stack: the one that predicts; None for the only one.
        n_tokens: how many positions are scored; None to count them, which waits for the device.
    Source: Szegedy et al. 2016, section 7 (smoothing).
    """
    rows, targets, _ = _real_rows(hidden, tgt_out_ids, n_tokens)
    rows = model.output_side(rows, stack)
    weight, bias = model.output_weights(stack)
    objective, nll = _ChunkedCrossEntropy.apply(rows, weight, bias, targets, label_smoothing, torch.is_grad_enabled())
    return LossSum(objective, nll, len(targets))


def token_nats(
    model: Transformer, hidden: Tensor, tgt_out_ids: Tensor, stack: str | None = None, n_tokens: int | None = None
) -> Tensor:
    """Plain nats of each target position, float64 [B, T], without gradient; 0 where it is PAD_ID.

    Args:
        hidden, tgt_out_ids, stack, n_tokens: as in `token_loss`.
    """
    rows, targets, places = _real_rows(hidden, tgt_out_ids, n_tokens)
    weight, bias = model.output_weights(stack)
    chunks = _log_prob_chunks(model.output_side(rows, stack), _factor(weight, rows), bias, len(weight))
    found = [-log_probs.gather(1, targets[chunk, None]).squeeze(1).double() for chunk, log_probs in chunks]
    nats = torch.zeros(tgt_out_ids.numel(), dtype=torch.float64, device=hidden.device)
    nats[places] = torch.cat(found)
    return nats.view(tgt_out_ids.shape)


def _real_rows(hidden: Tensor, tgt_out_ids: Tensor, n_tokens: int | None) -> tuple[Tensor, Tensor, Tensor | slice]:
    """Hidden rows [N, D], targets [N] and places among all B T of the scored positions."""
    rows, targets = hidden.flatten(0, -2), tgt_out_ids.flatten()  # [B T, D], [B T]
    is_real = targets != PAD_ID
    n_tokens = int(is_real.sum()) if n_tokens is None else n_tokens
    if not torch.compiler.is_compiling() and n_tokens == len(rows):  # the condition would need a graph for each side
        return rows, targets, slice(None)
    real = torch.nonzero_static(is_real, size=n_tokens).squeeze(1)
    return rows.index_select(0, real), targets.index_select(0, real), real


def _factor(weight: Tensor, rows: Tensor) -> Tensor:
    """The table in the type of its products with rows, in whole tiles: [V, D] -> [W, D]."""
    return in_tiles(weight.to(_product_dtype(rows)))


def _log_prob_chunks(
    rows: Tensor, factor: Tensor, bias: Tensor | None, n_pieces: int
) -> Iterator[tuple[slice, Tensor]]:
    """Chunks of rows with their log-probabilities [n, W], in float32 or better; -inf in columns that are not pieces."""
    device, dtype = rows.device.type, factor.dtype
    step = max(64, CHUNK_LOGITS.get(device, DEVICE_CHUNK_LOGITS) // len(factor))
    start = 0
    while start < len(rows):  # a range would make a compiled graph one of this number of rows
        chunk = slice(start, start + step)
        with torch.autocast(device, enabled=False):
            logits = rows[chunk].to(dtype) @ factor.t()  # [n, W]
        logits = logits.to(torch.promote_types(dtype, torch.float32))
        if bias is not None:
            logits[:, :n_pieces].add_(bias)
        logits[:, n_pieces:].fill_(-torch.inf)
        yield chunk, torch.log_softmax(logits, dim=-1)
        start += step


def _product_dtype(rows: Tensor) -> torch.dtype:
    device = rows.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else rows.dtype


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy of rows [N, D] against a table [V, D], with its gradients made on the way forward."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        smoothing: float,
        with_gradient: bool,
    ) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(rows.dtype, torch.float32)
        factor, n_pieces = _factor(weight, rows), len(weight)
        grads: Gradients | None = None
        if with_gradient:
            of_bias = None if bias is None else torch.zeros_like(bias)
            grads = torch.empty_like(rows), weight.new_zeros(factor.shape), of_bias
        nll = torch.zeros((), dtype=torch.float64, device=rows.device)
        spread = torch.zeros_like(nll)
        for chunk, log_probs in _log_prob_chunks(rows, factor, bias, n_pieces):
            wanted = targets[chunk, None]
            nll -= log_probs.gather(1, wanted).double().sum()
            if smoothing:
                spread -= log_probs[:, :n_pieces].mean(dim=1).double().sum()
            if grads is not None:
                slope = _slope(log_probs, wanted, smoothing, n_pieces)
                _add_gradients(grads, chunk, slope, rows[chunk].to(factor.dtype), factor)
        if grads is not None:
            of_rows, of_weight, of_bias = grads
            ctx.grads = of_rows, of_weight[:n_pieces], of_bias
        objective = (1 - smoothing) * nll + smoothing * spread
        ctx.mark_non_differentiable(nll)
        return objective.to(wide), nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_objective: Tensor, _grad_nll: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, bias = (None if g is None else g * grad_objective.to(g.dtype) for g in ctx.grads)
        return rows, weight, bias, None, None, None


def _slope(log_probs: Tensor, wanted: Tensor, smoothing: float, n_pieces: int) -> Tensor:
    """Gradient of the objective in the logits, in the memory of log_probs: softmax less the smoothed target."""
    if torch.compiler.is_compiling():  # which makes one pass of this, and not of a scatter
        is_wanted = torch.arange(log_probs.shape[1], device=log_probs.device) == wanted  # [n, W]
        return log_probs.exp() - is_wanted * (1 - smoothing) - smoothing / n_pieces
    slope = log_probs.exp_()
    slope.scatter_add_(1, wanted, slope.new_full((), smoothing - 1).expand(wanted.shape))
    return slope.sub_(smoothing / n_pieces) if smoothing else slope


def _add_gradients(grads: Gradients, chunk: slice, slope: Tensor, rows: Tensor, weight: Tensor) -> None:
    """Add one chunk's share of the gradients of rows, table and bias."""
    of_rows, of_weight, of_bias = grads
    if of_bias is not None:
        of_bias += slope.sum(dim=0)[: len(of_bias)]
    slope = slope.to(rows.dtype)
    with torch.autocast(rows.device.type, enabled=False):
        of_rows[chunk] = slope @ weight
        if slope.dtype == of_weight.dtype:
            torch.addmm(of_weight, slope.t(), rows, out=of_weight)  # torch's FLOP counter does not see addmm_
        else:
            of_weight += slope.t() @ rows
