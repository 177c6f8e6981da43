"""Which GPU a run takes, on a host that has none: names stand for GPUs."""

import os
import tempfile
from contextlib import ExitStack

import pytest
import torch

from several_processes import FORK
from tietrain.config import HardwareConfig
from tietrain.config.compose import compose_config
from tietrain.config.identity import run_name
from tietrain.errors import SettingsError
from tietrain.train import devices, hardware
from tietrain.train.devices import leased
from tietrain.train.hardware import resolve_hardware


@pytest.fixture
def two_gpus(monkeypatch, tmp_path):
    """Two GPUs that nobody holds."""
    monkeypatch.setattr(devices, "gpus", lambda: ["first", "second"])
    monkeypatch.setattr(devices, "PAUSE", 0.01)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(hardware, "_set_determinism", lambda *args, **options: None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def resolve(**settings) -> hardware.Hardware:
    return resolve_hardware(HardwareConfig(threads=1, **settings))


def test_device_names_a_gpu_and_makes_no_other_run():
    config = compose_config(["hardware.device=cuda:3"])
    assert (config.hardware.device, config.hardware.gpu) == ("cuda", 3)
    assert run_name(config) == run_name(compose_config(["hardware.device=cuda"]))
    with pytest.raises(SettingsError, match="there is no such choice"):
        HardwareConfig(device="cuda:x")


def test_gpu_that_is_named_is_taken_and_must_be_there(two_gpus, monkeypatch):
    assert resolve(device="cuda:1").device == torch.device("cuda", 1)
    with pytest.raises(SettingsError, match="torch finds 2 GPUs here"):
        resolve(device="auto", gpu=2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert resolve(device="auto").device == torch.device("cuda", 1)
    assert resolve(device="cpu").device == torch.device("cpu")
    with pytest.raises(SettingsError, match=r"hardware\.gpu=1: each process of a run"):
        resolve(device="cuda:1")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(SettingsError, match="one process per GPU"):
        resolve(device="auto")


def test_lease_is_of_a_free_gpu_and_ends(two_gpus):
    said = []
    for _ in range(2):
        with ExitStack() as stack:
            found = [stack.enter_context(leased(resolve(device="cuda"), said.append, waits=False)) for _ in range(3)]
        assert [one.device.index for one in found] == [0, 1, 0]
    assert len(said) == 2
    with (
        leased(resolve(device="cuda:0"), said.append, waits=True) as named,
        leased(resolve(device="cuda:0"), said.append, waits=True) as shared,
        leased(resolve(device="cuda"), said.append, waits=True) as free,
    ):
        assert [one.device.index for one in (named, shared, free)] == [0, 0, 1]
    with leased(resolve(device="cpu"), said.append, waits=True) as cpu:
        assert cpu.device.type == "cpu"
    assert len(said) == 3


def test_cells_at_once_share_no_gpu_also_if_one_dies(two_gpus, tmp_path):
    in_use = [FORK.Value("i", 0) for _ in range(2)]

    def cell(number: int) -> None:
        with leased(resolve(device="cuda"), lambda line: None, waits=True) as found:
            mine = in_use[found.device.index]
            assert mine.value == 0
            mine.value = 1
            torch.ones(200, 200) @ torch.ones(200, 200)
            mine.value = 0
            if number == 1:
                os._exit(3)

    cells = [FORK.Process(target=cell, args=(number,)) for number in range(6)]
    for one in cells:
        one.start()
    for one in cells:
        one.join(60)
    assert sorted(one.exitcode for one in cells) == [0, 0, 0, 0, 0, 3]


def test_runs_share_a_gpu_once_each_gpu_has_one(two_gpus):
    said = []
    with ExitStack() as stack:
        runs = [leased(resolve(device="cuda", runs_per_gpu=2), said.append, waits=False) for _ in range(5)]
        found = [stack.enter_context(run).device.index for run in runs[:4]]
        assert found == [0, 1, 0, 1] and not said
        assert stack.enter_context(runs[4]).device.index == 0
        assert "hold every GPU" in said[0]
    with leased(resolve(device="cuda:1", runs_per_gpu=2), said.append, waits=True) as named:
        assert named.device.index == 1
    with pytest.raises(SettingsError, match="at least 1"):
        HardwareConfig(runs_per_gpu=0)


def test_no_more_cells_at_once_than_may_share_a_gpu(two_gpus):
    in_use = [FORK.Value("i", 0) for _ in range(2)]
    together = FORK.Barrier(4)

    def cell() -> None:
        with leased(resolve(device="cuda", runs_per_gpu=2), lambda line: None, waits=True) as found:
            mine = in_use[found.device.index]
            with mine:
                mine.value += 1
                assert mine.value <= 2
            together.wait(60)  # four cells are there at one time, two on each
            with mine:
                mine.value -= 1

    cells = [FORK.Process(target=cell) for _ in range(8)]
    for one in cells:
        one.start()
    for one in cells:
        one.join(60)
    assert [one.exitcode for one in cells] == [0] * 8


@pytest.mark.parametrize("before", ["1,2", None])
def test_cell_sees_the_gpus_that_its_launcher_hid(monkeypatch, before):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if before:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before)
    monkeypatch.setenv(devices.REMEMBERED, "")
    devices.remember_visible()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    devices.show_hidden()
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == before
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")  # a launcher's choice, which stays
    devices.show_hidden()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"


def test_cell_sees_no_gpu_if_its_grid_was_to_see_none(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv(devices.REMEMBERED, "")  # of a grid that started this one
    devices.remember_visible()
    devices.show_hidden()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_auto_says_so_if_it_is_the_cpu_of_a_host_with_gpus(monkeypatch, tmp_path):
    monkeypatch.setattr(hardware, "DRIVER", tmp_path)
    assert not resolve(device="auto").notes
    (tmp_path / "0000:17:00.0").mkdir()
    assert "hides it" in resolve(device="auto").notes[0]
    assert not resolve(device="cpu", precision="fp32").notes
