"""Write what is generated: tables between markers in the documents, and `conf/tying/alias/`; tests compare them."""

import re
from pathlib import Path

from tietrain.compose import tying_choices
from tietrain.tying.aliases import ALIASES, alias_yaml
from tietrain.tying.table import load_scheme, scheme_markdown, scheme_pages, scheme_rows

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "docs/schemes.md")
MARKED = re.compile(r"(<!-- (?P<name>[\w-]+) -->\n).*?(<!-- /(?P=name) -->)", re.DOTALL)


def aliases_markdown() -> str:
    """Other toolkits' names, their file and ours, as a Markdown table."""
    lines = ["| toolkit | option | `tying=` | here |", "|---|---|---|---|"]
    lines += [f"| {a.toolkit} | `{a.option}` | `alias/{a.file}` | `{a.scheme}` |" for a in ALIASES]
    return "\n".join(lines) + "\n"


SECTIONS = {
    "schemes": lambda: scheme_markdown(scheme_rows(tying_choices())),
    "scheme-pages": lambda: scheme_pages(tying_choices()),
    "aliases": aliases_markdown,
}


def refreshed(text: str) -> str:
    """The text with its marked sections as the code has them."""
    return MARKED.sub(lambda found: found.group(1) + SECTIONS[found["name"]]() + found.group(3), text)


def alias_files() -> dict[Path, str]:
    """Path -> text of every file of `conf/tying/alias/`."""
    folder = ROOT / "conf" / "tying" / "alias"
    return {folder / f"{a.file}.yaml": alias_yaml(a, lambda name: load_scheme(name).ties) for a in ALIASES}


if __name__ == "__main__":
    for name in DOCUMENTS:
        path = ROOT / name
        path.write_text(refreshed(path.read_text(encoding="utf-8")), encoding="utf-8")
    for path, text in alias_files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
