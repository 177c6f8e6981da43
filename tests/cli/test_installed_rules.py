"""Rules of installed packages: the example of the documents, built and installed; and packages that do not work."""

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from tietrain.cli.main import main
from tietrain.errors import TyingError
from tietrain.plan import installed
from tietrain.plan.installed import find_rule, is_missing
from tietrain.runs import record as runs

EXAMPLE = Path(__file__).parents[2] / "docs" / "plugin_example"
TIE = ["-cd", str(EXAMPLE / "conf"), "tying=lower:share:1.0"]
TINY = ["data.preset=tiny", "model=tiny", "train.max_steps=2", "hardware.precision=fp32", "run_dir=run"]


def install(folder, module, entry_points):
    """What pip leaves of a package: its module and its metadata."""
    metadata = folder / "my_ties-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-ties\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[tietrain.rules]\n{entry_points}\n")
    (folder / "my_ties.py").write_text(module)


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A folder of installed packages."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(installed, "folders", lambda: [str(folder)])
    forget()
    yield folder
    forget()


def forget():
    installed.found_rules.cache_clear()
    installed._load.cache_clear()
    sys.modules.pop("my_ties", None)


def install_example(folder):
    pyproject = (EXAMPLE / "pyproject.toml").read_text()
    entry = pyproject.partition('"tietrain.rules"]\n')[2].splitlines()[0].replace('"', "")
    install(folder, (EXAMPLE / "src" / "my_ties.py").read_text(), entry)


def test_rule_of_a_package_ties_and_its_runs_are_read_without_it(packages, tietrain_cli):
    install_example(packages)
    planned = tietrain_cli("plan", *TIE, "model.n_layers=3", "--json")
    assert planned.code == 0, planned.err
    assert json.loads(planned.out)["groups"]["decoder.0.ffn.in.weight"] == [
        f"decoder.{i}.ffn.in.weight" for i in range(3)
    ]
    assert main([*TIE, *TINY]) == 0
    assert "rule my_ties.lower_half is of my-ties 1.0" in runs.read_record(Path("run")).notes
    scores = json.loads(Path("run/eval.json").read_text())["splits"]["test"]

    shutil.rmtree(packages)
    forget()
    again = tietrain_cli("eval", "run", "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["splits"]["test"] == scores
    refused = tietrain_cli("plan", *TIE)
    assert refused.code == 2 and "no installed package brings it" in refused.err


def test_a_package_in_the_current_folder_brings_no_rule(tmp_path, monkeypatch):
    install_example(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.syspath_prepend(str(tmp_path / "here"))
    assert [found.name for found in distributions(path=[str(tmp_path / "here")])] == ["my-ties"]
    forget()
    assert is_missing("my_ties.lower_half")
    with pytest.raises(TyingError, match="no installed package brings it"):
        find_rule("my_ties.lower_half")


@pytest.mark.parametrize(
    ("module", "problem"),
    [
        ("raise OSError('no licence')", r"cannot be loaded \(OSError: no licence\)"),
        ("", r"cannot be loaded \(AttributeError"),
        ("def lower_half(slots):\n    return 1 / 0", r"fails \(ZeroDivisionError"),
        ("def lower_half(slots):\n    return ['ab', 3]", r"fails \(TypeError"),
        ("def lower_half(slots):\n    return [('decoder.0', 'decoder.9')]", r"decoder\.9"),
    ],
)
def test_code_that_does_not_work_is_refused_with_its_package(packages, tietrain_cli, module, problem):
    install(packages, module, "lower_half = my_ties:lower_half")
    refused = tietrain_cli("plan", "-cd", str(EXAMPLE / "conf"), "tying=lower")
    assert refused.code == 2
    assert re.search(problem, refused.err), refused.err


@pytest.mark.slow
def test_example_builds_and_installs(tmp_path):
    shutil.copytree(EXAMPLE, tmp_path / "example")
    target = tmp_path / "site-packages"
    words = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", str(target)]
    subprocess.run([sys.executable, *words, str(tmp_path / "example")], check=True)
    (package,) = distributions(path=[str(target)])
    assert [entry.value for entry in package.entry_points] == ["my_ties:lower_half"]
