"""Directions of translation: which text columns are read, and which one is written."""

from collections.abc import Sequence
from dataclasses import dataclass

from tietrain.errors import SettingsError


@dataclass(frozen=True)
class Direction:
    """One or more source columns, read together, and the target column; written `en-de` or `src+mt-pe`."""

    sources: tuple[str, ...]
    target: str

    @property
    def name(self) -> str:
        return f"{'+'.join(self.sources)}-{self.target}"

    @property
    def columns(self) -> tuple[str, ...]:
        """Sources, then target."""
        return (*self.sources, self.target)


def parse_direction(key: str, text: str, columns: Sequence[str]) -> Direction:
    """The direction a text names.

    Args:
        key: the setting that names it, for messages. columns: of the corpus; their names may hold `-` and `+` too.
    Raises:
        SettingsError: it is not a direction between columns of the corpus.

    >>> parse_direction("task.directions", "src+mt-pe", ["src", "mt", "pe"])
    Direction(sources=('src', 'mt'), target='pe')
    """
    for target in columns:
        read = text.removesuffix(f"-{target}")
        if read == text:
            continue
        sources = (read,) if read in columns else tuple(read.split("+"))
        if set(sources) <= set(columns) and len({*sources, target}) == len(sources) + 1:
            return Direction(sources, target)
    problem = f"it is not a direction between different columns of {', '.join(columns)}"
    raise SettingsError(f"{key}={text}", problem, "write SOURCE-TARGET or SOURCE+SOURCE-TARGET, or set data.columns")
