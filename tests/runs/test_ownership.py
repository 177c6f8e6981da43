"""What counts as tietrain's own folder, and what is deleted in one."""

import os

import pytest

from foreign import tree
from refusals import refusal
from tietrain.errors import SettingsError, StorageError
from tietrain.runs import record as runs
from tietrain.runs.durable import sweep, write_directory
from tietrain.runs.ownership import (
    ARMS,
    check_report,
    check_run,
    check_study,
    clear_run,
    held,
    make_own_folder,
    scratch,
)

RECORD = runs.RunRecord("run", "study", "none", "lm", "running")


def write_weights(directory, name="step_00000002"):
    write_directory(directory / runs.CHECKPOINTS / name, lambda path: (path / "a").write_text("weights"))


OWN = {
    "absent": lambda directory: directory.rmdir(),
    "empty": lambda directory: None,
    "locked and killed": lambda directory: (directory / runs.LOCK).touch(),
    "killed while it wrote its record": lambda directory: [
        (directory / n).touch() for n in (runs.LOCK, "run.json.tmp")
    ],
    "begun on a full disk": lambda directory: [(directory / name).touch() for name in (runs.LOCK, runs.LOG)],
    "a run": lambda directory: runs.write_record(directory, RECORD),
    "a run without its record": write_weights,
}


@pytest.mark.parametrize("state", OWN)
def test_held_takes_new_folders_and_runs(tmp_path, state):
    directory = tmp_path / "run"
    directory.mkdir()
    OWN[state](directory)
    with held(directory):
        runs.write_record(directory, RECORD)


@pytest.mark.parametrize("name", ["notes.txt", "run.json.tmp", runs.LOG, runs.METRICS, runs.RUN, ".hidden"])
def test_held_refuses_one_file_of_another(tmp_path, name):
    (tmp_path / name).write_text("mine")
    before = tree(tmp_path)
    assert isinstance(refusal(held(tmp_path).__enter__), SettingsError)
    assert tree(tmp_path) == before


def test_held_refuses_damaged_weights_without_a_record(tmp_path):
    write_weights(tmp_path)
    (tmp_path / runs.CHECKPOINTS / "step_00000002" / "a").write_text("WEIGHTS")
    assert isinstance(refusal(check_run, tmp_path), SettingsError)


def test_check_study_takes_marked_folders_and_folders_of_runs(tmp_path):
    make_own_folder(tmp_path / "new")
    (tmp_path / "new" / runs.GRID).touch()
    check_study(tmp_path / "new")
    (tmp_path / "old" / "run").mkdir(parents=True)
    (tmp_path / "old" / ".gitignore").write_text("*\n")
    assert isinstance(refusal(check_study, tmp_path / "old"), SettingsError)
    runs.write_record(tmp_path / "old" / "run", RECORD)
    check_study(tmp_path / "old")


@pytest.mark.parametrize("arms", ["", "[]", "{}", '{"a": 1}', "[1]", '[{"arm": "a"}]'])
def test_check_report_refuses_other_arms(tmp_path, arms):
    (tmp_path / ARMS).write_text(arms)
    assert isinstance(refusal(check_report, tmp_path), SettingsError)


def test_sweep_deletes_what_tietrain_left_half_written_and_nothing_else(tmp_path):
    ours = [
        f"{name}.tmp" for name in (runs.RUN, runs.METRICS, "eval_a.b.json", "hypotheses.test.txt", "sources.b.test.txt")
    ]
    folders = [runs.VOCABULARY, "step_00000010", "evaluated_00000010", "best", "best_before", "average", "final"]
    others = ["notes.tmp", "x.json.tmp", "step_1.tmp", "run.json", "best.tmp.txt", "train.log.tmp"]
    for name in (*ours, *others):
        (tmp_path / name).touch()
    for name in [f"{name}{end}" for name in folders for end in (".tmp", ".old.tmp")] + ["mine.tmp"]:
        (tmp_path / name).mkdir()
    sweep(tmp_path)
    assert set(os.listdir(tmp_path)) == {*others, "mine.tmp"}


def test_clear_run_leaves_what_tietrain_did_not_make(tmp_path):
    for name in ("best", "step_00000002", "mine"):
        write_weights(tmp_path, name)
    runs.write_json(tmp_path / "eval_again.json", {"asked": []})
    runs.write_json(tmp_path / "eval_mine.json", {"scores": 1})
    for name in (runs.RUN, runs.METRICS, runs.DOCUMENTS, runs.EVAL, "notes.txt"):
        (tmp_path / name).touch()
    clear_run(tmp_path)
    assert set(os.listdir(tmp_path)) == {runs.CHECKPOINTS, "eval_mine.json", runs.RUN, "notes.txt"}
    assert os.listdir(tmp_path / runs.CHECKPOINTS) == ["mine"]


def test_scratch_removes_what_dead_processes_left(tmp_path):
    (tmp_path / ".grid-foreign").mkdir()
    with scratch(tmp_path, "grid") as living:
        pid = os.fork()
        if not pid:
            dying = scratch(tmp_path, "grid")
            dying.__enter__()
            os._exit(9)
        os.waitpid(pid, 0)
        assert len(list(tmp_path.iterdir())) == 3
        with scratch(tmp_path, "grid") as later:
            assert set(tmp_path.iterdir()) == {tmp_path / ".grid-foreign", living, later}
    assert os.listdir(tmp_path) == [".grid-foreign"]


def test_scratch_is_not_removed_by_a_process_that_begins_beside_it(tmp_path, monkeypatch):
    lock = runs._lock

    def begin_another_first(*args):
        monkeypatch.setattr(runs, "_lock", lock)
        with scratch(tmp_path, "grid"):
            pass
        return lock(*args)

    monkeypatch.setattr(runs, "_lock", begin_another_first)
    with scratch(tmp_path, "grid") as folder:
        (folder / "file").touch()
    assert not list(tmp_path.iterdir())


def test_scratch_is_refused_where_nothing_can_be_made(tmp_path):
    assert isinstance(refusal(scratch(tmp_path / "absent", "grid").__enter__), StorageError)
