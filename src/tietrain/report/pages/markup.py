"""Markdown and CSV as text: tables, lists, numbers, and the escaping of everything that came from a file."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

from tietrain.runs.view import clean_text

# A spreadsheet takes a cell that begins with one of these for a formula.
FORMULA_STARTS = ("=", "+", "-", "@")


def escape(text: str) -> str:
    """Text that Markdown shows unchanged: no markup, no HTML, no end of a cell or line inside.

    >>> escape("a|b <i> *c*")
    'a\\\\|b &lt;i&gt; \\\\*c\\\\*'
    """
    text = clean_text(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_{}\[\]|~$!#])", r"\\\1", text)
    # A bare address would become a link.
    return re.sub(r"(?i)(?<=www)\.", "&#46;", text.replace("://", "&#58;//"))


def code(text: str, *, in_table: bool = True) -> str:
    """Text in code type; escaped plain text if it holds a character that would end a code span or a table cell."""
    text = clean_text(text)
    ends = "`\\|" if in_table else "`\\"
    return f"`{text}`" if text and not set(text) & set(ends) else escape(text)


def join_words(words: Sequence[str]) -> str:
    """
    >>> join_words(["tying", "vocabulary", "corpus"])
    'tying, vocabulary and corpus'
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def join_some(words: Sequence[str], most: int = 5) -> str:
    """
    >>> join_some(["a", "b", "c", "d"], 2)
    'a, b and 2 more'
    """
    rest = len(words) - most
    return join_words([*words[:most], f"{rest} more"] if rest > 1 else words)


def some_words(words: Sequence[str], most: int) -> str:
    """The first words, and how many more there are."""
    rest = len(words) - most
    return ", ".join(words[:most]) + (f" and {rest} more" if rest > 0 else "")


def bullets(lines: Sequence[str]) -> str:
    """A list."""
    return "\n".join(f"- {line}" for line in lines)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], n_text: int = 1) -> str:
    """A table of cells that are Markdown already; the first `n_text` columns are text, the others numbers."""
    rules = [":--" if i < n_text else "--:" for i in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, rules, *rows])


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as CSV, the columns in order of first appearance; numbers as Python writes them, None as an empty cell."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_csv_cell(column) for column in columns])
    writer.writerows([_csv_cell(row.get(column)) for column in columns] for row in rows)
    return out.getvalue()


def _csv_cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return "'" + value if value.startswith(FORMULA_STARTS) else value


def count(value: float | None) -> str:
    """
    >>> count(1234567), count(None)
    ('1,234,567', '—')
    """
    return "—" if value is None else f"{value:,.0f}"


def fixed(value: float, decimals: int) -> str:
    """A decimal number; very large ones in powers of ten, so that no cell grows too wide."""
    return f"{value:,.{decimals}f}" if abs(value) < 1e6 else f"{value:.3g}"


def powers(value: float) -> str:
    """
    >>> powers(3.21e15)
    '3.21e15'
    """
    return f"{value:.3g}".replace("e+", "e").replace("e0", "e")
