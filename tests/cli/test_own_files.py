"""A run whose vocabulary and vectors are gone: its directory keeps what it was given."""

import shutil

import pytest

from begun_run import SIZE, text_words
from tietrain.config.stored import read_run_config
from tietrain.runs import record as runs
from tietrain.train.repair import repair_run
from tokenizers_of_others import byte_level, write

SHAPE = [word for word in SIZE if "vocab" not in word]


@pytest.fixture
def run(tmp_path, tietrain_cli):
    words = ["task=lm", *SHAPE, *text_words("lm", tmp_path), "init_tables.input=v", "run_dir=run"]
    write(tmp_path / "t.json", byte_level(["one sparrow sang and two owls listened"] * 9, 290))
    (tmp_path / "v").write_text(f"\u0120owls {' '.join(['0.5'] * 16)}\n")
    assert tietrain_cli(*words, f"data.vocabulary={tmp_path / 't.json'}").code == 0
    for name in ("t.json", "v"):
        (tmp_path / name).unlink()
    shutil.rmtree(tmp_path / "cache")
    return tmp_path / "run"


def test_run_is_made_again_and_used_without_the_files_it_was_given(tmp_path, run, tietrain_cli):
    assert any("1 of 2" in note and "rows of decoder.embed.weight" in note for note in runs.read_record(run).notes)
    ran = tietrain_cli("reproduce", "run", "--to", "again")
    assert ran.code == 0 and "bit for bit" in ran.out
    assert tietrain_cli("eval", "run", "data.splits.other=[b.txt]").code == 0
    assert tietrain_cli("generate", "run", "--length", "3").code == 0
    shutil.rmtree(tmp_path / "cache")
    (run / runs.EVAL).unlink()
    assert not repair_run(run, lambda line: None).left


@pytest.mark.slow
def test_run_is_converted_and_started_from_without_the_files_it_was_given(tmp_path, run, tietrain_cli):
    assert tietrain_cli("convert", "run", "tying=pre_softmax", "run_dir=tied", "train.max_steps=4").code == 0
    assert not read_run_config(tmp_path / "tied").init_tables.files
    assert tietrain_cli("resume", "tied").code == 0
    (tmp_path / "a.txt").write_text("other words of another corpus\n" * 60)
    words = ["task=lm", *SHAPE, *text_words("lm", tmp_path), "init_from=run", "run_dir=tuned"]
    assert tietrain_cli(*words, f"data.vocabulary={run}").code == 0
    record = runs.read_record(tmp_path / "tuned")
    assert record.parent == "run"
    assert record.fingerprints["vocabulary.decoder"] == runs.read_record(run).fingerprints["vocabulary.decoder"]
