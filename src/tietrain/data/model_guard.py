"""sentencepiece models of unknown origin: parsed first by a child process, so that what kills a parser kills the child."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tietrain.errors import DataError
from tietrain.runs import record as runs

# Of a child that loads one model: seconds of computing and bytes of memory. A vocabulary of 256,000 pieces takes 1 s.
MAX_SECONDS, MAX_MEMORY = 60, 4 * 2**30
# Everything that a vocabulary of ours is asked later.
PARSE = f"""
import resource, sys
for what, most in (("CPU", {MAX_SECONDS}), ("AS", {MAX_MEMORY}), ("FSIZE", 0), ("CORE", 0)):
    resource.setrlimit(getattr(resource, "RLIMIT_" + what), (most, most))
import sentencepiece
model = sentencepiece.SentencePieceProcessor(model_proto=sys.stdin.buffer.read())
ids = range(model.get_piece_size())
pieces = [(model.id_to_piece(i), model.get_score(i), model.is_byte(i)) for i in ids]
model.decode([list(ids), model.encode(" a b")])
"""


def check_foreign_model(path: Path) -> None:
    """DataError unless a child process can parse a sentencepiece model and use it.

    It guards against a file that crashes, hangs or bloats the parser, not against one that takes it over.
    """
    command = [sys.executable, "-I", "-c", PARSE]
    try:
        done = subprocess.run(
            command, input=runs.read_bytes(path), capture_output=True, timeout=2 * MAX_SECONDS, check=False
        )
        code = done.returncode
    except subprocess.TimeoutExpired:
        code = -signal.SIGXCPU
    if code:
        how = f"it killed the parser by {signal.Signals(-code).name}" if code < 0 else "it is no sentencepiece model"
        raise DataError(str(path), how, "restore the run's own")
