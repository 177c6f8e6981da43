"""What a command finds around it: closed or full streams, other encodings, no folder. Each ends with its own exit code."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tietrain.runs import record as runs
from tietrain.runs.metrics import read_metrics

TINY = ["data.preset=tiny", "model=tiny", "model.vocab_size=400", "train.batch_tokens=256", "train.max_steps=1"]


def shell(line, **environment):
    """A line of the shell, in which $T is tietrain, run in the current folder."""
    command = f'T="{sys.executable} -m tietrain"; {line}'
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("$T schemes >&-", 0),
        ("$T schemes 2>&-", 0),
        ("$T nonsense 2>&-", 2),
        ("$T schemes | head -1; exit ${PIPESTATUS[0]}", 0),
        ("$T schemes >/dev/full", 5),
        ("$T plan --json >/dev/full", 5),
        ("$T --help >/dev/full", 5),
        ("mkdir gone; cd gone; rmdir ../gone; $T plan", 5),
    ],
)
def test_streams_and_folders_that_are_gone(tmp_path, monkeypatch, line, code):
    monkeypatch.chdir(tmp_path)
    ran = shell(line)
    assert ran.returncode == code, ran.stderr
    assert "Traceback" not in ran.stderr and "internal error" not in ran.stderr and "Exception" not in ran.stderr
    assert ran.stderr.count("\n") == (code == 5)


def test_run_without_standard_streams_is_done(tmp_path, monkeypatch):
    """Nothing else may get their numbers: what libraries print would end up in files of the run."""
    monkeypatch.chdir(tmp_path)
    assert shell(f"$T {' '.join(TINY)} run_dir=run <&- >&- 2>&-").returncode == 0
    assert runs.read_record(Path("run")).status == "done"


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}])
def test_output_is_utf8_in_any_locale(tmp_path, monkeypatch, environment):
    monkeypatch.chdir(tmp_path)
    Path("tying").mkdir()
    Path("tying/mine.yaml").write_text("ties: {é: {rule: pre_softmax}}\n", encoding="utf-8")
    ran = shell("$T plan tying=mine -cd . --json", **{"PYTHONUTF8": "0", **environment})
    assert ran.returncode == 0 and '"label": "é"' in ran.stdout, ran.stderr


def test_words_that_are_not_utf8_are_refused(tietrain_cli):
    for words in (
        ["report", os.fsdecode(b"\xff")],
        [os.fsdecode(b"study=\xff")],
        ["generate", "x", "--prompt", "a\udcff"],
    ):
        ran = tietrain_cli(*words)
        assert ran.is_refusal() and ran.code == 2 and "it is not UTF-8" in ran.err


def test_no_folder_for_temporary_files_is_no_bug(tietrain_cli, monkeypatch):
    def refuse(*args, **options):
        raise FileNotFoundError(2, "No usable temporary directory found")

    with monkeypatch.context() as broken:
        broken.setattr(tempfile, "gettempdir", refuse)
        ran = tietrain_cli("seed=1")
        assert ran.is_refusal() and ran.code == 5 and "No usable temporary directory" in ran.err
        broken.setattr(tempfile, "mkstemp", refuse)
        broken.setattr("tietrain.cli.verbs.tying_choices", lambda: 1 / 0)
        ran = tietrain_cli("schemes")
    assert ran.code == 70 and "ZeroDivisionError" in ran.err and "(see above)" in ran.err


@pytest.mark.slow
def test_run_saves_when_its_terminal_is_closed(tmp_path):
    words = [
        *TINY,
        "train.max_steps=1000",
        "train.slow_step_seconds=0.1",
        "train.log_every=1",
        f"run_dir={tmp_path / 'run'}",
    ]
    pid, terminal = os.forkpty()
    if not pid:
        os.execv(sys.executable, [sys.executable, "-m", "tietrain", *words])
    os.set_blocking(terminal, False)
    while len(read_metrics(tmp_path / "run")) < 2:
        try:
            os.read(terminal, 1 << 16)
        except BlockingIOError:
            assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + signal.SIGHUP
    last = read_metrics(tmp_path / "run")[-1]["step"]
    assert (tmp_path / "run" / runs.CHECKPOINTS / f"step_{last:08d}").is_dir()
