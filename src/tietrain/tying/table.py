"""The scheme table: what `tietrain schemes` prints and the README shows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tietrain.tying.schemes import RULES


def scheme_rows(names: Iterable[str]) -> list[dict[str, Any]]:
    """A row for every name that is a rule: name, shares, needs, source, catalogue, options."""
    return [
        {
            "name": name,
            "shares": RULES[name].summary,
            "needs": "two languages" if RULES[name].encoder else "",
            "source": RULES[name].source,
            "catalogue": RULES[name].catalogue,
            "options": RULES[name].options,
        }
        for name in sorted(names, key=list(RULES).index)
        if name in RULES
    ]


def scheme_markdown(rows: Iterable[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = ["| `tying=` | what is shared | for | source |", "|---|---|---|---|"]
    for row in rows:
        task = "translation" if row["needs"] else "both tasks"
        lines.append(f"| `{row['name']}` | {row['shares'].rstrip('.')} | {task} | {row['source']} |")
    return "\n".join(lines) + "\n"
