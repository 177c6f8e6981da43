"""If the system refuses a read, the command ends with 5 and the system's reason, changes nothing, and works the next time."""

import errno
import itertools
import os
import shutil
import stat

import pytest

from errnos import READ_ERRORS, WRITE_ERRORS, Injection
from finished_run import make_run
from tietrain.cli.main import main
from tietrain.errors import StorageError
from tietrain.runs import record as runs
from tietrain.runs.durable import write_directory
from tietrain.runs.metrics import append_metrics

TINY = [
    "task=lm",
    "data.preset=tiny",
    "model=tiny",
    "model.vocab_size=400",
    "train.batch_tokens=512",
    "train.log_every=1",
    "train.eval_every=2",
    "train.checkpoint_every=2",
    "hardware.threads=1",
    "hardware.device=cpu",
    "optim.schedule=constant",
    "optim.warmup=0",
]
RUN = (*TINY, "run_dir=study/run", "train.max_steps=4")
LONGER = (*TINY, "run_dir=study/run", "train.max_steps=5")
READERS = {
    "finished": RUN,
    "report": ("report", "study", "--json"),
    "status": ("status", "study", "--json"),
    "compare": ("compare", "study/run", "study/run", "--samples", "20"),
    "eval": ("eval", "study/run", "--name", "again", "--json"),
    "generate": ("generate", "study/run", "--length", "4"),
    "plan": ("plan", "--against", "study/run", *TINY),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a finished run."""
    return make_run(tmp_path_factory.mktemp("refused"), RUN)


@pytest.fixture
def place(finished, monkeypatch):
    monkeypatch.chdir(finished)
    return finished


def contents(folder):
    """Path -> bytes and time of every file; what a command leaves beside a run by design is left out."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "eval_again.json"]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def ran(command, injection, capfd):
    """Exit code, output and errors of a command."""
    capfd.readouterr()
    with injection.on():
        code = main(list(command))
    return code, *capfd.readouterr()


SLOW = {"finished": pytest.mark.slow}  # a start loads torch at each of its many reads


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW.get(name, ())) for name in READERS])
def test_every_refused_read_ends_with_its_reason_and_changes_nothing(place, capfd, name):
    clean = Injection([place / "study"])
    code, answer, _ = ran(READERS[name], clean, capfd)
    assert code == 0 and len(clean.calls) > 2
    before = contents(place / "study")
    for at, number in zip(range(len(clean.calls)), itertools.cycle(READ_ERRORS)):
        injected = Injection([place / "study"], at, number)
        code, out, said = ran(READERS[name], injected, capfd)
        call = f"{os.strerror(number)} at {injected.calls[-1]}"
        # Whether a name is a link may stay unknown: then what is read is what counts.
        assert code == 5 or (injected.calls[at].startswith("lstat") and (code, out) == (0, answer)), f"{call}: {said}"
        if code:
            path = injected.calls[at].partition(" ")[2]
            assert os.strerror(number) in said and os.path.relpath(path) in said, call
        assert contents(place / "study") == before, call
    assert ran(READERS[name], Injection([]), capfd)[:2] == (0, answer)


def weights(folder):
    """Path -> bytes of checkpoints and vocabularies."""
    return {path: content for path, (content, _) in contents(folder).items() if len(path.relative_to(folder).parts) > 2}


@pytest.mark.parametrize("n_tried", [5, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_resume_that_is_refused_keeps_all_weights_and_continues_later(
    finished, tmp_path, monkeypatch, capfd, n_tried
):
    def start_anew():
        shutil.rmtree(tmp_path / "study", ignore_errors=True)
        shutil.copytree(finished / "study", tmp_path / "study")

    monkeypatch.chdir(tmp_path)
    final = tmp_path / "study" / "run" / runs.CHECKPOINTS / "final" / "model.safetensors"
    start_anew()
    clean = Injection([tmp_path / "study"])
    assert ran(LONGER, clean, capfd)[0] == 0
    wanted = final.read_bytes()
    n_calls = len(clean.calls)
    for at, number in zip(range(2, n_calls, max(1, n_calls // n_tried)), itertools.cycle(READ_ERRORS)):
        start_anew()
        before = weights(tmp_path / "study")
        injected = Injection([tmp_path / "study"], at, number)
        code, _, said = ran(LONGER, injected, capfd)
        call = f"{os.strerror(number)} at {injected.calls[at]}: {code} {said}"
        # A leftover that cannot be found or deleted is left there; TensorBoard stops no run.
        place = injected.calls[at]
        is_harmless = ".tmp" in place or place.startswith("scandir") or f"/{runs.TENSORBOARD}" in place
        assert (code == 5 and os.strerror(number) in said) or (code == 0 and is_harmless), call
        assert before.items() <= weights(tmp_path / "study").items() or "continuing after step 4" in said, call
        assert ran(LONGER, Injection([]), capfd)[0] == 0, call
        assert final.read_bytes() == wanted, call


@pytest.mark.parametrize("number", WRITE_ERRORS)
def test_a_refused_write_says_what_the_errno_means(tmp_path, monkeypatch, number):
    def refuse(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError) as refused:
        runs.write_json(tmp_path / "x.json", {})
    assert os.strerror(number) in refused.value.problem
    assert ("make room" in refused.value.remedy) == (number == errno.ENOSPC)


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_files_are_written_with_the_umask_of_the_user(tmp_path, umask):
    from safetensors.numpy import save_file

    before = os.umask(umask)
    try:
        write_directory(tmp_path / "x", lambda folder: save_file({}, folder / "model.safetensors"))
        runs.write_json(tmp_path / "x.json", {})
        runs.append_log(tmp_path, "x")
        append_metrics(tmp_path, [])
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert {name: mode for name, mode in modes.items() if mode != 0o666 & ~umask} == {"x": 0o777 & ~umask}
