"""Reference models: the configured model with its widths scaled down, what it reads, and its untied twin."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tietrain.config import RunConfig
from tietrain.data.batches.batching import Batch
from tietrain.errors import TietrainError
from tietrain.model.transformer import Transformer
from tietrain.plan.flops import predicted_unit
from tietrain.plan.plan import resolve
from tietrain.plan.slots import clip_length
from tietrain.train.experiment import Experiment
from tietrain.train.tasks.task import batch_loss

MIN_D_HEAD = 4
MAX_KV_HEADS = 4
FIRST_PIECE = 4  # below it are padding, unknown and the marks


class CheckFailed(TietrainError):
    """What a check found is not what tying promises."""

    exit_code = 1

    def __init__(self, requested: str, problem: str):
        super().__init__(requested, problem, "runs of this scheme cannot be trusted; report this as a bug")


@dataclass(frozen=True)
class Widths:
    """The most numbers a hidden state and the most pieces a vocabulary of a reference may have."""

    d_model: int
    vocab_size: int


# Ties do not depend on width, so most checks take a model of milliseconds; initial values need room to average over.
NARROW, WIDE = Widths(32, 61), Widths(128, 1000)


def scale_down(config: RunConfig, widths: Widths) -> RunConfig:
    """The configuration with widths no larger than these; depth, head ratio, norms, positions and biases stay."""
    m = config.model
    m = replace(
        m,
        vocab_size=min(m.vocab_size, widths.vocab_size),
        target_vocab_size=m.target_vocab_size and min(m.target_vocab_size, widths.vocab_size),
    )
    if m.d_model <= widths.d_model:
        return replace(config, model=m)
    n_kv = m.n_kv_heads or m.n_heads
    kv_heads = min(n_kv, MAX_KV_HEADS)
    n_heads = kv_heads * (m.n_heads // n_kv)
    d_head = max(MIN_D_HEAD, widths.d_model // n_heads // 2 * 2)
    d_model = widths.d_model if m.d_head else n_heads * d_head
    narrow = replace(
        m,
        d_model=d_model,
        n_heads=n_heads,
        n_kv_heads=kv_heads if m.n_kv_heads else None,
        d_head=d_head if m.d_head else None,
        d_ff=max(1, round(m.d_ff * d_model / m.d_model)),
    )
    return replace(config, model=narrow)


def describe_reference(config: RunConfig) -> str:
    """What is checked in place of the configured model."""
    narrow, wide = (_scaled(config, widths) for widths in (NARROW, WIDE))
    return (
        f"checked with {narrow or 'the configured model'}; for the initial loss with {wide or 'the configured model'}"
    )


def _scaled(config: RunConfig, widths: Widths) -> str:
    """The settings that a reference changes: `d_model 32 for 512, ...`; empty if there are none."""
    requested, has = vars(config.model), vars(scale_down(config, widths).model)
    return ", ".join(f"{key} {has[key]} for {requested[key]}" for key in requested if has[key] != requested[key])


def build_reference(config: RunConfig, widths: Widths) -> Transformer:
    """The initialized model of a configuration at these widths.

    Raises:
        TyingError: the configured ties do not fit the model.
    """
    return Experiment(scale_down(config, widths)).build_model()


def untied_twin(model: Transformer) -> Transformer:
    """A model of the same shape and values where every slot owns its own copy."""
    twin = Transformer(resolve(model.shape, []), dropout=model.dropout, tables=model.tables)
    twin.to(next(model.parameters()).dtype)
    twin.load_state_dict({slot.name: model.parameter(slot.name).detach() for slot in model.plan.slots})
    return twin


def draw_batches(model: Transformer, rows: int, src_len: int, tgt_len: int, seed: int = 0) -> list[Batch]:
    """Random pieces or vectors in every row, one batch per route; cut to the rows of a learned table of positions."""
    src_len = clip_length(model.shape, src_len)
    tgt_len = clip_length(model.shape, tgt_len)
    generator = torch.Generator().manual_seed(seed)

    def draw(name: str, length: int) -> Tensor:
        stack = model.shape.stack(name)
        if stack.n_features:
            dtype = next(model.parameters()).dtype
            return torch.randn(rows, length, stack.n_features, generator=generator).to(dtype)
        first = min(FIRST_PIECE, stack.vocab_size - 1)
        return torch.randint(first, stack.vocab_size, (rows, length), generator=generator)

    batches = []
    for *sources, target in model.shape.routes:
        lengths = dict.fromkeys(sources, [src_len] * rows) | {target: [tgt_len] * rows}
        lengths[predicted_unit(model.shape.stack(target))] = [tgt_len] * rows
        read = {name: draw(name, src_len) for name in sources}
        tgt_in, tgt_out = (draw(target, tgt_len) for _ in range(2))
        batches.append(Batch(read, target, tgt_in, tgt_out, lengths, rows * tgt_len))
    return batches


def summed_loss(model: Transformer, batches: Sequence[Batch], label_smoothing: float) -> Tensor:
    """The summed objective of all batches, in nats."""
    return torch.stack([batch_loss(model, batch, label_smoothing).objective for batch in batches]).sum()


def require(holds: bool, requested: str, problem: str) -> None:
    """CheckFailed unless it holds."""
    if not holds:
        raise CheckFailed(requested, problem)


def require_close(what: str, got: Tensor, wanted: Tensor, *, rtol: float, atol: float) -> None:
    """CheckFailed unless every number is within rtol of the largest wanted one, plus atol."""
    apart, scale = float((got - wanted).abs().max()), float(wanted.abs().max())
    require(apart <= rtol * scale + atol, what, f"it differs by {apart:.3g} from values up to {scale:.3g}")
