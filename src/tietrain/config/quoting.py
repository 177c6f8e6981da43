"""Command-line words whose values Hydra reads as they are meant only in quotes, and how they are written for a shell."""

import os
import re
import shlex
from collections.abc import Callable
from typing import Any

from hydra.errors import HydraException

from tietrain.config.hydra_parts import OverridesParser
from tietrain.config.keys import ALL, GROUPS, choices_of, setting_of
from tietrain.errors import SettingsError


def unreadable(word: str) -> SettingsError:
    """The refusal of a word that Hydra cannot read: how to write it."""
    key, mark, value = word.partition("=")
    if not mark:
        return SettingsError(word or "''", "it is not key=value", as_setting(word) or "write settings as key=value")
    found = setting_of(key)
    if found and found.is_list and value[:1] + value[-1:] == "()":
        return SettingsError(word, "a list stands in brackets", f"write '{key}=[{value[1:-1]}]'")
    if not _is_name(key) and any(value.count(left) != value.count(right) for left, right in ("[]", "{}")):
        remedy = f"put the whole word in quotes, so that the shell does not cut it at a blank: '{key}=...'"
        return SettingsError(word, "its brackets do not close", remedy)
    if not _is_readable(in_quotes(word, _is_readable)):
        return SettingsError(word, "it is not key=value as Hydra reads it", "write settings as key=value")
    return SettingsError(word, "the value needs quotes", f"write {shlex.quote(in_quotes(word, _is_readable))}")


def as_setting(word: str) -> str:
    """What makes a setting of a word that has no value, or no key; empty if it is the name of nothing."""
    if word in ALL or word in GROUPS:
        return f"write {word}=VALUE, without blanks"
    groups = [group for group in GROUPS if word.partition(":")[0] in choices_of(group)]
    if groups:
        return f"did you mean {' or '.join(f'{group}={word}' for group in groups)}?"
    if os.path.isfile(word):
        return f"to read a file, write data=text 'data.splits={{train: [{word}], valid: [FILE]}}'"
    return ""


def misread(word: str, value: object) -> SettingsError:
    """The refusal of a word in which a name is read as another value."""
    written = in_quotes(word, lambda element: isinstance(_read(element), str))
    return SettingsError(word, f"a name in it is read as {value}", f"write {shlex.quote(written)}")


def in_quotes(word: str, is_right: Callable[[str], bool]) -> str:
    """A word with quotes around its value, or around those elements of a list or mapping that are not right without."""
    key, _, value = word.partition("=")
    between = r".+"
    if not _is_name(key):
        between = r"[^\[\]{},:]+" if "{" in value else r"[^\[\],]+" if "[" in value else between

    def written(found: re.Match[str]) -> str:
        bare = found[0].strip()
        return found[0] if not bare or is_right(f"x={bare}") else found[0].replace(bare, _quoted(bare))

    return f"{key}={re.sub(between, written, value)}"


def _is_name(key: str) -> bool:
    found = setting_of(key)
    return found is not None and found.is_name


def _quoted(text: str) -> str:
    escaped = re.sub(r'(\\*)"', r"\1\1\"", text)
    return '"' + re.sub(r"(\\+)$", r"\1\1", escaped) + '"'


def _read(word: str) -> Any:
    """The value of an override; HydraException if it is none."""
    return OverridesParser.create().parse_overrides([word])[0].value()


def _is_readable(word: str) -> bool:
    try:
        _read(word)
    except HydraException:
        return False
    return True
