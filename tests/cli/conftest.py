"""Command lines as users type them."""

import io
import sys
from typing import NamedTuple

import pytest

import tietrain.train.job
from tietrain.cli.main import main


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    def is_refusal(self) -> bool:
        """Whether it ended with one line that explains it, and nothing else."""
        return self.code in (2, 3, 5) and self.out == "" and self.err.count("\n") == 1 and "Traceback" not in self.err


@pytest.fixture
def tietrain_cli(tmp_path, monkeypatch, capsys):
    """Runs command lines in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        try:
            code = main(list(words))
        except SystemExit as e:  # argparse
            code = e.code
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture
def configs(monkeypatch):
    """The configurations that command lines would run; nothing is trained."""
    found = []

    def run_job(config, words=()):
        found.append(config)
        return tietrain.train.job.Outcome("", "done")

    monkeypatch.setattr(tietrain.train.job, "run_job", run_job)
    return found
