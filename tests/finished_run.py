"""A finished run that the tests of a whole file start from."""

from pathlib import Path

import pytest

from tietrain.cli.main import main


def make_run(place: Path, words: tuple[str, ...]) -> Path:
    """Run a command line in a folder; returns the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main(list(words)) == 0
    return place
