"""What makes a run the run it is: the settings that decide its result, their hash, and its directory name."""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tietrain.config.keys import identity_of
from tietrain.config.run import RunConfig
from tietrain.plan.plan import short_hash

# Characters of a directory name that are the label's; file systems end at 255 bytes.
MAX_LABEL = 120
# Formats whose data.splits name parts of one dataset; those of the others name files.
BY_NAME = ("hub",)


def flat_settings(config: RunConfig) -> dict[str, Any]:
    """Full key -> value of each leaf of the configuration; tying options, and those of a list's mappings, are leaves."""
    return dict(_leaves(dataclasses.asdict(config), ""))


def _leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, list) and node and isinstance(node[0], dict):
        node = {str(i): child for i, child in enumerate(node, start=1)}
    if isinstance(node, dict) and node:
        for name, child in node.items():
            yield from _leaves(child, f"{key}.{name}" if key else name)
    else:
        yield key, node


def result_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that decide a run's result, see `keys.identity_of`."""
    return identity_of(flat_settings(config))


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Keys of `result_settings` that differ, in order; files that moved are known again by their content.

    Both are read by the rules of this version: a run of before may have recorded settings that it did not read.
    """
    was = identity_of(before)
    is_now = identity_of(now)
    named = () if now.get("data.format") in BY_NAME else ("data.splits.",)
    changed = (key for key in sorted(was.keys() | is_now.keys()) if was.get(key) != is_now.get(key))
    return [key for key in changed if not key.startswith(named)]


def became_same(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a setting of the hardware, such as auto, became on one machine what it became on another.

    Args:
        before, now: the machines as `run.json` describes them.
    """
    section, _, name = key.partition(".")
    return section == "hardware" and name in before and before[name] == now.get(name)


def config_hash(config: RunConfig) -> str:
    """8 hex digits over `result_settings`."""
    return short_hash(result_settings(config))[:8]


def run_name(config: RunConfig) -> str:
    """Directory name of the run: task, tying, seed and the hash of what decides its result."""
    label = re.sub(r"[^A-Za-z0-9_+.-]+", "_", config.tying_label)[:MAX_LABEL]  # a label may hold anything, also a /
    return f"{config.task.name}-{label}-s{config.seed}-{config_hash(config)}"
