"""No command changes a byte of a folder that tietrain did not make, whatever the names in it."""

import random
import shutil
from pathlib import Path

import pytest

from foreign import COMMANDS, make_foreign, tree


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign")
    make_foreign(folder, random.Random(0))
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_writes_into_a_foreign_folder(foreign, tietrain_cli, command):
    Path("t").write_text("a b c\n")
    folder = Path("outputs", "report").absolute()
    shutil.copytree(foreign, folder)
    before = tree(folder)
    words, codes = COMMANDS[command]
    ran = tietrain_cli(*words(folder))
    assert tree(folder) == before
    assert ran.code in codes and ran.err.count("\n") == 1, ran.err
