"""What makes a run the run it is: the settings that decide its result, their hash, and its directory name."""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from tietrain.config.keys import identity_of
from tietrain.config.run import RunConfig
from tietrain.plan.plan import short_hash

# Characters of a directory name that are the label's; file systems end at 255 bytes.
MAX_LABEL = 120
# The same of what a grid sweeps, and of one value.
MAX_SWEPT = 80
MAX_VALUE = 24
LONG_NUMBER = 10
# Settings that a name shows anyway.
SHOWN = ("task", "seed", "study")
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
    """`settings_hash` of the configuration's own."""
    return settings_hash(result_settings(config))


def settings_hash(settings: Mapping[str, Any]) -> str:
    """8 hex digits over `result_settings`."""
    return short_hash(settings)[:8]


def run_name(config: RunConfig) -> str:
    """Name of the run: task, tying, seed and the hash of what decides its result."""
    return f"{run_title(config)}-{config_hash(config)}"


def run_title(config: RunConfig) -> str:
    """The name of the run without its hash."""
    return f"{config.task.name}-{_as_name(config.tying_label)[:MAX_LABEL]}-s{config.seed}"


def cell_title(swept: Iterable[str]) -> str:
    """What a grid sweeps, for the name of a cell's directory; empty if task, tying and seed say it.

    >>> cell_title(["seed=1", "tying=cycle:n_unique:2", "optim.lr=0.0010141520882", "optim.betas=[0.9,0.98]"])
    'n_unique_2-lr_0.00101415-betas_0.9_0.98'
    """
    parts: list[str] = []
    for word in swept:
        key, _, value = word.partition("=")
        if key == "tying":
            parts += re.findall(r":([^,\]]+)", value)  # options of schemes, which the label lacks
        elif key not in SHOWN:
            if len(value) > LONG_NUMBER and "." in value:  # as a search draws them
                with suppress(ValueError):
                    value = f"{float(value):.6g}"
            parts.append(f"{key.rpartition('.')[2]}_{_as_name(value).strip('_')[:MAX_VALUE]}")
    return _as_name("-".join(parts))[:MAX_SWEPT]


def _as_name(text: str) -> str:
    """Text that may hold anything, also a /, as part of the name of a folder."""
    return re.sub(r"[^A-Za-z0-9_+.-]+", "_", text)
