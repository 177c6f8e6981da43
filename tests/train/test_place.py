"""Where a run lies: the folder of its hash, whatever a grid wrote into the name, also where `auto` made the same of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from fabricated import make_config, write_run
from tietrain.config.identity import run_name
from tietrain.runs import record as runs
from tietrain.train.experiment import Experiment
from tietrain.train.place import find_place


@pytest.fixture
def study(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("outputs/default")


def config_of(device: str = "auto", precision: str = "auto", swept=()):
    config = make_config("lm", "none", 1)
    config.study = "default"
    config.run_dir = None
    config.swept = list(swept)
    config.hardware = replace(config.hardware, device=device, precision=precision)
    return config


def made(study: Path, config, machine: dict) -> Path:
    """A run of a configuration, which is there already."""
    folder = find_place(config)
    write_run(study, config, folder=folder.name)
    record = runs.read_record(folder)
    record.machine = machine
    runs.write_record(folder, record)
    return folder


def test_find_place_of_a_cell_shows_what_was_swept(study):
    title, _, digest = run_name(config_of()).rpartition("-")
    swept = ["seed=1", "optim.lr=0.01", "tying=[pre_softmax,cycle:n_unique:2]"]
    assert find_place(config_of(swept=swept)) == study / f"{title}-lr_0.01-n_unique_2-{digest}"
    assert find_place(config_of()) == study / run_name(config_of())


def test_find_place_finds_a_run_whatever_its_name_shows(study):
    in_grid = made(study, config_of(swept=["optim.lr=0.01"]), {})
    assert find_place(config_of()) == in_grid == find_place(config_of(swept=["model.dropout=0.1"]))


CPU = {"device": "cpu", "precision": "fp32"}


@pytest.mark.parametrize(
    ("before", "machine", "now", "is_same"),
    [
        ((), CPU, ("cpu",), True),
        ((), CPU, ("cpu", "fp32"), True),
        (("cpu",), CPU, (), True),
        (("cpu", "fp32"), CPU, ("auto", "fp32"), True),
        ((), CPU, ("cpu", "bf16"), False),
        ((), {"device": "cuda", "precision": "bf16"}, ("cpu",), False),
        (("cuda", "bf16"), {"device": "cuda", "precision": "bf16"}, (), False),
        ((), {}, ("cpu",), False),
    ],
)
def test_find_place_finds_what_auto_made_the_same(study, monkeypatch, before, machine, now, is_same):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    folder = made(study, config_of(*before), machine)
    assert (find_place(config_of(*now)) == folder) == is_same


def test_a_run_that_goes_on_stays_in_the_folder_that_was_found(study):
    folder = made(study, config_of(), CPU)
    experiment = Experiment(config_of("cpu"))
    assert experiment.directory == folder
    record = runs.read_record(folder)
    record.machine = {}  # as while it prepares
    runs.write_record(folder, record)
    assert experiment.with_vocabularies({}).directory == folder
    record.earlier_machines = [CPU]
    runs.write_record(folder, record)
    assert find_place(config_of("cpu")) == folder


def test_run_dir_may_begin_with_the_home_folder(study, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    config = config_of()
    config.run_dir = "~/run"
    assert Experiment(config).directory == Path("/home/me/run")
