"""Imports point down only; below the model there is no torch; the command line imports neither torch nor datasets."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "tietrain"

# Floor of each module or package of ours; an import may not point to a higher floor.
FLOORS = {
    "errors": 0,
    "__init__": 0,
    "tying": 1,
    "config": 1,
    "directions": 1,
    "shape": 1,
    "identity": 1,
    "metrics": 1,
    "runs": 1,
    "events": 1,
    "durable": 1,
    "cells": 1,
    "data": 1,
    "ledger": 2,
    "match": 2,
    "report": 2,
    "compare": 2,
    "model": 3,
    "tasks": 4,
    "train": 5,
}
FLOORS |= {
    "compose": 6,
    "config_file": 6,
    "check": 6,
    "job": 6,
    "previous": 6,
    "scores": 6,
    "saved": 6,
    "launchers": 6,
    "status": 6,
    "tune": 7,
    "grid": 7,
    "plan_grid": 7,
    "run_verbs": 7,
    "verbs": 7,
    "cli": 7,
    "__main__": 8,
}
TORCH_FREE = {
    "identity",
    "errors",
    "__init__",
    "tying",
    "config",
    "runs",
    "events",
    "ledger",
    "match",
    "report",
    "compose",
    "compare",
    "metrics",
    "status",
    "launchers",
    "cells",
}
REPORT_MAY_USE = {"runs", "events", "errors", "report"}


def imports(path: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
    return found


def place(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_down(path):
    here = place(path)
    for line, name in imports(path):
        if name.split(".")[0] == "tietrain":
            there = name.split(".")[1] if name.split(".")[1] in FLOORS else "__init__"
            assert FLOORS[there] <= FLOORS[here], f"{path}:{line} imports {name}, which is above it"
            if here == "report":
                assert there in REPORT_MAY_USE, f"{path}:{line}: report reads run directories and nothing else"
        if name.split(".")[0] == "torch":
            assert here not in TORCH_FREE, f"{path}:{line} imports torch below the model"


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["plan", "task=mt", "tying=three_way"],
        ["plan", "-m", "seed=1,2"],
        ["plan", "match.by=params", "tying=pre_softmax"],
        ["schemes"],
        ["status", "."],
        ["-sc", "query=bash"],
        ["--cfg", "job"],
    ],
)
def test_help_and_plan_load_no_torch(words):
    code = (
        "import sys\nfrom tietrain.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'datasets', 'pandas', 'scipy'} & set(sys.modules)\nassert not heavy, heavy"
    )
    env = {"COMP_LINE": "tietrain tying=", "COMP_POINT": "15", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
