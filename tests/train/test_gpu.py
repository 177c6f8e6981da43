"""What only a GPU can show; `make test-gpu` runs it on a host that has one. One test needs two."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from several_processes import variables
from tietrain.config import HardwareConfig, TyingConfig
from tietrain.data.batches.pairs import Sources
from tietrain.data.encoded import EncodedLines
from tietrain.model.beam import Search, search
from tietrain.model.layers import attend, dropout
from tietrain.model.sampling import Sampling, sample
from tietrain.runs import record as runs
from tietrain.runs.metrics import read_metrics
from tietrain.train.averaging import smooth
from tietrain.train.devices import leased
from tietrain.train.hardware import resolve_hardware
from tietrain.train.optim import build_optimizer, train_step
from tietrain.train.outcome import outcome_of_error
from tietrain.train.processes import Team
from tietrain.train.tasks.task import batch_nats, compiled_for
from tiny_run import RandomTask, build_model, experiment_in, tiny_config, train

pytestmark = [
    pytest.mark.gpu,
    # Of the compiler's own parts.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*TensorFloat32 tensor cores:UserWarning"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype:UserWarning"),
]

CUDA = torch.device("cuda", 0)
VIEWS = {
    "universal": {"rule": "cross_layer"},
    "step_signal": {"rule": "step_signal", "signal": "sinusoidal"},
    **{name: {"rule": name} for name in ("pre_softmax", "relaxed", "scaled", "transposed")},
}
STEPS = [("lm", "adamw"), ("mt", "adam"), ("lm", "sgd")]
# All in float32, in another order of sums.
CLOSE = {"rtol": 1e-3, "atol": 1e-4}


def config_of(task: str, name: str = "adamw", **hardware):
    optim = {"name": name, "clip_norm": 0.5, "momentum": 0.9 if name == "sgd" else 0.0}
    config = tiny_config("none", task, optim=optim, hardware={"device_batch_tokens": 20} | hardware)
    ties = VIEWS if task == "lm" else {"three_way": {"rule": "three_way"}}
    return replace(config, tying=TyingConfig(ties))


def prepared(config, device=CUDA):
    """Model and optimizer of a configuration, and what its steps take."""
    model = build_model(config).to(device)
    hardware = replace(resolve_hardware(config.hardware), device=device)
    return (
        model,
        build_optimizer(model, config.optim),
        RandomTask(config),
        {"hardware": hardware, "clip_norm": 0.5, "seed": 1},
    )


def steps(model, optimizer, task, options, n=3, compute=None):
    for step in range(1, n + 1):
        batch = task.batches.batch(0, step)
        yield train_step(compute or model, optimizer, batch, task.loss, step=step, **options).numbers


@pytest.mark.parametrize(("task", "name"), STEPS)
def test_steps_are_those_of_a_cpu(task, name):
    config = config_of(task, name)
    found = {}
    for device in (torch.device("cpu"), CUDA):
        model, *others = prepared(config, device)
        numbers = torch.stack(list(steps(model, *others))).cpu()
        found[device.type] = numbers, [p.detach().cpu() for p in model.parameters()]
    for one, other in zip(found["cuda"][1], found["cpu"][1], strict=True):
        torch.testing.assert_close(one, other, **CLOSE)
    torch.testing.assert_close(found["cuda"][0], found["cpu"][0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("task", "name"), STEPS)
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_step_never_waits_for_the_device(task, name, precision):
    model, optimizer, learned, options = prepared(config_of(task, name, device="cuda", precision=precision))
    smoothed = deepcopy(model)
    list(steps(model, optimizer, learned, options))  # the first ones make handles and moments
    torch.cuda.set_sync_debug_mode("error")
    try:
        list(steps(model, optimizer, learned, options))
        smooth(smoothed, model, 0.9, 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(("task", "name"), STEPS)
def test_step_that_is_not_finite_and_later_ones_change_no_weight(task, name):
    model, optimizer, learned, options = prepared(config_of(task, name))
    list(steps(model, optimizer, learned, options))
    before = [p.detach().clone() for p in model.parameters()]
    with torch.no_grad():
        next(model.parameters())[5] = torch.inf
        before[0][5] = torch.inf
    assert not torch.stack(list(steps(model, optimizer, learned, options))).isfinite().all()
    for p, was in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(p.detach(), was, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("task", ["lm", "mt"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_steps_follow_eager_ones(task, precision):
    config = config_of(task, device="cuda", precision=precision, device_batch_tokens=None)
    eager, compiled = (prepared(config) for _ in range(2))
    torch._dynamo.reset()
    found = [
        torch.stack(list(steps(*eager))),
        torch.stack(list(steps(*compiled, compute=compiled_for(config, compiled[0])))),
    ]
    torch.testing.assert_close(*found, rtol=1e-3 if precision == "fp32" else 3e-2, atol=1e-2)


def test_dropout_drops_the_same_numbers_everywhere():
    x = torch.ones(3, 5, 33)
    seeds = torch.arange(15, dtype=torch.int32).view(3, 5) * 977
    wanted = dropout(x, 0.3, seeds, -7)
    torch._dynamo.reset()
    for drop in (dropout, torch.compile(dropout)):
        assert torch.equal(drop(x.to(CUDA), 0.3, seeds.to(CUDA), -7).cpu(), wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [8, 6, 64, 20])
@pytest.mark.parametrize("n_kv", [4, 2])
@pytest.mark.parametrize("kind", ["causal", "mask", "all"])
def test_attention_and_its_gradients_are_those_of_a_cpu(dtype, width, n_kv, kind):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 9, n, width, dtype=dtype) for n in (4, n_kv, n_kv))
    mask = torch.arange(9).expand(2, 1, 1, 9) < torch.tensor([9, 4])[:, None, None, None] if kind == "mask" else None
    found = []
    for device in ("cpu", CUDA):
        given = [t.detach().to(device).requires_grad_() for t in (q, k, v)]
        out = attend(*given, mask=None if mask is None else mask.to(device), causal=kind == "causal")
        out.float().square().sum().backward()
        found.append([out.detach().cpu(), *(t.grad.cpu() for t in given)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, **(CLOSE if dtype == torch.float32 else {"rtol": 0.1, "atol": 0.1}))


def test_nats_searches_and_samples_are_those_of_a_cpu():
    config = config_of("mt")
    batch = RandomTask(config).batches.batch(0, 0)
    draw = np.random.default_rng(0)
    lines = EncodedLines.of([draw.integers(4, 24, n).astype(np.int32) for n in (3, 7, 5, 1)])
    found = []
    for device in ("cpu", CUDA):
        model = build_model(config).to(device)
        written = search(model, Sources({"encoder": lines}), [[]] * 4, [6] * 4, Search(beam=3, n_best=2))
        hypotheses = sorted(itertools.chain.from_iterable(written))
        drawing = build_model(config_of("lm")).to(device)
        pieces = sample(drawing, [4, 5], range(3), 8, 10, Sampling(top_k=5, top_p=0.9))
        found.append((batch_nats(model, batch), hypotheses, pieces))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-4)
    for (row, one), (other_row, other) in zip(found[0][1], found[1][1], strict=True):
        assert row == other_row and [h.pieces for h in one] == [h.pieces for h in other]
        assert [h.score for h in one] == pytest.approx([h.score for h in other], abs=1e-4)
    assert found[0][2] == found[1][2]


def test_fit_trains_in_bf16_and_resumes(tmp_path):
    config = tiny_config("pre_softmax", hardware={"device": "cuda", "precision": "auto"})
    whole, _ = train(tmp_path / "whole", config)
    train(tmp_path / "cut", config, stop_after=7)
    continued, _ = train(tmp_path / "cut", config)
    assert (continued.step, continued.tokens) == (whole.step, whole.tokens) == (12, whole.tokens)
    rows = [read_metrics(tmp_path / which) for which in ("whole", "cut")]
    rows = [[row for row in found if row["split"] != "probe"] for found in rows]
    for one, other in zip(*rows, strict=True):
        assert one["nats_per_token"] == pytest.approx(other["nats_per_token"], rel=1e-2)


def test_lease_makes_its_gpu_the_current_one():
    said = []
    with leased(resolve_hardware(HardwareConfig(device="cuda")), said.append, waits=False) as first:
        assert torch.cuda.current_device() == first.device.index
        with leased(resolve_hardware(HardwareConfig(gpu=first.device.index)), said.append, waits=False) as second:
            assert second.device == first.device and "shares" in said[0]


def test_memory_that_is_full_is_named(tmp_path):
    with pytest.raises(RuntimeError) as full:
        torch.empty(2**50, device=CUDA)
    assert outcome_of_error(full.value, experiment_in(tmp_path, tiny_config())).exit_code == 7


def test_exchanges_of_a_team_go_through_nccl(monkeypatch):
    """Of one process: NCCL refuses two on one GPU."""
    monkeypatch.setenv("TORCH_NCCL_BLOCKING_WAIT", "0")  # and as it was, after the test
    for name, value in variables(1)[0].items():
        monkeypatch.setenv(name, value)
    model = build_model(tiny_config()).to(CUDA)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    sums = torch.tensor([1.0, 2.0], dtype=torch.float64, device=CUDA)
    with Team(20.0) as team:
        team.connect(CUDA)
        with team.order("step", model, step=1):
            assert team.add_up(model, sums, 7) == 7
        assert sums.tolist() == [1.0, 2.0]
    assert all((p.grad == 1).all() for p in model.parameters())
    assert not dist.is_initialized()


COMMAND = [
    "run_dir=run",
    "tying=pre_softmax",
    "data.preset=tiny",
    "model=tiny",
    "hardware.device=cuda",
    "train.log_every=1",
]
COMMAND += ["train.max_steps=12", "train.checkpoint_every=100", "train.eval_every=100", "hardware.max_wait=60"]


@pytest.fixture
def begin() -> Iterator[Callable[..., list[subprocess.Popen]]]:
    """Starts the command on so many GPUs, in a folder."""
    started: list[subprocess.Popen] = []

    def start(folder: Path, size: int, *words: str) -> list[subprocess.Popen]:
        folder.mkdir()
        command = [sys.executable, "-c", "import sys; from tietrain.cli.main import main; sys.exit(main())"]
        several = variables(size) if size > 1 else [{}]
        processes = [
            subprocess.Popen([*command, *COMMAND, *words], cwd=folder, env=os.environ | own) for own in several
        ]
        started.extend(processes)
        return processes

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("shard", [False, True])
def test_two_gpus_score_like_one_and_the_first_survives_the_other(tmp_path, begin, shard):
    if torch.cuda.device_count() < 2:
        pytest.skip("it needs two GPUs")
    scores = []
    for size in (1, 2):
        folder = tmp_path / str(size)
        processes = begin(folder, size, "hardware.precision=fp32", f"hardware.shard={shard}")
        assert [one.wait(300) for one in processes] == [0] * size
        scores.append(json.loads((folder / "run" / runs.EVAL).read_text())["splits"]["valid"]["nats_per_token"])
    assert scores[0] == pytest.approx(scores[1], rel=1e-3)
    folder = tmp_path / "cut"
    first, second = begin(folder, 2, f"hardware.shard={shard}", "train.slow_step_seconds=1")
    log = folder / "run" / runs.LOG
    while not (log.exists() and "step 3:" in log.read_text()):
        assert first.poll() is None
        time.sleep(0.1)
    began = time.monotonic()
    second.send_signal(signal.SIGKILL)
    # PyTorch ends a process in slices that waits for its device.
    assert first.wait(180) in ((8, -signal.SIGABRT) if shard else (8,))
    if not shard:
        assert time.monotonic() - began < 30
        assert list((folder / "run" / "checkpoints").glob("step_*"))
