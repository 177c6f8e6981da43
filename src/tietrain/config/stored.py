"""The `config.yaml` of a run directory, read back and overridden.

Reading takes plain values of known keys and types; nothing is resolved or run.
"""

import dataclasses
import types
import typing
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from tietrain.config import RunConfig, keys
from tietrain.errors import DataError, SettingsError
from tietrain.plan.difference import PlanRecord, record_of
from tietrain.plan.installed import RULE, is_missing
from tietrain.plan.slots import place_of
from tietrain.runs import record as runs
from tietrain.runs.durable import is_whole
from tietrain.runs.reading import is_there

# A configuration has some kilobytes; reading YAML takes a second for each million.
MAX_YAML_BYTES = 1_000_000


class _PlainLoader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """Plain values, each written out: no tag makes an object, and no alias repeats a value without end."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias stands for a value")
        return super().compose_node(parent, index)


def read_run_config(directory: Path) -> RunConfig:
    """The configuration a run was made with; what it was given in files is read from its directory, which keeps it.

    Raises:
        SettingsError: the folder is not a run directory, or a value is out of range.
        DataError: its `config.yaml` is missing or damaged.
    """
    if not is_there(directory / runs.RUN):
        inside = runs.find_runs(directory)
        remedy = f"name one of those in it, for example {inside[0]}" if inside else "name a folder that tietrain wrote"
        raise SettingsError(str(directory), f"it is not a run directory: it has no {runs.RUN}", remedy)
    path = directory / runs.CONFIG
    content = runs.read_bytes(path)
    try:
        if len(content) > MAX_YAML_BYTES:
            raise ValueError(f"{len(content):,} bytes are too many")
        config: RunConfig = _made(RunConfig, _with_known_rules(yaml.load(content, _PlainLoader), directory), "")
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        problem = str(e).partition("\n")[0]
        raise DataError(str(path), f"it is not YAML ({problem})", "restore it") from None
    except TypeError as e:
        raise DataError(str(path), str(e), "restore it, or use the tietrain that wrote it") from None
    return _with_own_files(config, directory.absolute())


def _with_own_files(config: RunConfig, run: Path) -> RunConfig:
    folder = run / runs.VOCABULARY
    if config.data.vocabulary_files and is_whole(folder):
        config.data.vocabulary_files = {part: str(folder / f"{part}.model") for part in config.data.vocabulary_files}
    folder = run / runs.INIT_TABLES
    if config.init_tables.contents and is_whole(folder):
        for use in config.init_tables.files:
            setattr(config.init_tables, use, str(folder / f"{use}.safetensors"))
    return config


def _with_known_rules(body: Any, run: Path) -> Any:
    """The content of `config.yaml`; ties of packages that are not installed are those of the stored plan, as groups.

    Raises:
        DataError: there is no plan, or views are part of it, which groups cannot say.
    """
    tying = body.get("tying") if isinstance(body, dict) else None
    ties = tying.get("ties") if isinstance(tying, dict) else None
    rules = [tie.get("rule") for tie in ties.values() if isinstance(tie, dict)] if isinstance(ties, dict) else []
    if not (missing := next((rule for rule in rules if is_missing(RULE, rule)), None)):
        return body
    record = stored_record(run)
    if record.views:
        raise DataError(str(run), f"its rule {missing} is of a package that is not here", "install the package")
    groups: dict[str, list[str]] = {}
    for slot, owner in record.owner.items():
        groups.setdefault(owner, []).append(slot)
    shared = [slots for slots in groups.values() if len(slots) > 1]
    return body | {"tying": {"ties": {"groups": {"rule": "groups", "groups": shared}}}}


def stored_record(run: Path) -> PlanRecord:
    """The record of a run's plan; DataError if the run directory holds none."""
    path = run / runs.PLAN
    body = runs.read_json(path)
    with suppress(KeyError, TypeError, ValueError, AttributeError):
        record = record_of(body)
        if record.params and all(map(place_of, record.owner)):
            return record
    raise DataError(str(path), "it is not the plan of a run", "give another run directory")


def override_config(config: RunConfig, words: Sequence[str], config_dirs: Sequence[str] = ()) -> RunConfig:
    """A configuration with some settings replaced: groups by their files, keys by their values.

    Raises:
        SettingsError: a word is not an override, or its value does not fit the key.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from tietrain.config.compose import compose_config, ours, parse_overrides, to_run_config
    from tietrain.config.hydra_errors import hydra_error

    tree = OmegaConf.structured(config)
    try:
        with ours():
            # Groups first: a file says less than a value beside it.
            for override in sorted(parse_overrides(words), key=lambda o: o.key_or_group not in keys.GROUPS):
                key, value = override.key_or_group, override.value()
                if override.is_sweep_override() or override.is_delete():
                    raise SettingsError(str(override.input_line), "it is not a single value", "write key=value")
                if key in keys.GROUPS:
                    value = getattr(compose_config([f"task={config.task.name}", f"{key}={value}"], config_dirs), key)
                OmegaConf.update(tree, key, value, merge=isinstance(value, dict))
            return to_run_config(tree, words=words, is_stored=True)
    except OmegaConfBaseException as e:
        raise hydra_error(e, words) from None


def _made(cls: Any, body: Any, key: str) -> Any:
    """An instance of a configuration class, of nested mappings; TypeError names the key that does not fit.

    A setting that was added later has the value that meant its absence; every version has written the others.
    """
    hints = typing.get_type_hints(cls)
    if not isinstance(body, dict):
        raise TypeError(f"{key or 'its content'} is not a mapping")
    unknown = [name for name in body if name not in hints]
    if unknown:
        raise TypeError(f"there is no key {key}{unknown[0]}")
    values = {name: _typed(hints[name], value, f"{key}{name}") for name, value in body.items()}
    for name in hints.keys() - body.keys():
        if key + name in keys.ABSENT:
            values[name] = keys.ABSENT[key + name]
        elif key + name in keys.ALL:
            raise TypeError(f"it lacks {key}{name}")
        elif dataclasses.is_dataclass(hints[name]):
            values[name] = _made(hints[name], {}, f"{key}{name}.")
    return cls(**values)


def _typed(hint: Any, value: Any, key: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _made(hint, value, f"{key}.")
    origin, of = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):  # Optional
        return None if value is None else _typed(of[0], value, key)
    if origin is list and isinstance(value, list):
        return [_typed(of[0], item, key) for item in value]
    if origin is dict and isinstance(value, dict):
        return {name: _typed(of[1], item, f"{key}.{name}") for name, item in value.items()}
    if hint is float and type(value) is int:
        return float(value)
    if hint is Any or type(value) is hint:
        return value
    raise TypeError(f"{key} is {value!r}, not of type {getattr(origin or hint, '__name__', hint)}")
