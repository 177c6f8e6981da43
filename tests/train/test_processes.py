"""One run on several processes: the steps, scores and files of one process, and what happens if one of them stops."""

import itertools
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

import tiny_run
from several_processes import exit_codes, start, variables
from tietrain.cli.main import main
from tietrain.config import RunConfig, TyingConfig
from tietrain.data.batches.batching import Batch
from tietrain.errors import PeerError
from tietrain.model.transformer import Transformer
from tietrain.plan.units import count_process_memory, units_of
from tietrain.runs import record as runs
from tietrain.runs.metrics import read_metrics
from tietrain.train import checkpoint, follower, loop
from tietrain.train.follower import obey
from tietrain.train.hardware import resolve_hardware
from tietrain.train.outcome import Outcome
from tietrain.train.processes import Team
from tiny_run import RandomTask, build_model, reproducible, tiny_config, train

# Each of its own kind: no tie, tables, layers in two orders, parts of layers, stacks, a view.
PLANS = {
    "pre_softmax": ("lm", {"rule": "pre_softmax"}),
    "one_layer": ("mt", {"rule": "encoder_decoder", "depth": "one"}),
    "none": ("lm", {"rule": "none"}),
    "three_way": ("mt", {"rule": "three_way"}),
    "universal": ("lm", {"rule": "cross_layer"}),
    "cycle": ("lm", {"rule": "cross_layer", "order": "cycle", "n_unique": 2}),
    "query_key": ("lm", {"rule": "query_key"}),
    "encoder_decoder": ("mt", {"rule": "encoder_decoder"}),
    "step_signal": ("lm", {"rule": "step_signal"}),
}
QUICK = ("pre_softmax", "one_layer")
CASES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in PLANS]


SHARD = pytest.mark.parametrize("shard", [False, True], ids=["replicated", "in slices"])
LOSSES = [(signal.SIGTERM, False), (signal.SIGKILL, False), (signal.SIGKILL, True)]
LOSSES += [
    pytest.param(*loss, marks=pytest.mark.slow)
    for loss in ((signal.SIGSTOP, False), (signal.SIGTERM, True), (signal.SIGSTOP, True))
]


@pytest.fixture
def float64(monkeypatch):
    """Models and their files in float64, where sums in another order differ in the last digits alone."""
    monkeypatch.setattr(tiny_run, "build_model", lambda config: build_model(config).double())
    monkeypatch.setattr(checkpoint, "DTYPE", "F64")


def config_of(name: str) -> RunConfig:
    task, tie = PLANS[name]
    small_parts = {"device_batch_tokens": 20, "max_wait": 20.0}
    often = {"max_steps": 5, "log_every": 1, "checkpoint_every": 2, "ema": 0.5}
    config = tiny_config("none", task, hardware=small_parts, optim={"clip_norm": 0.1}, **often)
    return replace(config, tying=TyingConfig({name: tie}), model=replace(config.model, n_layers=4))


def run_on(
    size: int, directory: Path, config: RunConfig, at: Callable[[int, int], None] = lambda rank, step: None
) -> list[int | None]:
    """Train in a directory with some processes; returns their exit codes.

    Args:
        at: called with rank and step, counted from 1 in this call, before each step.
    """
    if config.hardware.shard:
        load_fsdp()

    def work() -> int:
        task = RandomTask(config)
        batch, steps = task.batches.batch, itertools.count(1)

        def watched(epoch: int, index: int) -> Batch:
            if epoch < 7:  # that is the evaluation's
                at(task.team.rank, next(steps))
            return batch(epoch, index)

        try:
            with Team(config.hardware.max_wait, in_slices=config.hardware.shard) as team:
                team.connect(torch.device("cpu"))
                task.team = team
                task.batches.batch = watched
                if not team.rank:
                    train(directory, config, task=task)
                    team.end(Outcome("", "done"))
                    return 0
                model = tiny_run.build_model(config)
                with team.stop:
                    return obey(team, task, model, resolve_hardware(config.hardware), config)["exit_code"]
        except PeerError as e:
            return e.exit_code

    return exit_codes(start(size, work))


def load_fsdp() -> None:
    """Once, and not in each process."""

    import tietrain.train.slices  # noqa: F401


def weights_of(directory: Path) -> dict[str, torch.Tensor]:
    return load_file(directory / "checkpoints" / "step_00000005" / "model.safetensors")


@SHARD
@pytest.mark.parametrize("name", CASES)
def test_steps_of_two_and_three_processes_are_those_of_one(tmp_path, float64, name, shard):
    config = config_of(name)
    train(tmp_path / "1", config)
    config.hardware.shard = shard
    for size in (2, 3):
        assert run_on(size, tmp_path / str(size), config) == [0] * size
        assert_same(tmp_path / str(size), tmp_path / "1")


def assert_same(one: Path, other: Path) -> None:
    """Every logged number of training and valid, and every weight, within 1e-12."""
    rows = [[row for row in reproducible(read_metrics(run)) if row["split"] != "probe"] for run in (one, other)]
    assert len(rows[0]) > 5
    for mine, wanted in zip(*rows, strict=True):
        assert mine.pop("split") == wanted.pop("split")
        for row in (mine, wanted):
            row.pop("padded_tokens", None)  # other rows lie side by side
        assert mine == pytest.approx(wanted, rel=1e-12, abs=1e-12)
    weights = [weights_of(run) for run in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    for key, values in weights[0].items():
        assert (values - weights[1][key]).abs().max() <= 1e-12, key


@pytest.mark.parametrize(("number", "shard"), LOSSES)
def test_run_that_loses_a_process_is_saved_and_goes_on_with_any_number(tmp_path, float64, number, shard):
    """A signal to process 1 in its third step: it is passed on, or the process is gone, or it hangs.

    The checkpoint of step 2 is there in any case.
    """
    config = config_of("pre_softmax")
    config.hardware.max_wait = 2.0
    train(tmp_path / "1", config)
    config.hardware.shard = shard

    def at(rank: int, step: int) -> None:
        if (rank, step) == (1, 3):
            os.kill(os.getpid(), number)

    codes = run_on(2, tmp_path / "cut", config, at)
    ended = {signal.SIGTERM: [0, 0], signal.SIGKILL: [8, -signal.SIGKILL], signal.SIGSTOP: [8, -signal.SIGKILL]}
    assert codes == ended[number]
    step = 3 if number == signal.SIGTERM else 2
    assert sorted((tmp_path / "cut" / "checkpoints").glob("step_*"))[-1].name == f"step_0000000{step}"
    shutil.copytree(tmp_path / "cut", tmp_path / "with three")
    train(tmp_path / "cut", config)
    assert run_on(3, tmp_path / "with three", config) == [0, 0, 0]
    for run in ("cut", "with three"):
        assert_same(tmp_path / run, tmp_path / "1")


class ByNccl:
    """An exchange as NCCL does it, as far as failures go: if a process is gone, whoever waits for it waits until the time is over."""

    def __init__(self, exchange: dist.Work):
        self.exchange = exchange

    def wait(self, limit: timedelta) -> None:
        try:
            self.exchange.wait()
        except RuntimeError:
            time.sleep(limit.total_seconds())
            raise dist.DistBackendError("timed out") from None


@pytest.mark.parametrize(("size", "lost_in"), [(2, "gradients"), (3, "gradients"), (3, "weights")])
def test_leader_saves_at_once_if_exchanges_do_not_notice_that_a_process_is_gone(
    tmp_path, float64, monkeypatch, size, lost_in
):
    """The last process is lost in step 3; with three, the second one waits for it and tells the leader nothing."""
    config = config_of("pre_softmax")
    config.train.ema = None
    config.hardware.max_wait = 100.0
    broadcast, reduce, save = dist.broadcast, dist.reduce, loop.save_checkpoint
    done: list[str] = []

    def is_lost(what: str) -> bool:
        done.append(what)
        is_last = int(os.environ["RANK"]) == size - 1
        # A step's two exchanges of gradients and sums follow on one of weights; one more is that which connects.
        return is_last and what == lost_in and done.count(what) == {"gradients": 5, "weights": 4}[what]

    def by_nccl(exchange, what):
        if is_lost(what):
            os.kill(os.getpid(), signal.SIGKILL)
        return ByNccl(exchange)

    def broadcast_by_nccl(tensor, *args, group=None, **options):
        found = broadcast(tensor, *args, group=group, **options)
        return found if group else by_nccl(found, "weights")

    def noted_save(*args):
        done.append("save")
        (tmp_path / "done").write_text(" ".join(done))
        save(*args)

    monkeypatch.setattr(dist, "broadcast", broadcast_by_nccl)
    monkeypatch.setattr(dist, "reduce", lambda *args, **options: by_nccl(reduce(*args, **options), "gradients"))
    monkeypatch.setattr(dist.ProcessGroup, "abort", lambda group: done.append("abort"))
    # The exchange that stands for NCCL's is under way still.
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    monkeypatch.setattr(loop, "save_checkpoint", noted_save)
    config.train.checkpoint_every = 5
    began = time.monotonic()
    assert run_on(size, tmp_path / "cut", config) == [8] + [-signal.SIGKILL] * (size - 1)
    assert time.monotonic() - began < 60
    assert (tmp_path / "cut" / "checkpoints" / "step_00000002").exists()
    # What is under way is ended first, because reading the weights from the device would wait for it.
    assert (tmp_path / "done").read_text().endswith("abort save")


@pytest.mark.parametrize("name", ["encoder_decoder", *(pytest.param(name, marks=pytest.mark.slow) for name in QUICK)])
def test_process_holds_its_slices_and_in_a_step_what_several_layers_read(tmp_path, monkeypatch, name):
    """Of parameters, gradients and moments each holds its half, as counted; after the forward pass no layer's own unit is whole
    any more, and within it there is no more than counted."""
    load_fsdp()
    from torch.distributed.tensor import DTensor

    from tietrain.train import slices

    config = config_of(name)
    config.train.ema = None
    whole = tiny_run.build_model(config)
    own = [f"{unit}." for unit, layers in units_of(whole.plan).items() if len(layers) == 1]
    stays = [p for slot, p in whole.named_parameters() if not slot.startswith(tuple(own))]
    counted = count_process_memory(whole.plan, config.optim.name, config.optim.momentum, 2)
    learn, update, layer = RandomTask.loss, slices.update, Transformer._layer
    in_layers = []

    def n_whole(model):
        return n_bytes(p for p in model.parameters() if not isinstance(p, DTensor))

    def in_layer(model, *args):
        in_layers.append(n_whole(model))
        return layer(model, *args)

    def watched(task, model, batch):
        in_layers.clear()
        found = learn(task, model, batch)
        assert n_whole(model) == n_bytes(stays)
        assert n_bytes(stays) <= max(in_layers) <= counted.together / 2
        return found

    def noted(model, optimizer, *others):
        gradients = n_bytes(p.grad for p in model.parameters())
        numbers = update(model, optimizer, *others)
        moments = n_bytes(value for state in optimizer.state.values() for value in state.values())
        held = n_bytes(model.parameters()) + gradients + moments
        (tmp_path / f"held by {os.environ['RANK']}").write_text(str(held))
        return numbers

    monkeypatch.setattr(Transformer, "_layer", in_layer)
    monkeypatch.setattr(RandomTask, "loss", watched)
    monkeypatch.setattr(slices, "update", noted)
    config.hardware.shard = True
    assert run_on(2, tmp_path / "run", config) == [0, 0]
    for rank in range(2):
        assert int((tmp_path / f"held by {rank}").read_text()) == counted.slices


def n_bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANS)
def test_scores_of_slices_are_those_of_one_process_in_float32(tmp_path, name):
    config = config_of(name)
    train(tmp_path / "1", config)
    config.hardware.shard = True
    assert run_on(3, tmp_path / "3", config) == [0, 0, 0]
    one, three = (read_metrics(tmp_path / size) for size in ("1", "3"))
    assert [row["nats_per_token"] for row in three if row["split"] == "valid"] == pytest.approx(
        [row["nats_per_token"] for row in one if row["split"] == "valid"], rel=1e-6
    )


COMMAND = [
    *("run_dir=run", "task=mt", "tying=three_way", "data=text", "data.splits={train: [t.a, t.b], valid: [v.a, v.b]}"),
    *("model=tiny", "model.vocab_size=60", "train.batch_tokens=256", "train.max_steps=4", "train.checkpoint_every=2"),
    *(
        "train.log_every=1",
        "train.eval_every=2",
        "train.ema=0.5",
        "train.keep_tables=true",
        "hardware=cpu",
        "hardware.precision=fp32",
    ),
    *("hardware.threads=1", "task.max_output_ratio=0", "task.max_output_extra=4"),
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The current folder, with texts of sentences that differ in length."""
    words = ["one", "sparrow", "sang", "while", "two", "owls", "listened", "to", "it", "and", "the", "rain", "fell"]
    for split, n in (("t", 120), ("v", 7)):
        for column, turn in (("a", 1), ("b", -1)):
            lines = [" ".join(words[i % 9 : i % 9 + 2 + i % 5][::turn]) for i in range(n)]
            (tmp_path / f"{split}.{column}").write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_command_on_two_processes_scores_like_one_and_keeps_one_directory(place, capfd):
    load_fsdp()
    assert main([*COMMAND, "hardware.shard=true"]) == 0
    assert "hardware.shard=true: one process" in capfd.readouterr().err
    (place / "run").rename(place / "alone")
    for shard in (True, False):
        shutil.rmtree(place / "run", ignore_errors=True)
        command = partial(main, [*COMMAND, f"hardware.shard={shard}"])
        assert exit_codes(start(2, command)) == [0, 0]
        found = [place / "alone", place / "run"]
        one, two = (runs.read_json(run / runs.EVAL)["splits"]["valid"] for run in found)
        assert two == pytest.approx(one, rel=1e-6)
        machines = [runs.read_record(run).machine for run in found]
        assert [(m["processes"], m["shard"]) for m in machines] == [(1, False), (2, shard)]
        names = [{path.relative_to(run) for path in run.rglob("*") if "tfevents" not in path.name} for run in found]
        assert names[0] == names[1]
    capfd.readouterr()
    assert exit_codes(start(2, command)) == [0, 0]
    assert capfd.readouterr().err.count("is finished") == 1


@pytest.mark.parametrize("shard", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_other_processes_never_give_the_model_values_of_their_own(place, monkeypatch, shard):
    """They get the first one's; so no host holds the whole model for each of its processes if that lies in slices."""
    load_fsdp()
    initialize = Transformer.initialize

    def of_the_first(model, seed):
        assert os.environ["RANK"] == "0"
        initialize(model, seed)

    monkeypatch.setattr(Transformer, "initialize", of_the_first)
    assert exit_codes(start(2, lambda: main([*COMMAND, f"hardware.shard={shard}"]))) == [0, 0]


@pytest.mark.parametrize("shard", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_command_says_why_another_process_failed(place, monkeypatch, capfd, shard):
    load_fsdp()
    from tietrain.train import slices

    where = slices if shard else follower
    add_gradients = where.add_gradients

    def in_little_memory(*args):
        if os.environ["RANK"] == "1":
            raise MemoryError
        return add_gradients(*args)

    monkeypatch.setattr(where, "add_gradients", in_little_memory)
    assert exit_codes(start(2, lambda: main([*COMMAND, f"hardware.shard={shard}"]))) == [7, 7]
    said = capfd.readouterr().err
    assert "process 1 of 2: out of memory" in said
    assert "hardware.device_batch_tokens=128" in said
    record = runs.read_record(place / "run")
    assert (record.status, record.exit_code) == ("failed", 7)
    assert "MemoryError" in (place / "run" / runs.LOG).read_text()


@pytest.mark.parametrize("key", ["seed", pytest.param("hardware.shard", marks=pytest.mark.slow)])
def test_process_with_other_settings_than_the_first_is_refused(place, capfd, key):
    assert exit_codes(start(2, lambda: main([*COMMAND, f"{key}={os.environ['RANK']}"]))) == [3, 3]
    assert "process 1 of 2: process 1: its settings, text or vocabularies" in capfd.readouterr().err
    assert not list((place / "run").glob("checkpoints/*"))


def test_process_with_another_kind_of_device_than_the_first_is_refused(place, monkeypatch, capfd):
    def resolve(*args):
        return replace(resolve_hardware(*args), device=torch.device("meta"))

    monkeypatch.setattr(follower, "resolve_hardware", resolve)
    assert exit_codes(start(2, lambda: main(COMMAND))) == [3, 3]
    assert "process 1 of 2: process 1: it computes on meta, and process 0 on cpu" in capfd.readouterr().err


@pytest.mark.parametrize("words", [["-m", "seed=1,2"], ["tune=rates"]])
def test_command_of_several_runs_is_refused_under_torchrun(place, monkeypatch, capfd, words):
    for name, value in variables(2)[0].items():
        monkeypatch.setenv(name, value)
    assert main([*words, *COMMAND[1:]]) == 2
    assert "several processes with a grid or tune" in capfd.readouterr().err
    assert not (place / "outputs").exists()


def test_command_refuses_variables_that_torchrun_did_not_set(place, monkeypatch, capfd):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(COMMAND) == 2
    assert "WORLD_SIZE=2" in capfd.readouterr().err
    assert not (place / "run").exists()
