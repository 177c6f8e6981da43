"""A study with its whole report, drawn once: drawing takes most of the time."""

import pytest

from fabricated import write_study
from tietrain.report.write import write_report


@pytest.fixture(scope="session")
def drawn_study(tmp_path_factory):
    """The folder of a study of both tasks, two seeds per arm, and the paths of its report; nobody changes a file."""
    root = write_study(tmp_path_factory.mktemp("study"), seeds=(1, 2))
    return root, write_report(root)
