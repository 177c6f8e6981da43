"""What parameters of a model share: the result of an audit, and how equal tensors are found."""

import hashlib
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tietrain.plan.known_models import Groups

# Groups of a kind that the text lists; --json has all.
MOST_LISTED = 20
# Bytes that are looked at together; a multiple of the size of every number.
CHUNK = 1 << 20


@dataclass(frozen=True)
class Values:
    """The content of a tensor: equal digests mean equal bytes. constant: whether all its numbers are the same."""

    digest: str
    constant: bool


@dataclass(frozen=True)
class Audit:
    """What an audit found, by names of parameters.

    tied: names of one tensor. equal: separate tensors of equal shape, type and bytes; those whose numbers are all the same (a
    bias of zeros) are left out. overlapping: separate parameters that read some of the same memory. broken: what the
    configuration, or the index of a folder, says that is not so. unchecked: promised ties of tables whose names are not known.
    unread: names whose values were not compared.
    params: numbers, every tensor once. params_by_name: numbers, every name counted.
    """

    tied: Groups
    equal: Groups
    overlapping: Groups
    broken: tuple[str, ...]
    unchecked: tuple[str, ...]
    unread: tuple[str, ...]
    params: int
    params_by_name: int

    def __str__(self) -> str:
        """The audit in plain words, one line per group."""
        lines = [f"{self.params:,} parameters, every tensor counted once"]
        if self.params_by_name != self.params:
            lines[0] += f"; {self.params_by_name:,} if every name is counted"
        lines += _listed("one tensor", self.tied)
        lines += _listed("equal in value, but separate", self.equal)
        lines += _listed("separate parameters in the same memory", self.overlapping)
        if not (self.tied or self.equal or self.overlapping):
            lines.append("no two names share a tensor or have equal values (tensors of one repeated number aside)")
        lines += [f"broken promise: {promise}" for promise in self.broken]
        lines += [f"not checked: {promise}, and the names of its tables are not known" for promise in self.unchecked]
        if self.unread:
            lines.append(
                f"not compared: {len(self.unread):,} tensors without values of their own (on meta, or sharded)"
            )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for programs."""
        return asdict(self)


def _listed(what: str, groups: Groups) -> list[str]:
    lines = [f"{what}: {', '.join(group)}" for group in groups[:MOST_LISTED]]
    more = len(groups) - MOST_LISTED
    return [*lines, f"{what}: {more:,} more groups (--json lists all)"] if more > 0 else lines


def fingerprint(chunks: Iterable[bytes], size: int) -> Values:
    """The values of a tensor.

    Args:
        chunks: its bytes, in pieces of whole numbers.
        size: bytes of one number.
    """
    digest = hashlib.sha256()
    first = b""
    constant = True
    for chunk in chunks:
        digest.update(chunk)
        first = first or chunk[:size]
        constant = constant and chunk == first * (len(chunk) // size)
    return Values(digest.hexdigest(), constant)


def equal_values(kinds: Mapping[str, Hashable], values: Callable[[str], Values]) -> Groups:
    """Names whose tensors are equal and not constant. Only a tensor that has a partner of its kind is read, and once.

    Args:
        kinds: name -> type and shape.
    """
    partners = gather((kind, name) for name, kind in kinds.items())
    read = [(kinds[name], values(name), name) for group in partners for name in group]
    return gather(((kind, found.digest), name) for kind, found, name in read if not found.constant)


def gather(pairs: Iterable[tuple[Hashable, str]]) -> Groups:
    """Names of equal keys, in the order they come; only groups of two and more."""
    groups: dict[Hashable, list[str]] = {}
    for key, name in pairs:
        groups.setdefault(key, []).append(name)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)
