"""A run directory of other ties is refused with the difference, before any work."""

from tietrain.config.compose import compose_config
from tietrain.config.identity import result_settings
from tietrain.config.layout import make_shape
from tietrain.plan.schemes import make_plan
from tietrain.runs import record as runs
from tietrain.runs.record import RunRecord
from tietrain.train.job import run_job


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


def test_other_ties_are_named(tmp_path):
    finished(tmp_path / "run", "tying=none")
    message = refused(tmp_path / "run", "tying=pre_softmax")
    assert "holds a run with" in message
    assert ": decoder.output reads its own parameters there, decoder.embed's here; give another run_dir" in message
    assert "661" not in message


def test_options_that_tie_the_same_are_refused_by_name_alone(tmp_path):
    finished(tmp_path / "run", "tying=cross_layer", "tying.ties.cross_layer.order=cycle")
    message = refused(tmp_path / "run", "tying=cross_layer", "tying.ties.cross_layer.order=sequence")
    assert message.endswith("tying.ties.cross_layer.order=cycle; give another run_dir")


def test_a_run_that_wrote_no_plan_is_refused_by_name_alone(tmp_path):
    finished(tmp_path / "run", "tying=none", plan=False)
    assert "there" not in refused(tmp_path / "run", "tying=pre_softmax").split(": ", 1)[1]


def test_another_setting_is_named_first(tmp_path):
    finished(tmp_path / "run", "tying=none")
    message = refused(tmp_path / "run", "tying=pre_softmax", "model.d_ff=99")
    assert message.startswith("model.d_ff=99: ")
    assert "there" not in message
