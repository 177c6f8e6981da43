"""The words of the refusals of training; what each refuses is tested beside what it guards."""

import math
import shutil

import pytest
import torch
import torch.distributed as dist

from tietrain.config import HardwareConfig
from tietrain.config.compose import compose_config
from tietrain.errors import TietrainError
from tietrain.runs import record as runs
from tietrain.train.averaging import load_scored
from tietrain.train.checkpoint import load_weights, save_final
from tietrain.train.experiment import Experiment
from tietrain.train.hardware import resolve_hardware
from tietrain.train.job import run_job
from tietrain.train.outcome import outcome_of_error
from tietrain.train.processes import Team
from tietrain.train.resume import check_longer_budget
from tietrain.train.stop import Stopped
from tietrain.train.trackers import check_installed
from tiny_run import RandomTask, build_model, experiment_in, tiny_config, train

BUDGET = {"train.max_steps": 100, "optim.warmup": 0.1, "optim.schedule": "constant"}


def refusal(action, *args, **options) -> str:
    with pytest.raises(TietrainError) as refused:
        action(*args, **options)
    return f"{refused.value} [{refused.value.exit_code}]"


def diverging(config, number):
    """A task whose loss is this number."""
    task = RandomTask(config)
    learn = task.loss

    def loss(model, batch):
        sums = learn(model, batch)
        return type(sums)(sums.objective * number, sums.nll, sums.n_tokens)

    task.loss = loss
    return task


def test_refusals_of_training(tmp_path, monkeypatch, golden):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    config, other = tiny_config(), tiny_config("pre_softmax")
    run, final = tmp_path / "run", tmp_path / "final"
    train(run, config, stop_after=5, fingerprints={"corpus": "c"})
    save_final(final, build_model(config))
    longer = {"no warm-up of the new length": {}, "a shorter one": {"train.max_steps": 50}}
    longer["another unit"] = {"train.max_steps": None, "train.max_tokens": 1e6}
    said = {
        "hardware": refusal(resolve_hardware, HardwareConfig(device="cuda")),
        "trackers": refusal(check_installed, ["no_such_tracker"]),
        "another setting": refusal(train, run, tiny_config(seed=2), fingerprints={"corpus": "c"}),
        "another text": refusal(train, run, config, fingerprints={"corpus": "d"}),
        "another plan": refusal(load_weights, final, build_model(other)),
        "no weights to start from": refusal(load_weights, tmp_path, build_model(config)),
        "no scored weights": refusal(load_scored, tmp_path, build_model(config), config.train),
        "a loss that is not finite": refusal(train, tmp_path / "a", config, task=diverging(config, math.nan)),
    }
    for name, change in longer.items():
        now = {"train.max_steps": 200, **change}
        said[f"a longer budget: {name}"] = refusal(check_longer_budget, BUDGET, {**BUDGET, **now}, {"steps": 50})
    for path in (run / "checkpoints").glob("step_*/state.json"):
        path.write_text("{}")
    said["no whole checkpoint"] = refusal(train, run, config)
    golden("train_refusals", {name: text.replace(str(tmp_path), "DIR") for name, text in said.items()})


def test_outcomes_of_errors(tmp_path, golden):
    """What a run says that a signal, a full memory, the system or a bug ended."""
    experiment = experiment_in(tmp_path, tiny_config())
    errors = [Stopped(15), MemoryError(), OSError(28, "No space left on device", "FILE"), RuntimeError("boom")]
    # As torch's compiler says it, whose module is not loaded for this.
    damaged = "ImportError: CACHE/ju/main.so: file too short\n\nSet TORCHDYNAMO_VERBOSE=1"
    errors.append(type("InductorError", (RuntimeError,), {})(damaged))
    said = {}
    for error in errors:
        outcome = outcome_of_error(error, experiment)
        said[type(error).__name__] = f"{outcome.status} [{outcome.exit_code}] {outcome.message}"
    shared = experiment_in(tmp_path, tiny_config(hardware={"runs_per_gpu": 4}))
    said["MemoryError of a shared GPU"] = outcome_of_error(MemoryError(), shared).message
    golden("train_outcomes", {name: text.replace(str(tmp_path), "DIR") for name, text in said.items()})


# From the sources of ProcessGroupNCCL and NCCL.
NCCL_FULL = """NCCL error in: ProcessGroupNCCL.cpp:3690, unhandled cuda error (run with NCCL_DEBUG=INFO for details)
ncclUnhandledCudaError: Call to CUDA library failed.
Last error:
Cuda failure 2 'out of memory'"""


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        torch.AcceleratorError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
        dist.DistBackendError(NCCL_FULL),
    ],
)
def test_every_way_in_which_a_memory_is_full_is_named(tmp_path, error):
    assert outcome_of_error(error, experiment_in(tmp_path, tiny_config())).exit_code == 7
    team = Team.__new__(Team)
    with pytest.raises(type(error)), team.talking():  # no other process has failed
        raise error


def test_refusals_of_a_directory_of_another_run(tmp_path, golden):
    """A finished run of other settings, of other ties, and one that failed and would fail again."""
    said = {}
    words = [f"run_dir={tmp_path}", "data.preset=tiny"]
    experiment = Experiment(compose_config(words))
    record = runs.RunRecord("r", "default", "none", "lm", "done", settings=experiment.settings)
    runs.write_record(tmp_path, record)
    runs.write_json(tmp_path / runs.PLAN, experiment.plan.to_json())
    for name, change in (
        ("a setting", "model.d_ff=99"),
        ("ties", "tying=pre_softmax"),
        ("text", "data.root=elsewhere"),
    ):
        said[name] = run_job(compose_config([*words, change])).message
    record.status, record.exit_code, record.reason = "failed", 3, "corpus: it is missing; give one"
    record.fingerprints["source"] = experiment.corpus_key
    runs.write_record(tmp_path, record)
    said["a failure"] = run_job(experiment.config).message
    shutil.rmtree(tmp_path)
    golden("train_other_runs", {name: text.replace(str(tmp_path), "DIR") for name, text in said.items()})
