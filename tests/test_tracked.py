"""The repository holds source, documents and small records: no run, cache, model, array or large file is tracked."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_FILE_BYTES = 300_000
MAX_FIGURE_BYTES = 150_000
MAX_ALL_BYTES = 6_000_000
HEAD_BYTES = 64

# Models, arrays, tables of a corpus, archives of objects and TensorBoard's event files, by name.
FORBIDDEN_NAMES = re.compile(
    r"\.(arrow|feather|parquet|safetensors|model|vocab|pt|pth|ckpt|bin|onnx|gguf|npy|npz|h5|hdf5|pkl|pickle|joblib"
    r"|sqlite3?|db|zip|whl|jar)$|(^|/)events\.out\.tfevents\."
)
# The first piece of a sentencepiece model: its text, of any length up to 16 bytes, then the mark of a float.
FIRST_PIECE = b"|".join(rb"%c.{%d}\x15" % (length, length) for length in range(1, 17))
# The same by the first bytes, whatever the name.
FORBIDDEN_HEADS = {
    "an Arrow file": rb"ARROW1|\xff\xff\xff\xff.{2}\0\0",
    "a Parquet file": rb"PAR1",
    "a zip archive (.npz and .pt are)": rb"PK(\x03\x04|\x05\x06)",
    "a NumPy array": rb"\x93NUMPY",
    "a pickle": rb"\x80[\x02-\x05]",
    "an HDF5 file": rb"\x89HDF",
    "a safetensors file": rb".{2}.\0{5}\{",
    "an SQLite file": rb"SQLite format 3",
    "a sentencepiece model": b"\n.\n(" + FIRST_PIECE + b")",
}


def breach(path: str, size: int, head: bytes) -> str:
    """Why a file may not be tracked, from its path, its size in bytes and its first bytes; empty if it may be."""
    folders = path.split("/")[:-1]
    if {"outputs", ".cache"} & {*folders} and path != "outputs/.gitignore":
        return "it lies in a folder of runs or a cache"
    if FORBIDDEN_NAMES.search(path):
        return "its name is that of a model, an array or a corpus"
    for kind, pattern in FORBIDDEN_HEADS.items():
        if re.match(pattern, head, re.DOTALL):
            return f"its content is that of {kind}"
    if folders[:1] == ["docs"] and path.endswith(".png") and size > MAX_FIGURE_BYTES:
        return f"a figure of {size:,} bytes is larger than {MAX_FIGURE_BYTES:,}"
    return f"{size:,} bytes are more than {MAX_FILE_BYTES:,}" if size > MAX_FILE_BYTES else ""


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    try:
        top = git("rev-parse", "--show-toplevel").strip()
    except (OSError, subprocess.CalledProcessError) as e:
        pytest.skip(f"git does not answer here: {e}")
    if Path(top).resolve() != ROOT:
        pytest.skip("this copy is not a git checkout")
    # A file that was deleted, but not yet from the index, is no longer in the tree.
    return [path for path in git("ls-files", "-z").split("\0") if path and (ROOT / path).is_file()]


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_no_tracked_file_is_a_run_a_model_or_large(tracked):
    breaches = []
    for path in tracked:
        with open(ROOT / path, "rb") as file:
            problem = breach(path, (ROOT / path).stat().st_size, file.read(HEAD_BYTES))
        if problem:
            breaches.append(f"{path}: {problem}")
    assert not breaches, "\n".join(breaches)


def test_all_tracked_files_together_are_small(tracked):
    assert sum((ROOT / path).stat().st_size for path in tracked) <= MAX_ALL_BYTES


def test_git_ignores_runs_and_caches(tracked):
    ignored = ["outputs/demo/run.json", "scripts/outputs/x/run.json", "docs/.cache/x", "outputs/.cache/x"]
    assert git("check-ignore", "--no-index", *ignored).split() == ignored
    assert "outputs/.gitignore" in tracked


@pytest.mark.parametrize(
    ("path", "size", "head"),
    [
        ("outputs/demo/run.json", 9, b"{}"),
        ("scripts/outputs/.gitignore", 9, b"*"),
        ("scripts/.cache/texts.json", 9, b"{}"),
        ("docs/data-00000-of-00001.arrow", 9, b""),
        ("tests/x.model", 9, b""),
        ("tests/events.out.tfevents.1.host", 9, b""),
        ("docs/renamed.txt", 9, b"ARROW1\0\0"),
        ("docs/renamed.txt", 9, b"\xff\xff\xff\xff\x08\x03\0\0\x10\0"),
        ("docs/renamed.txt", 9, b"PAR1\x15"),
        ("docs/renamed.txt", 9, b"PK\x03\x04"),
        ("docs/renamed.txt", 9, b"\x93NUMPY\x01"),
        ("docs/renamed.txt", 9, b"\x80\x04\x95"),
        ("docs/renamed.txt", 9, b"\x58\x01\0\0\0\0\0\0{"),
        ("docs/renamed.txt", 9, b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02"),
        ("docs/renamed.txt", 9, b"\n\x10\n\x07\xe2\x96\x81the\x20\x15\0"),
        ("docs/figure.png", MAX_FIGURE_BYTES + 1, b"\x89PNG"),
        ("docs/report.md", MAX_FILE_BYTES + 1, b"# "),
    ],
)
def test_breach_names_what_may_not_be_tracked(path, size, head):
    assert breach(path, size, head)


@pytest.mark.parametrize(
    ("path", "size", "head"),
    [
        ("outputs/.gitignore", 9, b"*"),
        ("src/tietrain/model/transformer.py", 20_000, b'"""The model."""\n'),
        ("docs/blank_lines.md", 9, b"\n#\n\ntext\n"),
        ("docs/figure.png", MAX_FIGURE_BYTES, b"\x89PNG"),
        ("docs/examples/tuned/records.tar.xz", MAX_FILE_BYTES, b"\xfd7zXZ\0"),
    ],
)
def test_breach_accepts_source_documents_and_records(path, size, head):
    assert not breach(path, size, head)
