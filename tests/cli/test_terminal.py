"""What a stranger's run directory, or a model, makes a terminal show: text and no commands."""

import io
import subprocess
import sys

import pytest

from tietrain.cli.main import main
from tietrain.cli.registry import say
from tietrain.errors import eprint, visible
from tietrain.runs import record as runs

TITLE = "\x1b]0;owned\x07 \x9b31m\u202etxt"
SHOWN = "\\u001b]0;owned\\u0007 \\u009b31m\\u202etxt"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_visible_writes_control_characters_as_json_does_and_leaves_text_alone():
    assert visible(TITLE) == SHOWN
    text = "día\n\t冬\u3000\u00a0👩\u200d🚀"
    assert visible(text) == text


@pytest.mark.parametrize(("stream", "shown"), [(Terminal, SHOWN), (io.StringIO, TITLE)])
def test_say_commands_no_terminal_and_leaves_a_pipe_its_bytes(monkeypatch, stream, shown):
    monkeypatch.setattr(sys, "stdout", stream())
    say(TITLE)
    assert sys.stdout.getvalue() == f"{shown}\n"


def test_eprint_commands_no_terminal(capsys):
    eprint(TITLE)
    assert capsys.readouterr().err == f"{SHOWN}\n"


@pytest.mark.parametrize("command", ["generate", "eval", "translate", "status", "report"])
def test_a_stranger_s_configuration_commands_no_terminal(tmp_path, capsys, command, no_figures):
    (tmp_path / runs.RUN).write_text(
        '{"id": "\\u001b[31m", "study": "", "label": "\\u001b[31m", "task": "", "status": "done"}'
    )
    (tmp_path / runs.CONFIG).write_text('{"task": {"name": "\\u001b[31m"}}')
    main([command, str(tmp_path)])
    shown = capsys.readouterr()
    assert shown.out + shown.err
    assert "\x1b" not in shown.out + shown.err


def test_python_m_tietrain_runs_nothing_of_the_current_folder(tmp_path):
    plugin = tmp_path / "hydra_plugins"
    plugin.mkdir()
    (plugin / "mine.py").write_text("open('it_ran', 'w')")
    command = [sys.executable, "-m", "tietrain", "--cfg", "job"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "it_ran").exists()
