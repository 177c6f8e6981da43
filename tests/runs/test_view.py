"""Whatever a run directory holds, `collect` returns runs and raises no exception."""

import json
import os
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabricated import make_config, write_run, write_study
from tietrain.errors import DataError
from tietrain.report.write import report_rows
from tietrain.runs import record as runs
from tietrain.runs.view import clean_text, collect, number

FILES = (runs.RUN, runs.PLAN, runs.LEDGER, runs.EVAL, runs.METRICS)


def one(tmp_path):
    (run,) = collect(tmp_path)
    return run


def test_collect_reads_a_finished_run(tmp_path):
    write_run(tmp_path, make_config("lm", "pre_softmax", 3), loss=2.5)
    run = one(tmp_path)
    assert (run.status, run.label, run.task, run.seed, run.study) == ("done", "pre_softmax", "lm", 3, "demo")
    assert run.params_saved == run.params_untied - run.params == 1000 * 128
    assert run.settings["optim.lr"] == 2e-3 and run.settings["optim.betas"] == "[0.9, 0.98]"
    assert run.fingerprints.keys() == {"corpus", "vocabulary.decoder", "batches"}
    assert run.machine["torch"] == "2.13.0"
    assert run.scores["test"]["nats_per_token"] == 2.52
    assert run.owner["decoder.output.weight"] == "decoder.embed.weight"
    assert (run.steps, run.tokens) == (300, 300 * 2048)
    assert [p.step for p in run.curve] == list(range(30, 301, 30))


@pytest.mark.parametrize("status", ["running", "diverged"])
def test_collect_keeps_the_status_and_progress_of_an_unfinished_run(tmp_path, status):
    write_run(tmp_path, make_config("mt", "none", 1), status=status, reason="because")
    run = one(tmp_path)
    assert (run.status, run.reason, run.scores, run.steps) == (status, "because", {}, 150)


@pytest.mark.parametrize("name", [runs.EVAL, runs.LEDGER, runs.PLAN])
def test_collect_calls_a_finished_run_without_its_files_damaged(tmp_path, name):
    directory = write_run(tmp_path, make_config("lm", "none", 1))
    bodies = (None, b"{", b"[]", b'{"splits": {}}', b'{"splits": {"test": {"bleu": NaN}}}', b'"x"')
    for body in bodies:
        (directory / name).unlink(missing_ok=True)
        if body is not None:
            (directory / name).write_bytes(body)
        run = one(tmp_path)
        assert run.status == "damaged" and run.reason.startswith(name), body


def test_flops_by_kind_are_those_of_the_route(tmp_path):
    directory = write_run(tmp_path, make_config("mt", "none", 1))
    ledger = json.loads((directory / runs.LEDGER).read_text())
    of_route = {"projections": 1, "ffn": 2, "logits": 3, "scores": 4}
    body = ledger["flops"] | {"per_token": of_route, "route": ["encoder_a", "decoder"]}
    runs.write_json(directory / runs.LEDGER, ledger | {"flops": body})
    assert (one(tmp_path).flops_by_kind, one(tmp_path).route) == (of_route, ("encoder_a", "decoder"))
    # Older ledgers have no route: all stacks are on the only one.
    before = {key: ledger["flops"][key] for key in ("coefficients", "terms")}
    runs.write_json(directory / runs.LEDGER, ledger | {"flops": before})
    assert (one(tmp_path).flops_by_kind, one(tmp_path).route) == (ledger["flops"]["per_token"], ())


def change(directory, **fields):
    body = json.loads((directory / runs.RUN).read_text())
    (directory / runs.RUN).write_text(json.dumps(body | fields))


def test_collect_calls_a_record_of_wrong_types_unreadable(tmp_path):
    directory = write_run(tmp_path, make_config("lm", "none", 1))
    before = json.loads((directory / runs.RUN).read_text())
    wrong = {"seed": "one", "settings": [], "label": 3, "machine": None, "notes": "note", "progress": 1}
    for name, value in wrong.items():
        change(directory, **{name: value})
        run = one(tmp_path)
        assert run.status == "unreadable" and name in run.reason
        change(directory, **{name: before[name]})
    for fields in ({"seed": True}, {"status": "great"}, {"task": {}}):
        change(directory, **before | fields)
        assert one(tmp_path).status == "unreadable", fields
    change(directory, **before)
    assert one(tmp_path).status == "done"


def test_collect_of_other_kinds_of_files(tmp_path):
    """A pipe, a folder, a dangling link in the place of a file neither hang nor raise."""
    for i, name in enumerate(FILES):
        for make in (os.mkfifo, os.mkdir, lambda path: os.symlink("nowhere", path)):
            directory = write_run(tmp_path, make_config("lm", "none", 1), folder=f"{name}-{make.__name__}-{i}")
            (directory / name).unlink()
            make(directory / name)
    statuses = {run.status for run in collect(tmp_path)}
    assert statuses == {"unreadable", "damaged", "done"}  # without metrics a run has no curve and is done


def test_collect_follows_no_link_out_of_a_run(tmp_path):
    """Nor does a circle of links hang, as a file or as a folder."""
    secret = tmp_path / "secret.json"
    for i, name in enumerate((*FILES, runs.DOCUMENTS)):
        directory = write_run(tmp_path / "study", make_config("lm", "none", 1), folder=str(i))
        secret.write_bytes((directory / name).read_bytes() if (directory / name).exists() else b"")
        (directory / name).unlink(missing_ok=True)
        (directory / name).symlink_to(secret)
    circle = write_run(tmp_path / "study", make_config("lm", "none", 1), folder="circle")
    (circle / runs.RUN).unlink()
    (circle / runs.RUN).symlink_to(runs.RUN)
    (tmp_path / "study" / "loop").symlink_to(tmp_path / "study")
    found = collect(tmp_path / "study")
    assert [run.status for run in found] == ["unreadable"] * 7
    assert sum("link" in run.reason for run in found if run.path != "circle") == 6


def test_collect_reads_no_file_that_is_too_large(tmp_path):
    """Named, and not read; without its metrics a run has no curve, and says why."""
    for name in (runs.EVAL, runs.METRICS):
        directory = write_run(tmp_path, make_config("lm", "none", 1), folder=name)
        os.truncate(directory / name, runs.MAX_BYTES + 1)
    scored, trained = collect(tmp_path)
    assert scored.status == "damaged" and "eval.json" in scored.reason
    assert trained.status == "done" and trained.no_curve.startswith(runs.METRICS)


def test_collect_thins_long_curves(tmp_path):
    directory = write_run(tmp_path, make_config("lm", "none", 1))
    row = json.loads((directory / runs.METRICS).read_text().splitlines()[0])
    (directory / runs.METRICS).write_text("".join(json.dumps(row | {"step": i}) + "\n" for i in range(1, 3001)))
    steps = [p.step for p in one(tmp_path).curve]
    assert steps == list(range(4, 3001, 4))


def test_collect_refuses_a_folder_without_runs(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for name in ("empty", "file", "missing"):
        with pytest.raises(DataError) as refused:
            collect(tmp_path / name)
        assert refused.value.setting == str(tmp_path / name)


def test_clean_text_and_number():
    assert clean_text("a\n\tb\x00\ud800") == "a  b\ufffd\ufffd"
    assert len(clean_text("x" * 10_000)) < 1100
    assert [number(v) for v in (1, 2.5, True, "3", None, float("nan"), float("inf"), 10**200)] == [1, 2.5] + [None] * 6


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    write_run(root, make_config("mt", "three_way", 1), folder="run")
    return root


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(FILES), at=st.integers(0, 10**6), cut=st.integers(0, 40), put=st.binary(max_size=12))
def test_collect_of_mutated_bytes(study, tmp_path, name, at, cut, put):
    path = mutable_copy(study, tmp_path) / name
    body = path.read_bytes()
    at %= len(body) + 1
    path.write_bytes(body[:at] + put + body[at + cut :])
    json.dumps(report_rows(tmp_path / "copy"))


SCALARS = st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | st.text(max_size=5)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(FILES), data=st.data())
def test_collect_of_mutated_values(study, tmp_path, name, data):
    """One value anywhere in a file replaced by any other JSON value."""
    path = mutable_copy(study, tmp_path) / name
    lines = [json.loads(line) for line in path.read_text().splitlines()] if name == runs.METRICS else None
    body = json.loads(path.read_text()) if lines is None else lines
    node, steps = body, 0
    while isinstance(node, dict | list) and node and steps < 8:
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if not isinstance(node[key], dict | list) or not node[key] or data.draw(st.integers(0, 2)) == 0:
            node[key] = data.draw(JSON)
            break
        node, steps = node[key], steps + 1
    path.write_text(json.dumps(body) if lines is None else "".join(json.dumps(row) + "\n" for row in lines))
    text = json.dumps(report_rows(tmp_path / "copy"), ensure_ascii=False)
    text.encode("utf-8")


def mutable_copy(study, tmp_path):
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(study, copy)
    return copy / "run"


def test_collect_of_a_whole_study(tmp_path):
    found = collect(write_study(tmp_path, seeds=(1, 2)))
    assert len(found) == 2 * (3 + 6) and {run.status for run in found} == {"done"}
    assert [run.path for run in found] == sorted(run.path for run in found)
