"""What a run directory holds decides what a start does there."""

import pytest

from tietrain.config.compose import compose_config
from tietrain.runs import record as runs
from tietrain.runs.durable import write_directory
from tietrain.train.experiment import Experiment
from tietrain.train.resume_policy import is_finished, would_fail_again


def failed(directory, exit_code, *words):
    """The record of a run that ended with a code, and its experiment."""
    experiment = Experiment(compose_config([f"run_dir={directory}", *words]))
    record = runs.RunRecord("run", "study", "none", "lm", "failed", exit_code=exit_code)
    record.settings = experiment.settings
    record.fingerprints["source"] = experiment.corpus_key
    return record, experiment


@pytest.mark.parametrize(("exit_code", "again"), [(2, True), (3, True), (4, True), (5, False), (7, False), (70, True)])
def test_what_lies_in_settings_and_text_comes_again(tmp_path, exit_code, again):
    assert would_fail_again(*failed(tmp_path, exit_code)) == again


def test_what_lies_in_a_run_directory_may_be_restored(tmp_path):
    assert not would_fail_again(*failed(tmp_path, 3, "init_from=x"))
    (tmp_path / runs.CHECKPOINTS / "step_00000100").mkdir(parents=True)
    assert not would_fail_again(*failed(tmp_path, 3))
    assert would_fail_again(*failed(tmp_path, 4))


@pytest.mark.parametrize(("average", "names"), [("none", ("best", "final")), ("last", ("average", "final"))])
def test_a_finished_run_has_whole_weights_or_none(tmp_path, average, names):
    experiment = Experiment(compose_config([f"run_dir={tmp_path}", f"train.average={average}"]))
    assert not is_finished(experiment)
    runs.write_json(tmp_path / runs.EVAL, {"splits": {}})
    assert is_finished(experiment)
    for name in names:
        weights = tmp_path / runs.CHECKPOINTS / name
        write_directory(weights, lambda path: (path / "model.safetensors").write_bytes(b"1"))
        assert is_finished(experiment)
        (weights / "model.safetensors").write_bytes(b"2")
        assert not is_finished(experiment)
        (weights / "model.safetensors").write_bytes(b"1")
