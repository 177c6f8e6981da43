"""What installed packages bring: rules, metrics and readers, each named `PACKAGE.NAME` in a configuration.

They are entry points of the groups `tietrain.rules`, `tietrain.metrics` and `tietrain.readers`.
Only packages whose metadata lies in a folder of installed packages count: a folder that a command happens to run in brings nothing.
Code is loaded when a configuration names it. What a rule decides is in the plan and what a metric found is in the scores, so a
saved run is read without the package.
"""

from __future__ import annotations

import importlib
import re
import site
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tietrain.errors import SettingsError, TietrainError, TyingError, check_choice, first_line
from tietrain.plan.plan import Pair
from tietrain.plan.rules import RULES, Pairs, Rule, options_of
from tietrain.plan.rules import first_line as summary_of
from tietrain.plan.slots import Slots

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

# Kind of what a package brings -> what names it in a configuration.
RULE, METRIC, READER = "rule", "metric", "reader"
NAMED_BY = {RULE: "rule", METRIC: "task.metrics", READER: "data.format"}


@dataclass(frozen=True)
class Found:
    """An entry point and the package it belongs to, as `NAME VERSION`."""

    entry: EntryPoint
    package: str


def is_foreign(name: Any) -> bool:
    """Whether a name has the form `PACKAGE.NAME`, which none of ours has."""
    return isinstance(name, str) and "." in name


def is_missing(kind: str, name: Any) -> bool:
    """Whether something belongs to a package that is not installed."""
    return is_foreign(name) and name not in brought(kind)


def origins(kind: str, names: Iterable[str]) -> list[str]:
    """A note for each of them that a package brings, with the package's version."""
    return [f"{kind} {name} is of {find(kind, name).package}" for name in names if is_foreign(name)]


def folders() -> list[str]:
    """Where packages are installed."""
    return [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]


@cache
def brought(kind: str) -> dict[str, Found]:
    """Name -> what every installed package brings of a kind; no code is loaded."""
    from importlib.metadata import distributions  # most commands name nothing of a package and need not load it

    return dict(_of_packages(kind, distributions(path=folders())))


def _of_packages(kind: str, packages: Iterable[Distribution]) -> Iterator[tuple[str, Found]]:
    for package in packages:
        for entry in package.entry_points.select(group=f"tietrain.{kind}s"):
            name = re.sub(r"[-_.]+", "_", package.name).lower()
            yield f"{name}.{entry.name}", Found(entry, f"{package.name} {package.version}")


def find(kind: str, name: str) -> Found:
    """The entry point of a name.

    Raises:
        SettingsError: no installed package brings it; TyingError for a rule.
    """
    if name not in brought(kind):
        others = ", ".join(brought(kind)) or "none"
        raise _refusal(kind, name, "no installed package brings it", f"install its package; those here: {others}")
    return brought(kind)[name]


@cache
def load(kind: str, name: str) -> Any:
    """The function of a name.

    Raises:
        SettingsError: no installed package brings it, or its code fails; TyingError for a rule.
    """
    entry = find(kind, name).entry
    with guarded(kind, name, "cannot be loaded"), _installed_alone():
        return entry.load()


@contextmanager
def guarded(kind: str, name: str, problem: str = "fails") -> Iterator[None]:
    """Inside, code of a package is at work: whatever it raises becomes a SettingsError, or a TyingError for a rule."""
    try:
        yield
    except (TietrainError, MemoryError):
        raise
    except Exception as e:
        what = f"{find(kind, name).package} {problem} ({type(e).__name__}: {first_line(e)})"
        raise _refusal(kind, name, what, "tell its authors, or use another version") from e


def _refusal(kind: str, name: str, problem: str, remedy: str) -> SettingsError:
    error = TyingError if kind == RULE else SettingsError
    return error(f"{NAMED_BY[kind]}={name}", problem, remedy)


def find_rule(name: Any) -> Rule:
    """The rule of a name: one of ours, or `PACKAGE.NAME`.

    Raises:
        TyingError: there is none, or its code fails.
    """
    if is_foreign(name):
        return _foreign_rule(name)
    check_choice("rule", name, RULES, TyingError)
    return RULES[name]


@cache
def _foreign_rule(name: str) -> Rule:
    pairs = load(RULE, name)
    with guarded(RULE, name, "cannot be loaded"):
        return Rule(name, _checked(pairs, name), summary_of(pairs), options_of(pairs), find(RULE, name).package)


def _checked(pairs: Pairs, name: str) -> Pairs:
    """The function of a rule; whatever it raises is a TyingError."""

    def call(slots: Slots, **options: Any) -> list[Pair]:
        with guarded(RULE, name):
            return [(str(a), str(b)) for a, b in pairs(slots, **options)]

    return call


@contextmanager
def _installed_alone() -> Iterator[None]:
    """Import nothing from the folder that the command runs in: a module there could stand in for an installed one."""
    path = sys.path[:]
    sys.path[:] = [folder for folder in path if folder and Path(folder).resolve() != Path.cwd()]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = path
