"""What the parameters of any module share: the audit of a model that somebody hands you."""

from collections.abc import Iterator, Mapping
from contextlib import suppress

import torch
from torch import Tensor, nn

from tietrain.model.audit import n_bytes
from tietrain.plan.known_models import EMBED, OUTPUT, PROMISES, Groups, Promise, find_tables, read_promises
from tietrain.plan.sharing import CHUNK, Audit, Values, equal_values, fingerprint, gather


def audit(module: nn.Module) -> Audit:
    """What the parameters of a module share, whoever made it; `print(audit(module))` says it in plain words.

    Buffers are not looked at, nor are parameters that have no shape yet (of lazy modules). Values and memory are compared of
    plain tensors alone, not on the device meta or in shards of FSDP2. They are read once, on the CPU, one at a time.

    >>> layer = nn.Linear(4, 4, bias=False)
    >>> audit(nn.Sequential(layer, nn.ReLU(), layer)).tied
    (('0.weight', '2.weight'),)
    """
    parameters = named_parameters(module)
    tied = gather((id(p), name) for name, p in parameters.items())
    separate = _without(parameters, tied)
    overlapping = find_overlapping(separate)
    kinds = {name: (p.dtype, p.shape) for name, p in _without(separate, overlapping).items() if _is_plain(p)}
    broken, unchecked = _check(module, parameters)
    return Audit(
        tied=tied,
        equal=equal_values(kinds, lambda name: _values(separate[name])),
        overlapping=overlapping,
        broken=tuple(broken),
        unchecked=tuple(unchecked),
        unread=tuple(name for name, p in separate.items() if not _is_plain(p)),
        params=sum(p.numel() for p in separate.values()),
        params_by_name=sum(p.numel() for p in parameters.values()),
    )


def named_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Every name of every parameter that has a shape."""
    named = module.named_parameters(remove_duplicate=False)
    return {name: p for name, p in named if not nn.parameter.is_lazy(p)}


def find_overlapping(parameters: Mapping[str, nn.Parameter]) -> Groups:
    """Names of separate parameters that have bytes of memory in common."""
    placed = [(name, p) for name, p in parameters.items() if _is_plain(p) and p.numel()]
    spans = sorted((str(p.device), p.data_ptr(), n_bytes(p), name) for name, p in placed)
    groups: list[list[str]] = []
    end = ("", 0)
    for device, start, length, name in spans:
        if (device, start) < end:
            groups[-1].append(name)
        else:
            groups.append([name])
        end = max(end, (device, start + length))
    return tuple(tuple(group) for group in groups if len(group) > 1)


def _is_plain(parameter: nn.Parameter) -> bool:
    """Whether it has bytes of its own: it is neither without values nor a wrapper around other tensors."""
    return not parameter.is_meta and type(parameter.data) is Tensor


def _without(parameters: Mapping[str, nn.Parameter], groups: Groups) -> dict[str, nn.Parameter]:
    """Of every group the first alone, and all that is in none."""
    later = set().union(*(group[1:] for group in groups))
    return {name: p for name, p in parameters.items() if name not in later}


def _values(tensor: Tensor) -> Values:
    return fingerprint(_chunks(tensor), tensor.element_size())


def _chunks(tensor: Tensor) -> Iterator[bytes]:
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    for start in range(0, len(flat), CHUNK):
        yield flat[start : start + CHUNK].numpy().tobytes()


def _check(module: nn.Module, parameters: Mapping[str, nn.Parameter]) -> tuple[list[str], list[str]]:
    """What a module promises and memory does not keep, and the promised ties that cannot be checked."""
    broken: list[str] = []
    unchecked: list[str] = []
    for promise in _promises(module, parameters):
        first, second = promise.first or "", promise.second or ""
        if not {first, second} <= parameters.keys():
            if promise.one:
                unchecked.append(str(promise))
        elif first != second and (parameters[first] is parameters[second]) != promise.one:
            broken.append(f"{promise}, and {first} and {second} are {'two tensors' if promise.one else 'one tensor'}")
    return broken, unchecked


def _promises(module: nn.Module, parameters: Mapping[str, nn.Parameter]) -> list[Promise]:
    """What the configuration of a module says, and what transformers says that it has tied."""
    config = getattr(module, "config", None)
    found = config if isinstance(config, Mapping) else {switch: getattr(config, switch, None) for switch in PROMISES}
    promises = read_promises(found, find_tables(parameters) or _tables_by_methods(module, parameters))
    pairs = {(promise.first, promise.second) for promise in promises}
    declared = getattr(module, "all_tied_weights_keys", None)
    for target, source in declared.items() if isinstance(declared, Mapping) else ():
        if (source, target) not in pairs:
            promises.append(Promise("all_tied_weights_keys", True, source, target))
    return promises


def _tables_by_methods(module: nn.Module, parameters: Mapping[str, nn.Parameter]) -> dict[str, str]:
    """Role -> name of the tables that a model of an unknown family says it has, as those of transformers do."""
    tables = {}
    for role, method in ((EMBED, "get_input_embeddings"), (OUTPUT, "get_output_embeddings")):
        with suppress(AttributeError, NotImplementedError, TypeError):
            layer = getattr(module, method)()
            # Of a tied pair both roles have the same names.
            names = [name for name, p in parameters.items() if p is layer.weight]
            if names:
                tables[role] = names[0] if role == EMBED else names[-1]
    return tables
