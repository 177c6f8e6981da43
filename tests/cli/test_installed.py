"""What installed packages bring: the example of the documents, built and installed; and packages that do not work."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest

from tietrain.cli.main import main
from tietrain.errors import SettingsError, TyingError
from tietrain.plan import installed
from tietrain.plan.installed import METRIC, READER, RULE, find, find_rule, is_missing
from tietrain.runs import record as runs
from tietrain.runs.scores import find_score, foreign_signature

EXAMPLE = Path(__file__).parents[2] / "docs" / "plugin_example"
TIE = ["-cd", str(EXAMPLE / "conf"), "tying=lower:share:1.0"]
TINY = ["model=tiny", "model.vocab_size=40", "train.max_steps=2", "hardware.precision=fp32"]
PAIRS = "one owl sang\nein uhu sang\ntwo owls slept\nzwei uhus ruhten\n" * 20
FILES = ["data=text", "data.splits.train=[pairs.txt]", "data.splits.valid=[pairs.txt]"]
TABLE = ["data=tsv", "data.columns=[1,2]", "data.splits.valid=[pairs.tsv]"]
BROUGHT = [*FILES, "data.format=my_ties.two_lines", "task=mt", "task.metrics=[bleu,my_ties.exact]"]


def install(folder, module, entry_points):
    """What pip leaves of a package: its module and its metadata."""
    metadata = folder / "my_ties-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-ties\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(entry_points)
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
    for kept in (installed.brought, installed.load, installed._foreign_rule):
        kept.cache_clear()
    sys.modules.pop("my_ties", None)


def install_example(folder):
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    install(folder, (EXAMPLE / "src" / "my_ties.py").read_text(), "\n".join(lines))


def test_what_a_package_brings_is_used_and_its_runs_are_read_without_it(packages, tietrain_cli, no_figures):
    install_example(packages)
    Path("pairs.txt").write_text(PAIRS)
    planned = tietrain_cli("plan", *TIE, "model.n_layers=3", "--json")
    assert planned.code == 0, planned.err
    assert json.loads(planned.out)["groups"]["decoder.0.ffn.in.weight"] == [
        f"decoder.{i}.ffn.in.weight" for i in range(3)
    ]
    words = [*TIE, *TINY, *BROUGHT, "report.metric=my_ties.exact"]
    assert main([*words, "run_dir=study/run"]) == 0
    notes = runs.read_record(Path("study/run")).notes
    for note in ("rule my_ties.lower_half", "metric my_ties.exact", "reader my_ties.two_lines"):
        assert f"{note} is of my-ties 1.0" in notes
    stored = json.loads(Path("study/run/eval.json").read_text())
    scores = stored["splits"]["valid"]
    assert scores["my_ties.exact"] == 0 and "my_ties.exact_new" not in scores
    assert stored["signatures"]["my_ties.exact"] == "my-ties 1.0, higher is better"
    assert Path("study/run/references.valid.txt").read_text().startswith("ein uhu sang\nzwei uhus")

    shutil.rmtree(packages)
    forget()
    reported = tietrain_cli("report", "study")
    assert reported.code == 0, reported.err
    page = next(Path("study").rglob("report.md")).read_text()
    assert "my_ties.exact: higher is better." in page and "did not state a primary" not in page
    refused = tietrain_cli("eval", "study/run")
    assert refused.code == 2 and "data.format=my_ties.two_lines: no installed package brings it" in refused.err
    lines = Path("pairs.txt").read_text().splitlines()
    Path("pairs.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in zip(lines[::2], lines[1::2], strict=True)))
    again = tietrain_cli("eval", "study/run", *TABLE, "--json")
    assert again.code == 0, again.err
    body = json.loads(again.out)
    assert {"bleu", "nats_per_token"} < body["splits"]["valid"].keys()
    assert body["splits"]["valid"]["nats"] == scores["nats"]
    assert body["reasons"]["valid.my_ties.exact"] == "no installed package brings it"
    said = tietrain_cli("eval", "study/run", *TABLE)
    assert "valid.my_ties.exact is missing: no installed package brings it" in said.err
    for refused in (
        tietrain_cli("plan", *TIE),
        tietrain_cli("plan", "task=mt", "task.metrics=[my_ties.exact]"),
        tietrain_cli("plan", *FILES, "data.format=my_ties.two_lines"),
        tietrain_cli("eval", "study/run", "task.metrics=[my_ties.exact]"),
    ):
        assert refused.code == 2 and "no installed package brings it" in refused.err


def test_direction_of_a_metric_stands_in_its_signature():
    for is_better, sign in ((True, 1), (False, -1)):
        assert find_score("a.b", {"a.b": foreign_signature("a 1.0", is_better)}).sign == sign
    assert find_score("decoding", {"decoding": "beam:1"}) is None


def test_a_package_in_the_current_folder_brings_nothing(tmp_path, monkeypatch):
    install_example(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.syspath_prepend(str(tmp_path / "here"))
    assert [found.name for found in distributions(path=[str(tmp_path / "here")])] == ["my-ties"]
    forget()
    for kind, name in ((RULE, "lower_half"), (METRIC, "exact"), (READER, "two_lines")):
        assert is_missing(kind, f"my_ties.{name}")
        with pytest.raises(SettingsError, match="no installed package brings it"):
            find(kind, f"my_ties.{name}")
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
    install(packages, module, "[tietrain.rules]\nlower_half = my_ties:lower_half\n")
    refused = tietrain_cli("plan", "-cd", str(EXAMPLE / "conf"), "tying=lower")
    assert refused.code == 2
    assert re.search(problem, refused.err), refused.err


@pytest.mark.parametrize(
    ("module", "problem"),
    [
        ("def exact(a, b):\n    return 1.0", "does not say whether a higher score is better"),
        ("def exact(a, b):\n    return float('nan')\nexact.higher_is_better = True", "its score of 40 lines is nan"),
        ("def exact(a, b):\n    return 1 / 0\nexact.higher_is_better = True", r"fails \(ZeroDivisionError"),
        ("def two_lines(path):\n    return 3", r"fails \(TypeError"),
        (
            "def two_lines(path):\n    yield 'a', 'b', 'c'",
            r"pairs.txt, row 1: my_ties.two_lines gives \('a', 'b', 'c'\)",
        ),
        ("def two_lines(path):\n    yield 'one text'", "gives 'one text', and the columns are source, target"),
        ("def two_lines(path):\n    yield 'a', 3", "row 1: 'target' is a number, not a text"),
        ("def two_lines(path):\n    yield 'a', 'b\\nc'", "row 1: 'target' has a line break"),
        ("def two_lines(path):\n    return []", "there is no text in it"),
    ],
)
def test_metrics_and_readers_that_do_not_work_are_refused(packages, tietrain_cli, module, problem):
    install_example(packages)
    Path("pairs.txt").write_text(PAIRS)
    with open(packages / "my_ties.py", "a") as f:
        f.write(module)
    refused = tietrain_cli(*TINY, *BROUGHT, "run_dir=run")
    assert refused.code in (2, 3)
    assert re.search(problem, refused.err), refused.err


@pytest.mark.slow
def test_example_builds_and_installs(tmp_path):
    shutil.copytree(EXAMPLE, tmp_path / "example")
    target = tmp_path / "site-packages"
    words = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", str(target)]
    subprocess.run([sys.executable, *words, str(tmp_path / "example")], check=True)
    (package,) = distributions(path=[str(target)])
    assert {entry.group: entry.value for entry in package.entry_points} == {
        "tietrain.rules": "my_ties:lower_half",
        "tietrain.metrics": "my_ties:exact",
        "tietrain.readers": "my_ties:two_lines",
    }
