"""The short version of `make torture`: a little of everything, on real runs; nothing may be lost."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "torture.py"


@pytest.mark.slow  # a minute: CI runs it by itself
def test_torture_loses_nothing():
    command = [sys.executable, str(SCRIPT), "--short", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^(\d+) .*?(\d+) +(\d+)$", done.stdout, re.MULTILINE)
    promises = {"1", "2", "3", "4", "5", "6", "9", "10", "11", "13", "15", "16"}
    assert {promise for promise, _, _ in rows} >= promises
    assert all(int(tried) > 0 and lost == "0" for _, tried, lost in rows)
