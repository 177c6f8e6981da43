"""Checkpoints exist whole or not at all, belong to one plan, and survive damage, a full disk and kill -9."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tietrain.errors import DataError, SettingsError, StorageError
from tietrain.runs.durable import is_whole
from tietrain.runs.metrics import read_metrics
from tietrain.train.averaging import load_scored
from tietrain.train.checkpoint import load_checkpoint, load_optimizer, load_weights, save_checkpoint, save_final
from tietrain.train.optim import build_optimizer
from tiny_run import TIES, build_model, reproducible, tiny_config, train

FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "manifest.json")
# Runs in a process of its own: a limit on file size acts like a full disk, and can be lifted by nobody.
PREAMBLE = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r}); from tiny_run import *; "


def quiet(line):
    pass


def steps_in(directory):
    return sorted(path.name for path in (directory / "checkpoints").iterdir() if path.name.startswith("step"))


def load(directory, model, log=quiet):
    optimizer = build_optimizer(model, tiny_config().optim)
    return load_checkpoint(directory, model, optimizer, lambda body: None, log)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def overwrite(path):
    path.write_bytes(os.urandom(path.stat().st_size))


def grow(path):
    path.write_bytes(path.read_bytes() + b"\0")


def make_pipe(path):
    path.unlink()
    os.mkfifo(path)


def make_folder(path):
    path.unlink()
    path.mkdir()


def dangle(path):
    path.unlink()
    path.symlink_to("nowhere")


DAMAGES = (Path.unlink, truncate, empty, flip, overwrite, grow, make_pipe, make_folder, dangle)


@pytest.fixture(scope="module")
def runs_of_12(tmp_path_factory):
    """A finished run, and one stopped after step 10 with checkpoints of steps 8 and 10."""
    root = tmp_path_factory.mktemp("runs")
    _, model = train(root / "whole", tiny_config("pre_softmax", eval_every=100))
    train(root / "cut", tiny_config("pre_softmax", eval_every=100), stop_after=10)
    return root, model


@pytest.mark.parametrize(
    ("name", "damage"),
    [*((FILES[0], damage) for damage in DAMAGES), *((name, flip) for name in FILES[1:])],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_load_checkpoint_passes_over_a_damaged_newest(tmp_path, runs_of_12, name, damage):
    root, uninterrupted = runs_of_12
    shutil.copytree(root / "cut", tmp_path / "run")
    assert steps_in(tmp_path / "run") == ["step_00000008", "step_00000010"]
    damage(tmp_path / "run" / "checkpoints" / "step_00000010" / name)
    lines = []
    assert load(tmp_path / "run", build_model(tiny_config("pre_softmax")), lines.append)["state"]["step"] == 8
    assert "step_00000010 is damaged" in lines[0]
    if damage is flip:
        _, model = train(tmp_path / "run", tiny_config("pre_softmax", eval_every=100))
        assert all(torch.equal(p, q) for p, q in zip(model.parameters(), uninterrupted.parameters(), strict=True))
        rows = [reproducible(read_metrics(path)) for path in (root / "whole", tmp_path / "run")]
        assert rows[0] == rows[1]
        assert steps_in(tmp_path / "run") == ["step_00000008", "step_00000012"]


def test_load_checkpoint_refuses_if_none_is_whole_and_overwrites_nothing(tmp_path, runs_of_12):
    shutil.copytree(runs_of_12[0] / "cut", tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").glob("step_*/state.json"):
        flip(path)
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    with pytest.raises(DataError) as refused:
        train(tmp_path / "run", tiny_config("pre_softmax", eval_every=100))
    assert refused.value.setting == str(tmp_path / "run" / "checkpoints")
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before


@pytest.mark.parametrize(
    ("made", "loaded"), [("none", "pre_softmax"), ("pre_softmax", "none"), ("cross_layer", "none")]
)
def test_load_checkpoint_refuses_another_plan(tmp_path, made, loaded):
    train(tmp_path, tiny_config(made), stop_after=2)
    model = build_model(tiny_config(loaded))
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, model)
    assert refused.value.setting == str(tmp_path / "checkpoints" / "step_00000002" / "model.safetensors")
    assert all(torch.equal(p, q) for p, q in zip(before, model.parameters(), strict=True))


def test_load_weights_refuses_equal_names_under_another_tie_map(tmp_path):
    """Layers 0 1 0 1 and 0 1 1 0 have owners of equal names and shapes."""
    ties = [{"cross_layer": {"rule": "cross_layer", "order": order, "n_unique": 2}} for order in ("cycle", "cycle_rev")]
    config = tiny_config()
    config.model.n_layers = 4
    models = []
    for tie in ties:
        config.tying.ties = tie
        models.append(build_model(config))
    assert list(models[0].state_dict()) == list(models[1].state_dict())
    save_final(tmp_path, models[0])
    with pytest.raises(SettingsError, match="plan"):
        load_weights(tmp_path, models[1])


def test_save_final_writes_owners_and_plan_and_nothing_else(tmp_path):
    for name in TIES:
        config = tiny_config(name, "mt")
        model = build_model(config)
        save_final(tmp_path / name, model)
        folder = tmp_path / name / "checkpoints" / "final"
        with safe_open(folder / "model.safetensors", framework="pt") as f:
            assert set(f.keys()) == {slot.name for slot in model.plan.owners}, name
            assert json.loads(f.metadata()["plan"]) == {"hash": model.plan.hash, "owner": dict(model.plan.owner)}
            assert list(f.metadata()) == ["plan"]
        stored = sum(p.numel() for p in model.parameters()) * 4
        assert stored < (folder / "model.safetensors").stat().st_size < stored + 40_000


def test_save_checkpoint_keeps_the_newest_two_and_leaves_foreign_names_alone(tmp_path):
    folder = tmp_path / "checkpoints"
    for name in ("step_by_step", "mine"):
        (folder / name).mkdir(parents=True)
    train(tmp_path, tiny_config(checkpoint_every=2))
    names = {path.name for path in folder.iterdir()}
    assert names == {"step_by_step", "mine", "best", "step_00000010", "step_00000012"}


def test_load_checkpoint_deletes_what_a_kill_left_undeleted(tmp_path, runs_of_12):
    shutil.copytree(runs_of_12[0] / "cut", tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    shutil.copytree(folder / "step_00000008", folder / "step_00000006")
    load(tmp_path / "run", build_model(tiny_config("pre_softmax")))
    assert steps_in(tmp_path / "run") == ["step_00000008", "step_00000010"]


def test_load_weights_starts_another_run(tmp_path):
    config = tiny_config("pre_softmax")
    trained = train(tmp_path, config)[1]
    with pytest.raises(DataError, match="init_from="):
        load_weights(tmp_path, build_model(config))
    save_final(tmp_path, trained)
    model = build_model(tiny_config("pre_softmax", seed=9))
    load_weights(tmp_path, model)
    assert all(torch.equal(p, q) for p, q in zip(trained.parameters(), model.parameters(), strict=True))
    with pytest.raises(SettingsError, match="plan"):
        load_weights(tmp_path, build_model(tiny_config("none")))
    flip(tmp_path / "checkpoints" / "final" / "model.safetensors")
    with pytest.raises(DataError):
        load_weights(tmp_path, build_model(config))


def test_load_scored_of_a_best_made_again_from_a_checkpoint_of_its_step(tmp_path):
    """Killed after the checkpoint of a new best, before `best/` was replaced."""
    config = tiny_config(eval_every=5)
    train(tmp_path, config, stop_after=5)
    shutil.rmtree(tmp_path / "checkpoints" / "best")
    train(tmp_path, config, stop_after=1)
    model, saved = build_model(config), build_model(config)
    assert load_scored(tmp_path, model, config.train)["step"] == 5
    shutil.rmtree(tmp_path / "checkpoints" / "step_00000006")
    load(tmp_path, saved)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), saved.parameters(), strict=True))


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_save_checkpoint_on_a_refusing_disk_leaves_the_one_before(tmp_path, monkeypatch, call):
    config = tiny_config()
    model = train(tmp_path, config, stop_after=5)[1]

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(StorageError) as refused:
        save_checkpoint(tmp_path, 6, model, build_optimizer(model, config.optim), {})
    monkeypatch.undo()
    assert "step_00000006" in refused.value.setting and "No space" in refused.value.problem
    assert steps_in(tmp_path) == ["step_00000004", "step_00000005"]
    assert load(tmp_path, build_model(config))["state"]["step"] == 5
    assert train(tmp_path, config)[0].step == 12


def test_save_final_refuses_too_little_free_space_before_writing(tmp_path, monkeypatch):
    model = build_model(tiny_config())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, 9))
    with pytest.raises(StorageError, match=" 9 are free"):
        save_final(tmp_path, model)
    assert not (tmp_path / "checkpoints" / "final").exists()


def test_save_checkpoint_on_a_full_disk_then_the_same_command_finishes(tmp_path):
    config = "tiny_config('pre_softmax', checkpoint_every=100, eval_every=100)"
    code = (
        f"{PREAMBLE}import resource, pathlib\n"
        f"from tietrain.errors import StorageError\nrun = pathlib.Path({str(tmp_path / 'cut')!r})\n"
        f"train(run, {config}, stop_after=5)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))\n"
        f"try:\n    train(run, {config})\nexcept StorageError as e:\n    print(e)\n    sys.exit(e.exit_code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (5, "")
    assert "File too large" in done.stdout and str(tmp_path) in done.stdout
    _, whole = train(tmp_path / "whole", tiny_config("pre_softmax", eval_every=100))
    _, model = train(tmp_path / "cut", tiny_config("pre_softmax", checkpoint_every=100, eval_every=100))
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), whole.parameters(), strict=True))


@pytest.mark.slow
def test_checkpoints_survive_kill_nine_at_any_moment(tmp_path):
    """20 kills of a run that saves every step; what is left always loads, and the end is that of a quiet run."""
    config = "tiny_config('pre_softmax', max_steps=60, checkpoint_every=1, eval_every=3, log_every=1)"
    code = f"{PREAMBLE}import pathlib; train(pathlib.Path({str(tmp_path / 'cut')!r}), {config}, log=print)"
    killed = 0
    for i in range(20):
        with subprocess.Popen([sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if "tokens/s" in line:
                    break
            time.sleep(0.004 * i)
            process.send_signal(signal.SIGKILL)
        killed += process.returncode == -signal.SIGKILL
        folder = tmp_path / "cut" / "checkpoints"
        assert all(is_whole(path) for path in folder.glob("*") if not path.name.endswith(".tmp"))
    assert killed >= 10
    _, model = train(tmp_path / "cut", eval(config, {"tiny_config": tiny_config}))
    _, whole = train(tmp_path / "whole", eval(config, {"tiny_config": tiny_config}))
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), whole.parameters(), strict=True))
    rows = [reproducible(read_metrics(tmp_path / which)) for which in ("whole", "cut")]
    assert rows[0] == rows[1]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says what memory is a process's own")
def test_moments_are_read_from_their_file_when_they_are_used(tmp_path):
    """So the first process of a run in slices never has all of them in its own memory while it loads."""
    table = torch.nn.Linear(4096, 4096, bias=False)
    optimizer = torch.optim.SGD(table.parameters())
    save_file({"momentum_buffer/weight": torch.ones(4096, 4096)}, tmp_path / "optimizer.safetensors")
    before = own_megabytes()
    load_optimizer(tmp_path / "optimizer.safetensors", table, optimizer)
    (moment,) = (state["momentum_buffer"] for state in optimizer.state.values())
    assert moment.sum() == 4096**2
    assert own_megabytes() - before < 16  # of 64
    kept = moment.clone()
    assert own_megabytes() - before >= 60
    assert torch.equal(kept, moment)


def own_megabytes():
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024
