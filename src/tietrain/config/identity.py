"""What makes a run the run it is: the settings that decide its result, their hash, and its directory name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from tietrain.config import RunConfig

# Keys that cannot change a result by more than rounding: where things lie, how they are shown, read and cut, test hooks.
VOLATILE = frozenset(
    [
        "study",
        "run_dir",
        "retry_failed",
        "same_code",
        "data.root",
        "data.cache",
        "hardware.compile",
        "hardware.device_batch_tokens",
        "hardware.threads",
        "hardware.peak_flops",
        "hardware.peak_flops_source",
        "report.metric",
        "report.split",
        "report.baseline",
        "report.margin",
        "train.checkpoint_every",
        "train.log_every",
        "train.slow_step_seconds",
        "train.trackers",
    ]
)
# Keys that one data.format alone reads, and that say nothing about another.
ONLY_OF = {
    "grammar": frozenset(["data.preset", "data.seed", "data.language_seed", "data.difficulty", "data.alphabet_b"]),
    "hub": frozenset(["data.dataset", "data.subset", "data.revision"]),
}
# Characters of a directory name that are the label's; file systems end at 255 bytes.
MAX_LABEL = 120
# Formats whose data.splits name parts of one dataset; those of the others name files.
BY_NAME = ("hub",)


def flat_settings(config: RunConfig) -> dict[str, Any]:
    """Full key -> value for every leaf of the configuration; tying options, and those of a list's mappings, are leaves."""

    def walk(node: Any, prefix: str) -> dict[str, Any]:
        if isinstance(node, list) and node and isinstance(node[0], dict):
            node = {str(i): child for i, child in enumerate(node, start=1)}
        if isinstance(node, dict) and node:
            return {
                k: v
                for key, child in node.items()
                for k, v in walk(child, f"{prefix}.{key}" if prefix else key).items()
            }
        return {prefix: node}

    return walk(dataclasses.asdict(config), "")


def result_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that decide a run's result: all but VOLATILE, and those of corpora, match or tuning it does not have."""
    unused = VOLATILE.union(*(keys for data_format, keys in ONLY_OF.items() if data_format != config.data.format))
    flat = flat_settings(config)
    left_out = tuple(p for p, has in (("match.", config.match.by), ("tune.", config.tune.role)) if not has)
    return {k: v for k, v in flat.items() if k not in unused and not k.startswith(left_out)}


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Keys of `result_settings` that differ, in order; files that moved are known again by their content."""
    named = () if now.get("data.format") in BY_NAME else ("data.splits.",)
    changed = (key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key))
    return [key for key in changed if not key.startswith(named)]


def config_hash(config: RunConfig) -> str:
    """8 hex digits over `result_settings`."""
    body = json.dumps(result_settings(config), sort_keys=True)
    return hashlib.sha256(body.encode()).hexdigest()[:8]


def run_name(config: RunConfig) -> str:
    """Directory name of the run: task, tying, seed and the hash of what decides its result."""
    label = re.sub(r"[^A-Za-z0-9_+.-]+", "_", config.tying_label)[:MAX_LABEL]  # a label may hold anything, also a /
    return f"{config.task.name}-{label}-s{config.seed}-{config_hash(config)}"
