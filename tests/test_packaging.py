"""What is imported is declared, and the archive of the source holds what a checkout holds."""

import ast
import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Imported name -> distribution, where they differ by more than case, - and _.
DISTRIBUTIONS = {"yaml": "pyyaml", "hydra": "hydra-core", "markdown_it": "markdown-it-py"}


def imported(tree: ast.AST) -> set[str]:
    """Top-level names of the packages that a module imports; relative imports have none."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def undeclared(names: set[str]) -> set[str]:
    """Those that are neither of Python, nor ours, nor of a declared dependency."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.match(r"[\w-]+", line)[0].replace("_", "-") for line in project["dependencies"]}
    others = names - set(sys.stdlib_module_names) - {"tietrain"}
    return {name for name in others if DISTRIBUTIONS.get(name, name.replace("_", "-")) not in declared}


def test_what_is_imported_is_declared():
    files = (ROOT / "src").rglob("*.py")
    names = set().union(*(imported(ast.parse(path.read_text(encoding="utf-8"))) for path in files))
    assert "torch" in names and undeclared(names) == set()
    assert undeclared(imported(ast.parse("import os, yaml\nfrom requests.api import get"))) == {"requests"}


@pytest.mark.slow
def test_archive_of_the_source_holds_every_tracked_file(tmp_path):
    pytest.importorskip("build")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("this is no checkout")
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, capture_output=True, check=True)
    (archive,) = tmp_path.iterdir()
    with tarfile.open(archive) as file:
        held = {name.partition("/")[2] for name in file.getnames()}
    assert set(tracked.stdout.splitlines()) - held == set()
