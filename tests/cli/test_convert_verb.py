"""`tietrain convert`: a run directory of its own, which trains on as any interrupted run, and says what it comes from."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from finished_run import make_run
from tietrain.runs import record as runs
from tietrain.runs.metrics import read_metrics
from tietrain.runs.ownership import scratch
from tietrain.runs.reading import names_in
from tietrain.train import convert, loop, resume_policy
from tietrain.train.saved import LAST, open_run
from tiny_run import reproducible

TINY = ["data=text", "model=tiny", "model.vocab_size=60", "train.batch_tokens=256", "train.max_steps=4"]
TINY += ["train.log_every=1", "hardware.device=cpu", "hardware.threads=1", "data.cache=cache"]
LM = ["task=lm", "data.splits={train: [a.txt], valid: [a.txt], test: [b.txt]}", *TINY]
MT = ["task=mt", "data.splits={train: [a.txt, b.txt], valid: [a.txt, b.txt]}", "task.metrics=[bleu]", *TINY]
LONGER = "train.max_steps=8"


@pytest.fixture(scope="module")
def parents(tmp_path_factory):
    """Runs of four steps: a language model `lm`, and translation with one vocabulary (`joint`) or two (`separate`)."""
    place = tmp_path_factory.mktemp("parents")
    (place / "a.txt").write_text("one sparrow sang and two owls listened to it\n" * 60)
    (place / "b.txt").write_text("ein spatz sang und zwei eulen hoerten ihm zu\n" * 60)
    make_run(place, ("tying=universal", "run_dir=lm", *LM))
    make_run(place, ("tying=three_way", "run_dir=joint", *MT))
    return make_run(place, ("tying=none", "run_dir=separate", *MT))


@pytest.fixture
def cli(parents, tietrain_cli, tmp_path):
    """Command lines in a folder of the test's own; a command goes to the folder that its run was started in."""

    def run(*words):
        os.chdir(tmp_path)
        return tietrain_cli(*words)

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def logits(run: Path) -> torch.Tensor:
    model = open_run(run, LAST).model
    ids = torch.arange(4, 20).view(2, 8)
    sources = {"encoder": ids.flip(1)} if len(model.shape.stacks) > 1 else None
    with torch.inference_mode():
        return model.logits(model(sources, ids))


@pytest.mark.parametrize(
    ("parent", "ties"),
    [("lm", "none"), ("joint", "cycle"), pytest.param("separate", "pre_softmax", marks=pytest.mark.slow)],
)
def test_convert_makes_a_run_that_trains_on(parents, cli, tmp_path, parent, ties):
    before = contents(parents / parent)
    ran = cli("convert", str(parents / parent), f"tying={ties}", LONGER, "run_dir=new", "--json")
    assert ran.code == 0
    body = json.loads(ran.out)
    assert body["step"] == 4 and body["directory"] == str(tmp_path / "new")
    assert contents(parents / parent) == before
    if ties != "pre_softmax":  # nothing is tied that was not
        assert torch.equal(logits(tmp_path / "new"), logits(parents / parent)) and body["change"] == 0
    record = runs.read_record(tmp_path / "new")
    assert (record.status, record.parent, record.settings["converted"]) == ("interrupted", parent, body["converted"])
    assert f"converted: {body['converted']}" in (tmp_path / "new" / runs.CONFIG).read_text()
    assert cli("resume", "new").code == 0
    record = runs.read_record(tmp_path / "new")
    assert (record.status, record.parent) == ("done", parent)
    assert [row["step"] for row in read_metrics(tmp_path / "new") if row["split"] == "train"] == [5, 6, 7, 8]
    assert f"converted from {parent} (tying=" in cli("status", ".").out
    assert "converted from" in json.loads(cli("status", ".", "--json").out)[0]["reason"]


def test_convert_is_continued_bit_for_bit_after_a_stop(parents, cli, tmp_path, monkeypatch):
    words = ["tying=[universal,relaxed]", LONGER, "train.ema=0.9", "optim.schedule=constant", "optim.warmup=0"]
    assert cli("convert", str(parents / "lm"), *words, "run_dir=whole").code == 0
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    add_row = loop.Telemetry.add_train_row

    def add_and_stop(self, state, fraction):
        add_row(self, state, fraction)
        if state.step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Telemetry, "add_train_row", add_and_stop)
        assert cli("resume", "cut").code == 143
    for name in ("cut", "whole"):
        assert cli("resume", name, "train.max_steps=10").code == 0
    rows = [reproducible(read_metrics(tmp_path / name)) for name in ("cut", "whole")]
    assert rows[0] == rows[1] and len(rows[0]) > 6
    for name in ("final", "best", "step_00000010"):
        weights = [tmp_path / run / runs.CHECKPOINTS / name / "model.safetensors" for run in ("cut", "whole")]
        assert weights[0].read_bytes() == weights[1].read_bytes()


def test_convert_after_a_kill_finds_its_folder_free(parents, cli, tmp_path, monkeypatch):
    """Like kill -9: nothing is cleaned up."""

    class Killed(BaseException):
        pass

    def die(*args):
        raise Killed

    words = ["convert", str(parents / "lm"), "tying=none", LONGER, "run_dir=new"]
    with monkeypatch.context() as patch:
        patch.setattr(convert.runs, "write_record", die)
        patch.setattr(scratch.__wrapped__.__globals__["shutil"], "rmtree", lambda *args, **options: None)
        with pytest.raises(Killed):
            cli(*words)
    assert list(tmp_path.glob(".begun-*")) and not (tmp_path / "new").exists()
    assert cli("status", ".", "--json").out == "[]\n"  # nobody takes what is left for a run
    assert cli(*words).code == 0
    assert not list(tmp_path.glob(".begun-*"))
    assert cli("resume", "new").code == 0


KILL = """
import os, sys
from importlib import import_module
from tietrain.cli.main import main
module, name, argv = import_module(sys.argv[1]), sys.argv[2], sys.argv[3:]
setattr(module, name, lambda *args, **options: os.kill(os.getpid(), 9))
main(argv)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("tietrain.train.begun", "save_vocabularies"),
        ("tietrain.train.begun", "save_checkpoint"),
        ("tietrain.runs.durable", "entry_of"),
        ("tietrain.runs.record", "write_record"),
        ("tietrain.train.begun", "sync"),
    ],
)
def test_convert_killed_at_any_write_leaves_nothing_or_a_whole_run(parents, cli, tmp_path, module, name):
    words = ["convert", str(parents / "lm"), "tying=none", LONGER, f"run_dir={tmp_path / 'new'}"]
    assert subprocess.run([sys.executable, "-c", KILL, module, name, *words], check=False).returncode == -9
    was_made = (tmp_path / "new").exists()
    assert was_made == (name == "sync")
    assert cli(*words).code == (2 if was_made else 0)
    assert cli("resume", "new").code == 0


def test_convert_refuses_by_name(parents, cli, tmp_path, golden):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    lost = tmp_path / "lost"
    shutil.copytree(parents / "lm", lost)
    for path in (lost / runs.CHECKPOINTS).glob("step_*/model.safetensors"):
        path.write_bytes(b"damaged")
    lm, separate = str(parents / "lm"), str(parents / "separate")
    cases = {
        "another task": [lm, "tying=none", "task=mt", LONGER],
        "another shape": [lm, "tying=none", "model.d_model=32", LONGER],
        "another vocabulary": [separate, "tying=three_way", LONGER],
        "another text": [lm, "tying=none", "data.splits.train=[b.txt]", LONGER],
        "other batches": [lm, "tying=none", "seed=2", LONGER],
        "another optimizer": [lm, "tying=none", "optim.name=sgd", LONGER],
        "no other ties": [lm, LONGER],
        "the same ties by another name": [lm, "tying=cross_layer", LONGER],
        "nothing left to train": [lm, "tying=none"],
        "no intact checkpoint": ["lost", "tying=none", LONGER],
        "no run": ["full", "tying=none", LONGER],
        "a folder in use": [lm, "tying=none", LONGER, "run_dir=full"],
        "the run itself": [lm, "tying=none", LONGER, f"run_dir={lm}"],
        "what tietrain writes": [lm, "tying=none", "converted=x"],
    }
    before = contents(parents), contents(tmp_path)
    said = {name: cli("convert", *words) for name, words in cases.items()}
    with runs.locked(lost):
        said["a run that is being written"] = cli("convert", "lost", "tying=none", LONGER)
    assert {ran.code for ran in said.values()} == {2, 3, 6}
    assert (contents(parents), contents(tmp_path)) == before
    texts = {name: ran.err for name, ran in said.items()}
    golden(
        "convert_refusals",
        {n: t.replace(str(parents), "PARENTS").replace(str(tmp_path), "DIR") for n, t in texts.items()},
    )


def test_convert_is_never_begun_from_the_start(parents, cli, tmp_path, monkeypatch):
    """What its settings cannot make again, neither `reproduce` nor a lost checkpoint makes from initial values."""
    assert cli("convert", str(parents / "lm"), "tying=none", LONGER, "run_dir=new").code == 0
    shutil.copytree(tmp_path / "new", tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / runs.CHECKPOINTS)
    ran = cli("resume", "bare")
    assert ran.code == 2 and "make it again" in ran.err
    assert cli("resume", "new").code == 0
    ran = cli("reproduce", "new")
    assert ran.code == 2 and "make it again" in ran.err
    shutil.copytree(tmp_path / "new", tmp_path / "small")
    shutil.rmtree(tmp_path / "small" / runs.CHECKPOINTS)
    assert "is finished" in cli("resume", "small").err  # weights may be taken away
    monkeypatch.setattr(resume_policy, "other_code", lambda *_: "torch 0")
    ran = cli("resume", "new", "same_code=true")
    assert ran.code == 2 and names_in(tmp_path / "new" / runs.CHECKPOINTS)
