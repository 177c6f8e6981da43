"""Going on where a run stopped, and refusing to go on with another experiment."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from tietrain.config import RunConfig
from tietrain.config.identity import changed_settings, result_settings
from tietrain.errors import DataError, SettingsError
from tietrain.model.transformer import Transformer
from tietrain.runs import record as runs
from tietrain.runs.durable import is_whole
from tietrain.train.averaging import restore_kept
from tietrain.train.checkpoint import STATE, load_checkpoint, step_checkpoints
from tietrain.train.hardware import Hardware
from tietrain.train.schedule import OF_BUDGET, check_longer_budget
from tietrain.train.state import TrainState

# Conditions of bit-for-bit equality: with others a run goes on, and says so.
BIT_CONDITIONS = (
    "device",
    "precision",
    "compile",
    "device_batch_tokens",
    "tietrain",
    "device_name",
    "threads",
    "cpu_capability",
    "torch",
    "python",
    "platform",
)


def make_identity(config: RunConfig, hardware: Hardware, fingerprints: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint must agree with to be continued: settings and contents; and on which machine, to compare."""
    identity = {"settings": result_settings(config), "fingerprints": dict(fingerprints), "machine": hardware.describe()}
    return json.loads(json.dumps(identity))


def resume(
    directory: Path,
    model: Transformer,
    optimizer: Optimizer,
    smoothed: Transformer | None,
    identity: Mapping[str, Any],
    log: Callable[[str], None],
) -> TrainState:
    """The state of the newest whole checkpoint, loaded into model and optimizer; step 0 where there is none.

    Args:
        smoothed: the model that holds the moving average of the weights, loaded too; None where there is none.

    Raises:
        SettingsError: the checkpoint is of other settings, contents or ties; it names the first that differs.
        DataError: there are checkpoints and none is whole.
    """
    check = partial(_check_same, directory, identity)
    body = load_checkpoint(directory, model, optimizer, check, log, smoothed)
    if body is None:
        runs.cut_metrics(directory, 0)
        return TrainState()
    for name in BIT_CONDITIONS:
        before, now = body["machine"].get(name), identity["machine"].get(name)
        if before != now:
            log(f"{name} was {before} and is {now}: the run goes on, but may differ in its last digits")
    state = _state(directory, body)
    seal = body.get("metrics")
    n_bytes = seal.get("bytes") if isinstance(seal, dict) else None
    if not isinstance(n_bytes, int) or seal != metrics_seal(directory, n_bytes):
        lost = f"rows before step {state.step} may be missing"
        log(f"{directory / runs.METRICS} is not as the checkpoint left it: {lost}")
    runs.cut_metrics(directory, state.step)
    restore_kept(directory, smoothed or model, state, log)
    log(f"continuing after step {state.step}")
    return state


def metrics_seal(directory: Path, n_bytes: int | None = None) -> dict[str, Any]:
    """Size and sha256 of `metrics.jsonl`, or of its first bytes."""
    path = directory / runs.METRICS
    content = runs.read_bytes(path)[:n_bytes] if path.exists() else b""
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def check_longer(directory: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """SettingsError unless the run can go on with another budget; see `schedule.check_longer_budget`."""
    whole = [path for path in step_checkpoints(directory / runs.CHECKPOINTS).values() if is_whole(path)]
    if not whole:
        requested = f"run_dir={directory}"
        raise SettingsError(
            requested, "no checkpoint is left to go on from", "give another run_dir for a longer budget"
        )
    check_longer_budget(before, now, _state(directory, runs.read_json(whole[-1] / STATE)).used)


def _state(directory: Path, body: Any) -> TrainState:
    try:
        return TrainState.from_json(body["state"])
    except (KeyError, TypeError):
        raise DataError(str(directory), "its checkpoint is of another make", "give another run_dir") from None


def _check_same(directory: Path, identity: Mapping[str, Any], body: Any) -> None:
    names = ("state", "settings", "fingerprints", "machine")
    if not isinstance(body, dict) or not all(isinstance(body.get(name), dict) for name in names):
        raise DataError(str(directory), "its checkpoint is of another make", "give another run_dir")
    before, now = body["settings"], identity["settings"]
    problem = f"the checkpoint in {directory} was made with"
    changed = changed_settings(before, now)
    for key in changed:
        if key not in OF_BUDGET:
            raise SettingsError(f"{key}={now.get(key)}", f"{problem} {before.get(key)}", "give another run_dir")
    if changed:
        check_longer_budget(before, now, _state(directory, body).used)
    before, now = body["fingerprints"], identity["fingerprints"]
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            said = f"{problem} {before.get(key)}, now it is {now.get(key)}"
            raise SettingsError(f"fingerprint of {key}", said, "give another run_dir")
