"""Is what was tied computed, counted and trained as one? One function per check; each raises CheckFailed with what differs."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from tietrain.data.batches.batching import Batch
from tietrain.data.tokenizer import PAD_ID
from tietrain.model.cache import Cache
from tietrain.model.transformer import Memory, Transformer
from tietrain.plan.flops import count_flops, length_units
from tietrain.plan.params import count_params
from tietrain.train.check.lifecycle import OPTIMIZERS, gradients, optimizer_config
from tietrain.train.check.reference import (
    CheckFailed,
    copies,
    draw_batches,
    require,
    require_close,
    separate_twin,
    summed_loss,
    untied_twin,
)
from tietrain.train.optim import build_optimizer
from tietrain.train.tasks.task import batch_loss

SMOOTHING = 0.1
N_STEPS = 3
# Of float64 numbers after a few hundred additions.
EXACT = 1e-12


def check_gradients(model: Transformer) -> str:
    """The gradient of a tied parameter is the sum over its uses in an untied twin, in float64; returns the groups.

    Through views it is what their definitions make of the gradients of what the uses read. Tying bugs 34 and 35: a gradient
    counted twice, a gradient of one use lost.
    """
    tied = copy.deepcopy(model).double()
    twin = untied_twin(tied)
    batches = draw_batches(tied, 3, 5, 7)
    losses = []
    for m in (tied, twin):
        objective = summed_loss(m, batches, SMOOTHING)
        objective.backward()
        losses.append(objective.detach())
    require_close("loss of the untied twin", losses[1], losses[0], rtol=EXACT, atol=0.0)
    of_tied, of_twin = gradients(tied), gradients(twin)
    slots = list(tied.plan.owner)
    stored = dict(tied.named_parameters())
    of_uses = torch.autograd.grad(
        [tied.tensor(slot) for slot in slots],
        list(stored.values()),
        [of_twin[slot] for slot in slots],
        allow_unused=True,
        materialize_grads=True,
    )
    for store, total in zip(stored, of_uses, strict=True):
        n_uses = len(tied.plan.readers[store])
        wanted = total + of_twin[store] if store in twin.plan.extras else total
        require_close(f"gradient of {store} against {n_uses} uses", of_tied[store], wanted, rtol=EXACT, atol=EXACT)
    silent = [slot for slot in slots if of_twin[slot].ndim > 1 and not of_twin[slot].any()]
    require(not silent, f"gradient of {', '.join(silent[:3])}", "it is zero: this use computes nothing")
    return f"{len(tied.plan.groups)} tied parameters"


def check_optimizers(model: Transformer) -> str:
    """k separate copies stepped with the sum of their k gradients follow the tied model; returns the optimizers.

    Under every optimizer with decay and without clipping, in float64. Copies of equal values, gradients and moments
    take equal steps, so they differ from one tied parameter by rounding alone.
    """
    for name in OPTIMIZERS:
        tied = copy.deepcopy(model).double()
        twin = separate_twin(tied)
        pairs = [(m, build_optimizer(m, optimizer_config(name))) for m in (tied, twin)]
        for step in range(N_STEPS):
            batches = draw_batches(tied, 2, 4, 5, seed=step)
            for m, optimizer in pairs:
                optimizer.zero_grad()
                (summed_loss(m, batches, SMOOTHING) / sum(batch.n_tokens for batch in batches)).backward()
            _sum_gradients(tied, twin)
            for _, optimizer in pairs:
                optimizer.step()
        for copied, store in copies(twin, tied).items():
            got, wanted = twin.get_parameter(copied).detach(), tied.get_parameter(store).detach()
            require_close(f"{copied} after {N_STEPS} steps of {name}", got, wanted, rtol=EXACT, atol=EXACT)
    return f"{N_STEPS} steps of {', '.join(OPTIMIZERS)}"


def _sum_gradients(tied: Transformer, twin: Transformer) -> None:
    """Give every copy of a group the sum of the group's gradients."""
    of_twin = gradients(twin)
    groups: dict[str, list[str]] = {}
    for copied, store in copies(twin, tied).items():
        groups.setdefault(store, []).append(copied)
    for uses in groups.values():
        total = torch.stack([of_twin[use] for use in uses]).sum(dim=0)
        for use in uses:
            twin.get_parameter(use).grad = total.clone()


@torch.no_grad()
def check_cache(model: Transformer) -> str:
    """Cached decoding is the full forward pass at every position, and for rows selected on the way; returns the length.

    One position at a time, then two halves between which rows are repeated and left out. Tying bugs 41 and 42: keys and
    values kept by module or by the index of a shared layer. A masked model, which attends to what follows, decodes nothing.
    """
    exact = copy.deepcopy(model).double()
    batches = [b for b in draw_batches(exact, 3, 9, 40) if exact.shape.stack(b.stack).causal]
    for batch in batches:
        _check_cache(exact, batch)
    return f"{batches[0].tgt_in_ids.shape[1]} positions" if batches else "nothing is decoded"


def _check_cache(model: Transformer, batch: Batch) -> None:
    tgt = batch.tgt_in_ids
    memory = None
    rows = torch.tensor([2, 0, 2])
    if batch.sources:
        for values in batch.sources.values():
            values[1, -4:] = PAD_ID if values.ndim == 2 else torch.nan
        memory = model.encode(batch.sources, stack=batch.stack)

    def decode(ids: Tensor, memory: Memory | None, cache: Cache | None = None) -> Tensor:
        return model.decode(ids, memory, cache, stack=batch.stack)

    full, cache = decode(tgt, memory), Cache()
    one_by_one = torch.cat([decode(ids, memory, cache) for ids in tgt.split(1, dim=1)], dim=1)
    require_close("cached decoding", one_by_one, full, rtol=EXACT, atol=EXACT)
    cache, half = Cache(), tgt.shape[1] // 2
    before = decode(tgt[:, :half], memory, cache)
    cache.select(rows)
    after = decode(tgt[rows, half:], memory.select(rows) if memory else None, cache)
    halves = torch.cat([before[rows], after], dim=1)
    require_close("cached decoding of selected rows", halves, full[rows], rtol=EXACT, atol=EXACT)


def check_params(model: Transformer) -> str:
    """The parameter ledger counts what memory and optimizer hold; returns the numbers stored and saved.

    Tying bugs 32 and 33: duplicates summed, a part of the model left out.
    """
    ledger = count_params(model.plan)
    storages = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in model.parameters()}
    in_memory = sum(storages.values()) // next(model.parameters()).element_size()
    optimizer = build_optimizer(model, optimizer_config("adamw"))
    held = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    untied = sum(p.numel() for p in untied_twin(model).parameters())
    stores = {store.name: store for store in model.plan.stores}
    by_part: dict[str, int] = {}
    for name, p in model.named_parameters():
        store = stores.get(name)
        key = f"{store.stack}.{store.part}" if store else name
        by_part[key] = by_part.get(key, 0) + p.numel()
    books = {
        "in unique storages": (in_memory, ledger.params),
        "in the optimizer": (held, ledger.params),
        "of the untied model": (untied, ledger.params_untied),
        "used once, repeatedly or in tables": (ledger.n_once + ledger.n_repeated + ledger.n_embedding, ledger.params),
    }
    for what, (counted, booked) in books.items():
        require(counted == booked, f"{counted:,} numbers {what}", f"the ledger says {booked:,}")
    require(by_part == ledger.by_part, f"numbers by part {by_part}", f"the ledger says {ledger.by_part}")
    return f"{ledger.params:,} stored, {ledger.params_saved:,} saved"


def check_flops(model: Transformer) -> str:
    """The FLOP ledger is torch's own count, forward and in training; returns the forward FLOPs.

    By plain products, as small attentions are computed in float32 on a CPU, and by PyTorch's kernel, as in float64.
    Training is counted under its math kernel: the fused one computes scores again on the way back, which is work of the
    hardware and not of the model. Tying bugs 28 to 31: FLOPs that depend on what is tied.
    """
    ledger = count_flops(model.plan)
    n_tokens = total = 0
    for batch in draw_batches(model, 3, 5, 7):
        units = length_units(model.shape, batch.lengths)
        forward, training = ledger.forward(units), ledger.training(units)
        for kind, m in (("products", copy.deepcopy(model)), ("kernel", copy.deepcopy(model).double())):
            with torch.no_grad():
                counted = count_matmul_flops(partial(_logits, m, batch))
            require(counted == forward, f"{counted:,} forward FLOPs by {kind}", f"the ledger says {forward:,}")
            with sdpa_kernel(SDPBackend.MATH):
                counted = count_matmul_flops(partial(_learn, m, batch))
            require(counted == training, f"{counted:,} FLOPs in training by {kind}", f"the ledger says {training:,}")
        n_tokens += batch.n_tokens
        total += forward
    return f"{total:,} forward for {n_tokens} target tokens"


def _flash_flops(q: list[int], k: list[int], v: list[int], *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    b, h, t, d = q
    return 2 * b * h * t * k[2] * (d + v[-1])


# torch 2.13 has no formula for the CPU's fused attention and counts it as nothing (pytorch issue 195460).
FUSED: dict[Any, Callable[..., int]] = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _flash_flops}


class _NoUncountedAttention(TorchDispatchMode):
    """Fails if an attention kernel runs for which no formula is known."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = func.overloadpacket in flop_registry or func.overloadpacket in FUSED
        if not known and "attention" in func.name():
            raise CheckFailed(f"FLOPs of {func.name()}", "torch's counter has no formula for it")
        return func(*args, **(kwargs or {}))


def count_matmul_flops(run: Callable[[], object]) -> int:
    """Matmul FLOPs of everything `run` computes, as torch counts them, backward passes and attention included.

    Raises:
        CheckFailed: an attention kernel runs that would be counted as nothing.
    """
    with FlopCounterMode(display=False, custom_mapping=FUSED) as counter, _NoUncountedAttention():
        run()
    return int(counter.get_total_flops())


def _logits(model: Transformer, batch: Batch) -> Tensor:
    return model.logits(model(batch.sources, batch.tgt_in_ids, stack=batch.stack), batch.stack)


def _learn(model: Transformer, batch: Batch) -> None:
    batch_loss(model, batch, SMOOTHING).objective.backward()


def check_decay(model: Transformer) -> str:
    """One step without gradient shrinks every matrix once and leaves one state per parameter; returns the optimizers.

    Tying bugs 37 and 40: a parameter stepped twice, decay by name. AdamW and SGD shrink by lr x decay; Adam takes its
    normalized first step against the decay's gradient (Kingma & Ba 2015, algorithm 1), at most lr.
    """
    for name in OPTIMIZERS:
        copied, config = copy.deepcopy(model).double(), optimizer_config(name)
        before = {key: p.detach().clone() for key, p in copied.named_parameters()}
        optimizer = build_optimizer(copied, config)
        for p in copied.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
        for key, p in copied.named_parameters():
            pull = config.weight_decay * before[key] if p.ndim > 1 else torch.zeros_like(p)
            step = pull / (pull.abs() + config.eps) if name == "adam" else pull
            wanted = before[key] - config.lr * step
            require_close(f"{key} after one decay by {name}", p.detach(), wanted, rtol=EXACT, atol=EXACT)
        n_owners, stored = len(copied.plan.stores), count_params(copied.plan).params
        require(len(optimizer.state) == n_owners, f"{len(optimizer.state)} states of {name}", f"{n_owners} are stored")
        moment = "momentum_buffer" if name == "sgd" else "exp_avg"
        kept = sum(state[moment].numel() for state in optimizer.state.values())
        require(kept == stored, f"{kept:,} numbers of state of {name}", f"{stored:,} are stored")
    return ", ".join(OPTIMIZERS)
