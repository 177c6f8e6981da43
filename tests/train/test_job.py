"""The record of a run: what is stated before training stays stated."""

import pytest

from tietrain.config.compose import compose_config
from tietrain.runs import record as runs
from tietrain.train.job import run_job


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts a run that ends where it would prepare its data; returns what its record declared then."""

    def run(*words):
        def stop(config):
            seen.append(runs.read_record(tmp_path).declared)
            raise KeyboardInterrupt

        seen = []
        monkeypatch.setattr("tietrain.data.prepare.prepare", stop)
        with pytest.raises(KeyboardInterrupt):
            run_job(compose_config([f"run_dir={tmp_path}", *words]))
        return seen[0]

    return run


def test_run_job_declares_the_comparison_before_anything_is_trained(start):
    assert start("report.metric=ppl_word") == {
        "metric": "ppl_word",
        "split": "test",
        "baseline": "none",
        "margin": None,
    }


def test_run_job_keeps_what_was_declared_once_there_is_work(start, tmp_path):
    start("report.metric=ppl_word")
    assert start("report.metric=ppl_token")["metric"] == "ppl_token"  # nothing was trained yet
    (tmp_path / runs.CHECKPOINTS / "step_10").mkdir(parents=True)
    assert start("report.metric=bits_per_byte")["metric"] == "ppl_token"


def test_run_job_keeps_what_a_replaced_run_declared(start, tmp_path):
    start("report.metric=ppl_word")
    record = runs.read_record(tmp_path)
    record.status, record.arm = "diverged", "0123456789ab"
    runs.write_record(tmp_path, record)
    assert start("report.metric=bits_per_byte", "retry_failed=true")["metric"] == "ppl_word"


@pytest.mark.parametrize("word", ["hardware.device=cuda", "init_from=nowhere"])
def test_run_job_refuses_before_it_prepares_text(tmp_path, monkeypatch, word):
    def prepare(config):
        raise KeyboardInterrupt

    monkeypatch.setattr("tietrain.data.prepare.prepare", prepare)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    outcome = run_job(compose_config([f"run_dir={tmp_path}", word]))
    assert outcome.exit_code == 2 and outcome.message.startswith(f"{word}: ")
