"""The scripts can be imported, and what they watch or patch in the package is still there."""

import math
import re
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml

from tietrain.cli.status import Progress

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")


@pytest.mark.parametrize("name", ["bench", "bench_gpu", "demo", "torture"])
def test_script_can_be_imported(name):
    # bench imports the benchmarks beside it; examples and refresh_docs have tests of their own.
    assert callable(import_module(name).main)


def test_demo_shows_how_many_cells_have_ended_and_what_is_left():
    demo = import_module("demo")
    ended = Progress("a", "none", 1, "done", ("seed=1",), total_seconds=20.0)
    at_work = Progress("b", "none", 2, "running", ("seed=2",), total_seconds=15.0, fraction=0.75, eta_seconds=5.0)
    waiting = Progress(".", "", None, "waiting", ("seed=3",), n_runs=3)
    assert demo.progress([ended, at_work, waiting]) == "1 of 5, 1:05 left"
    assert demo.progress([ended]) == "1 of 1"
    assert demo.progress([]) == ""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of libraries beside tietrain
def test_bench_gpu_measures_every_line_or_says_why_not(monkeypatch, capsys):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    import_module("bench_gpu").main(["--device", "cpu", "--tiny", "--seconds", "0.05"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ") and "tokens/s" not in line]
    assert len(lines) == 34
    reasons = ("left out: No module named", "tf32: this device has no TF32")
    for line in lines:
        assert re.search(r" [\d,]+ +([\d.]+%|-) +- +\d$", line) or any(reason in line for reason in reasons), line
    # Training of pairs of many lengths makes two graphs, of windows one.
    assert [line.split()[-1] for line in lines if line.startswith("  tietrain, compiled")] == ["1", "1", "2", "2"]


def test_bench_gpu_says_why_a_line_cannot_be_run(capsys):
    bench_gpu = import_module("bench_gpu")
    bench = bench_gpu.Bench(torch.device("cpu"), 1e12, 0.0, math.inf, is_tiny=True)

    def make():
        raise torch.OutOfMemoryError("no room\nfor it")

    bench.line("large", make)
    bench.line("foreign", lambda: import_module("no_such_peer"))
    bench.end = 0
    bench.line("late", make)
    said = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert said[:2] == ["large failed: OutOfMemoryError: no room", "foreign left out: No module named 'no_such_peer'"]
    assert said[2].startswith("late left out: no time is left")


@pytest.mark.parametrize("name", ["bench", "bench_gpu"])
def test_bench_refuses_a_part_that_is_not_there(name, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [name, "lm", "speed"])
    with pytest.raises(SystemExit):
        import_module(name).main()
    assert "there is no part speed" in capsys.readouterr().err


def test_bench_durable_watches_functions_that_exist():
    watched = [place for places in import_module("bench_durable").WATCHED.values() for place in places]
    assert watched and not [(module, name) for module, name in watched if not callable(getattr(module, name, None))]


def test_fuzz_targets_accept_any_bytes():
    pytest.importorskip("atheris", reason="atheris is installed by `make fuzz`")
    fuzz = import_module("fuzz")
    for target in fuzz.TARGETS.values():
        for data in (b"", b"\0{}", b"\1a\tb\n", b"seed=1\nx", bytes(range(256))):
            fuzz.guarded(target)(data)


def test_pre_commit_hooks_are_local_and_run_what_lint_runs():
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert repo["repo"] == "local" and {hook["language"] for hook in repo["hooks"]} == {"system"}
    entries = {hook["entry"] for hook in repo["hooks"]}
    assert {".venv/bin/ruff check", ".venv/bin/ruff format --check", ".venv/bin/mypy"} <= entries
