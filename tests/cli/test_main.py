"""The command line as its users type it: verbs, did-you-mean, exit codes, one message and no traceback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tietrain import __version__
from tietrain.cli.main import main
from tietrain.config.compose import compose_config
from tietrain.config.identity import run_name


def run(capsys, *argv):
    try:
        code = main(list(argv))
    except SystemExit as e:  # argparse
        code = e.code
    out, err = capsys.readouterr()
    return code, out, err


def test_version(capsys):
    assert run(capsys, "--version") == (0, f"tietrain {__version__}\n", "")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["reprot"], ["did you mean report?"]),
        (["frobnicate"], ["commands are"]),
        (["sed=1"], ["did you mean seed?"]),
        (["+typo=1"], ["+typo=1"]),
        (["-m", "tying=none,nope"], ["tying=nope"]),
        (["-m", "seed=1,2", "run_dir=x"], ["run_dir"]),
        (["-m", "seed=1,2", "study=../x"], ["study=../x"]),
        (["tying=none,pre_softmax"], ["-m"]),
        (["plan", "tying=three_way"], ["tying=three_way", "decoder.embed", "pre_softmax"]),
        (["plan", "sed=1"], ["did you mean seed?"]),
        (["study=a/b"], ["study=a/b"]),
        (["-cd", "nope", "seed=1"], ["-cd nope"]),
        (["plan", "-cd", "nope"], ["-cd nope"]),
        ([""], ["commands are"]),
        (["run_dir=/proc/nope"], ["run_dir=/proc/nope"]),
        (["report", "no/such/folder"], ["no/such/folder"]),
        (["status", "no/such/folder"], ["no/such/folder"]),
        (["status", ".", "--json", "--watch"], ["--watch"]),
    ],
)
def test_refusals_are_one_message(capsys, tmp_path, monkeypatch, argv, words):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *argv)
    assert code in (2, 3, 5)
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1
    for word in words:
        assert word in err
    assert list(tmp_path.glob("**/run.json")) == []


@pytest.mark.parametrize(
    "verb", ["plan", "schemes", "check", "data", "status", "report", "compare", "translate", "generate", "eval"]
)
def test_every_verb_has_help(capsys, verb):
    code, out, _ = run(capsys, verb, "--help")
    assert code == 0
    assert "--json" in out


def test_plan_json_has_plain_integers(capsys):
    code, out, _ = run(capsys, "plan", "task=mt", "tying=three_way", "model=vaswani_base", "--json")
    body = json.loads(out)
    assert code == 0
    assert (body["params"], body["params_untied"], body["params_saved"]) == (63_045_632, 100_933_632, 37_888_000)


def test_plan_reads_a_users_own_configs(capsys, tmp_path):
    (tmp_path / "tying").mkdir()
    (tmp_path / "tying" / "mine.yaml").write_text("ties:\n  mine: {rule: cross_layer, n_unique: 2, norms: false}\n")
    code, out, _ = run(capsys, "plan", "tying=mine", "-cd", str(tmp_path))
    assert code == 0
    assert "layers decoder 0=1 share self_attn, ffn; keep self_attn_norm, ffn_norm" in out


def test_hydra_flags_are_left_alone(capsys):
    code, out, _ = run(capsys, "--cfg", "job", "task=mt")
    assert code == 0
    assert "name: mt" in out
    assert run(capsys, "--nope")[0] == 2


def test_completion_offers_schemes(capsys, monkeypatch):
    monkeypatch.setenv("COMP_LINE", "tietrain tying=")
    monkeypatch.setenv("COMP_POINT", "15")
    code, out, _ = run(capsys, "-sc", "query=bash")
    assert code == 0
    assert "tying=three_way" in out.split()


@pytest.mark.parametrize(("text", "words"), [("ties: [", ["mine.yaml", "line"]), ("tis: 3\n", ["tying/mine", "tis"])])
def test_a_users_broken_config_is_named(capsys, tmp_path, text, words):
    (tmp_path / "tying").mkdir()
    (tmp_path / "tying" / "mine.yaml").write_text(text)
    for argv in (["plan", "tying=mine", "-cd", str(tmp_path)], ["-cd", str(tmp_path), "tying=mine"]):
        code, _, err = run(capsys, *argv)
        assert code == 2
        assert "Traceback" not in err
        for word in words:
            assert word in err


def test_an_unexpected_error_is_70_with_a_log(capsys, monkeypatch):
    import tietrain.cli.verbs

    def broken(verb, argv):
        raise RuntimeError("boom")

    monkeypatch.setattr(tietrain.cli.verbs, "run", broken)
    code, _, err = run(capsys, "plan")
    assert code == 70
    assert "boom" in err and "Traceback" not in err


@pytest.fixture
def cells(monkeypatch, tmp_path):
    """Configurations that the command line would run."""
    import tietrain.train.job
    from tietrain.train.outcome import Outcome

    found = []

    def run_job(config):
        found.append(config)
        return Outcome("", "done")

    monkeypatch.setattr(tietrain.train.job, "run_job", run_job)
    monkeypatch.chdir(tmp_path)
    return found


@pytest.mark.parametrize(
    ("argv", "batch_by"),
    [
        ([], ["tokens"]),
        (["train.batch_by=chars"], ["chars"]),
        (["model.vocab_size=200"], ["tokens"]),
        (["-m", "seed=1,2", "model.vocab_size=200"], ["tokens"] * 2),
        (["-m", "model.vocab_size=200,400", "seed=1,2"], ["chars"] * 4),
        (["-m", "data.kind=unigram,char"], ["chars"] * 2),
        (["-m", "data.byte_fallback=choice(true,false)"], ["chars"] * 2),
        (["-m", "model.vocab_size=200,400", "train.batch_by=tokens"], ["tokens"] * 2),
        (["-m", "data.kind=bpe,char", "train.batch_by=auto,tokens"], ["chars", "tokens"] * 2),
        (["-cd", "mine", "experiment=sizes"], ["chars"] * 2),
        (["-cd", "mine", "experiment=sizes", "model.vocab_size=300", "seed=1,2"], ["tokens"] * 2),
        (["-cd", "mine", "experiment=sizes", "hydra.mode=RUN"], ["tokens"]),
        (["-cd", "mine", "experiment=one_size"], ["tokens"] * 2),
    ],
)
def test_a_grid_over_vocabularies_is_cut_by_characters_in_every_cell(capsys, cells, argv, batch_by):
    folder = Path("mine/experiment")
    folder.mkdir(parents=True)
    for name, swept in (("sizes", "'200,400'"), ("one_size", "200, seed: '1,2'")):
        text = f"# @package _global_\nhydra: {{mode: MULTIRUN, sweeper: {{params: {{model.vocab_size: {swept}}}}}}}\n"
        (folder / f"{name}.yaml").write_text(text)
    assert run(capsys, *argv)[0] == 0
    assert [config.train.batch_by for config in cells] == batch_by


def test_a_cell_alone_is_the_run_of_the_grid(capsys, cells):
    assert run(capsys, "-m", "model.vocab_size=200,400")[0] == 0
    assert run(capsys, "model.vocab_size=200", "train.batch_by=chars")[0] == 0
    assert run(capsys, "model.vocab_size=200")[0] == 0
    grid, _, alone, by_tokens = map(run_name, cells)
    assert alone == grid != by_tokens
    assert by_tokens == run_name(compose_config(["model.vocab_size=200", "train.batch_by=tokens"]))


def test_python_without_assertions_is_refused():
    command = [sys.executable, "-O", "-m", "tietrain", "plan", "data.columns=[a,b]", "task=mt"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("tietrain: python -O: Hydra's parser") and done.stderr.count("\n") == 1
