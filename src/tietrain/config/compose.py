"""From command-line words to a checked RunConfig, with errors that say which key, what is so and what to do.

Imports Hydra but neither torch nor datasets, so that help, completion and settings errors are immediate.
"""

import dataclasses
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache
from typing import Any

import yaml
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigNode, ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from tietrain.config import RunConfig
from tietrain.config.data import MODES
from tietrain.config.given import use_given, use_tables
from tietrain.config.hydra_errors import hydra_error, unknown_choice
from tietrain.config.hydra_parts import (
    ChoiceSweep,
    GlobalHydra,
    Override,
    OverridesParser,
    Plugins,
    RunMode,
    SideBySideConf,
    add_folders,
    apart,
    composed_once,
    get_omega_conf_dumper,
    register_sources,
    typed,
)
from tietrain.config.keys import ALL, GROUPS, PIECES, setting_of, suggestion
from tietrain.config.match import solve
from tietrain.config.quoting import misread, unreadable
from tietrain.errors import SettingsError, TietrainError
from tietrain.plan.catalogue import CONF
from tietrain.plan.installed import METRIC, NAMED_BY, READER, RULE, brought, find, is_foreign
from tietrain.plan.rules import RULES

# Folders of Hydra -> what names ours.
FOLDERS = {
    "hydra.run.dir": "use run_dir=PATH",
    "hydra.sweep.dir": "use study=NAME",
    "hydra.sweep.subdir": "use study=NAME",
    "hydra.job.chdir": "change to the folder first, or use run_dir=PATH",
}


def register_schema() -> None:
    """Give Hydra the types of the whole tree, under the name `config.yaml` lists first; no value reads the environment.

    Files of the user are looked at before Hydra reads them, and choices of tying may have options.
    """
    OmegaConf.clear_resolver("oc.env")  # a secret would end up in the configuration that a run writes down
    if _schema().name not in ConfigStore.instance().repo:
        ConfigStore.instance().repo[_schema().name] = _schema()
        Plugins.instance()  # looks for plugins, which bring launchers: this one takes the place of one of them
        ConfigStore.instance().store(group="hydra/launcher", name="joblib", node=SideBySideConf, provider="tietrain")
    register_sources()


@cache
def _schema() -> ConfigNode:
    """What Hydra's store keeps of our types: takes long to make, and Hydra changes only copies of it."""
    types = OmegaConf.structured(RunConfig)
    return ConfigNode(name="tietrain_schema.yaml", node=types, group=None, package=None, provider=None)


def parse_overrides(words: Sequence[str]) -> list[Override]:
    """The overrides among command-line words, each naming a key that exists.

    Raises:
        SettingsError: a word is not an override, or its key is unknown (`+key=value` included); the message proposes the
            nearest known key. Or a name is not read as it was written.
    """
    overrides = []
    for word in words:
        try:
            overrides += OverridesParser.create().parse_overrides([word])
        except HydraException:
            raise unreadable(word) from None
    for override in overrides:
        key = override.key_or_group.split("@")[0]
        found = setting_of(key)
        is_user_key = found is not None and (found.spec.open or found.spec.written)
        if not (is_user_key or key.startswith(("hydra.", "hydra/")) or key in ALL or key in GROUPS):
            raise SettingsError(override.input_line or key, f"there is no key {key}", suggestion(key, [*ALL, *GROUPS]))
        if found is not None and found.spec.written:
            raise SettingsError(override.input_line or key, "tietrain writes it", "leave it out")
        if key in FOLDERS:
            raise SettingsError(override.input_line or key, "tietrain names the folders of runs itself", FOLDERS[key])
        if key.startswith("hydra.sweeper.params"):
            remedy = "on a command line write the values at the setting: -m seed=1,2"
            raise SettingsError(override.input_line or key, "a grid is written so in a file", remedy)
        for value in _values(override) if key in GROUPS and not override.is_delete() else ():
            if value is None or isinstance(value, bool | int | float):
                raise SettingsError(*unknown_choice(key, "null" if value is None else str(value).lower()))
        check_tie_option(key)
        if found is not None and found.is_text and not override.is_delete():
            check_as_written(override)
    return overrides


def check_as_written(override: Override) -> None:
    """SettingsError if the value of a setting of text is empty, or reads otherwise than it was written: `true`, `1.50`."""
    word = str(override.input_line)
    for value in _values(override):
        if value == "":
            raise SettingsError(word, "it is empty, as if a variable of the shell were not set", "give a value")
        if isinstance(value, bool | float) and not re.search(rf"(?<![\w.]){re.escape(str(value))}(?![\w.])", word):
            raise misread(word, value)


def _values(override: Override) -> Iterator[Any]:
    """What an override gives, also to several cells: see `_scalars`."""
    value = override.value()
    return _scalars(value.list if isinstance(value, ChoiceSweep) else value)


def _scalars(value: Any) -> Iterator[Any]:
    """The values in lists and mappings, and the keys of mappings."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if not isinstance(value, list):
        yield value
        return
    for part in value:
        yield from _scalars(part)


def check_tie_option(key: str) -> None:
    """SettingsError if `tying.ties.LABEL.OPTION` names an option that no rule has."""
    parts = key.split(".")
    if parts[:2] == ["tying", "ties"] and len(parts) > 3:
        options = sorted({"rule", *(o for rule in RULES.values() for o in rule.options)})
        # Options of rules of packages are known once these are loaded.
        if parts[3] not in options and not brought(RULE):
            near = get_close_matches(parts[3], options, n=1)
            remedy = f"did you mean {'.'.join(parts[:3])}.{near[0]}?" if near else f"options are {', '.join(options)}"
            raise SettingsError(key, f"no tying rule has an option {parts[3]}", remedy)


def compose_config(overrides: Sequence[str], config_dirs: Sequence[str] = (), name: str = "config") -> RunConfig:
    """The checked configuration of one run; `name` is the file that it begins with.

    Raises:
        TietrainError: with exit code 2, for anything Hydra or we refuse.
    """
    parse_overrides(overrides)
    with initialized(overrides, config_dirs):
        cfg, settings = compose_cell(overrides, name)
        if "task" not in cfg:
            raise no_schema(name)
        check_labels(settings, overrides, name)
        return to_run_config(cfg, words=overrides)


def compose_cell(overrides: Sequence[str], name: str = "config") -> tuple[DictConfig, Any]:
    """The unchecked configuration of one run, and Hydra's own settings; Hydra must be initialized."""
    cfg = compose(name, list(overrides), return_hydra_config=True)
    with open_dict(cfg):
        return cfg, cfg.pop("hydra")


def compose_grid(overrides: Sequence[str], config_dirs: Sequence[str] = (), name: str = "config") -> DictConfig:
    """What a grid's cells have in common, as Hydra composes it before it sweeps, with the settings of Hydra itself.

    Raises:
        TietrainError: with exit code 2, for anything Hydra refuses.
    """
    parse_overrides(overrides)
    with initialized(overrides, config_dirs):
        loader = GlobalHydra.instance().config_loader()
        common = loader.load_configuration(
            name, list(overrides), RunMode.MULTIRUN, from_shell=False, validate_sweep_overrides=False
        )
        if "task" not in common:
            raise no_schema(name)
        own = OmegaConf.masked_copy(common, [str(key) for key in common if key != "hydra"])
        OmegaConf.to_container(own, resolve=True)  # refuses what refers to something else
        OmegaConf.to_container(common.hydra.sweeper, resolve=True)
        return common


@contextmanager
def ours() -> Iterator[None]:
    """Inside, our types and readers are registered, and no value reads the environment; afterwards all is as before."""
    with apart():
        register_schema()
        yield


@contextmanager
def initialized(overrides: Sequence[str], config_dirs: Sequence[str]) -> Iterator[None]:
    """Hydra at work on our configuration and on those of folders. Its errors become ours."""
    for config_dir in config_dirs:
        check_config_dir(config_dir)
    try:
        with composed_once(), ours(), initialize_config_module(CONF, version_base="1.3"):
            add_folders(config_dirs)
            yield
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as e:
        raise hydra_error(e, overrides) from None


def check_labels(settings: Any, overrides: Sequence[str], name: str = "config") -> None:
    """SettingsError if two chosen files of `tying/` bring the same label: Hydra would mix their options.

    Hydra must be initialized.

    Args:
        settings: Hydra's own. name: the file that it begins with.
    """
    if "tying" in settings.runtime.choices:  # else it is a list of files
        return
    loader = GlobalHydra.instance().config_loader()
    chosen = loader.compute_defaults_list(name, list(overrides), RunMode.RUN).defaults
    names = [d.config_path.removeprefix("tying/") for d in chosen if (d.config_path or "").startswith("tying/")]
    owner: dict[str, str] = {}
    for name in names:
        for label in compose("config", overrides=[f"tying={name}"]).tying.ties:
            if label in owner:
                problem = f"{owner[label]} and {name} both bring the tie {label}"
                remedy = "list it once; docs/schemes.md shows how to use a rule twice"
                raise SettingsError(f"tying=[{','.join(names)}]", problem, remedy)
            owner[label] = name


def check_config_dir(path: str) -> None:
    """SettingsError unless `-cd` names a folder."""
    if not os.path.isdir(path):
        remedy = "name the folder that holds your tying/, data/, ... files"
        raise SettingsError(f"-cd {path}", "there is no such folder", remedy)


def to_run_config(
    cfg: DictConfig, swept: Iterable[str] = (), words: Iterable[str] = (), is_stored: bool = False
) -> RunConfig:
    """The dataclasses of a composed configuration, cross checks done; no DictConfig exists below this call.

    Vocabularies that are named are looked at, and what match.* asks for is solved, for which Hydra must be initialized.

    Args:
        swept: keys that have several values in the grid this is a cell of.
        words: the overrides it was composed of; what they set, a named vocabulary must agree with.
        is_stored: whether it is that of a run, so that packages must be installed only for what words name.
    """
    OmegaConf.set_readonly(cfg, False)
    for unknown in _unknown_keys(cfg):
        raise SettingsError(unknown, "there is no such key", suggestion(unknown, ALL))
    config = OmegaConf.to_object(cfg)
    if not isinstance(config, RunConfig):
        raise no_schema("config")
    if swept := set(swept):
        config.swept = only_swept(words, swept)
    if config.train.batch_by == "auto":
        config.train.batch_by = "tokens" if set(swept).isdisjoint(PIECES) else "chars"
    keys = set(map(key_of, words))
    check_packages(config, keys if is_stored else NAMED_BY.values())
    if config.data.vocabulary not in MODES:
        config = use_given(config, keys)
    if config.init_tables.files.keys() != config.init_tables.contents.keys():
        config = use_tables(config)
    if config.match.by is None or config.match.solved:
        return config
    return solve(config, *_baseline(config.match.baseline))


def check_packages(config: RunConfig, keys: Collection[str]) -> None:
    """SettingsError if one of these settings names what no installed package brings."""
    named = {METRIC: config.task.metrics, READER: [config.data.format]}
    for kind, names in named.items():
        for name in names if NAMED_BY[kind] in keys else ():
            if is_foreign(name):
                find(kind, name)


def no_schema(name: str) -> SettingsError:
    """The refusal of a user's own file to begin with that leaves ours out."""
    problem = "it leaves out the defaults of tietrain"
    return SettingsError(f"{name.removesuffix('.yaml')}.yaml", problem, "begin it with `defaults: [config, _self_]`")


def key_of(word: str) -> str:
    """The key that an override sets."""
    return word.partition("=")[0].lstrip("+")


def only_swept(words: Iterable[str], swept: Collection[str]) -> list[str]:
    """The overrides of a cell whose keys have several values in its grid."""
    return [typed(word) for word in words if key_of(word) in swept]


def _baseline(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ties a baseline names, and the fields of model.* it sets."""
    requested, (name, *others) = f"match.baseline={text}", text.split() or [""]
    words = [f"tying={name}", *others]
    try:
        keys = [override.key_or_group for override in parse_overrides(words)]
        cfg, settings = compose_cell(words)
        check_labels(settings, words)
    except (TietrainError, HydraException, OmegaConfBaseException) as e:
        refused = hydra_error(e, words)
        raise SettingsError(requested, f"{refused.setting}: {refused.problem}", refused.remedy) from None
    for key in keys:
        if key != "tying" and not key.startswith(("tying.", "model.")):
            remedy = "write a choice of tying, then tying.ties... and model.KEY=VALUE"
            raise SettingsError(requested, f"{key} is not part of a baseline", remedy)
    ties: dict[str, Any] = OmegaConf.to_container(cfg.tying.ties)  # type: ignore[assignment]
    return ties, {key: cfg.model[key] for key in (k.removeprefix("model.") for k in keys) if key in cfg.model}


def _unknown_keys(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    """Keys that `+key=value` smuggled past the schema."""
    cls = OmegaConf.get_type(cfg)
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        return
    names = {f.name for f in dataclasses.fields(cls)}
    for key in map(str, cfg):
        node = cfg._get_node(key)
        if key not in names:
            yield f"{prefix}{key}"
        elif isinstance(node, DictConfig):
            yield from _unknown_keys(node, f"{prefix}{key}.")


def config_yaml(config: RunConfig) -> str:
    """The whole resolved configuration as YAML, for `config.yaml` of a run directory."""
    body = dataclasses.asdict(config)
    return str(yaml.dump(body, Dumper=get_omega_conf_dumper(), allow_unicode=True, sort_keys=False))
