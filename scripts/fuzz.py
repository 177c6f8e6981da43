"""Fuzz what reads files of others, guided by coverage: `python scripts/fuzz.py TARGET [libFuzzer options]`.

Whatever the bytes, the answer is a value or a TietrainError; anything else is a finding, and its input is kept.
"""

import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tietrain", "yaml", "omegaconf", "json"]):
    from tietrain.config.compose import parse_overrides
    from tietrain.config.stored import read_run_config
    from tietrain.data.sources.validate import jsonl_parser, read_text_file, tsv_parser
    from tietrain.errors import TietrainError
    from tietrain.runs import record as runs
    from tietrain.runs.durable import is_whole
    from tietrain.runs.view import read_run

FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))
FILES = (runs.RUN, runs.CONFIG, runs.PLAN, runs.LEDGER, runs.EVAL, runs.METRICS, "manifest.json")


def run_directory(data: bytes) -> None:
    """The first byte says which file holds the rest."""
    for name in FILES:
        (FOLDER / name).write_text("{}")
    (FOLDER / FILES[data[0] % len(FILES)]).write_bytes(data[1:])
    read_run(FOLDER, "run")
    is_whole(FOLDER)
    read_run_config(FOLDER)


def configuration(data: bytes) -> None:
    """Words of a command line, one per line."""
    parse_overrides(data.decode("utf-8", errors="replace").split("\n"))


def corpora(data: bytes) -> None:
    """A file of JSON lines or of tab-separated columns, plain or gzip."""
    path = FOLDER / "x"
    path.write_bytes(data[1:])
    parser = tsv_parser(path, ["a", "b"]) if data[0] % 2 else jsonl_parser(path, ["a", "b"], one_line=True)
    read_text_file(path, "x", parser, 2)


def guarded(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """The target, whose TietrainErrors are not findings."""

    def one(data: bytes) -> None:
        if data:
            with suppress(TietrainError):
                target(data)

    return one


TARGETS = {"run_directory": run_directory, "configuration": configuration, "corpora": corpora}

if __name__ == "__main__":
    if sys.argv[1:2] == [] or sys.argv[1] not in TARGETS:
        sys.exit(f"choose from {', '.join(TARGETS)}")
    chosen = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, guarded(chosen))
    atheris.Fuzz()
