"""The loss a model starts with, predicted from shape, ties and initial distribution, and checked against a real one.

Derivation. Hidden states are normalized last, so |h|^2 = d (Ba et al. 2016; gains start at 1). Rows of the output table
have independent entries of standard deviation s (times `output_scale`), so a logit is normal with variance s^2 d, and over V pieces
E[ln sum exp] = ln V + s^2 d / 2 (mean of a log-normal). The piece asked for is independent of the text, so its own logit
is 0 on average: an untied table starts at ln V + s^2 d / 2.

A table read as embedding and as output adds one logit that is not like the others: the current piece's, whose row is in
the hidden state. It is |h| |row| cos = s d cos on average, where cos^2 = v / total is the share of the embedding's
variance v = (embed_scale s)^2 in the residual stream after the last layer. `_stream` follows the total through the
layers as covariances at infinite width, where a matrix used twice makes the two outputs covary (Lee et al. 2018 for
layers, Hron et al. 2020 for attention, Yang 2019 for matrices used again). At d_model 128 they are within 0.2 nats.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor

from tietrain.data.batches.batching import Batch
from tietrain.model.layers import ACTIVATIONS, sinusoids
from tietrain.model.transformer import Transformer
from tietrain.plan.plan import TyingPlan
from tietrain.plan.slots import Stack, layer_input
from tietrain.plan.tables import table_role
from tietrain.train.check.reference import draw_batches, require
from tietrain.train.tasks.task import batch_loss

TOLERANCE = 0.2
FLAGGED = 0.5
ROWS, SRC_LEN, TGT_LEN = 32, 12, 16
F64 = torch.float64

# Nodes and weights of an expectation over a standard normal; one node is where relu has its corner.
Z = torch.linspace(-5, 5, 31, dtype=F64)
W = (-(Z**2) / 2).softmax(dim=0)
GATED = {**ACTIVATIONS, "swiglu": F.silu}


def check_initial_loss(models: Sequence[Transformer], untied: Transformer) -> tuple[str, str]:
    """Measured and predicted nats in words, and a flag if arms start too far apart, else an empty one.

    Args:
        models: of one plan and several seeds, because the prediction is an average over initial values.
        untied: the model of the same shape that shares nothing.
    Raises:
        CheckFailed: measured and predicted are more than 0.2 nats apart. Tying bugs 23 to 26: a table with the initial
            values of another role.
    """
    batches = draw_batches(untied, ROWS, SRC_LEN, TGT_LEN)
    measured = fmean(initial_nats(model, batch) for model in models for batch in batches)
    wanted = fmean(predicted_nats(models[0], batch) for batch in batches)
    base = fmean(initial_nats(untied, batch) for batch in batches)
    problem = f"{wanted:.2f} nats follow from the initial distribution"
    require(abs(measured - wanted) <= TOLERANCE, f"initial loss of {measured:.2f} nats per token", problem)
    flag = f"starts at {measured:.2f} nats per token, untied at {base:.2f}" if abs(measured - base) > FLAGGED else ""
    return f"{measured:.2f} nats, predicted {wanted:.2f}", flag


@torch.no_grad()
def initial_nats(model: Transformer, batch: Batch) -> float:
    """Nats per token of a batch."""
    return float(batch_loss(model, batch, 0.0).nll) / batch.n_tokens


def predicted_nats(model: Transformer, batch: Batch) -> float:
    """Nats per token of uniformly random text of a batch's lengths, on average over initial values."""
    shape, stack, plan = model.shape, model.shape.stack(batch.stack), model.plan
    std = model.tables.output_scale * _table_std(model, f"{stack.name}.output.weight")
    spread = std**2 * shape.d_model
    others = math.log(stack.vocab_size) + spread / 2
    if not _reads_one_table(plan, stack):
        return others
    v = _embedding_variance(model, stack)
    memory = {part: _memory(model, batch, names) for part, names in stack.crossings.items()}
    total = _stream(model, stack, batch.tgt_in_ids.shape[1], memory).diagonal()
    cos2 = (v / total)[:, None]
    # To first order: the row's norm moves numerator and denominator, the rest of the stream the angle.
    variance = spread * (cos2 * (2 - cos2) ** 2 / 2 + (1 - cos2) ** 3)
    own = std * shape.d_model * cos2.sqrt() + variance.sqrt() * Z  # [T, nodes]
    nats = torch.logaddexp(own, torch.tensor(others, dtype=F64)) - own / stack.vocab_size
    return float((nats @ W).mean())


def _reads_one_table(plan: TyingPlan, stack: Stack) -> bool:
    """Whether embedding and output read one tensor; maps of their own make two of one narrow table."""
    return plan.read_by(f"{stack.name}.embed.weight") == plan.read_by(f"{stack.name}.output.weight")


def is_predicted(plan: TyingPlan) -> bool:
    """Whether `predicted_nats` covers a plan: not a matrix that meets itself transposed, if a table tie makes that count."""
    turned = any(read.view.kind for reads in plan.reads.values() for read in reads)
    return not turned or not any(_reads_one_table(plan, stack) for stack in plan.slots.shape.predictors)


def _table_std(model: Transformer, slot: str) -> float:
    owner = model.plan.owner[slot]
    return model.tables.std_of(table_role(model.plan, owner), model.shape.d_model)


def _embedding_variance(model: Transformer, stack: Stack) -> float:
    """Of the numbers that a stack reads; 1 is what a linear adapter makes of unit vectors."""
    if stack.n_features:
        return 1.0
    return (model.tables.embed_scale * _table_std(model, f"{stack.name}.embed.weight")) ** 2


def _memory(model: Transformer, batch: Batch, names: Sequence[str]) -> Tensor:
    """Correlation between all that a cross-attention reads, [S, S]; 0 between one source and another."""
    read = []
    for name in names:
        if name in batch.sources:
            read.append(_stream(model, model.shape.stack(name), batch.sources[name].shape[1], {}))
    source: Tensor = torch.block_diag(*read)
    return source / _outer(source.diagonal().sqrt(), source.diagonal().sqrt())


def _stream(model: Transformer, stack: Stack, length: int, memory: Mapping[str, Tensor]) -> Tensor:
    """Covariance of the residual stream's numbers between positions after the last sublayer, [T, T].

    A post-norm stream is followed without its divisions: each sublayer's output is multiplied instead by the standard
    deviation it would have been divided with.

    Args:
        memory: cross-attention -> correlation between the positions it reads, [S, S].
    """
    shape, places = model.shape, [(layer, part) for layer in range(stack.n_layers) for part in stack.parts]
    pre, n = shape.norm_position == "pre", len(places)
    # stream[i, k]: covariance of the stream before sublayer i with that before k; added[i, k]: of what they add.
    stream = torch.zeros(n + 1, n + 1, length, length, dtype=F64)
    added = torch.zeros(n, n, length, length, dtype=F64)
    signals = _signals(model, stack)  # [N, N]
    at = [min(k // len(stack.parts), stack.n_layers - 1) for k in range(n + 1)]  # the layer before sublayer k
    # An embedding is drawn anew for every position.
    stream[0, 0] = _embedding_variance(model, stack) * torch.eye(length, dtype=F64) + _positions(model, length)
    stream[0, 0] += signals[0, 0]
    stds: list[Tensor] = []
    for k, (layer, part) in enumerate(places):
        # What a post-norm stack begins with is not normalized.
        stds.append(stream[k, k].diagonal().sqrt() if pre or k else torch.ones(length, dtype=F64))
        for i in range(k + 1):
            if places[i][1] == part:
                seen = [stream[a, b] / _outer(stds[a], stds[b]) for a, b in ((i, i), (i, k), (k, k))]
                out = _sublayer(model.plan, stack, part, (places[i][0], layer), seen, memory.get(part))
                added[i, k] = out if pre else out * _outer(stds[i], stds[k])
        sums = torch.cat([torch.zeros_like(added[:1, k]), added[: k + 1, k].cumsum(dim=0)])
        stream[: k + 1, k + 1] = stream[: k + 1, k] + sums[: k + 1]
        stream[: k + 1, k + 1] += (signals[at[: k + 1], at[k + 1]] - signals[at[: k + 1], at[k]])[:, None, None]
        stream[k + 1, k + 1] = stream[k, k + 1] + sums[k + 1].t()
        stream[k + 1, k + 1] += signals[at[k + 1], at[k + 1]] - signals[at[k], at[k + 1]]
    return stream[n, n]


def _signals(model: Transformer, stack: Stack) -> Tensor:
    """Covariance of the signals that layers i and k have added so far, [N, N], the same at every position."""
    signals = torch.zeros(stack.n_layers, model.shape.d_model, dtype=F64)
    for layer in range(stack.n_layers):
        for read in model.plan.reads.get(layer_input(model.shape, stack, layer).name, ()):
            drawn = [model.get_parameter(name).detach() for name in read.extras]
            signals[layer] = read.view.tensor(torch.zeros(model.shape.d_model), *drawn).double()
    if model.shape.norm == "layer":
        signals = signals - signals.mean(dim=1, keepdim=True)
    sums = signals.cumsum(dim=0)
    return sums @ sums.t() / model.shape.d_model


def _positions(model: Transformer, length: int) -> Tensor:
    """Covariance that positions add to the embeddings, [T, T]; a LayerNorm takes the mean of sinusoids away."""
    shape = model.shape
    if shape.positions == "learned":
        return model.tables.std_of("positions", shape.d_model) ** 2 * torch.eye(length, dtype=F64)
    if shape.positions == "rotary":
        return torch.zeros(length, length, dtype=F64)
    table: Tensor = sinusoids(torch.arange(length), shape.d_model).double()
    if shape.norm == "layer":
        table = table - table.mean(dim=1, keepdim=True)
    return table @ table.t() / shape.d_model


def _sublayer(
    plan: TyingPlan, stack: Stack, part: str, layers: tuple[int, int], seen: Sequence[Tensor], memory: Tensor | None
) -> Tensor:
    """Covariance of the outputs of one part in two layers, [T, T]; 0 unless one matrix writes both.

    Args:
        seen: covariances of the inputs: the first layer's, between the two, the second's.
    """

    def same(*leaves: str) -> bool:
        names = [[f"{stack.name}.{layer}.{part}.{leaf}.weight" for leaf in leaves] for layer in layers]
        return all(plan.owner[a] == plan.owner[b] for a, b in zip(*names, strict=True))

    shape = plan.slots.shape
    share = 1 / shape.n_sublayers  # initial variance of what is added
    if part == "ffn":
        if not same("out"):
            return torch.zeros_like(seen[1])
        inner = ("in", "gate") if shape.activation == "swiglu" else ("in",)
        return share * _activation(seen[1] if same(*inner) else torch.zeros_like(seen[1]), shape.activation)
    if not same("v", "o"):
        return torch.zeros_like(seen[1])
    keys = seen if part == "self_attn" or memory is None else [memory] * 3
    scores = torch.zeros(*seen[1].shape, *keys[1].shape, dtype=F64)
    if same("q", "k"):
        scores = scores + seen[1][:, :, None, None] * keys[1]
    block = f"{stack.name}.{layers[0]}.{part}"
    if part == "self_attn" and plan.owner[f"{block}.q.weight"] == plan.owner[f"{block}.k.weight"]:
        # A position that is compared with itself by one matrix: sqrt(d_head) on average instead of 0.
        scores = scores + shape.d_head**0.5 * (seen[0][:, None, :, None] + seen[2][None, :, None, :])
    if part == "self_attn" and stack.causal:
        past = torch.ones(len(seen[1]), len(seen[1]), dtype=torch.bool).tril()
        scores = scores.masked_fill(~(past[:, None, :, None] & past[None, :, None, :]), -math.inf)
    # Expected product of two softmax weights, by the means of log-normal numbers: exp of the scores' covariance.
    weights = scores.flatten(2).softmax(dim=-1).view_as(scores)
    return share * torch.einsum("abst,st->ab", weights, keys[1])


def _activation(covariance: Tensor, activation: str) -> Tensor:
    """E[f(x) f(y)] for standard normal x, y of this covariance; swiglu has a linear factor beside, of the same.

    Source: Cho & Saul 2009, section 2, with the expectation taken numerically.
    """
    f, c = GATED[activation], covariance.clamp(-1, 1)
    y = c[..., None, None] * Z[:, None] + (1 - c**2).sqrt()[..., None, None] * Z
    expected = torch.einsum("i,j,i,...ij->...", W, W, f(Z), f(y))
    return expected * c if activation == "swiglu" else expected


def _outer(a: Tensor, b: Tensor) -> Tensor:
    return a[:, None] * b
