"""What a run directory holds decides what a start does there."""

import pytest

from tietrain.config.compose import compose_config
from tietrain.config.identity import result_settings
from tietrain.data.sources.corpora import corpus_key
from tietrain.runs import record as runs
from tietrain.runs.durable import write_directory
from tietrain.train.resume_policy import is_finished, would_fail_again


def failed(exit_code, *words):
    """A configuration, and the record of a run of it that ended with a code."""
    config = compose_config(list(words))
    record = runs.RunRecord("run", "study", "none", "lm", "failed", exit_code=exit_code)
    record.settings = result_settings(config)
    record.fingerprints["source"] = corpus_key(config.data, config.task.name)
    return record, config


@pytest.mark.parametrize(("exit_code", "again"), [(2, True), (3, True), (4, True), (5, False), (7, False), (70, True)])
def test_what_lies_in_settings_and_text_comes_again(tmp_path, exit_code, again):
    assert would_fail_again(*failed(exit_code), tmp_path) == again


def test_what_lies_in_a_run_directory_may_be_restored(tmp_path):
    assert not would_fail_again(*failed(3, "init_from=x"), tmp_path)
    (tmp_path / runs.CHECKPOINTS / "step_00000100").mkdir(parents=True)
    assert not would_fail_again(*failed(3), tmp_path)
    assert would_fail_again(*failed(4), tmp_path)


@pytest.mark.parametrize(("average", "names"), [("none", ("best", "final")), ("last", ("average", "final"))])
def test_a_finished_run_has_whole_weights_or_none(tmp_path, average, names):
    config = compose_config([f"train.average={average}"])
    assert not is_finished(config, tmp_path)
    runs.write_json(tmp_path / runs.EVAL, {"splits": {}})
    assert is_finished(config, tmp_path)
    for name in names:
        weights = tmp_path / runs.CHECKPOINTS / name
        write_directory(weights, lambda path: (path / "model.safetensors").write_bytes(b"1"))
        assert is_finished(config, tmp_path)
        (weights / "model.safetensors").write_bytes(b"2")
        assert not is_finished(config, tmp_path)
        (weights / "model.safetensors").write_bytes(b"1")
