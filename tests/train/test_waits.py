"""A step never waits for its device: found without one, on meta tensors, which have shapes alone."""

import contextlib
import traceback
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tietrain.config import TyingConfig
from tietrain.model import loss
from tietrain.model.beam import Search, search_batch
from tietrain.model.sampling import Sampling, sample
from tietrain.train.averaging import smooth
from tietrain.train.hardware import resolve_hardware
from tietrain.train.optim import build_optimizer, train_step
from tietrain.train.tasks.task import batch_nats
from tiny_run import TIES, RandomTask, build_model, tiny_config

META = torch.device("meta")
VIEWS = {
    "universal": {"rule": "cross_layer"},
    "step_signal": {"rule": "step_signal", "signal": "sinusoidal"},
    **{name: {"rule": name} for name in ("pre_softmax", "relaxed", "scaled", "transposed")},
}
COPIES = ("aten._to_copy.", "aten.to.", "aten.copy_.")
# Operators whose result has a size that only the device knows.
OF_UNKNOWN_SIZE = ("aten.nonzero.", "aten.masked_select.", "aten.unique", "aten._unique", "aten.bincount.")

# Functions that make a tensor of numbers of Python's.
FROM_PYTHON = (torch.tensor, torch.as_tensor, Tensor.new_tensor)


class Functions(TorchFunctionMode):
    """Notes what copies numbers of Python's to the device, which no dispatch mode sees and the host waits for."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self._note = note

    def __torch_function__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if func in FROM_PYTHON and found.device == META:
            self._note(func.__name__)
        return found


class Watch(TorchDispatchMode):
    """Notes every operator inside that would make the host wait for a device, or that mixes two; where -> how often."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()
        self._functions = Functions(self._note)

    def __enter__(self):
        self._functions.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._functions.__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = str(func)
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        on_device = [t for t in tensors if t.device == META]
        if name.startswith(COPIES):
            target = kwargs.get("device", tensors[0].device)
            if target != tensors[0].device and not kwargs.get("non_blocking"):
                self._note(name)
            if on_device and target != META:
                return torch.zeros(tensors[0].shape, dtype=kwargs.get("dtype", tensors[0].dtype))
        elif on_device and self._waits(name, tensors):
            self._note(name)
            return self._stand_in(name, tensors)
        elif on_device and any(t.device != META and (t.ndim or "_fused_" in name) for t in tensors):
            self._note(f"{name} mixes devices")
        if name.startswith("aten._fused_sgd_."):  # meta tensors have no rule for it; it changes its arguments alone
            return None
        return func(*args, **kwargs)

    def _waits(self, name: str, tensors: list[Tensor]) -> bool:
        if name.startswith(("aten.index.", "aten.index_put")):
            return any(t.dtype == torch.bool for t in tensors[1:])
        return "_local_scalar_dense" in name or name.startswith(OF_UNKNOWN_SIZE)

    def _stand_in(self, name: str, tensors: list[Tensor]) -> object:
        """Something to go on with."""
        if "_local_scalar_dense" in name:
            return 1.0
        if name.startswith("aten.nonzero"):
            return torch.empty(tensors[0].numel(), tensors[0].ndim, dtype=torch.int64, device=META)
        return tensors[0]

    def _note(self, what: str) -> None:
        ours = [f for f in traceback.extract_stack() if "/tietrain/" in f.filename]
        self.seen[f"{what} at {ours[-1].filename.split('/src/')[-1]}: {ours[-1].line}" if ours else what] += 1


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch):
    """Meta tensors know no autocast."""
    monkeypatch.setattr(loss, "_product_dtype", lambda rows: rows.dtype)
    monkeypatch.setattr(torch, "autocast", lambda *args, **options: contextlib.nullcontext())


def on_meta(task: str, tying: str, name: str):
    """A step's model, optimizer, task and hardware on a device that has no numbers."""
    optim = {"name": name, "clip_norm": 0.1, "momentum": 0.9 if name == "sgd" else 0.0}
    config = tiny_config("none", task, hardware={"device_batch_tokens": 20}, optim=optim)
    config = replace(config, tying=TyingConfig(VIEWS if tying == "views" else TIES[tying]))
    model = build_model(config).to(META)
    hardware = replace(resolve_hardware(config.hardware), device=META)
    return model, build_optimizer(model, config.optim), RandomTask(config), hardware


@pytest.mark.parametrize(
    ("task", "tying", "name"),
    [
        ("lm", "pre_softmax", "adam"),
        ("lm", "pre_softmax", "sgd"),
        ("mt", "cross_layer", "adamw"),
        ("lm", "views", "adamw"),
        pytest.param("lm", "none", "adamw", marks=pytest.mark.slow),
        pytest.param("mt", "three_way", "adamw", marks=pytest.mark.slow),
    ],
)
def test_step_and_average_never_wait_for_the_device(task, tying, name):
    model, optimizer, learned, hardware = on_meta(task, tying, name)
    smoothed = deepcopy(model)
    options = {"hardware": hardware, "clip_norm": 0.1, "seed": 1}
    with Watch() as watch:
        for step in (1, 2):
            batch = learned.batches.batch(0, step)
            train_step(model, optimizer, batch, learned.loss, step=step, **options)
            smooth(smoothed, model, 0.9, step)
    assert not watch.seen


def test_batch_of_an_evaluation_waits_for_its_nats_alone():
    model, _, learned, _ = on_meta("mt", "three_way", "adamw")
    with Watch() as watch:
        nats = batch_nats(model, learned.batches.batch(0, 0))
    ((where, times),) = watch.seen.items()
    assert ".cpu()" in where
    assert times == 1
    assert nats.shape == learned.batches.batch(0, 0).tgt_out_ids.shape


@pytest.mark.parametrize("beam", [1, 3])
def test_search_waits_once_for_each_token_and_at_its_end(beam):
    """Sentences end one by one; their number does not matter."""
    model, _, learned, _ = on_meta("mt", "three_way", "adamw")
    batch = learned.batches.batch(0, 0).to(META)
    n = len(batch.tgt_in_ids)
    start = torch.ones(n, 1, dtype=torch.int64, device=META)
    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch, Watch() as watch:
        read = torch.Tensor.tolist

        def scripted(x: Tensor) -> object:  # what the device would say
            found = read(x)
            return [row == len(x) // 2 for row in range(len(x))] if x.dtype == torch.bool else found

        patch.setattr(torch.Tensor, "tolist", scripted)
        search_batch(model, model.encode(batch.sources), start, start[:, 0] + 9, Search(beam=beam))
    by_line = {where.split(": ", 1)[1]: times for where, times in watch.seen.items()}
    assert by_line.pop("done = compute(beams).tolist()  # the only place where a step waits for the device") == n
    assert sum(by_line.values()) == 2, by_line  # scores and pieces of all


def test_sampling_waits_no_more_for_more_tokens():
    model, _, _, _ = on_meta("lm", "pre_softmax", "adamw")
    seen = []
    for length in (2, 5):
        with Watch() as watch:
            sample(model, [4, 5], range(3), length, 100, Sampling(top_k=3, top_p=0.9))
        seen.append(watch.seen)
    assert seen[0] == seen[1] and seen[0].total() == 3  # prompt and random numbers go there, pieces come back


@pytest.mark.parametrize(
    "waits",
    [
        lambda x: x.sum().item(),
        lambda x: float(x.sum()),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.cpu(),
        lambda x: torch.ones(3).to(META),
        lambda x: torch.ones(3) + x,
        lambda x: x + x.new_tensor([1.0, 2.0, 3.0]),
        lambda x: x + torch.tensor(2.0, device=META),
        lambda x: torch._foreach_add_([x.sum()], x.sum()),
        lambda x: sgd(x, found_inf=torch.zeros(())),
    ],
)
def test_watch_sees_what_waits(waits):
    with Watch() as watch, contextlib.suppress(RuntimeError):  # of two devices
        waits(torch.empty(3, device=META))
    assert watch.seen
    with Watch() as watch:
        torch.ones(3).to(META, non_blocking=True) * torch.tensor(2.0) + torch.empty(3, device=META)
        sgd(torch.empty(3, device=META), found_inf=torch.zeros((), device=META))
    assert not watch.seen


def sgd(x: Tensor, **options: Tensor) -> None:
    """A step of the fused kernel."""
    plain = {"weight_decay": 0.0, "momentum": 0.0, "lr": 0.1, "dampening": 0.0}
    torch._fused_sgd_([x], [x], [], **plain, nesterov=False, maximize=False, is_first_step=False, **options)
