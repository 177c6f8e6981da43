"""Schemes with options in one word: `tying=cycle:n_unique:2` is `tying/cycle.yaml` with another value of one option."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from tietrain.errors import SettingsError
from tietrain.plan.installed import find_rule
from tietrain.plan.schemes import check_ties


def split_choice(path: str) -> tuple[str, list[str]]:
    """The file that a choice stands for, then its options and their values in turn; only choices of tying have any.

    >>> split_choice("tying/cycle:n_unique:2")
    ('tying/cycle', ['n_unique', '2'])
    """
    name, *stated = path.split(":") if path.startswith("tying/") else [path]
    return name, stated


def find_ties(path: str, ties: Any) -> dict[tuple[str, str], str]:
    """(Label, option) -> text of its value, for each option that a choice states.

    Args:
        ties: what its file has as such.
    Raises:
        SettingsError: an option has no value, or is not one of exactly one of the ties; or these are none.
    """
    file, stated = split_choice(path)
    name = file.removeprefix("tying/")
    requested = "tying=" + ":".join([name, *stated])
    if len(stated) % 2:
        raise SettingsError(requested, "an option has no value", f"write tying={name}:OPTION:VALUE")
    if not stated:
        return {}
    ties = ties if isinstance(ties, Mapping) else {}
    check_ties(ties)
    known = {label: find_rule(tie["rule"]).options for label, tie in ties.items()}
    found = {}
    for option, value in zip(stated[::2], stated[1::2], strict=True):
        labels = [label for label, options in known.items() if option in options]
        if not labels:
            options = sorted(set().union(*known.values()))
            near = get_close_matches(option, options, n=1)
            remedy = f"its options are {', '.join(options) or 'none'}"
            if near:
                remedy = f"did you mean tying={name}:{near[0]}:{value}?"
            raise SettingsError(requested, f"{name} has no option {option}", remedy)
        if len(labels) > 1:
            remedy = f"write tying={name} tying.ties.{labels[0]}.{option}={value}"
            raise SettingsError(requested, f"{' and '.join(labels)} of {name} both have it", remedy)
        found[labels[0], option] = value
    return found
