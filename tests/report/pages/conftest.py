"""The page of a study, and comparisons whose losses are chosen."""

import random

import pytest

from fabricated import make_config, write_run
from tietrain.config import ReportConfig
from tietrain.report.arms import compare, make_arms
from tietrain.report.verdicts import judge
from tietrain.runs.view import collect


@pytest.fixture(scope="session")
def study(drawn_study):
    """The folder of a study of both tasks, two seeds per arm, and its `report.html`."""
    root, _ = drawn_study
    return root, (root / "report" / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def judged(tmp_path_factory):
    """A comparison and its verdicts; each arm's loss is its shift from 2.5 nats, and without one its first seed diverged."""

    def make(shifts, *, tuned=True, n_seeds=6, margin=None, looks=(), **changes):
        root = tmp_path_factory.mktemp("judged")
        for label, shift in shifts.items():
            chance = random.Random(label)
            for seed in range(1, n_seeds + 1):
                config = make_config("lm", label, seed)
                config.report = ReportConfig(metric="bits_per_byte", margin=margin, looks=[*looks])
                status = "diverged" if shift is None and seed == 1 else "done"
                loss = 2.5 + (shift or 0) + chance.gauss(0, 0.002)
                write_run(root, config, loss=loss, status=status, **changes)
        (comparison,) = compare(make_arms(collect(root)))
        return comparison, judge(comparison, tuned=tuned)

    return make
