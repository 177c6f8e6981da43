"""Every module that writes or deletes files, and what proves there that the place is tietrain's; a new one must be entered."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "tietrain"
WRITES = {"write_text", "write_bytes", "write_json", "touch", "mkdir", "makedirs", "mkdtemp", "save_file", "copytree"}
DELETES = {"unlink", "rmtree", "rmdir", "rename", "os.replace", "os.remove", "shutil.move"}
# Functions that write whatever path they are given: whoever calls one has the proof.
MADE_OF_THESE = {"write_directory", "write_record", "append_log", "append_metrics", "cut_metrics", "EventFile"}
LOCKED = "the run directory is held, which `runs/ownership.py` allows for a new one or one of tietrain"
STAGED = "a folder that this process has just made"
WRITERS = {
    "errors.py": "the null device",
    "runs/record.py": "its callers prove it",
    "runs/metrics.py": "its callers prove it",
    "runs/durable.py": "its callers prove it; `sweep` deletes names that tietrain gives",
    "runs/events.py": "its callers prove it; `clear_events` deletes names that tietrain gives",
    "runs/ownership.py": "it is the proof; `clear_run` deletes names that tietrain gives",
    "train/job.py": LOCKED,
    "train/begun.py": f"{STAGED}, which then gets a name that is free",
    "train/export.py": f"{STAGED}, which then gets the name of a folder that is free, by `write_free`",
    "train/final_scores.py": LOCKED,
    "train/repair.py": LOCKED,
    "train/checkpoint.py": LOCKED,
    "train/averaging.py": LOCKED,
    "train/resume.py": LOCKED,
    "train/tables.py": LOCKED,
    "train/tensorboard.py": LOCKED,
    "train/telemetry.py": LOCKED,
    "data/vocabularies.py": LOCKED,
    "data/table_files.py": LOCKED,
    "cli/declare.py": LOCKED,
    "cli/grid.py": f"{LOCKED}; the study by `check_study`; the file of outcomes is in {STAGED}",
    "cli/cells.py": "the study, by `check_study`",
    "cli/launchers.py": STAGED,
    "cli/ray_launcher.py": STAGED,
    "cli/claims.py": "the folder of verdicts, by `make_marked_folder`",
    "cli/use.py": "a run, from which a model was loaded, and a name that is free or of the same evaluation",
    "cli/verbs.py": "a file that is not there yet",
    "cli/main.py": STAGED,
    "report/write.py": f"{STAGED}; then the folder of a report, by `check_report`",
    "report/pages/tensorboard_report.py": STAGED,
    "report/pages/similarity_page.py": "a folder with the mark, by `make_marked_folder`",
    "data/cache.py": "the cache, by `check_cache`; `clear_cache` deletes a cache that tietrain made all of",
    "data/encode.py": STAGED,
    "data/prepare.py": STAGED,
    "data/tokenizer.py": STAGED,
}


def writes(node: ast.AST) -> bool:
    """Whether a node of a source file writes or deletes a file."""
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
        name, full = node.func.attr, f"{node.func.value.id}.{node.func.attr}"
    elif isinstance(node.func, ast.Attribute | ast.Name):
        name = full = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
    else:
        return False
    if name == "open":
        modes = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        return any(set(mode) & set("wax+") and len(mode) <= 3 for mode in modes)
    if full == "runs.append":
        return len(node.args) == 2  # that of a list takes one
    return bool({name, full} & (WRITES | DELETES | MADE_OF_THESE))


def test_every_module_that_writes_says_what_proves_its_place():
    found = set()
    for path in SOURCE.rglob("*.py"):
        if any(map(writes, ast.walk(ast.parse(path.read_text(encoding="utf-8"))))):
            found.add(path.relative_to(SOURCE).as_posix())
    assert found == set(WRITERS)


def test_run_directories_are_locked_by_the_proof_alone():
    callers = {path.name for path in SOURCE.rglob("*.py") if "runs.locked(" in path.read_text(encoding="utf-8")}
    assert callers == {"ownership.py"}


@pytest.mark.parametrize(
    "text", ["path.unlink()", "os.replace(a, b)", "open(path, 'w')", "runs.write_json(p, 1)", "runs.append(p, c)"]
)
def test_writes_sees_a_writer(text):
    assert any(map(writes, ast.walk(ast.parse(text))))
    assert not any(map(writes, ast.walk(ast.parse("open(path)\ntext.replace('a', 'b')\nopen(path, 'rb')"))))
