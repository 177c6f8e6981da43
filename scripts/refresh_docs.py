"""Write the generated tables into README.md, between their markers; a test compares them with the code."""

import re
from pathlib import Path

from tietrain.compose import tying_choices
from tietrain.tying.table import scheme_markdown, scheme_rows

README = Path(__file__).parents[1] / "README.md"
MARKED = re.compile(r"(<!-- schemes -->\n).*?(<!-- /schemes -->)", re.DOTALL)


def refreshed(text: str) -> str:
    """The text with its scheme table as the code has it."""
    table = scheme_markdown(scheme_rows(tying_choices()))
    return MARKED.sub(lambda found: found.group(1) + table + found.group(2), text)


if __name__ == "__main__":
    README.write_text(refreshed(README.read_text(encoding="utf-8")), encoding="utf-8")
