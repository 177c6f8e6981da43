"""Folders of somebody else, whose files bear the names that tietrain gives its own; and the commands pointed at them."""

import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path

from tietrain.runs import record as runs

FILES = (
    *("run.json", "config.yaml", "plan.json", "ledger.json", "audit.json", "metrics.jsonl", "eval.json", "eval_x.json"),
    *("eval_documents.jsonl", "hypotheses.test.txt", "train.log", ".lock", "run.json.tmp", "notes.tmp", "best.tmp"),
    *("vocabulary/decoder.model", "vocabulary.tmp/a", "mine.tmp/a", "checkpoints/step_00000001/model.safetensors"),
    *("checkpoints/final/manifest.json", "checkpoints/x.tmp/a", "tb/events.out.tfevents.1.host", "grid.jsonl"),
    *("multirun.yaml", ".gitignore", "CACHEDIR.TAG", "corpus/a.txt", ".grid-abcdefgh/outcomes.jsonl", "hydra.yaml"),
    *("report.md", "report.html", "arms.json", "runs.csv", "reads.json", "overrides.yaml", "f.png", "f.svg.tmp"),
)
CONTENTS = (
    b"mine\n",
    b"",
    b"{}",
    b"[]",
    b'{"a": 1}\n',
    b'[{"arm": 1}]',
    b"*\n",
    b"\xff\x00",
    b"Signature: 8a477f597d28d172",
)
ON_TEXT = ["data=text", "data.splits.train=[t]", "data.splits.valid=[t]", "train.max_steps=1", "hardware.threads=1"]
# Command -> its words for a folder `outputs/report`, and the exit codes of its refusal: 3 where it only reads the folder.
COMMANDS: dict[str, tuple[Callable[[Path], list[str]], tuple[int, ...]]] = {
    "run": (lambda folder: [*ON_TEXT, f"run_dir={folder}"], (2,)),
    "grid with run_dir": (lambda folder: ["-m", *ON_TEXT, f"run_dir={folder}"], (2,)),
    "study": (lambda folder: ["-m", *ON_TEXT, f"study={folder.name}", "seed=1,2"], (2,)),
    "tuned study": (lambda folder: ["-m", *ON_TEXT, f"study={folder.name}", "tune=rates"], (2,)),
    "sweep folder": (lambda folder: ["-m", *ON_TEXT, "seed=1,2", f"hydra.sweep.dir={folder}"], (2,)),
    "hydra's output": (lambda folder: [*ON_TEXT, f"hydra.output_subdir={folder}"], (2,)),
    "cache of a run": (lambda folder: [*ON_TEXT, f"data.cache={folder}", "study=other"], (2,)),
    "cache of data": (lambda folder: ["data", *ON_TEXT, f"data.cache={folder}"], (2,)),
    "clear cache": (lambda folder: ["data", "--clear-cache", f"data.cache={folder}"], (2,)),
    "report on it": (lambda folder: ["report", str(folder), "--tensorboard"], (2, 3)),
    "report in it": (lambda folder: ["report", _with_a_run(folder.parent), "--tensorboard"], (2,)),
    "declare": (lambda folder: ["report", str(folder), "--declare", "margin=0.1"], (2, 3)),
    "eval": (lambda folder: ["eval", str(folder), "--name", "x"], (2, 3)),
    "audit": (lambda folder: ["audit", str(folder)], (3,)),
    "figure": (lambda folder: ["plan", "--figure", str(folder / "f.png")], (2,)),
}


def make_foreign(folder: Path, draw: random.Random, share: float = 1.0) -> None:
    """Fill a folder with a share of FILES, and with files that no name of tietrain is like.

    `.lock` is not empty: with nothing else beside it, an empty one is a run that was killed at its very start.
    """
    for name in [*(name for name in FILES if draw.random() < share), "notes.txt", "f.png"]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"mine" if name == ".lock" else draw.choice(CONTENTS))


def tree(folder: Path) -> dict[str, str]:
    """Every name below a folder -> what it is: a folder, where a link leads, or a hash of the content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {os.readlink(path)}"
        else:
            found[name] = "folder" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _with_a_run(study: Path) -> str:
    """Make a folder that of a run."""
    (study / "run").mkdir()
    runs.write_record(study / "run", runs.RunRecord("run", "study", "none", "lm", "failed"))
    return str(study)
