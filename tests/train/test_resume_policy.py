"""What a run directory holds decides what a start does there."""

import json
from dataclasses import replace

import pytest

from fabricated import make_config, write_run
from refusals import refusal
from tietrain import __version__
from tietrain.config.compose import compose_config
from tietrain.config.identity import result_settings
from tietrain.config.layout import make_shape
from tietrain.errors import SettingsError
from tietrain.plan.schemes import make_plan
from tietrain.runs import record as runs
from tietrain.runs.durable import write_directory
from tietrain.runs.record import RunRecord
from tietrain.runs.view import read_run
from tietrain.train.experiment import Experiment
from tietrain.train.job import _settled_precision, run_job
from tietrain.train.resume_policy import damage_of, previous_record, would_fail_again
from tiny_run import experiment_in, tiny_config, train


def failed(directory, exit_code, *words):
    """The record of a run that ended with a code, and its experiment."""
    experiment = Experiment(compose_config([f"run_dir={directory}", *words]))
    record = runs.RunRecord("run", "study", "none", "lm", "failed", exit_code=exit_code, version=__version__)
    record.settings = experiment.settings
    record.fingerprints["source"] = experiment.corpus_key
    return record, experiment


@pytest.mark.parametrize(("exit_code", "again"), [(2, True), (3, True), (4, True), (5, False), (7, False), (70, True)])
def test_would_fail_again_if_the_cause_is_in_settings_or_text(tmp_path, exit_code, again):
    assert would_fail_again(*failed(tmp_path, exit_code)) == again


def test_would_fail_again_not_by_a_bug_of_another_version(tmp_path):
    for exit_code, again in ((70, False), (3, True)):
        record, experiment = failed(tmp_path, exit_code)
        record.version = ""  # as old records have it
        assert would_fail_again(record, experiment) == again


def test_would_fail_again_not_if_a_file_can_be_restored(tmp_path):
    assert not would_fail_again(*failed(tmp_path, 3, "init_from=x"))
    (tmp_path / runs.CHECKPOINTS / "step_00000100").mkdir(parents=True)
    assert not would_fail_again(*failed(tmp_path, 3))
    assert would_fail_again(*failed(tmp_path, 4))


def test_precision_stays_what_it_became(tmp_path, monkeypatch):
    """In the run before the rest of its study; a run with a folder of its own has no study; records without one are passed over."""
    monkeypatch.chdir(tmp_path)
    experiment = Experiment(replace(make_config("lm", "none", 1), study="s"))
    record = runs.RunRecord("run", "s", "none", "lm", "running")
    assert _settled_precision(experiment, record) is None
    for folder, machine in (("a", {}), ("b", {"precision": "bf16"}), ("c", {"precision": "fp32"})):
        other = write_run(tmp_path / "outputs" / "s", make_config("lm", "pre_softmax", 1), folder=folder)
        runs.write_record(other, replace(runs.read_record(other), machine=machine))
    (tmp_path / "outputs" / "s" / "a" / runs.RUN).write_text("{")
    assert _settled_precision(experiment, record) == "bf16"
    record.earlier_machines = [{"precision": "bf16"}, {"precision": "fp32"}]
    assert _settled_precision(experiment, record) == "fp32"
    alone = Experiment(replace(experiment.config, run_dir="alone"))
    assert _settled_precision(alone, runs.RunRecord("run", "s", "none", "lm", "running")) is None


@pytest.mark.parametrize(("average", "names"), [("none", ("best", "final")), ("last", ("average", "final"))])
def test_a_finished_run_needs_whole_weights_or_none(tmp_path, average, names):
    config = make_config("lm", "none", 1)
    directory = write_run(tmp_path, config)
    if average != "none":
        scores = runs.read_json(directory / runs.EVAL)
        scores["checkpoint"]["averaged_steps"] = [1]
        runs.write_json(directory / runs.EVAL, scores)
    experiment = Experiment(replace(config, run_dir=str(directory)))
    assert not damage_of(experiment)
    for name in names:
        weights = directory / runs.CHECKPOINTS / name
        write_directory(weights, lambda path: (path / "model.safetensors").write_bytes(b"1"))
        assert not damage_of(experiment)
        for content in (b"2", b"longer"):
            (weights / "model.safetensors").write_bytes(content)
            assert name in damage_of(experiment) and name in read_run(directory, "run").reason
        (weights / "model.safetensors").write_bytes(b"1")
    (directory / runs.PLAN).write_text("{}")
    assert runs.PLAN in damage_of(experiment)


def finished(directory, *overrides, plan=True):
    """The files of a finished run that say what it was."""
    config = compose_config([*overrides, f"run_dir={directory}"])
    directory.mkdir()
    record = RunRecord("r", "default", config.tying_label, config.task.name, "done", settings=result_settings(config))
    runs.write_record(directory, record)
    if plan:
        shape = make_shape(config, dict.fromkeys(("encoder", "decoder"), 661))
        runs.write_json(directory / runs.PLAN, make_plan(shape, config.tying.ties).to_json())


def refused(directory, *overrides):
    outcome = run_job(compose_config([*overrides, f"run_dir={directory}"]))
    assert (outcome.status, outcome.exit_code) == ("failed", 2)
    return outcome.message


def test_previous_record_of_a_lost_one_is_that_of_the_newest_checkpoint(tmp_path):
    config = tiny_config(max_steps=4)
    own = experiment_in(tmp_path, config)
    train(tmp_path, config, fingerprints={"source": own.corpus_key})
    assert previous_record(own).settings == json.loads(json.dumps(own.settings))
    for change in ({"seed": 2}, {"tying": "pre_softmax"}, {"max_steps": 2}):
        other = experiment_in(tmp_path, tiny_config(**{"max_steps": 4, **change}))
        assert isinstance(refusal(previous_record, other), SettingsError)
    for path in (tmp_path / runs.CHECKPOINTS).glob("step_*/state.json"):
        path.unlink()
    assert "nothing tells of which experiment" in refusal(previous_record, own).problem


def test_previous_record_keeps_a_divergence(tmp_path):
    record, _ = failed(tmp_path, 4)
    record.status = "diverged"
    runs.write_record(tmp_path, record)
    assert "holds a run with" in refused(tmp_path, "optim.lr=0.01")
    record.status = "failed"
    runs.write_record(tmp_path, record)
    assert previous_record(failed(tmp_path, 4, "optim.lr=0.01")[1])


def test_previous_record_refuses_other_ties_by_their_difference(tmp_path):
    finished(tmp_path / "run", "tying=none")
    message = refused(tmp_path / "run", "tying=pre_softmax")
    assert message.startswith("tying=pre_softmax: ") and "decoder.output" in message
    assert "661" not in message


def test_previous_record_refuses_options_that_tie_the_same_by_name_alone(tmp_path):
    finished(tmp_path / "run", "tying=cross_layer", "tying.ties.cross_layer.order=cycle")
    message = refused(tmp_path / "run", "tying=cross_layer", "tying.ties.cross_layer.order=sequence")
    assert message.endswith("tying.ties.cross_layer.order=cycle; give another run_dir")


def test_previous_record_refuses_a_run_without_a_plan_by_name_alone(tmp_path):
    finished(tmp_path / "run", "tying=none", plan=False)
    assert "there" not in refused(tmp_path / "run", "tying=pre_softmax").split(": ", 1)[1]


def test_previous_record_names_another_setting_first(tmp_path):
    finished(tmp_path / "run", "tying=none")
    message = refused(tmp_path / "run", "tying=pre_softmax", "model.d_ff=99")
    assert message.startswith("model.d_ff=99: ")
    assert "there" not in message
