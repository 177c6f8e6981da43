"""Views: what a slot reads of its owner's tensor if it does not read it as it is. A new view is one function here.

A view is a function from the shape a slot needs, and options, to its laws. Tensors appear in operators alone, so this room
stays free of torch. Views of one slot are applied in turn; the first one reads the owner.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from tietrain.plan.slots import Slot

# Initial standard deviation of a learned signal, as of learned positions.
SIGNAL_STD = 0.02

Shape = tuple[int, ...]
# Names and options of the views of one slot, the first one reads the owner.
Chain = tuple[tuple[str, Mapping[str, Any]], ...]


@dataclass(frozen=True)
class Extra:
    """A tensor that a use brings, and mean and standard deviation of its initial values."""

    shape: Shape
    std: float = 0.0
    mean: float = 0.0


@dataclass(frozen=True)
class View:
    """The laws of a view that gives a tensor of one shape.

    tensor: (w, *extras) -> what the slot reads: the definition.
    stored: the shape of w; None if it is that of the slot. kind: the kind that the owner has; None if it is the slot's.
    extras: name -> tensor that each use brings. shared: whether all uses of one owner bring one.
    once: FLOPs of `tensor`, per use and pass.
    side: (x, *extras) -> y with linear(x, tensor(w)) == linear(y, w), the cheap way to multiply; None if there is none.
    by_row: whether rows of the tensor are `tensor` of rows of w, the cheap way to look up.
    per_token: FLOPs of one of these two ways, per use and token.
    undo: tensor -> the w from which the view makes it while its extras are at their means, for `tietrain convert`; None if
        there is none.
    """

    tensor: Callable[..., Any]
    stored: Shape | None = None
    kind: str | None = None
    extras: Mapping[str, Extra] = field(default_factory=dict)
    shared: bool = False
    once: int = 0
    side: Callable[..., Any] | None = None
    by_row: bool = False
    per_token: int = 0
    undo: Callable[[Any], Any] | None = None


VIEWS: dict[str, Callable[..., View]] = {}
MakesView = TypeVar("MakesView", bound=Callable[..., View])


def view(make: MakesView) -> MakesView:
    """Put a function (shape, **options) -> View into VIEWS under its own name."""
    VIEWS[make.__name__] = make
    return make


def _itself(tensor: Any) -> Any:
    return tensor


@view
def factorised(shape: Shape, rank: int, up: str) -> View:
    """A table [V, D] is a narrower table [V, E] times a map `up` [E, D]. Source: Lan et al. 2019 (ALBERT), section 3.1."""
    rows, width = shape
    return View(
        tensor=lambda w, up: w @ up,
        stored=(rows, rank),
        extras={"up": Extra((rank, width), std=rank**-0.5)},
        shared=up == "shared",
        once=2 * rows * rank * width,
        side=lambda x, up: x @ up.t(),
        by_row=True,
        per_token=2 * rank * width,
    )


@view
def relaxed(shape: Shape, rank: int) -> View:
    """A matrix plus a product of low rank, which starts at 0. Source: Bae et al. 2024, section 2.2."""
    rows, width = shape
    return View(
        tensor=lambda w, left, right: w + left @ right,
        extras={"left": Extra((rows, rank)), "right": Extra((rank, width), std=width**-0.5)},
        once=2 * rank * rows * width,
        undo=_itself,
    )


@view
def scaled(shape: Shape, of: str) -> View:
    """A matrix whose inputs or outputs have a gain each, which starts at 1."""
    rows, width = shape
    if of == "out":
        return View(lambda w, gain: w * gain[:, None], extras={"gain": Extra((rows,), mean=1.0)}, undo=_itself)
    extras = {"gain": Extra((width,), mean=1.0)}
    return View(lambda w, gain: w * gain, extras=extras, side=lambda x, gain: x * gain, by_row=True, undo=_itself)


@view
def transposed(shape: Shape) -> View:
    """The output matrix of a feed-forward is its input matrix transposed."""
    return View(tensor=lambda w: w.t(), stored=shape[::-1], kind="ffn.in.weight", undo=lambda tensor: tensor.t())


@view
def input_gradient(shape: Shape, by: float) -> View:
    """The tensor itself; the gradient of this use is multiplied by a factor. Source: Lopardo et al. 2026."""
    return View(tensor=lambda w: w.detach() + by * (w - w.detach()), by_row=True, undo=_itself)


@view
def step_signal(shape: Shape, signal: str, step: int) -> View:
    """The input of layer number `step` plus a signal of its own. Source: Dehghani et al. 2018, section 2.1, without halting."""
    if signal == "learned":
        return View(lambda x, signal: x + signal, extras={"signal": Extra(shape, std=SIGNAL_STD)})
    return View(lambda x: x + _sinusoids(x, step))


def _sinusoids(x: Any, position: int) -> Any:
    """Sines, then cosines of a position, computed in float64: [..., D] -> [D].

    They are made where x is: to wait for numbers from elsewhere is to wait for the device.
    """
    width = x.shape[-1]
    half = (width + 1) // 2
    place = x.new_ones(width).double().cumsum(0) - 1  # [D]
    angles = position * 10_000.0 ** (-(place % half) / half)
    return angles.sin().where(place < half, angles.cos()).to(x.dtype)


class Read(NamedTuple):
    """A view of a slot, the names of the extras it takes, in their order, and the shapes it reads and gives."""

    view: View
    extras: tuple[str, ...]
    stored: Shape
    shape: Shape


def split_reads(reads: Sequence[Read], slot: Slot) -> tuple[Sequence[Read], Sequence[Read]]:
    """The reads that make the tensor of a slot, and the last ones, which the use of a table computes the cheap way instead."""
    n_made = len(reads)
    while n_made and slot.kind == "table":
        view = reads[n_made - 1].view
        if not (view.side if slot.part == "output" else view.by_row):
            break
        n_made -= 1
    return reads[:n_made], reads[n_made:]


def describe_chain(chain: Chain) -> str:
    """The views of a slot in words, in the order they are applied.

    >>> describe_chain((("relaxed", {"rank": 8}), ("scaled", {"of": "out"})))
    'relaxed (rank 8), scaled (of out)'
    """
    return ", ".join(_words(name, options) for name, options in chain)


def _words(name: str, options: Mapping[str, Any]) -> str:
    words = ", ".join(f"{option} {value}" for option, value in options.items() if option != "step")
    return f"{name} ({words})" if words else name
