"""What is seen of a model as it begins: the numbers themselves, and that looking changes nothing."""

import math

import pytest
import torch

from tietrain.runs.metrics import read_metrics
from tietrain.train import probe
from tiny_run import WALL_CLOCK, RandomTask, build_model, tiny_config, train


@pytest.fixture
def rows_of(tmp_path, monkeypatch):
    """Train a configuration whose steps 0 and 5 are looked at; gives its rows of metrics."""
    monkeypatch.setattr(probe, "STEPS", (0, 5))

    def rows_of(name, config, **options):
        train(tmp_path / name, config, **options)
        return read_metrics(tmp_path / name)

    return rows_of


@pytest.mark.parametrize(
    ("task", "tying", "tables"),
    [
        ("lm", "none", {"input", "output"}),
        ("lm", "pre_softmax", {"tied"}),
        ("mt", "none", {"source", "input", "output"}),
        ("mt", "three_way", {"tied"}),
    ],
)
def test_probe_rows_say_how_each_role_begins(rows_of, task, tying, tables):
    config = tiny_config(tying, task, optim={"lr": 1e-2})
    config.model.table_init_std = None
    first, later = [row for row in rows_of("one", config) if row["split"] == "probe"]
    assert [(row["of_step"], row["step"]) for row in (first, later)] == [(0, 1), (5, 6)]
    for row in (first, later):
        assert {name.removeprefix("row_norm_") for name in row if name.startswith("row_norm_")} == tables
        for role in (*tables, "matrices", "vectors"):
            assert row[f"grad_norm_{role}"] > 0 and 0 < row[f"update_{role}"] < 1, role
    assert later["above_uniform"] < first["above_uniform"]
    # A row that is embedding and output knows its own piece.
    assert (first["own_logit"] > 2 * first["logit_std"]) == (tables == {"tied"})


def test_looking_changes_nothing_that_is_trained(rows_of, monkeypatch):
    def of_training(rows):
        return [
            {name: value for name, value in row.items() if not name.endswith(WALL_CLOCK)}
            for row in rows
            if row["split"] != "probe"
        ]

    looked_at = of_training(rows_of("looked at", tiny_config("pre_softmax")))
    monkeypatch.setattr(probe, "STEPS", ())
    assert looked_at == of_training(rows_of("not looked at", tiny_config("pre_softmax")))


def test_probe_rows_of_a_run_that_was_stopped_are_those_of_one_that_was_not(rows_of):
    config = tiny_config("pre_softmax", "mt")
    rows_of("stopped", config, stop_after=5)
    again, whole = (
        [
            {name: value for name, value in row.items() if not name.endswith(WALL_CLOCK)}
            for row in rows_of(name, config)
            if row["split"] == "probe"
        ]
        for name in ("stopped", "whole")
    )
    assert again == whole


def test_look_of_a_model_of_zeros_is_uniform():
    config = tiny_config()
    model = build_model(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    seen = probe.Probe(model, RandomTask(config)).look()
    assert seen["above_uniform"] == pytest.approx(0, abs=1e-6) and seen["logit_std"] == seen["own_logit"] == 0
    assert all(math.isfinite(value) for value in seen.values())
    assert all(p.grad is None for p in model.parameters())
