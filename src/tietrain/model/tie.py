"""Ties for any module: one parameter under several names, which stays one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from tietrain.errors import TyingError
from tietrain.model.sharing import find_overlapping, named_parameters
from tietrain.plan.known_models import Groups, scheme_groups
from tietrain.plan.plan import Pair
from tietrain.plan.schemes import group_pairs
from tietrain.plan.sharing import gather

EXAMPLE = "write for example [['head.weight', 'embed.weight']]"
Place = tuple[nn.Module, str]


def tie(module: nn.Module, groups: str | Sequence[Sequence[str]], *, n_unique: int = 2) -> Groups:
    """Make all that a group names one Parameter, which has the values of the name that comes first.

    The tie holds through deepcopy, pickle, moves to a device or dtype, `to_empty`, and `load_state_dict` with and without
    `assign=True`, of the module or of a part of it. A state dict has every name, as torch writes it. One that is loaded needs
    only one name of a group; it is refused if it has different values for two. With transformers 5, `save_pretrained` stores
    one name of a group; after `from_pretrained`, which gives the others random values, call `tie` again.

    Tie before you make the optimizer, and before compile, DDP or FSDP wrap the module. The tie does not hold if something
    writes a new Parameter under one name (`module.head.weight = nn.Parameter(...)`, `resize_token_embeddings`, a parametrization,
    pruning or quantisation of one use): that name is on its own from then on. Call `audit` after such steps. Buffers stay.

    Args:
        groups: lists of names of parameters, or of submodules whose parameters have equal names; or a scheme (pre_softmax,
            three_way, universal, cycle, encoder_decoder) for the models of transformers that are named as GPT-2, Llama, Marian,
            T5 or BERT.
        n_unique: of cycle, the number of layers that repeat.
    Returns:
        Every group that the call is about, by names of parameters, with those that were tied before.
    Raises:
        TyingError: a name is unknown or a buffer; or two parameters differ in shape, dtype, device or requires_grad; or one is
            part of a larger one in memory. Nothing is changed.

    >>> model = nn.ModuleDict({"embed": nn.Embedding(9, 4), "head": nn.Linear(4, 9)})
    >>> tie(model, [["embed.weight", "head.weight"]])
    (('embed.weight', 'head.weight'),)
    >>> model["head"].weight is model["embed"].weight
    True
    """
    parameters = named_parameters(module)
    if isinstance(groups, str):
        groups = scheme_groups(groups, parameters, n_unique)
    pairs = [pair for a, b in group_pairs(groups, EXAMPLE) for pair in _corresponding(module, parameters, a, b)]
    _refuse_parts(parameters, pairs)
    tied = _joined(pairs, gather((id(p), name) for name, p in parameters.items()))
    for group in tied:
        _share(parameters[group[0]], [_place(module, name) for name in group])
    if not any(getattr(hook, "hook", None) is _complete for hook in module._load_state_dict_pre_hooks.values()):
        module.register_load_state_dict_pre_hook(_complete)
    _tell_transformers(module, tied)
    return tied


def _corresponding(module: nn.Module, parameters: Mapping[str, nn.Parameter], left: str, right: str) -> Iterable[Pair]:
    """Names of parameters that a pair of names ties."""
    first, second = (_leaves(module, parameters, name) for name in (left, right))
    if ("" in first) != ("" in second):
        raise TyingError(f"tie {left} = {right}", "one is a parameter and the other a submodule", "name two of a kind")
    if first.keys() != second.keys():
        odd = sorted(first.keys() ^ second.keys())
        remedy = "tie only leaves that both have"
        raise TyingError(f"tie {left} = {right}", f"only one of them has {', '.join(odd)}", remedy)
    for leaf, name in first.items():
        if problem := _difference(parameters[name], parameters[second[leaf]]):
            remedy = "only parameters that are equal in this can be one"
            raise TyingError(f"tie {name} = {second[leaf]}", problem, remedy)
        yield name, second[leaf]


def _leaves(module: nn.Module, parameters: Mapping[str, nn.Parameter], name: str) -> dict[str, str]:
    """Leaf -> name of a parameter, for a submodule; for a parameter itself, with an empty leaf."""
    if name in parameters:
        return {"": name}
    found = {other.removeprefix(f"{name}."): other for other in parameters if other.startswith(f"{name}.")}
    if found:
        return found
    if name in dict(module.named_buffers(remove_duplicate=False)):
        raise TyingError(name, "it is a buffer, which is not trained", "name parameters")
    known = [*parameters, *(other for other, _ in module.named_modules() if other)]
    near = get_close_matches(name, known, n=1)
    remedy = f"did you mean {near[0]}?" if near else "`[*dict(module.named_parameters())]` lists its names"
    raise TyingError(name, "the module has no parameter and no submodule with parameters of this name", remedy)


def _difference(a: nn.Parameter, b: nn.Parameter) -> str:
    """What keeps two parameters from being one; empty if nothing does."""
    if a.shape != b.shape:
        shapes = f"their shapes are {list(a.shape)} and {list(b.shape)}"
        return f"{shapes}{_fused(a, b)}"
    for what in ("dtype", "device", "requires_grad"):
        values = [getattr(p, what) for p in (a, b)]
        if values[0] != values[1]:
            return f"their {what} is {values[0]} and {values[1]}"
    return ""


def _fused(a: nn.Parameter, b: nn.Parameter) -> str:
    """What two shapes suggest: that one parameter is several side by side, or lies the other way round."""
    if list(a.shape) == list(b.shape)[::-1]:
        return " (one is stored transposed)"
    larger, smaller = sorted((a, b), key=torch.numel, reverse=True)
    if smaller.numel() and larger.numel() % smaller.numel() == 0 and larger.ndim == smaller.ndim:
        n = larger.numel() // smaller.numel()
        if sum(x != y for x, y in zip(larger.shape, smaller.shape, strict=True)) == 1:
            return f" (the larger could be {n} fused ones, and a part of a parameter cannot be tied)"
    return ""


def _refuse_parts(parameters: Mapping[str, nn.Parameter], pairs: Iterable[Pair]) -> None:
    """TyingError if a parameter has memory in common with one that is not the same in memory."""
    asked = {name for pair in pairs for name in pair}
    for group in find_overlapping(parameters):
        views = {(parameters[name].data_ptr(), parameters[name].shape, parameters[name].stride()) for name in group}
        if len(views) > 1 and (named := [name for name in group if name in asked]):
            others = ", ".join(name for name in group if name != named[0])
            problem = f"it is fused: some of its memory is that of {others}"
            raise TyingError(named[0], problem, "give it memory of its own (clone), or tie the whole")


def _joined(pairs: Iterable[Pair], before: Groups) -> Groups:
    """Names that become one, with those they were one with before; the first that was asked for is the first."""
    asked = dict.fromkeys(name for pair in pairs for name in pair)
    group_of = {name: [name] for name in [*asked, *(name for group in before for name in group)]}
    order = {name: i for i, name in enumerate(group_of)}
    for a, b in [*pairs, *(pair for group in before for pair in pairwise(group))]:
        if group_of[a] is not group_of[b]:
            first, second = sorted((group_of[a], group_of[b]), key=lambda group: order[group[0]])
            first += second
            group_of |= dict.fromkeys(second, first)
    return tuple(tuple(group) for group in {id(group_of[name]): group_of[name] for name in asked}.values())


def _place(module: nn.Module, name: str) -> Place:
    path, _, leaf = name.rpartition(".")
    return module.get_submodule(path), leaf


@dataclass(eq=False)
class _Tie:
    """A parameter, and the places that have it but for those that were given another one since."""

    parameter: nn.Parameter
    places: list[Place]

    def follow(self, parameter: nn.Parameter) -> None:
        """Put a parameter in every place that has the present one."""
        before = self.parameter
        self.parameter = parameter
        for module, leaf in self.places:
            if module._parameters.get(leaf) is before:
                setattr(module, leaf, parameter)


class _Keeper:
    """Takes the place of a module's `_apply`; if a tied parameter of the module is replaced, its other places follow.

    All of torch that replaces parameters comes through here: `_apply` (`to`, `half`, `to_empty`) or loading. A keeper is
    an attribute of its module, so that deepcopy and pickle take it along.
    """

    def __init__(self, module: nn.Module):
        self.module = module
        self.ties: dict[str, _Tie] = {}
        module.register_load_state_dict_pre_hook(self.before)
        module.register_load_state_dict_post_hook(self.after)

    def __call__(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        self.before()
        type(self.module)._apply(self.module, fn, recurse)
        self.after()
        return self.module

    def before(self, *_: Any) -> None:
        """Forget ties that somebody ended: the module has another parameter there."""
        own = self.module._parameters
        self.ties = {leaf: tie for leaf, tie in self.ties.items() if own.get(leaf) is tie.parameter}

    def after(self, *_: Any) -> None:
        for leaf, tie in self.ties.items():
            tie.follow(cast(nn.Parameter, self.module._parameters[leaf]))


def _share(parameter: nn.Parameter, places: list[Place]) -> None:
    """Put a parameter in places, and let it stay one there."""
    tie = _Tie(parameter, places)
    for module, leaf in places:
        setattr(module, leaf, parameter)
        keeper = vars(module).get("_apply")
        if not isinstance(keeper, _Keeper):
            keeper = vars(module)["_apply"] = _Keeper(module)
        keeper.ties[leaf] = tie


def _complete(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Give a state dict that is loaded every name of a tied parameter; TyingError if two of them have different values."""
    for group in gather((id(p), prefix + name) for name, p in module.named_parameters(remove_duplicate=False)):
        held = [name for name in group if name in state]
        for name in held[1:]:
            if not _are_equal(state[held[0]], state[name]):
                problem = f"its values are not those of {held[0]}, and the two are one parameter in this module"
                raise TyingError(name, problem, "load weights of the same ties, or leave out one of the two names")
        if held:
            state |= {name: state[held[0]] for name in group}


def _are_equal(a: Tensor, b: Tensor) -> bool:
    """Whether two values agree, as far as there are values to compare; torch itself refuses a wrong shape."""
    if a is b or a.is_meta or b.is_meta or a.shape != b.shape:
        return True
    return torch.allclose(a, b.to(a), rtol=0, atol=0, equal_nan=True)


def _tell_transformers(module: nn.Module, tied: Groups) -> None:
    """Declare ties to transformers 5: `save_pretrained` stores what is declared once, and refuses what is not."""
    declared = getattr(module, "_tied_weights_keys", ())
    if declared is not None and not isinstance(declared, Mapping):
        return
    keys = dict(declared or {})
    for first, *others in tied:
        source = keys.get(first, first)
        for name in others:
            if name != source:
                keys.setdefault(name, source)
    vars(module)["_tied_weights_keys"] = keys
