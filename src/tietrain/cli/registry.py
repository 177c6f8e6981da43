"""What a command is: a function and its arguments, registered under one name by `@verb`."""

from __future__ import annotations

import argparse
import inspect
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from tietrain.errors import SettingsError

Function = Callable[[argparse.Namespace], int]
Argument = Callable[[argparse.ArgumentParser], object]


class Parser(argparse.ArgumentParser):
    """The arguments of one command, which refuses a wrong one in one line, as every other refusal."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(self.prog, message, f"`{self.prog} --help` lists the arguments")


VERBS: dict[str, Parser] = {}


def verb(name: str, *arguments: Argument) -> Callable[[Function], Function]:
    """Make a function the command `tietrain NAME`; its docstring is the text of --help, and it returns the exit code."""

    def register(function: Function) -> Function:
        parser = Parser(prog=f"tietrain {name}", description=inspect.getdoc(function))
        for add in arguments:
            add(parser)
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.set_defaults(function=function)
        VERBS[name] = parser
        return function

    return register


@dataclass(frozen=True)
class Number:
    """The numbers that an argument takes: from `low` to `high`, or above `low`."""

    kind: type[int] | type[float]
    low: float
    high: float = math.inf
    above: bool = False

    def read(self, flag: str, text: str) -> float:
        """The number that a text spells; SettingsError if it is none of these."""
        remedy = f"give a {'whole ' if self.kind is int else ''}number {self._bounds()}"
        try:
            number = self.kind(text)
        except ValueError:
            raise SettingsError(f"{flag} {text}", "it is not a number", remedy) from None
        if not self.low <= number <= self.high or (self.above and number == self.low):
            raise SettingsError(f"{flag} {text}", "the value is out of range", remedy)
        return number

    def _bounds(self) -> str:
        low = f"{'above' if self.above else 'of at least'} {self.low:,}"
        return low if self.high == math.inf else f"{low} and at most {self.high:,}"


def argument(*flags: str, number: Number | None = None, **options: Any) -> Argument:
    """An argument of a command, as `ArgumentParser.add_argument` takes it; `number` limits its values."""
    if number is not None:
        options["type"] = partial(number.read, flags[-1])
    return lambda parser: parser.add_argument(*flags, **options)


OVERRIDES = argument("overrides", nargs="*", metavar="key=value", help="settings, as for a run")
CONFIG_DIR = argument("-cd", "--config-dir", action="append", default=[], help="folder with your own configurations")


def print_json(value: Any) -> None:
    """Print a value as JSON, for programs."""
    print(json.dumps(value, indent=1, ensure_ascii=False))
