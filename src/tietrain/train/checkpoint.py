"""Checkpoints: weights and optimizer as safetensors by owner name, the rest as JSON; no pickle anywhere.

    step_00000100/   model.safetensors optimizer.safetensors state.json manifest.json    the last two saved
    final/           model.safetensors manifest.json                 after the last step

With train.ema a step also has average.safetensors, the moving average; `averaging` stores weights of evaluations.
A checkpoint without a manifest that matches does not exist. Equal weights give equal bytes: the metadata of a model
file is its plan, and nothing of time or place.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tietrain.errors import DataError, DivergedError, SettingsError, storage_error
from tietrain.model.audit import audit_checkpoint_keys
from tietrain.model.transformer import Transformer
from tietrain.plan.difference import Difference, PlanRecord, record_of, views_of
from tietrain.plan.plan import TyingPlan
from tietrain.runs import record as runs
from tietrain.runs.durable import is_whole, remove_directory, sweep, write_directory
from tietrain.runs.reading import names_in, reading
from tietrain.runs.seal import FINAL
from tietrain.train.optim import Optimizer

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
SMOOTHED = "average.safetensors"
N_KEPT = 2
# Weights are stored as they are trained, whatever the precision of the computation.
DTYPE = "F32"
WRITTEN_BY_US = "give a checkpoint that tietrain wrote"


def save_checkpoint(
    directory: Path,
    step: int,
    model: Transformer,
    optimizer: Optimizer,
    body: Mapping[str, Any],
    smoothed: Transformer | None = None,
) -> None:
    """Write the checkpoint of a step into a run directory, then delete all but the newest two.

    Args:
        body: what `state.json` holds.
        smoothed: the model that holds the moving average of the weights; None without train.ema.
    Raises:
        DivergedError: a weight is not finite; nothing is written.
        StorageError: the disk refused; earlier checkpoints are untouched.
    """
    models = {MODEL: model} | ({SMOOTHED: smoothed} if smoothed else {})
    files = {name: _weights(m, step) for name, m in models.items()} | {OPTIMIZER: optimizer_tensors(model, optimizer)}
    folder = directory / runs.CHECKPOINTS
    _write(folder / f"step_{step:08d}", files, model.plan, body)
    _keep_newest(folder)


def _keep_newest(folder: Path) -> None:
    for old in list(step_checkpoints(folder).values())[:-N_KEPT]:
        remove_directory(old)


def load_checkpoint(
    directory: Path,
    model: Transformer,
    optimizer: Optimizer,
    check: Callable[[Any], None],
    log: Callable[[str], None],
    smoothed: Transformer | None = None,
) -> Any:
    """Load the newest whole checkpoint of a run into model and optimizer, and its moving average into `smoothed`.

    Args:
        check: refuses a `state.json` of another experiment by raising; called before anything is loaded.
        log: gets a line about each damaged checkpoint that is passed over; it is deleted once an older one is loaded.
    Returns:
        What `state.json` holds; None if there is no checkpoint yet.
    Raises:
        DataError: there are checkpoints and none is whole.
        SettingsError: it was made under another plan.
        StorageError: the system refuses to read one; nothing is loaded or deleted.
    """
    folder = directory / runs.CHECKPOINTS
    sweep(directory, folder)
    steps = step_checkpoints(folder)
    damaged = []
    for path in reversed(steps.values()):
        if not is_whole(path):
            log(f"checkpoint {path} is damaged; tietrain tries the one before")
            damaged.append(path)
            continue
        body = runs.read_json(path / STATE)
        check(body)
        load_model(path / MODEL, model)
        load_optimizer(path / OPTIMIZER, model, optimizer)
        if smoothed is not None:
            load_model(path / SMOOTHED, smoothed)
        for later in damaged:
            # Its steps are done again: it must not stand among the newest that are kept.
            remove_directory(later)
        _keep_newest(folder)  # a kill can come between a save and its deletions
        return body
    if steps:
        raise DataError(
            str(folder), "no checkpoint in it is whole", "restore one, or give another run_dir to start again"
        )
    return None


def save_final(directory: Path, model: Transformer) -> None:
    """Write the weights after the last step."""
    save_weights(directory / runs.CHECKPOINTS / FINAL, model)


def load_weights(run: Path, model: Transformer) -> None:
    """Start a model from the final weights of another run.

    Raises:
        DataError: the run has none, or they are damaged.
        SettingsError: they were made under another plan.
    """
    final = run / runs.CHECKPOINTS / FINAL
    if not is_whole(final):
        problem = f"there are no whole final weights in {final}"
        raise DataError(f"init_from={run}", problem, "name a finished run directory")
    load_model(final / MODEL, model)


def save_weights(target: Path, model: Transformer, state: Mapping[str, Any] | None = None) -> None:
    """Write the weights of a model alone, in the place of those that are there.

    Args:
        state: their step and what else `state.json` should hold; None for those after the last step.
    """
    weights = _weights(model, None if state is None else int(state["step"]))
    _write(target, {MODEL: weights}, model.plan, state)


def _write(
    target: Path, files: Mapping[str, dict[str, Tensor]], plan: TyingPlan, state: Mapping[str, Any] | None
) -> None:
    # One key: safetensors writes several in an order of its own.
    metadata = {"plan": json.dumps(plan.header())}

    def fill(path: Path) -> None:
        for name, tensors in files.items():
            save_file(tensors, path / name, metadata=None if name == OPTIMIZER else metadata)
        if state is not None:
            runs.write_json(path / STATE, dict(state))

    tensors = chain.from_iterable(of.values() for of in files.values())
    write_directory(target, fill, sum(t.numel() * t.element_size() for t in tensors))


def _weights(model: Transformer, step: int | None) -> dict[str, Tensor]:
    """Owner -> values; DivergedError if one is not finite."""
    weights = {name: p.detach() for name, p in model.named_parameters()}
    for name, values in weights.items():
        if not torch.isfinite(values).all():
            requested = "the last step" if step is None else f"step {step}"
            remedy = "lower optim.lr or raise optim.warmup; nothing was saved"
            raise DivergedError(requested, f"{name} is not finite", remedy)
    audit_checkpoint_keys(model.plan, weights)
    return weights


def optimizer_tensors(model: Transformer, optimizer: Optimizer) -> dict[str, Tensor]:
    """`field/owner` -> optimizer state."""
    tensors: dict[str, Tensor] = {}
    for name, p in model.named_parameters():
        tensors |= {f"{field}/{name}": value for field, value in optimizer.state.get(p, {}).items()}
    return tensors


def load_model(path: Path, model: Transformer) -> None:
    """Give a model the weights of a file; see `read_weights`."""
    model.load_state_dict(read_weights(path, model.plan))


def read_weights(path: Path, plan: TyingPlan) -> dict[str, Tensor]:
    """Owner -> values as a file holds them.

    Raises:
        DataError, SettingsError: of `check_header`, or a value is not finite.
    """
    check_header(path, plan)
    weights = _read(path)
    for name, values in weights.items():
        if not torch.isfinite(values).all():
            raise DataError(str(path), f"values of {name} are not finite", WRITTEN_BY_US)
    return weights


def check_header(path: Path, plan: TyingPlan) -> None:
    """Refuse a file of weights by its header alone, before anything of the size it claims is allocated.

    Raises:
        DataError: it is damaged, does not hold its plan, or its tensors are not the plan's owners in float32.
        SettingsError: it was made under another plan.
    """
    with _opened(path) as f:
        tensors = {name: f.get_slice(name) for name in f.keys()}  # noqa: SIM118
        metadata = f.metadata() or {}
    shapes = {name: tuple(tensor.get_shape()) for name, tensor in tensors.items()}
    here = record_of(plan)
    try:
        body = json.loads(metadata["plan"])
        owner, views = body["owner"], views_of(body)
        # The shape of a slot that is read through views is not that of what is stored.
        read = {slot: None if slot in views else shapes.get(root) for slot, root in owner.items()}
        there = PlanRecord(owner, {slot: shape or here.shapes[slot] for slot, shape in read.items()}, views)
        difference = Difference(there, here).words()
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        raise DataError(str(path), "it does not hold the plan it was made under", WRITTEN_BY_US) from None
    remedy = "choose the ties and the shape it was made with, or another directory"
    if difference:
        raise SettingsError(str(path), f"it was made under another plan: {difference}", remedy)
    owners = {store.name for store in plan.stores}
    if wrong := sorted(owners ^ shapes.keys()):
        problem = f"it has no {wrong[0]}" if wrong[0] in owners else f"nothing of its plan owns {wrong[0]}"
        raise DataError(str(path), problem, WRITTEN_BY_US)
    for store in plan.stores:
        if shapes[store.name] != store.shape:
            shown = f"{store.name} is {list(shapes[store.name])} there, {list(store.shape)} here"
            problem = f"it was made under another plan: {shown}"
            raise SettingsError(str(path), problem, remedy)
    for name, tensor in tensors.items():
        if tensor.get_dtype() != DTYPE:
            raise DataError(str(path), f"{name} is {tensor.get_dtype()} and not {DTYPE}", WRITTEN_BY_US)


def load_optimizer(path: Path, model: Transformer, optimizer: Optimizer) -> None:
    """Give an optimizer the state of a file; DataError if it is not of this model's parameters."""
    parameters = dict(model.named_parameters())
    for key, value in _read(path).items():
        field, _, name = key.partition("/")
        p = parameters.get(name)
        if p is None or (value.ndim and value.shape != p.shape):  # a step count has no dimension
            raise DataError(str(path), f"{key} fits no parameter", "restore it, or start the run again")
        optimizer.state.setdefault(p, {})[field] = value.to(p.device)


def _read(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file."""
    with _opened(path) as f:
        return {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        # Opened here first: of whatever the system says, safe_open makes "no such file".
        with reading(path), safe_open(path, framework="pt") as f:
            yield f
    except SafetensorError as e:
        raise DataError(str(path), f"it is not a safetensors file ({e})", "restore it, or start the run again") from e
    except RuntimeError as e:  # torch opens it once more
        raise storage_error(f"reading {path}", OSError(str(e))) from e


def newest_whole(directory: Path) -> Path | None:
    """The newest whole checkpoint of a run; None if there is none."""
    paths = reversed(step_checkpoints(directory / runs.CHECKPOINTS).values())
    return next(filter(is_whole, paths), None)


def step_checkpoints(folder: Path, prefix: str = "step_") -> dict[int, Path]:
    """Step -> its checkpoint, in step order; other names are not ours to touch."""
    found = (re.fullmatch(prefix + r"(\d{8,})", name) for name in names_in(folder))
    return dict(sorted((int(match.group(1)), folder / match.group()) for match in found if match))
