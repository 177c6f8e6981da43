"""Docstrings of the running Python's standard library as English text, one paragraph per line.

They are found by parsing: no module is imported and none of its code runs. Another version of Python gives another
corpus, so each names its version, and its fingerprint is of its lines.
"""

import ast
import hashlib
import platform
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tietrain.config import DataConfig
from tietrain.data.sources.files import Corpus, Split
from tietrain.data.sources.named import text_columns
from tietrain.errors import DataError

# Part of the corpus's key: a change in what is kept, or in which split, makes another number.
RULES_VERSION = 1
TESTS = {"test", "tests", "idle_test"}
# Of ten parts by the hash of a top-level name; the others are train.
PARTS = {0: "test", 1: "valid"}
MIN_WORDS, MIN_LETTERS = 5, 0.8
# Signs that prose does without, and lines that begin as a prompt, an ellipsis, a comment or a decorator does.
_CODE = re.compile(r"[=<>{}|\\]|::|^\s*(\.\.\.|[$#%@])", re.MULTILINE)
# What may stand around a sentence: quotation marks, brackets, emphasis.
_AROUND = "\"'`()*"


@dataclass
class DocSplit:
    """Paragraphs of one split, in the order of modules, and where they are from."""

    lines: list[str] = field(default_factory=list)
    n_docstrings: int = 0
    n_modules: int = 0

    def __str__(self) -> str:
        return f"{len(self.lines):,} paragraphs of {self.n_docstrings:,} docstrings in {self.n_modules:,} modules"


def load_stdlib_docs(data: DataConfig, task: str) -> Corpus:
    """The paragraphs of every split.

    Raises:
        SettingsError: the task is not lm. DataError: there are no sources of the standard library.
    """
    (column,) = text_columns(data, task)
    splits, n_broken = split_paragraphs(_sources(stdlib_folder()))
    notes = [f"docstrings of {_python()}", *(f"{name}: {split}" for name, split in splits.items())]
    if n_broken:
        notes.append(f"{n_broken} modules cannot be parsed and are left out")
    texts = {name: Split({column: split.lines}) for name, split in splits.items()}
    return Corpus(f"stdlib_docs of {_python()}", [column], texts, notes=notes)


def stdlib_key() -> list[object]:
    """All that decides the corpus: the rules of this file, the version of Python and the bytes of its modules."""
    digest = hashlib.sha256()
    for module, path in _sources(stdlib_folder()).items():
        digest.update(f"{module}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode())
    return [RULES_VERSION, _python(), digest.hexdigest()]


def stdlib_folder() -> Path:
    """Where the modules of the running Python lie, in a virtual environment too."""
    return Path(sysconfig.get_path("stdlib"))


def _python() -> str:
    return f"{platform.python_implementation()} {platform.python_version()}"


def _sources(folder: Path) -> dict[str, Path]:
    """Module -> its file, by top-level name and then by path; without tests and what else is installed beside it."""
    found = {}
    for name in sorted(sys.stdlib_module_names):
        for path in [folder / f"{name}.py", *sorted((folder / name).rglob("*.py"))]:
            parts = path.relative_to(folder).with_suffix("").parts
            if path.is_file() and not TESTS.intersection(parts):
                found[".".join(parts).removesuffix(".__init__")] = path
    if not found:
        raise DataError("data.format=stdlib_docs", f"{folder} holds no sources of Python", "choose another data=")
    return found


def split_paragraphs(sources: dict[str, Path]) -> tuple[dict[str, DocSplit], int]:
    """Every split, with each paragraph where it comes first and nowhere else; and how many files cannot be parsed."""
    splits = {name: DocSplit() for name in ("train", "valid", "test")}
    seen: set[str] = set()
    n_broken = 0
    for module, path in sources.items():
        split = splits[split_of(module)]
        try:
            found = list(docstrings(path.read_bytes()))
        except (SyntaxError, ValueError, RecursionError):
            n_broken += 1
            continue
        before = split.n_docstrings
        for docstring in found:
            new = [text for text in dict.fromkeys(paragraphs(docstring)) if text not in seen]
            seen.update(new)
            split.lines += new
            split.n_docstrings += bool(new)
        split.n_modules += split.n_docstrings > before
    return splits, n_broken


def split_of(module: str) -> str:
    """The split of a module: that of its top-level name, so that no package is in two, decided by a hash of it."""
    name = module.partition(".")[0]
    return PARTS.get(int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10, "train")


def docstrings(source: bytes) -> Iterator[str]:
    """The docstrings of a module, its classes and functions, without their indentation."""
    with warnings.catch_warnings(action="ignore"):  # of an escape sequence in a module that is not ours
        tree = ast.parse(source)
    for node in _statements(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """A module and every statement in it. `ast.walk` visits the expressions too, and takes four times as long."""
    yield node
    for block in ("body", "orelse", "handlers", "finalbody", "cases"):
        for child in getattr(node, block, ()):
            yield from _statements(child)


def paragraphs(docstring: str) -> Iterator[str]:
    """The paragraphs that are English prose, each as one line.

    Left out: doctests and code, lists and tables (their lines are indented by turns), what has few words or few
    letters, what does not begin with a letter and end as a sentence does.
    """
    for block in re.split(r"\n[ \t]*\n", docstring):
        text = " ".join(block.split())
        indents = {len(line) - len(line.lstrip()) for line in block.splitlines() if line.strip()}
        solid = text.replace(" ", "")
        if (
            len(text.split()) >= MIN_WORDS
            and len(indents) == 1
            and not _CODE.search(block)
            and sum(map(str.isalpha, solid)) >= MIN_LETTERS * len(solid)
            and text.lstrip(_AROUND)[:1].isalpha()
            and text.rstrip(_AROUND)[-1:] in tuple(".!?:")
            and text.isprintable()
        ):
            yield text
