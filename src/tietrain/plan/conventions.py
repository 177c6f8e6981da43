"""Training FLOPs per token as the literature counts them; each formula is as in its source.

They are stated for decoder-only models. N counts stored parameters, so formulas with N are too low for a stack that
repeats layers; formulas over layers or layer uses are not. If a formula does not cover a shape, the estimate is None with
the reason. tietrain itself counts every use, see `columns`.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from tietrain.plan.flops import count_flops, equal_lengths, shape_of
from tietrain.plan.params import count_params
from tietrain.plan.plan import TyingPlan
from tietrain.plan.slots import ModelShape

UNIT = "training FLOPs per token"

Count = TypeVar("Count", bound=Callable[[TyingPlan, int], int | str])


@dataclass(frozen=True)
class Convention:
    """A published formula in the letters of docs/flops.md; flops: the number, or why it does not cover the model."""

    formula: str
    source: str
    flops: Callable[[TyingPlan, int], int | str]


@dataclass(frozen=True)
class Estimate:
    """Training FLOPs per token by one convention; None if it does not cover the model, with the reason in `ledger.json`."""

    flops: int | None
    reason: str = ""


PUBLISHED: dict[str, Convention] = {}


def convention(*, formula: str, source: str) -> Callable[[Count], Count]:
    """Put a function (plan, length) -> FLOPs into PUBLISHED under its own name."""

    def register(flops: Count) -> Count:
        PUBLISHED[flops.__name__] = Convention(formula, source, flops)
        return flops

    return register


def estimate(name: str, plan: TyingPlan, length: int) -> Estimate:
    """The estimate of one convention for sequences of this length."""
    if plan.views:
        return Estimate(None, "stated for parameters that are read as they are")
    if len(plan.slots.shape.stacks) > 1:
        return Estimate(None, "stated for decoder-only models; source and target have lengths of their own")
    found = PUBLISHED[name].flops(plan, length)
    return Estimate(None, found) if isinstance(found, str) else Estimate(found)


def estimate_all(plan: TyingPlan, length: int) -> dict[str, Any]:
    """Name -> flops and reason, plain values."""
    return {name: asdict(estimate(name, plan, length)) for name in PUBLISHED}


def columns(model: ModelShape | TyingPlan, length: int) -> dict[str, int]:
    """Training FLOPs per target token in three columns, every use counted; S = T in an encoder-decoder.

    `6 N_eff`: matmul weights only. `with attention`: scores too; a run's `flops` and its utilization are counted like
    this. `non-embedding`: the first without logits, as Kaplan et al. 2020 count.
    """
    flops = count_flops(model).by_kind(equal_lengths(shape_of(model), length))
    total = 3 * sum(flops.values()) // length
    weights = total - 3 * flops["scores"] // length
    return {"6 N_eff": weights, "with attention": total, "non-embedding": weights - 3 * flops["logits"] // length}


def _attention(shape: ModelShape, length: int) -> int:
    """12 L H K T: scores and weighted values, forward and backward."""
    return 12 * shape.stacks[0].n_layers * shape.d_q * length


@convention(formula="6 N, N without tables", source="Kaplan et al. 2020; its context term is left out")
def kaplan(plan: TyingPlan, length: int) -> int:
    """6 N of the stored numbers outside embedding, output and position tables."""
    ledger = count_params(plan)
    return 6 * (ledger.params - ledger.n_embedding)


@convention(
    formula="3 (L (8 D A + 4 A T + 3 H T + 4 D F) + 4 D V), A = H K",
    source="Hoffmann et al. 2022, appendix F; its table A4 leaves the 4 D V out",
)
def chinchilla(plan: TyingPlan, length: int) -> int | str:
    """Matmuls per layer, softmax, and the embedding as if it were a matrix product."""
    shape = plan.slots.shape
    if len(shape.ffn_matrices) != 2:
        return "stated for feed-forward layers of two matrices"
    if shape.n_kv_heads != shape.n_heads:
        return "stated for as many key as query heads"
    d, a = shape.d_model, shape.d_q
    layer = 8 * d * a + 4 * a * length + 3 * shape.n_heads * length + 4 * d * shape.d_ff
    (stack,) = shape.stacks
    return 3 * (stack.n_layers * layer + 4 * d * stack.vocab_size)


@convention(
    formula="6 N + 12 L H K T, N without position table",
    source="Chowdhery et al. 2022 (PaLM), appendix B; nanoGPT",
)
def palm(plan: TyingPlan, length: int) -> int:
    """6 N of the stored numbers without the position table, a tied table once; full attention."""
    positions = sum(slot.size for slot in plan.owners if slot.part == "positions")
    return 6 * (count_params(plan).params - positions) + _attention(plan.slots.shape, length)


@convention(formula="6 N + 12 L H K T, N of matrices that are multiplied", source="karpathy/nanochat 92d63d4, gpt.py")
def nanochat(plan: TyingPlan, length: int) -> int:
    """6 N of the stored matrices that a linear layer reads, including the output projection; full attention."""
    matrices = [slot for slot in plan.slots if len(slot.shape) == 2 and slot.part not in ("embed", "positions")]
    multiplied = {plan.owner[slot.name]: slot.size for slot in matrices}
    return 6 * sum(multiplied.values()) + _attention(plan.slots.shape, length)


@convention(
    formula="3 L (2 (2 + 2 R) D D + 4 D T + 2 M D F) + 4 D + 2 D V, R = H_kv / H, M matrices",
    source="EleutherAI/cookbook 827ee3b, calc_transformer_flops.py, without recomputation",
)
def eleuther(plan: TyingPlan, length: int) -> int | str:
    """Three passes over the layers, one pass over embedding and logits."""
    shape = plan.slots.shape
    if shape.d_q != shape.d_model:
        return "stated for heads that together are as wide as d_model"
    d = shape.d_model
    projections = 4 * d * (d + shape.d_kv)
    layer = projections + 4 * d * length + 2 * len(shape.ffn_matrices) * d * shape.d_ff
    (stack,) = shape.stacks
    return 3 * stack.n_layers * layer + 4 * d + 2 * d * stack.vocab_size


@convention(
    formula="6 (sum over layer uses of their N + D V) + 12 L H K T",
    source="Schwethelm et al. 2026; kschwethelm/looped-lm-scaling ad7d8f3, gpt.py, every repeat with gradient",
)
def schwethelm(plan: TyingPlan, length: int) -> int:
    """6 N of all parameters of layers, including norms and biases, at every use, and of the head; full attention."""
    shape = plan.slots.shape
    in_layers = sum(slot.size for slot in plan.slots if slot.layer is not None)
    return 6 * (in_layers + shape.d_model * shape.stacks[0].vocab_size) + _attention(shape, length)
