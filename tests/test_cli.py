"""The command line as its users type it: verbs, did-you-mean, exit codes, one message and no traceback."""

import json

import pytest

from tietrain import __version__
from tietrain.cli import main


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
        (["tying=none,pre_softmax"], ["-m"]),
        (["plan", "tying=three_way"], ["tying=three_way", "decoder.embed", "pre_softmax"]),
        (["plan", "sed=1"], ["did you mean seed?"]),
        (["study=a/b"], ["study=a/b"]),
        (["-cd", "nope", "seed=1"], ["-cd nope"]),
        (["plan", "-cd", "nope"], ["-cd nope"]),
        ([""], ["commands are"]),
        (["run_dir=/proc/nope"], ["run_dir=/proc/nope"]),
        (["report", "no/such/folder"], ["no/such/folder"]),
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


@pytest.mark.parametrize("verb", ["plan", "schemes", "data", "report"])
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
    assert "decoder.0.ffn = decoder.1.ffn" in out
    assert "ffn_norm =" not in out


def test_schemes_json_lists_every_rule(capsys):
    from tietrain.tying.schemes import RULES

    code, out, _ = run(capsys, "schemes", "--json")
    assert code == 0
    assert {row["name"] for row in json.loads(out)} == set(RULES)


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
    import tietrain.verbs

    def broken(verb, argv):
        raise RuntimeError("boom")

    monkeypatch.setattr(tietrain.verbs, "run", broken)
    code, _, err = run(capsys, "plan")
    assert code == 70
    assert "boom" in err and "Traceback" not in err
