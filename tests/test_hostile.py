"""Run directories and settings made to do harm: nothing is run, nothing is written elsewhere, nobody waits."""

import ast
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from omegaconf.basecontainer import BaseContainer

from tietrain.cli.main import main
from tietrain.config.compose import compose_config
from tietrain.config.identity import run_name
from tietrain.config.stored import override_config, read_run_config
from tietrain.data.vocabularies import check_foreign_model
from tietrain.errors import DataError, StorageError, TietrainError
from tietrain.report.write import write_report
from tietrain.runs import record as runs
from tietrain.runs.metrics import append_metrics

SOURCE = Path(__file__).parents[1] / "src" / "tietrain"
# Modules and functions that make objects, or run code, out of what they read.
UNSAFE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "runpy", "code"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}
UNSAFE_ATTRIBUTES = {
    "torch.load",
    "torch.save",
    "np.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "os.system",
    "hydra.utils",
}


def unsafe(node: ast.AST) -> str:
    """What makes objects or runs code in one node of a source file; empty if nothing does."""
    if isinstance(node, ast.Import):
        return ", ".join(alias.name for alias in node.names if alias.name.split(".")[0] in UNSAFE)
    if isinstance(node, ast.ImportFrom):
        return node.module if node.module and node.module.split(".")[0] in UNSAFE else ""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id if node.func.id in UNSAFE_CALLS else ""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        name = f"{node.value.id}.{node.attr}"
        return name if name in UNSAFE_ATTRIBUTES else ""
    return ""


def breaches(text: str) -> list[str]:
    """`line: name` of everything unsafe in a source text."""
    return [f"{node.lineno}: {name}" for node in ast.walk(ast.parse(text)) if (name := unsafe(node))]


def test_sources_read_no_pickles_and_run_nothing_they_read():
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        found += [f"{path.relative_to(SOURCE)}:{what}" for what in breaches(path.read_text(encoding="utf-8"))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    ["import json, pickle", "from marshal import loads", "eval('1')", "torch.load('x')", "import os\nos.system('x')"],
)
def test_breaches_sees_what_is_unsafe(text):
    assert breaches(text) and not breaches("import json\nmodel.eval()\njson.loads('1')")


@pytest.mark.parametrize("name", ["run.json.tmp", "metrics.jsonl", "train.log", ".lock"])
def test_writers_follow_no_link_out_of_the_directory(tmp_path, name):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "outside")
    try:
        runs.write_json(tmp_path / "run" / "run.json", {})
        runs.append_log(tmp_path / "run", "x")
        append_metrics(tmp_path / "run", [{"step": 1}])
        with runs.locked(tmp_path / "run"):
            pass
    except StorageError as e:
        assert name in str(e) or "run_dir" in str(e)
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("name", ["run.json.tmp", "metrics.jsonl", "train.log", ".lock"])
def test_writers_do_not_wait_for_a_pipe(tmp_path, name):
    os.mkfifo(tmp_path / name)
    signal.alarm(20)  # a writer that waits would wait for ever
    try:
        runs.write_json(tmp_path / "run.json", {})
        runs.append_log(tmp_path, "x")
        for write in (lambda: append_metrics(tmp_path, [{"step": 1}]), lambda: runs.locked(tmp_path).__enter__()):
            try:
                write()
            except StorageError as e:
                assert name in str(e) or "run_dir" in str(e)
    finally:
        signal.alarm(0)


def test_write_report_refuses_a_folder_that_is_a_link(tmp_path, no_figures):
    from fabricated import make_config, write_run

    write_run(tmp_path / "study", make_config("lm", "none", 1))
    (tmp_path / "outside").mkdir()
    (tmp_path / "study" / "report").symlink_to(tmp_path / "outside")
    with pytest.raises(StorageError) as e:
        write_report(tmp_path / "study")
    assert str(tmp_path / "study" / "report") in e.value.setting
    assert not list((tmp_path / "outside").iterdir())


LAUGHS = "a: &a [x]\n" + "".join(
    f"{c}: &{c} [*{b},*{b},*{b},*{b},*{b},*{b},*{b},*{b}]\n" for b, c in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,
        "tying: {ties: {x: {rule: &r cycle, stacks: [*r]}}}",
        "seed: !!python/object/apply:os.getcwd []",
        "seed: " + "[" * 5000,
        "seed: 1\n" * 200_000,
        "seed: 2001-01-01",
        "task: {_target_: os.getcwd}",
        "\xff\x00",
    ],
)
def test_read_run_config_refuses_what_is_not_plain_values(tmp_path, text):
    (tmp_path / runs.RUN).write_text("{}")
    (tmp_path / runs.CONFIG).write_text(text)
    began = time.monotonic()
    with pytest.raises(DataError):
        read_run_config(tmp_path)
    assert time.monotonic() - began < 20


def test_read_json_refuses_giant_files(tmp_path):
    for size in (runs.MAX_JSON_BYTES + 1, 2**40):
        (tmp_path / "x.json").touch()
        os.truncate(tmp_path / "x.json", size)
        with pytest.raises(DataError):
            runs.read_json(tmp_path / "x.json")


def test_run_name_stays_in_the_output_directory(tmp_path):
    (tmp_path / "tying").mkdir()
    for label in ("a/../../b", "..", "/etc/x", "é\n" * 60, "x" * 400):
        text = json.dumps({"ties": {label: {"rule": "pre_softmax"}}})
        (tmp_path / "tying" / "mine.yaml").write_text(text)
        name = run_name(compose_config(["tying=mine"], [str(tmp_path)]))
        assert "/" not in name and len(name.encode()) < 200 and name.isprintable() and not name.startswith(".")


@pytest.mark.parametrize("word", ["study=${oc.env:HOME}", "data.root=${oc.env:HOME,x}", "study=${eval:1}"])
def test_settings_cannot_read_the_environment(capsys, tmp_path, monkeypatch, word):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TietrainError):
        compose_config([word])
    assert main([word]) == 2
    assert os.environ["HOME"] not in capsys.readouterr().err.replace(str(tmp_path), "")
    assert not list(tmp_path.iterdir())


def test_configuration_of_a_run_cannot_read_the_environment(monkeypatch):
    monkeypatch.setattr(BaseContainer, "_resolvers", dict(BaseContainer._resolvers))
    OmegaConf.register_new_resolver("oc.env", os.environ.get, replace=True)  # as in a new process
    with pytest.raises(TietrainError):
        override_config(replace(compose_config([]), init_from="${oc.env:HOME}"), [])


@pytest.mark.parametrize("content", [b"", b"x" * 99, b"\x0a\xff\xff\xff\xff\x0f"])
def test_check_foreign_model_refuses_an_invalid_model(tmp_path, content):
    (tmp_path / "x.model").write_bytes(content)
    with pytest.raises(DataError) as e:
        check_foreign_model(tmp_path / "x.model")
    assert "x.model" in e.value.setting


def test_check_foreign_model_survives_a_parser_that_dies(tmp_path, monkeypatch):
    (tmp_path / "x.model").write_bytes(b"x")
    monkeypatch.setattr("tietrain.data.vocabularies.PARSE", "import os; os.abort()")
    with pytest.raises(DataError, match="SIGABRT"):
        check_foreign_model(tmp_path / "x.model")


SETTINGS = [
    ["sed=1"],
    ["tying=nope"],
    ["model.n_heads=3"],
    ["optim.lr=-1"],
    ["study=a/b"],
    ["tying=[none,pre_softmax]"],
    ["tying=three_way", "task=lm"],
    ["data.splits.train=[x]"],
    ["seed=1,2"],
    ["model={"],
]


def test_settings_are_refused_in_less_than_a_second_without_torch(tmp_path):
    code = (
        "import sys, time\nfrom tietrain.cli.main import main\nfor words in eval(sys.argv[1]):\n"
        "    began = time.process_time()\n    assert main(words) == 2, words\n"
        "    assert time.process_time() - began < 1, words\n"
        "heavy = {'torch', 'datasets', 'pandas'} & set(sys.modules)\nassert not heavy, heavy"
    )
    command = [sys.executable, "-c", code, repr(SETTINGS)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize(("word", "code"), [("data=text", 2), ("optim.lr=-1", 2), ("tying=nonsense", 2)])
def test_exit_code_is_kept_when_stderr_is_full(word, code, tmp_path):
    command = [sys.executable, "-m", "tietrain", "data.preset=tiny", word]
    with open("/dev/full", "w") as full:
        assert subprocess.run(command, cwd=tmp_path, stderr=full, check=False).returncode == code
