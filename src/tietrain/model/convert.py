"""The weights of a trained model under another tying plan of the same shape.

Untying copies: each slot keeps what it reads, bit for bit. Tying takes the mean over the uses of a group, or its owner's, and
the views of a use hold what they can of its difference from that: products of low rank the most (Eckart & Young 1936).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from tietrain.errors import TyingError
from tietrain.model.transformer import Transformer
from tietrain.plan.plan import TyingPlan
from tietrain.plan.views import Read

# How the shared values of slots that are tied are made.
MEAN, FIRST = "mean", "first"
# Views whose extras are fitted by products of low rank.
RELAXED, FACTORISED = "relaxed", "factorised"


def reads_alike(old: TyingPlan, new: TyingPlan, name: str) -> bool:
    """Whether a slot, or the input of a layer, reads through the same views in both plans, as do all uses of its new owner.

    These uses must also have had one owner: then all that they read is copied.
    """
    uses = new.uses[new.owner[name]] if name in new.owner else (name,)
    one_owner = len({old.owner.get(use) for use in uses}) == 1
    return one_owner and all(old.views.get(use) == new.views.get(use) for use in uses)


@torch.no_grad()
def convert_weights(old: Transformer, new: Transformer, rule: str) -> None:
    """Give a model what another one of the same shape reads, as far as its plan allows.

    Args:
        new: initialized; what a view brings that has nothing to hold keeps its initial value, or takes its mean.
        rule: MEAN or FIRST.
    Raises:
        TyingError: a view of the new plan has no law for this.
    """
    inputs = [name for name in new.plan.views if name not in new.plan.owner]
    for name in [*inputs, *new.plan.owner]:
        if reads_alike(old.plan, new.plan, name):
            for source, target in zip(old.plan.read_by(name), new.plan.read_by(name), strict=True):
                new.get_parameter(target).copy_(old.get_parameter(source))
        elif name in inputs:
            _to_means(new, new.plan.reads[name])
        elif new.plan.owner[name] == name:
            _fit(old, new, name, rule)


@torch.no_grad()
def changed_share(old: Transformer, new: Transformer) -> float:
    """How far what slots read has changed: root of the summed squares of the changes over that of the values."""
    pairs = [(old.tensor(slot.name).double(), new.tensor(slot.name).double()) for slot in new.plan.slots]
    total = sum(float(before.square().sum()) for before, _ in pairs)
    return float((sum(float((after - before).square().sum()) for before, after in pairs) / total) ** 0.5)


def _fit(old: Transformer, new: Transformer, owner: str, rule: str) -> None:
    """Set an owner and the extras of its uses so that the uses read what they read before, or as near as they can."""
    uses = new.plan.uses[owner]
    wanted = {use: _wanted(new.plan, use, old.tensor(use).double()) for use in uses}
    if FACTORISED in _names(new.plan, owner):
        _factorise(new, owner, {use: of_use[-1] for use, of_use in wanted.items()}, rule)
        return
    shared = new.get_parameter(owner)
    shared.copy_(_joined([of_use[0] for of_use in wanted.values()], rule))
    for use, (_, *of_use) in wanted.items():
        made = shared.double()
        for name, read, tensor in zip(_names(new.plan, use), new.plan.reads.get(use, ()), of_use, strict=True):
            extras = [new.get_parameter(extra) for extra in read.extras]
            if name == RELAXED:
                left, right = low_rank(tensor - made, extras[0].shape[1])
                extras[0].zero_()[:, : len(right)] = left
                extras[1][: len(right)] = right
            else:
                _to_means(new, [read])
            made = read.view.tensor(made, *(extra.double() for extra in extras))


def _wanted(plan: TyingPlan, use: str, tensor: Tensor) -> list[Tensor]:
    """What the views of a use should read in turn, then what the last one should give: the slot's tensor.

    A factorised table is fitted as a whole, so its view is passed over.
    """
    wanted = [tensor]
    for name, read in zip(reversed(_names(plan, use)), reversed(plan.reads.get(use, ())), strict=True):
        if name != FACTORISED and read.view.undo is None:
            remedy = "train it from the start, or choose ties without it"
            raise TyingError(f"view {name} of {use}", "no rule says how weights are converted to it", remedy)
        wanted.insert(0, read.view.undo(wanted[0]) if read.view.undo else wanted[0])
    return wanted


def _factorise(new: Transformer, owner: str, tables: dict[str, Tensor], rule: str) -> None:
    """The narrow table and the maps of its uses whose products come nearest to the tables, in summed squares.

    With FIRST the narrow table is that of the owner's table alone.
    """
    narrow = new.get_parameter(owner)
    maps = {use: [e for read in new.plan.reads[use] for e in read.extras] for use in tables}
    if len(set(map(tuple, maps.values()))) == 1:  # one map for all uses
        tables = {owner: _joined(list(tables.values()), rule)}
    fitted = [tables[owner]] if rule == FIRST else list(tables.values())
    left, _ = low_rank(torch.cat(fitted, dim=1), narrow.shape[1])
    left /= len(fitted) ** 0.5
    n_fitted = left.shape[1]
    narrow[:, :n_fitted] = left
    for use, table in tables.items():
        (up,) = map(new.get_parameter, maps[use])
        up.zero_()[:n_fitted] = torch.linalg.lstsq(left, table).solution


def low_rank(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Factors [rows, k] and [k, width] whose product is the nearest of that rank; rows of the second have norm 1.

    k is less than `rank` if the matrix has no more: what is left of a view's extras then keeps its initial values.
    """
    left, sizes, right = torch.linalg.svd(matrix, full_matrices=False)
    smallest = sizes.max() * max(matrix.shape) * torch.finfo(torch.float32).eps
    k = min(rank, int((sizes > smallest).sum()))
    return left[:, :k] * sizes[:k], right[:k]


def _joined(tensors: Sequence[Tensor], rule: str) -> Tensor:
    """The mean, or the first; the mean of equal float32 numbers is these numbers, because sums are float64."""
    return tensors[0] if rule == FIRST else torch.stack(list(tensors)).sum(0) / len(tensors)


def _to_means(model: Transformer, reads: Sequence[Read]) -> None:
    """Set the extras of views to the means of their initial values, at which they change nothing."""
    for read in reads:
        for name in read.extras:
            model.get_parameter(name).fill_(model.plan.extras[name].mean)


def _names(plan: TyingPlan, use: str) -> list[str]:
    return [name for name, _ in plan.views.get(use, ())]
