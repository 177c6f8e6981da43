"""The scheme table: what `tietrain schemes` prints and the README shows."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from tietrain.tying.schemes import RULES


def scheme_rows(names: Collection[str]) -> list[dict[str, Any]]:
    """A row for every name that is a rule: name, shares, needs, source, options."""
    return [
        {
            "name": name,
            "shares": rule.summary,
            "needs": "two languages" if rule.encoder else "",
            "source": rule.source,
            "options": rule.options,
        }
        for name, rule in RULES.items()
        if name in names
    ]


def scheme_markdown(rows: Iterable[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = ["| `tying=` | what is shared | for | source |", "|---|---|---|---|"]
    for row in rows:
        task = "translation" if row["needs"] else "both tasks"
        lines.append(f"| `{row['name']}` | {row['shares'].rstrip('.')} | {task} | {row['source']} |")
    return "\n".join(lines) + "\n"
