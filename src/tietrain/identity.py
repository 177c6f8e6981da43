"""What makes a run the run it is: the settings that decide its result, their hash, and its directory name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from tietrain.config import RunConfig

# Keys that cannot change a result by more than rounding: where things lie, how they are shown and cut, and test hooks.
VOLATILE = frozenset(
    [
        "study",
        "run_dir",
        "data.root",
        "data.cache",
        "hardware.compile",
        "hardware.device_batch_tokens",
        "hardware.threads",
        "hardware.peak_flops",
        "hardware.peak_flops_source",
        "train.checkpoint_every",
        "train.log_every",
        "train.slow_step_seconds",
    ]
)
# Keys that one data.format alone reads, and that say nothing about another.
ONLY_OF = {
    "grammar": frozenset(["data.preset", "data.seed", "data.language_seed", "data.difficulty", "data.alphabet_b"]),
    "hub": frozenset(["data.dataset", "data.subset", "data.revision"]),
}


def flat_settings(config: RunConfig) -> dict[str, Any]:
    """Full key -> value for every leaf of the configuration; tying options are leaves too."""

    def walk(node: Any, prefix: str) -> dict[str, Any]:
        if isinstance(node, dict) and node:
            return {
                k: v
                for key, child in node.items()
                for k, v in walk(child, f"{prefix}.{key}" if prefix else key).items()
            }
        return {prefix: node}

    return walk(dataclasses.asdict(config), "")


def result_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that decide a run's result: all but VOLATILE, and those of corpora it does not have."""
    unused = VOLATILE.union(*(keys for data_format, keys in ONLY_OF.items() if data_format != config.data.format))
    return {k: v for k, v in flat_settings(config).items() if k not in unused}


def config_hash(config: RunConfig) -> str:
    """8 hex digits over `result_settings`."""
    body = json.dumps(result_settings(config), sort_keys=True)
    return hashlib.sha256(body.encode()).hexdigest()[:8]


def run_name(config: RunConfig) -> str:
    """Directory name of the run: task, tying, seed and the hash of what decides its result."""
    return f"{config.task.name}-{config.tying_label}-s{config.seed}-{config_hash(config)}"
