"""Command-line words whose values Hydra reads as they are meant only in quotes, and how they are written for a shell."""

import re
import shlex
from collections.abc import Callable
from typing import Any

from hydra.errors import HydraException

from tietrain.config.hydra_parts import OverridesParser
from tietrain.errors import SettingsError


def unreadable(word: str) -> SettingsError:
    """The refusal of a word that Hydra cannot read: how to write it."""
    key, mark, value = word.partition("=")
    if not mark:
        return SettingsError(word or "''", "it is not key=value", "write overrides as key=value")
    if any(value.count(left) != value.count(right) for left, right in ("[]", "{}")):
        remedy = f"put the whole word in quotes, so that the shell does not cut it at a blank: '{key}=...'"
        return SettingsError(word, "its brackets do not close", remedy)
    if not _is_readable(in_quotes(word, _is_readable)):
        return SettingsError(word, "it is not key=value as Hydra reads it", "write overrides as key=value")
    return SettingsError(word, "the value needs quotes", f"write {shlex.quote(in_quotes(word, _is_readable))}")


def misread(word: str, value: object) -> SettingsError:
    """The refusal of a word in which a name is read as another value."""
    written = in_quotes(word, lambda element: isinstance(_read(element), str))
    return SettingsError(word, f"a name in it is read as {value}", f"write {shlex.quote(written)}")


def in_quotes(word: str, is_right: Callable[[str], bool]) -> str:
    """A word with quotes around its value, or around those elements of a list or mapping that are not right without."""
    key, _, value = word.partition("=")
    between = r"[^\[\]{},:]+" if "{" in value else r"[^\[\],]+" if "[" in value else r".+"

    def written(found: re.Match[str]) -> str:
        bare = found[0].strip()
        return found[0] if not bare or is_right(f"x={bare}") else found[0].replace(bare, _quoted(bare))

    return f"{key}={re.sub(between, written, value)}"


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
