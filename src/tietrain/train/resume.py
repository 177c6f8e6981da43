"""Continuing a run where it stopped, and refusing to continue it as another experiment."""

import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tietrain.config import OptimConfig, TrainConfig
from tietrain.config.identity import became_same, changed_settings
from tietrain.config.keys import BUDGET, LIMITS, as_meant
from tietrain.errors import DataError, SettingsError
from tietrain.model.transformer import Transformer
from tietrain.runs import record as runs
from tietrain.runs.metrics import cut_metrics, seal_of_metrics
from tietrain.train.averaging import restore_kept
from tietrain.train.checkpoint import STATE, load_checkpoint, newest_whole
from tietrain.train.experiment import Experiment
from tietrain.train.hardware import Hardware
from tietrain.train.optim import Optimizer, learning_rate
from tietrain.train.state import TrainState

# Places at which the rates of two schedules are compared.
N_COMPARED = 1000
# Conditions of bit-for-bit equality: if one changes, the run continues and logs it.
BIT_CONDITIONS = (
    *("device", "device_name", "precision", "compile", "device_batch_tokens", "threads", "processes", "shard"),
    *("cpu_capability", "tietrain", "torch", "python", "platform"),
)
# What older versions did not record of a machine.
UNRECORDED: dict[str, Any] = {"processes": 1, "shard": False}


def make_identity(experiment: Experiment, hardware: Hardware, fingerprints: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint must agree with to be continued: settings and contents; and on which machine, to compare."""
    identity = {"settings": experiment.settings, "fingerprints": dict(fingerprints), "machine": hardware.describe()}
    plain: dict[str, Any] = json.loads(json.dumps(identity))
    return plain


def resume(
    directory: Path,
    model: Transformer,
    optimizer: Optimizer,
    smoothed: Transformer | None,
    identity: Mapping[str, Any],
    log: Callable[[str], None],
) -> TrainState:
    """The state of the newest whole checkpoint, loaded into model and optimizer; step 0 if there is none.

    Args:
        smoothed: the model that holds the moving average of the weights, loaded too; None without train.ema.

    Raises:
        SettingsError: the checkpoint is of other settings, contents or ties; it names the first that differs.
        DataError: there are checkpoints and none is whole.
    """
    check = partial(_check_same, directory, identity)
    body = load_checkpoint(directory, model, optimizer, check, log, smoothed)
    if body is None:
        cut_metrics(directory, 0)
        return TrainState()
    there = UNRECORDED | body["machine"]
    for name in BIT_CONDITIONS:
        before, now = there.get(name), identity["machine"].get(name)
        if before != now:
            log(f"{name} was {before} and is {now}: the run continues, but may differ in its last digits")
    state = state_of(directory, body)
    seal = body.get("metrics")
    n_bytes = seal.get("bytes") if isinstance(seal, dict) else None
    if not isinstance(n_bytes, int) or seal != seal_of_metrics(directory, n_bytes):
        lost = f"rows before step {state.step} may be missing"
        log(f"{directory / runs.METRICS} is not as the checkpoint left it: {lost}")
    cut_metrics(directory, state.step)
    restore_kept(directory, smoothed or model, state, log)
    log(f"continuing after step {state.step}")
    return state


def newest_body(directory: Path) -> dict[str, Any] | None:
    """What `state.json` of the newest whole checkpoint holds; None if there is no such checkpoint."""
    path = newest_whole(directory)
    body = runs.read_json(path / STATE) if path else None
    is_ours = isinstance(body, dict) and all(isinstance(body.get(name), dict) for name in ("settings", "fingerprints"))
    return body if is_ours else None


def check_longer(directory: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """SettingsError unless the run can continue with another budget; see `check_longer_budget`."""
    body = newest_body(directory)
    if body is None:
        remedy = "give another run_dir for a longer budget"
        raise SettingsError(f"run_dir={directory}", "no checkpoint is left to continue from", remedy)
    check_longer_budget(before, now, state_of(directory, body).used)


def check_longer_budget(before: Mapping[str, Any], now: Mapping[str, Any], used: Mapping[str, float]) -> None:
    """SettingsError unless the budget is longer, in the same unit, and every rate used so far stays what it was.

    That is possible for a constant rate, inverse_sqrt, and wsd before its decay, if the warm-up is as long as before.

    Args:
        before, now: full key -> value, which differ in keys of BUDGET.
        used: unit -> amount used so far.
    """
    try:
        old, new = _budgets(before), _budgets(now)
        schedules = _optim(before), _optim(now)
    except TypeError as e:
        raise DataError(runs.RUN, f"its settings are not those of a run ({e})", "give another run_dir") from None
    (unit, limit), *more = new.items()
    remedy = "give another run_dir"
    if old == new:
        key = next(key for key in sorted(BUDGET) if before.get(key) != now.get(key))
        raise SettingsError(f"{key}={now.get(key)}", f"the run was made with {before.get(key)}", remedy)
    requested = f"train.max_{unit}={limit}"
    if more or list(old) != [unit] or limit <= old[unit]:
        problem = f"the run was made with {', '.join(f'max_{u}={v}' for u, v in old.items())}"
        raise SettingsError(requested, problem, "give the same budget, or a longer one of the same unit")
    for i in range(N_COMPARED + 1):
        amount = used[unit] * i / N_COMPARED
        rates = [learning_rate(s, amount / b[unit]) for s, b in zip(schedules, (old, new), strict=True)]
        if not math.isclose(*rates, rel_tol=1e-9):
            warmup = schedules[0].warmup * old[unit] / limit
            if schedules[0].schedule != "cosine" and not math.isclose(warmup, schedules[1].warmup):
                remedy = f"try optim.warmup={warmup!r}, or give another run_dir"
            problem = "the steps so far would have had other learning rates"
            raise SettingsError(requested, f"with optim.schedule={schedules[0].schedule} {problem}", remedy)


def _budgets(settings: Mapping[str, Any]) -> dict[str, float]:
    stated: dict[str, Any] = {key.removeprefix("train."): settings.get(key) for key in LIMITS}
    return TrainConfig(**stated).budgets


def _optim(settings: Mapping[str, Any]) -> OptimConfig:
    """The settings of the schedule; factors by role, which no budget changes, are left out."""
    stated = {k.removeprefix("optim."): v for k, v in as_meant(settings).items() if k.startswith("optim.")}
    return OptimConfig(**{name: value for name, value in stated.items() if "." not in name})


def state_of(directory: Path, body: Any) -> TrainState:
    """The state that `state.json` of a checkpoint holds; DataError if it is none."""
    try:
        return TrainState.from_json(body["state"])
    except (KeyError, TypeError):
        raise DataError(str(directory), "its checkpoint is of another make", "give another run_dir") from None


def _check_same(directory: Path, identity: Mapping[str, Any], body: Any) -> None:
    names = ("state", "settings", "fingerprints", "machine")
    if not isinstance(body, dict) or not all(isinstance(body.get(name), dict) for name in names):
        raise DataError(str(directory), "its checkpoint is of another make", "give another run_dir")
    problem = f"the checkpoint in {directory} was made with"
    before, now = body["settings"], identity["settings"]
    machines = body["machine"], identity["machine"]
    changed = [key for key in changed_settings(before, now) if not became_same(key, *machines)]
    for key in changed:
        if key not in BUDGET:
            was = as_meant(before).get(key)
            raise SettingsError(f"{key}={as_meant(now).get(key)}", f"{problem} {was}", "give another run_dir")
    if changed:
        check_longer_budget(before, now, state_of(directory, body).used)
    before, now = body["fingerprints"], identity["fingerprints"]
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            difference = f"{problem} {before.get(key)}, now it is {now.get(key)}"
            raise SettingsError(f"fingerprint of {key}", difference, "give another run_dir")
