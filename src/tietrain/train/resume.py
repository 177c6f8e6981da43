"""Going on where a run stopped, and refusing to go on with another experiment."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from tietrain.config import RunConfig
from tietrain.errors import DataError, SettingsError
from tietrain.identity import result_settings
from tietrain.model.transformer import Transformer
from tietrain.train.averaging import restore_kept
from tietrain.train.checkpoint import load_checkpoint
from tietrain.train.hardware import Hardware
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
    say: Callable[[str], None],
) -> TrainState:
    """The state of the newest whole checkpoint, loaded into model and optimizer; step 0 where there is none.

    Args:
        smoothed: the model that holds the moving average of the weights, loaded too; None where there is none.

    Raises:
        SettingsError: the checkpoint is of other settings, contents or ties; it names the first that differs.
        DataError: there are checkpoints and none is whole.
    """
    check = partial(_check_same, directory, identity)
    body = load_checkpoint(directory, model, optimizer, check, say, smoothed)
    if body is None:
        return TrainState()
    for name in BIT_CONDITIONS:
        before, now = body["machine"].get(name), identity["machine"].get(name)
        if before != now:
            say(f"{name} was {before} and is {now}: the run goes on, but may differ in its last digits")
    state = TrainState.from_json(body["state"])
    restore_kept(directory, smoothed or model, state, say)
    say(f"continuing after step {state.step}")
    return state


def _check_same(directory: Path, identity: Mapping[str, Any], body: Any) -> None:
    if not isinstance(body, dict) or not {"state", "settings", "fingerprints", "machine"} <= body.keys():
        raise DataError(str(directory), "its checkpoint is of another make", "give another run_dir")
    for what in ("settings", "fingerprints"):
        before, now = body[what], identity[what]
        changed = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
        if changed:
            key = changed[0]
            asked = f"{key}={now.get(key)}" if what == "settings" else f"fingerprint of {key}"
            is_so = f"the checkpoint in {directory} was made with {before.get(key)}"
            raise SettingsError(
                asked, is_so if what == "settings" else f"{is_so}, now it is {now.get(key)}", "give another run_dir"
            )
