"""Rules that installed packages bring: entry points of the group `tietrain.rules`, each named `PACKAGE.NAME` in a configuration.

Only packages whose metadata lies in a folder of installed packages count: a folder that a command happens to run in brings nothing.
A rule's code is loaded when a configuration names it. What it decides is in the plan, so a saved run is read without it.
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

from tietrain.errors import TyingError, check_choice, first_line
from tietrain.plan.plan import Pair
from tietrain.plan.rules import RULES, Pairs, Rule, options_of
from tietrain.plan.rules import first_line as summary_of
from tietrain.plan.slots import Slots

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

GROUP = "tietrain.rules"


@dataclass(frozen=True)
class Found:
    """An entry point and the package it belongs to, as `NAME VERSION`."""

    entry: EntryPoint
    package: str


def find_rule(name: Any) -> Rule:
    """The rule of a name: one of ours, or `PACKAGE.NAME`.

    Raises:
        TyingError: there is none, or its code fails.
    """
    if isinstance(name, str) and "." in name:
        return _load(name)
    check_choice("rule", name, RULES, TyingError)
    return RULES[name]


def is_missing(name: Any) -> bool:
    """Whether a rule belongs to a package that is not installed."""
    return isinstance(name, str) and "." in name and name not in found_rules()


def origins(names: Iterable[str]) -> list[str]:
    """A note for each rule that a package brings, with the package's version."""
    return [f"rule {name} is of {found_rules()[name].package}" for name in names if "." in name]


def folders() -> list[str]:
    """Where packages are installed."""
    return [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]


@cache
def found_rules() -> dict[str, Found]:
    """Name -> rule of every installed package; no code is loaded."""
    from importlib.metadata import distributions  # most commands name no such rule and need not load it

    return dict(_of_packages(distributions(path=folders())))


def _of_packages(packages: Iterable[Distribution]) -> Iterator[tuple[str, Found]]:
    for package in packages:
        for entry in package.entry_points.select(group=GROUP):
            name = re.sub(r"[-_.]+", "_", package.name).lower()
            yield f"{name}.{entry.name}", Found(entry, f"{package.name} {package.version}")


@cache
def _load(name: str) -> Rule:
    if name not in found_rules():
        others = ", ".join(found_rules()) or "none"
        raise TyingError(f"rule={name}", "no installed package brings it", f"install its package; those here: {others}")
    found = found_rules()[name]
    try:
        with _installed_alone():
            pairs = found.entry.load()
        return Rule(name, _guarded(pairs, name, found.package), summary_of(pairs), options_of(pairs), found.package)
    except Exception as e:  # of code that is not ours
        raise _broken(name, f"{found.package} cannot be loaded", e) from e


def _guarded(pairs: Pairs, name: str, package: str) -> Pairs:
    """The function of a rule; whatever it raises is a TyingError."""

    def call(slots: Slots, **options: Any) -> list[Pair]:
        try:
            return [(str(a), str(b)) for a, b in pairs(slots, **options)]
        except TyingError:
            raise
        except Exception as e:
            raise _broken(name, f"{package} fails", e) from e

    return call


def _broken(name: str, problem: str, error: Exception) -> TyingError:
    remedy = "tell its authors, or use another version"
    return TyingError(f"rule={name}", f"{problem} ({type(error).__name__}: {first_line(error)})", remedy)


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
