"""What a command is: a function and its arguments, registered under a name by `@verb`."""

import argparse
import inspect
import json
import math
import re
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NoReturn

from tietrain.config import RunConfig
from tietrain.config.identity import flat_settings
from tietrain.config.keys import unknown_flag, unread_notes
from tietrain.errors import SettingsError, eprint, visible

Function = Callable[[argparse.Namespace], int]
Argument = Callable[[argparse.ArgumentParser], object]


class Parser(argparse.ArgumentParser):
    """The arguments of one command. It refuses a wrong one in one line, as every other refusal."""

    def error(self, message: str) -> NoReturn:
        if unknown := re.match("unrecognized arguments: (-[^ ]+)", message):
            raise unknown_flag(unknown[1], self.prog)
        raise SettingsError(self.prog, message, f"`{self.prog} --help` lists the arguments")


VERBS: dict[str, Parser] = {}


def verb(name: str, *arguments: Argument) -> Callable[[Function], Function]:
    """Make a function the command `tietrain NAME`; its docstring is the text of --help, and it returns the exit code."""

    def register(function: Function) -> Function:
        parser = VERBS[name] = Parser(prog=f"tietrain {name}", description=inspect.getdoc(function))
        for add in arguments:
            add(parser)
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.set_defaults(function=function)
        return function

    return register


def argument(*flags: str, holds: Callable[[Any], bool] | None = None, wanted: str = "", **options: Any) -> Argument:
    """An argument as `ArgumentParser.add_argument` takes it; of a number, what must hold, and that in words."""
    if holds:
        kind = options["type"]

        def read(text: str) -> float:
            number = math.nan
            with suppress(ValueError):
                number = kind(text)
            if not holds(number):
                raise SettingsError(f"{flags[-1]} {text}", "the value is out of range", f"give {wanted}")
            return number

        options["type"] = read
    return lambda parser: parser.add_argument(*flags, **options)


def overrides(meaning: str) -> Argument:
    """The words of a command that are settings."""
    return argument("overrides", nargs="*", default=[], metavar="key=value", help=meaning)


OVERRIDES = overrides("settings, as for a run")
CONFIG_DIR = argument("-cd", "--config-dir", action="append", default=[], help="folder with your own configurations")
CONFIG_NAME = argument(
    "-cn", "--config-name", default="config", metavar="NAME", help="file to begin with instead of ours"
)


def say_unread(words: Iterable[str], config: RunConfig) -> None:
    """Say which of the overrides a run does not read."""
    for note in unread_notes(words, flat_settings(config)):
        eprint(f"tietrain: {note}")


def say(text: str) -> None:
    """Print text as it is; on a terminal with its control characters made visible."""
    print(visible(text) if sys.stdout.isatty() else text)


def print_json(value: Any) -> None:
    """Print a value as JSON, for programs."""
    say(json.dumps(value, indent=1, ensure_ascii=False))


def answer(args: argparse.Namespace, body: Any, lines: Iterable[str]) -> int:
    """Print what a command found, as JSON if --json asks for it, else as lines; returns exit code 0."""
    if args.json:
        print_json(body)
    else:
        say("\n".join(lines))
    return 0
