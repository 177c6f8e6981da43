"""Settings become a device, a precision and threads; what cannot be is refused, what will not pay is said."""

import json
import platform
import subprocess
import sys

import pytest
import torch

from tietrain.config import HardwareConfig
from tietrain.config.compose import compose_config
from tietrain.errors import SettingsError
from tietrain.train import hardware
from tietrain.train.hardware import resolve_hardware

FAST_BF16 = hardware.FAST_BF16  # the suite sets another


@pytest.fixture(autouse=True)
def keep_process_settings():
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("error" if strict else "default")


@pytest.mark.parametrize(("features", "precision"), [({"avx2": True}, "fp32"), ({"avx512_bf16": True}, "bf16")])
def test_precision_auto_of_a_cpu_is_bf16_where_that_is_fast(monkeypatch, features, precision):
    monkeypatch.setattr(hardware, "FAST_BF16", FAST_BF16)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    found = resolve_hardware(HardwareConfig(device="cpu"))
    assert (found.device.type, found.precision, found.notes) == ("cpu", precision, ())
    with found.autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
    settled = [resolve_hardware(HardwareConfig(device="cpu"), known).precision for known in ("fp32", "bf16")]
    assert settled == ["fp32", "bf16"]
    assert resolve_hardware(HardwareConfig(device="cpu", precision="fp32"), "bf16").precision == "fp32"


def test_autocast_of_bf16_on_a_cpu():
    with resolve_hardware(HardwareConfig(device="cpu", precision="bf16")).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


@pytest.mark.parametrize(("features", "n_notes"), [({"avx2": True}, 1), ({"avx512_bf16": True}, 0), ({}, 1)])
def test_resolve_hardware_notes_slow_bf16(monkeypatch, features, n_notes):
    monkeypatch.setattr(hardware, "FAST_BF16", FAST_BF16)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    assert len(resolve_hardware(HardwareConfig(device="cpu", precision="bf16")).notes) == n_notes


def test_resolve_hardware_refuses_a_missing_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert resolve_hardware(HardwareConfig(device="auto")).device.type == "cpu"
    with pytest.raises(SettingsError) as refused:
        resolve_hardware(HardwareConfig(device="cuda"))
    assert refused.value.setting == "hardware.device=cuda"


def test_resolve_hardware_sets_threads_for_one_run():
    before = resolve_hardware(HardwareConfig(device="cpu")).threads
    assert resolve_hardware(HardwareConfig(device="cpu", threads=before + 1)).threads == torch.get_num_threads()
    resolve_hardware(HardwareConfig(device="cpu"))
    assert torch.get_num_threads() == before


KEEPS = """
import resource, torch
from tietrain.config import HardwareConfig
from tietrain.train.hardware import resolve_hardware
def pages_cleared(mebibytes):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(mebibytes * 2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
pages_cleared(128)
before = pages_cleared(64)  # above the largest threshold that glibc chooses by itself
resolve_hardware(HardwareConfig(device="cpu"))
pages_cleared(128)
print(before, pages_cleared(64))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_resolve_hardware_lets_freed_memory_serve_again():
    done = subprocess.run([sys.executable, "-c", KEEPS], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after < before / 2


def test_describe_is_json_and_holds_what_decides_bits():
    described = resolve_hardware(HardwareConfig(device="cpu")).describe()
    assert json.loads(json.dumps(described)) == described
    assert {
        "device",
        "precision",
        "compile",
        "threads",
        "torch",
        "python",
        "cpu_capability",
        "platform",
    } <= described.keys()


def test_gpu_preset_states_its_peak_with_a_source():
    hardware = compose_config(["hardware=gpu"]).hardware
    assert hardware.peak_flops == 989e12
    assert hardware.peak_flops_source
