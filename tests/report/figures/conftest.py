"""The comparisons of a study of both tasks, two seeds per arm, and the styles of its arms."""

import pytest

from fabricated import write_study
from tietrain.report.arms import compare, make_arms
from tietrain.report.figures.canvas import ArmStyles
from tietrain.runs.view import collect


@pytest.fixture(scope="session")
def comparisons(tmp_path_factory):
    """The language models, then the translations."""
    return compare(make_arms(collect(write_study(tmp_path_factory.mktemp("figures"), seeds=(1, 2)))))


@pytest.fixture(scope="session")
def styles(comparisons):
    return ArmStyles(arm for comparison in comparisons for arm in comparison.arms)
