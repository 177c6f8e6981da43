"""Finished runs are sealed: every command notices what was changed since, and `repair` makes again what can be made."""

import functools
import json
import shutil

import pytest
import yaml

from finished_run import make_run
from tietrain.cli.main import main
from tietrain.config.keys import ABSENT
from tietrain.runs import record as runs

TINY = [
    "task=mt",
    "data.preset=tiny",
    "model=tiny",
    "model.vocab_size=400",
    "train.batch_tokens=512",
    "train.max_steps=2",
    "train.eval_every=2",
    "train.checkpoint_every=2",
    "hardware.threads=1",
    "hardware.device=cpu",
    "task.max_output_ratio=0",
    "task.max_output_extra=4",
]
RUN = (*TINY, "run_dir=study/run")
HYPOTHESES = "hypotheses.test.txt"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a finished run."""
    return make_run(tmp_path_factory.mktemp("sealed"), RUN) / "study"


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    """A copy of the finished run, in the current folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made, "study")
    return tmp_path / "study" / "run"


def said(capfd, *words):
    """Exit code and JSON of a command."""
    capfd.readouterr()
    code = main([*words, "--json"])
    return code, json.loads(capfd.readouterr().out)


def better_score(run):
    """Scores that look like a run's own, and are not."""
    body = runs.read_json(run / runs.EVAL)
    body["splits"]["test"]["bleu"] = 99.0
    runs.write_json(run / runs.EVAL, body)


def another_rate(run):
    body = runs.read_json(run / runs.RUN)
    body["settings"]["optim.lr"] = 1.0
    runs.write_json(run / runs.RUN, body)


def junk(name, content=b"junk"):
    def write(run):
        (run / name).write_bytes(content)

    return write


def remove(name):
    def unlink(run):
        (run / name).unlink()

    return unlink


REPAIRED = {
    runs.EVAL: better_score,
    runs.PLAN: junk(runs.PLAN),
    runs.LEDGER: remove(runs.LEDGER),
    runs.DOCUMENTS: junk(runs.DOCUMENTS),
    HYPOTHESES: junk(HYPOTHESES),
}
LEFT = {
    runs.METRICS: junk(runs.METRICS),
    runs.RUN: another_rate,
    f"{runs.CHECKPOINTS}/best": junk(f"{runs.CHECKPOINTS}/best/model.safetensors"),
}


@pytest.mark.parametrize("name", [*REPAIRED, *LEFT])
def test_every_command_notices_what_was_changed_after_the_end(run, capfd, name):
    (REPAIRED | LEFT)[name](run)
    ((_, (row,)), (_, (arm,))) = said(capfd, "status", "study"), said(capfd, "report", "study")
    assert row["state"] == "damaged" and name in row["reason"]
    assert arm["statuses"] == {"damaged": 1}
    assert main(["compare", "study/run", "study/run"]) == 3
    assert name in capfd.readouterr().err
    shutil.rmtree(run / runs.CHECKPOINTS)
    if name in REPAIRED:  # with no checkpoint nothing is made again behind the user's back
        assert main(list(RUN)) == 3
        assert name in (err := capfd.readouterr().err) and "tietrain repair" in err


@pytest.mark.parametrize("names", [(runs.PLAN, runs.LEDGER), (runs.EVAL, runs.DOCUMENTS, HYPOTHESES)])
def test_repair_makes_again_what_can_be_made(run, made, capfd, names):
    for name in names:
        REPAIRED[name](run)
    code, repaired = said(capfd, "repair", "study/run")
    assert code == 0 and repaired["made"] == dict.fromkeys(names, "made again, as it was") and not repaired["left"]
    assert all((run / name).read_bytes() == (made / "run" / name).read_bytes() for name in names)
    assert said(capfd, "repair", "study/run")[1] == {"made": {}, "left": {}, "seal": ""}
    assert main(list(RUN)) == 0 and "is finished" in capfd.readouterr().err


@pytest.mark.parametrize("name", [runs.METRICS, f"{runs.CHECKPOINTS}/best"])
def test_repair_says_what_it_cannot_make_and_does_not_seal(run, capfd, name):
    LEFT[name](run)
    better_score(run)
    before = runs.read_record(run).seal
    code, repaired = said(capfd, "repair", "study/run")
    assert code == 3 and name in repaired["left"] and runs.read_record(run).seal == before
    assert (runs.EVAL in repaired["left"]) == (name != runs.METRICS)  # scores need their weights


def test_repair_refuses_a_run_whose_settings_were_changed(run, capfd):
    another_rate(run)
    assert main(["repair", "study/run"]) == 3
    assert "settings" in capfd.readouterr().err


def test_a_run_of_an_older_version_is_read_and_can_be_sealed(run, capfd):
    body = runs.read_json(run / runs.RUN)
    del body["seal"]
    body["settings"] = {key: value for key, value in body["settings"].items() if key not in ABSENT}
    runs.write_json(run / runs.RUN, body)
    config = yaml.safe_load((run / runs.CONFIG).read_text())
    for key in ABSENT:  # as versions before these settings wrote it
        *sections, name = key.split(".")
        del functools.reduce(dict.__getitem__, sections, config)[name]
    runs.write_text(run / runs.CONFIG, yaml.safe_dump(config))
    assert said(capfd, "status", "study")[1][0]["state"] == "done"
    assert said(capfd, "report", "study")[1][0]["statuses"] == {"done": 1}
    assert said(capfd, "eval", "study/run", "--name", "again")[0] == 0
    code, repaired = said(capfd, "repair", "study/run")
    assert code == 0 and "not sealed (made by tietrain " in repaired["seal"]
    assert runs.read_record(run).seal
    better_score(run)
    assert said(capfd, "status", "study")[1][0]["state"] == "damaged"


def test_a_correction_of_what_was_declared_keeps_the_seal(run, capfd):
    said(capfd, "report", "study", "--declare", "metric=chrf")
    assert said(capfd, "status", "study")[1][0]["state"] == "done"
    better_score(run)
    said(capfd, "report", "study", "--declare", "metric=bleu")
    assert said(capfd, "status", "study")[1][0]["state"] == "damaged"


def test_a_finished_run_without_its_checkpoints_and_texts_stays_finished(run, capfd):
    shutil.rmtree(run / runs.CHECKPOINTS)
    (run / HYPOTHESES).unlink()
    assert main(list(RUN)) == 0 and "is finished" in capfd.readouterr().err
