"""What a setting says of itself, at its field: its meaning, its range, who reads it, what it does to a run's identity."""

import ast
import dataclasses
import inspect
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from tietrain.errors import SettingsError, check_choice
from tietrain.plan.installed import is_foreign

# Full key -> value of every leaf of a configuration.
Flat = Mapping[str, Any]
# What stands in a run's identity for a setting that the run does not read: its default, or nothing.
DEFAULT = object()
NOTHING = object()


@dataclass(frozen=True)
class Condition:
    """When a setting is read.

    holds: of the flat configuration. key: the setting it looks at, which must be read itself. words: for people.
    """

    holds: Callable[[Flat], bool]
    key: str
    words: str


def when(key: str, *values: Any) -> Condition:
    """The setting has one of these values."""
    return Condition(lambda flat: flat.get(key) in values, key, f"{key}={' or '.join(map(str, values))}")


def when_given(key: str) -> Condition:
    """The setting is neither null nor empty."""
    return Condition(lambda flat: flat.get(key) not in (None, [], {}), key, f"{key} is given")


@dataclass(frozen=True)
class Spec:
    """What stands at a field.

    read_if: conditions that must all hold; none means that every run reads it.
    identity: whether another value makes another run.
    tunable: whether a tuning list may vary it.
    pieces: whether it decides the pieces of a vocabulary.
    budget: whether a finished run may go on with a larger value.
    at_eval: whether `tietrain eval` may change it.
    open: whether it is a mapping whose keys are the user's own. written: whether tietrain alone writes it.
    choices, ge, gt, le, lt: of the value, or of each value in a list or mapping.
    foreign: whether `PACKAGE.NAME`, of an installed package, is a choice too.
    unread: what identity holds if the run does not read the setting: DEFAULT, NOTHING, or the default of before, once the
        default has changed.
    absent: the value that meant what runs did before the setting existed; identity leaves it out. Of settings that were
        added after version 0.2.0.
    """

    read_if: tuple[Condition, ...] = ()
    identity: bool = True
    tunable: bool = False
    pieces: bool = False
    budget: bool = False
    at_eval: bool = False
    open: bool = False
    written: bool = False
    choices: tuple[str, ...] = ()
    foreign: bool = False
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    unread: Any = DEFAULT
    absent: Any = NOTHING

    @property
    def bounds(self) -> str:
        """The range in words; empty if there is none."""
        if self.ge is not None and self.le is not None:
            return f"from {self.ge} to {self.le}"
        words = (("at least", self.ge), ("above", self.gt), ("at most", self.le), ("below", self.lt))
        return " and ".join(f"{word} {bound}" for word, bound in words if bound is not None)

    def contains(self, value: Any) -> bool:
        """Whether a number lies in the range."""
        bounds = ((operator.ge, self.ge), (operator.gt, self.gt), (operator.le, self.le), (operator.lt, self.lt))
        finite = isinstance(value, int) or math.isfinite(value)
        return finite and all(bound is None or holds(value, bound) for holds, bound in bounds)


def setting(default: Any, *read_if: Condition, **spec: Any) -> Any:
    """A field of a section: its default (a list or mapping is copied) and its `Spec`; the text below it says its meaning."""
    metadata = {"spec": Spec(read_if, **spec)}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Setting:
    """One key of the configuration. annotation: its type, as written. section: the class it is a field of."""

    key: str
    annotation: str
    default: Any
    spec: Spec
    section: type

    @property
    def stands_for_unread(self) -> Any:
        """What identity holds if a run does not read the setting; NOTHING leaves it out."""
        if self.spec.absent is not NOTHING:
            return NOTHING
        return self.default if self.spec.unread is DEFAULT else self.spec.unread

    @property
    def is_text(self) -> bool:
        """Whether it holds text or names: the name of a file, a column, a split."""
        return "str" in self.annotation and "Any" not in self.annotation and "int" not in self.annotation

    @property
    def is_list(self) -> bool:
        """Whether its value is a list."""
        return self.annotation.removeprefix("Optional[").startswith("list[")

    @property
    def is_name(self) -> bool:
        """Whether it holds one text, and no list or mapping."""
        return self.is_text and not self.is_list and "dict[" not in self.annotation

    @property
    def meaning(self) -> str:
        """The text below its field."""
        return _meanings(self.section)[self.key.rpartition(".")[2]]


@cache
def _meanings(section: type) -> dict[str, str]:
    """Field -> the text that stands below it, on one line."""
    found: dict[str, str] = {}
    (body,) = ast.parse(inspect.getsource(section)).body
    assert isinstance(body, ast.ClassDef)
    for field, text in pairwise(body.body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            found[ast.unparse(field.target)] = " ".join(ast.literal_eval(text.value).split())
    return found


@cache
def settings_of(cls: type) -> dict[str, Setting]:
    """Full key -> setting, for the sections of a configuration and what stands beside them, in order."""
    return {found.key: found for found in _walk(cls, "")}


def _walk(cls: type, prefix: str) -> Iterator[Setting]:
    for field in dataclasses.fields(cls):
        made = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        if dataclasses.is_dataclass(made):
            yield from _walk(type(made), f"{prefix}{field.name}.")
        else:
            annotation = field.type.__name__ if isinstance(field.type, type) else str(field.type).replace("typing.", "")
            yield Setting(prefix + field.name, annotation, made, field.metadata["spec"], cls)


def check_section(section: Any, prefix: str) -> None:
    """Raise SettingsError if a value of a section is none of the choices or out of the range that its field states."""
    for field in dataclasses.fields(section):
        spec: Spec | None = field.metadata.get("spec")
        if spec is None:
            continue
        for key, value in _values(prefix + field.name, getattr(section, field.name)):
            if spec.choices and not (spec.foreign and is_foreign(value)):
                check_choice(key, value, spec.choices)
            if spec.bounds and not spec.contains(value):
                kind = "number" if isinstance(value, int) or math.isfinite(value) else "finite number"
                raise SettingsError(f"{key}={value}", "it is out of range", f"give a {kind} {spec.bounds}")


def _values(key: str, value: Any) -> list[tuple[str, Any]]:
    """What a range is about: the value, or each one in a list or mapping; null has none."""
    if value is None:
        return []
    if isinstance(value, dict):
        return [(f"{key}.{name}", child) for name, child in value.items()]
    if isinstance(value, list):
        return [(key, child) for child in value]
    return [(key, value)]


def check(holds: bool, setting: str, problem: str, remedy: str) -> None:
    """Raise SettingsError if something does not hold."""
    if not holds:
        raise SettingsError(setting, problem, remedy)
