"""Imports point down only; below the model there is no torch; the command line imports neither torch nor datasets."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tietrain

SOURCE = Path(__file__).parents[1] / "src" / "tietrain"

# Floor of each room; an import points to a strictly lower floor, or stays in its room.
FLOORS = {
    "__init__": 0,
    "errors": 1,
    "runs": 2,
    "plan": 2,
    "config": 3,
    "report": 4,
    "data": 4,
    "model": 5,
    "train": 6,
    "cli": 7,
    "__main__": 8,
}
# Rooms that use less than their floor would allow.
ONLY_USES = {"plan": {"errors"}, "report": {"errors", "runs", "__init__", "config"}}
# Of the configuration, a report uses what settings mean.
REPORT_USES = "tietrain.config.keys"
TORCH_FREE = {"__init__", "errors", "runs", "plan", "config", "report"}
MOST_ARROWS = 45


def imports(path: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
    return found


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def breach(here: str, name: str) -> str:
    """What is wrong with a room's import of a name; empty if nothing is."""
    if name.split(".")[0] == "torch":
        return "this room is free of torch" if here in TORCH_FREE else ""
    there = imported_room(name)
    if there in ("", here):
        return ""
    if FLOORS[there] >= FLOORS[here]:
        return f"{there} is not below {here}"
    if (here, there) == ("report", "config") and not name.startswith(REPORT_USES):
        return f"report uses {REPORT_USES} alone"
    return "" if there in ONLY_USES.get(here, FLOORS) else f"{here} does not use {there}"


def imported_room(name: str) -> str:
    parts = name.split(".")
    if parts[0] != "tietrain":
        return ""
    return parts[1] if parts[1:] and parts[1] in FLOORS else "__init__"


def test_imports_point_down():
    breaches, arrows = [], set()
    for path in sorted(SOURCE.rglob("*.py")):
        here = room_of(path)
        for line, name in imports(path):
            arrows.add((here, imported_room(name)))
            if problem := breach(here, name):
                breaches.append(f"{path.relative_to(SOURCE)}:{line} imports {name}: {problem}")
    assert not breaches, "\n".join(breaches)
    between = {(here, there) for here, there in arrows if there and here != there}
    assert len(between) <= MOST_ARROWS, sorted(between)


def test_breach_sees_what_the_law_forbids():
    assert breach("plan", "tietrain.config.RunConfig")
    assert breach("plan", "tietrain.runs.record")
    assert breach("runs", "tietrain.plan.plan")
    assert breach("report", "tietrain.plan.plan")
    assert breach("report", "tietrain.config.RunConfig")
    assert not breach("report", "tietrain.config.keys.is_read")
    assert breach("config", "torch.nn")
    assert not breach("model", "torch.nn")
    assert not breach("train", "tietrain.model.transformer")


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
        ["task=mt", "tying=thre_way"],
        ["settings", "optim.lr"],
        ["audit", "."],
    ],
)
def test_help_plan_and_refusals_load_nothing_heavy(words):
    assert not loaded({"torch", "datasets", "pandas", "scipy", "numpy", "sentencepiece", "tensorboard"}, words)


def test_functions_of_the_package_are_loaded_when_asked_for_and_hide_no_module():
    code = (
        "import sys, tietrain; assert not {'torch', 'numpy', 'yaml'} & set(sys.modules)\n"
        "tietrain.make_plan(['task=mt', 'tying=three_way']); assert not {'torch', 'numpy'} & set(sys.modules)\n"
        "[getattr(tietrain, name) for name in tietrain.PROVIDED]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not {path.stem for path in SOURCE.iterdir()} & tietrain.PROVIDED.keys()
    with pytest.raises(AttributeError, match="nope"):
        tietrain.nope  # noqa: B018


def test_run_loads_no_compiler(tmp_path):
    words = ["data.preset=tiny", "model=tiny", "train.max_steps=2", "hardware.threads=1"]
    found = loaded({"torch", "torch._dynamo", "torch._inductor", "sympy", "pandas", "scipy"}, words, tmp_path)
    assert found == {"torch"}
    assert not loaded({"torch", "numpy", "sentencepiece", "tensorboard"}, words, tmp_path), "it is finished"


def loaded(names, words, folder=None):
    """Which of these modules a command has loaded at its end."""
    code = (
        "import sys\nfrom tietrain.cli.main import main\n"
        "names = set(sys.argv[1].split())\n"
        "try:\n    main(sys.argv[2:])\nexcept SystemExit:\n    pass\n"
        "print(file=sys.stderr)\nprint(*names & set(sys.modules), file=sys.stderr, end='')"
    )
    env = {"COMP_LINE": "tietrain tying=", "COMP_POINT": "15", "PATH": "", "HOME": str(folder)}
    command = [sys.executable, "-c", code, " ".join(names), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=folder, check=True)
    return set(done.stderr.split("\n")[-1].split())
