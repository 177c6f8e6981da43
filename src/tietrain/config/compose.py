"""From command-line words to a checked RunConfig, with errors that say which key, what is so and what to do.

Imports Hydra but neither torch nor datasets, so that help, completion and settings errors are immediate.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from tietrain.config import VOCABULARY_KEYS, RunConfig
from tietrain.config.match import solve
from tietrain.errors import SettingsError, TietrainError
from tietrain.plan.aliases import our_name
from tietrain.plan.rules import RULES

CONF = "tietrain.conf"
GROUPS = ("task", "data", "model", "tying", "optim", "train", "hardware", "tune", "experiment")
# Launchers and sweepers of Hydra plugins -> the extra that installs them.
PLUGINS = {**dict.fromkeys(("joblib", "submitit_local", "submitit_slurm"), "launchers"), "optuna": "search"}
# Mappings whose keys are the user's own, so that `+key=value` adds a key instead of a typing mistake.
OPEN_MAPPINGS = ("tying.ties.", "data.splits.", "data.features.", "task.train_pairs.")


def register_schema() -> None:
    """Give Hydra the types of the whole tree, under the name `config.yaml` lists first; no value reads the environment."""
    OmegaConf.clear_resolver("oc.env")  # a secret would end up in the configuration that a run writes down
    ConfigStore.instance().store(name="tietrain_schema", node=RunConfig)


def known_keys() -> list[str]:
    """Every full key of the configuration, groups included."""
    keys: list[str] = ["experiment"]

    def walk(cls: type, prefix: str) -> None:
        for f in dataclasses.fields(cls):
            keys.append(prefix + f.name)
            if f.default_factory is not dataclasses.MISSING and dataclasses.is_dataclass(f.default_factory):
                walk(f.default_factory, f"{prefix}{f.name}.")  # type: ignore[arg-type]

    walk(RunConfig, "")
    return keys


def parse_overrides(words: Sequence[str]) -> list[Override]:
    """The overrides among command-line words, each naming a key that exists.

    Raises:
        SettingsError: a word is no override, or its key is unknown (`+key=value` included); the message proposes the
            nearest known key.
    """
    try:
        overrides = OverridesParser.create().parse_overrides(list(words))
    except HydraException as e:
        raise SettingsError(" ".join(words), first_line(e), "write overrides as key=value") from None
    keys = known_keys()
    for override in overrides:
        key = override.key_or_group.split("@")[0]
        if key in ("tune.role", "tune.point") or key.startswith("match.solved"):
            raise SettingsError(override.input_line or key, "tietrain writes it", "leave it out")
        if key.split(".")[0] == "hydra" or key.startswith("hydra/") or key in keys:
            continue
        if any(key.startswith(prefix) for prefix in OPEN_MAPPINGS):
            check_tie_option(key)
            continue
        raise SettingsError(override.input_line or key, f"there is no key {key}", suggestion(key, keys))
    return overrides


def check_tie_option(key: str) -> None:
    """SettingsError where `tying.ties.LABEL.OPTION` names an option no rule has."""
    parts = key.split(".")
    if parts[:2] == ["tying", "ties"] and len(parts) > 3:
        options = sorted({"rule", *(o for rule in RULES.values() for o in rule.options)})
        if parts[3] not in options:
            raise SettingsError(key, f"no tying rule has an option {parts[3]}", f"options are {', '.join(options)}")


def suggestion(word: str, choices: Iterable[str]) -> str:
    """`did you mean ...?` for the nearest choice, by whole key or by its last part."""
    choices = list(choices)
    near = get_close_matches(word, choices, n=1, cutoff=0.75)
    if not near:
        last = {c.rsplit(".", 1)[-1]: c for c in choices}
        near = [last[m] for m in get_close_matches(word.rsplit(".", 1)[-1], list(last), n=1, cutoff=0.7)]
    return f"did you mean {near[0]}?" if near else "`tietrain --cfg job` lists every key"


def compose_config(overrides: Sequence[str], config_dirs: Sequence[str] = ()) -> RunConfig:
    """The checked configuration of one run.

    Raises:
        TietrainError: with exit code 2, for anything Hydra or we refuse.
    """
    parse_overrides(overrides)
    with initialized(overrides, config_dirs) as search:
        cfg = compose("config", overrides=[*overrides, *search])
        check_labels(overrides, search)
        return to_run_config(cfg, search=search)


def compose_grid(overrides: Sequence[str], config_dirs: Sequence[str] = ()) -> DictConfig:
    """What a grid's cells have in common, as Hydra composes it before it sweeps, with the settings of Hydra itself.

    Raises:
        TietrainError: with exit code 2, for anything Hydra refuses.
    """
    with initialized(overrides, config_dirs) as search:
        loader = GlobalHydra.instance().config_loader()
        return loader.load_configuration(
            "config", [*overrides, *search], RunMode.MULTIRUN, from_shell=False, validate_sweep_overrides=False
        )


@contextmanager
def initialized(overrides: Sequence[str], config_dirs: Sequence[str]) -> Iterator[list[str]]:
    """Hydra at work on our configuration; gives the overrides that name its search path. Its errors become ours."""
    for config_dir in config_dirs:
        check_config_dir(config_dir)
    folders = ",".join("file://" + os.path.abspath(folder) for folder in config_dirs)
    register_schema()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module(CONF, version_base="1.3"):
            yield [f"hydra.searchpath=[{folders}]"] if folders else []
    except (HydraException, OmegaConfBaseException, YAMLError) as e:
        raise hydra_error(e, overrides) from None


def check_labels(overrides: Sequence[str], search: Sequence[str] = ()) -> None:
    """SettingsError where two chosen files of `tying/` bring one label: Hydra would mix their options.

    Hydra must be initialized; `search` are overrides that name its search path.
    """
    loader = GlobalHydra.instance().config_loader()
    chosen = loader.compute_defaults_list("config", [*overrides, *search], RunMode.RUN).defaults
    names = [d.config_path.removeprefix("tying/") for d in chosen if (d.config_path or "").startswith("tying/")]
    owner: dict[str, str] = {}
    for name in names if len(names) > 1 else []:
        for label in compose("config", overrides=[f"tying={name}", *search]).tying.ties:
            if label in owner:
                raise SettingsError(
                    f"tying=[{','.join(names)}]",
                    f"{owner[label]} and {name} both bring the tie {label}",
                    "list it once; docs/schemes.md shows how to use a rule twice",
                )
            owner[label] = name


def check_config_dir(path: str) -> None:
    """SettingsError unless `-cd` names a folder."""
    if not os.path.isdir(path):
        raise SettingsError(
            f"-cd {path}", "there is no such folder", "name the folder that holds your tying/, data/, ... files"
        )


def to_run_config(cfg: DictConfig, swept: Iterable[str] = (), search: Sequence[str] = ()) -> RunConfig:
    """The dataclasses of a composed configuration, cross checks done; no DictConfig exists below this call.

    What match.* asks for is solved, for which Hydra must be initialized.

    Args:
        swept: keys that have several values in the grid this is a cell of.
        search: overrides that name Hydra's search path.
    """
    OmegaConf.set_readonly(cfg, False)
    unknown = _unknown_keys(cfg)
    if unknown:
        raise SettingsError(unknown[0], "there is no such key", suggestion(unknown[0], known_keys()))
    config = OmegaConf.to_object(cfg)
    if not isinstance(config, RunConfig):  # a user's own config.yaml that leaves the schema out
        raise SettingsError(
            "config.yaml", "it does not begin with the tietrain schema", "list tietrain_schema first in its defaults"
        )
    if config.train.batch_by == "auto":
        config.train.batch_by = "tokens" if set(swept).isdisjoint(VOCABULARY_KEYS) else "chars"
    if config.match.by is None or config.match.solved:
        return config
    return solve(config, *_baseline(config.match.baseline, search))


def _baseline(text: str, search: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ties a baseline names, and the fields of model.* it sets."""
    requested, (name, *others) = f"match.baseline={text}", text.split() or [""]
    words = [f"tying={name}", *others]
    try:
        keys = [override.key_or_group for override in parse_overrides(words)]
        if name.startswith("["):  # a list of files
            check_labels(words, search)
        cfg = compose("config", overrides=[*words, *search])
    except (TietrainError, HydraException, OmegaConfBaseException) as e:
        refused = hydra_error(e, words)
        raise SettingsError(requested, f"{refused.setting}: {refused.problem}", refused.remedy) from None
    for key in keys:
        if key != "tying" and not key.startswith(("tying.", "model.")):
            remedy = "write a choice of tying, then tying.ties... and model.KEY=VALUE"
            raise SettingsError(requested, f"{key} is no part of a baseline", remedy)
    ties: dict[str, Any] = OmegaConf.to_container(cfg.tying.ties)  # type: ignore[assignment]
    return ties, {key: cfg.model[key] for key in (k.removeprefix("model.") for k in keys) if key in cfg.model}


def _unknown_keys(cfg: DictConfig, prefix: str = "") -> list[str]:
    """Keys that `+key=value` smuggled past the schema."""
    cls = OmegaConf.get_type(cfg)
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        return []
    names = {f.name for f in dataclasses.fields(cls)}
    found = []
    for key in map(str, cfg):
        node = cfg._get_node(key)
        if key not in names:
            found.append(f"{prefix}{key}")
        elif isinstance(node, DictConfig):
            found += _unknown_keys(node, f"{prefix}{key}.")
    return found


def hydra_error(error: BaseException, overrides: Sequence[str]) -> TietrainError:
    """Hydra's refusal in our three parts; a TietrainError among its causes is returned as it is."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, TietrainError):
            return cause
    text = "\n".join(map(str, causes))
    if isinstance(error, MarkedYAMLError) and error.problem_mark:
        mark = error.problem_mark
        return SettingsError(
            f"{mark.name}, line {mark.line + 1}", f"it is not YAML ({error.problem})", "correct the file"
        )
    if unknown := re.search(r"In '([^']+)': .*?Key '([^']+)' not in", text, re.DOTALL):
        group, key = unknown.groups()
        return SettingsError(f"{group}.yaml: {key}", "there is no such key", suggestion(key, known_keys()))
    if plugin := re.search(r"Could not (?:find|load) 'hydra/(launcher|sweeper)/([^']+)'", text):
        kind, name = plugin.groups()
        problem = f"no package that is installed brings the {kind} {name}"
        remedy = f"choose from basic, {', '.join(PLUGINS)}"
        if name in PLUGINS:
            remedy = f"pip install 'tietrain[{PLUGINS[name]}]'"
        return SettingsError(f"hydra/{kind}={name}", problem, remedy)
    if choice := re.search(r"Could not (?:find|load) '(\w+)/([^']+)'", text):
        group, name = choice.groups()
        listed = re.search(r"Available options in '\w+':\n((?:\s+\S+\n?)+)", text)
        options = listed.group(1).split() if listed else tying_choices() if group == "tying" else []
        if group == "tying" and (ours := our_name(name)):
            remedy = f"here it is called tying={ours}"
        elif near := get_close_matches(name, options, n=1):
            remedy = f"did you mean {group}={near[0]}?"
        else:
            remedy = "`tietrain schemes` lists them" if group == "tying" else f"choose from {', '.join(options)}"
        return SettingsError(f"{group}={name}", f"there is no such {group}", remedy)
    if group := re.search(r"Could not find '([\w/]+)/'", text):
        return SettingsError(
            f"{group.group(1)}=", "nothing is chosen", f"`tietrain --help` lists the choices of {group.group(1)}"
        )
    if value := re.search(r"Value '(.*)' of type '\w+' could not be converted to (\w+)", text):
        key = re.search(r"full_key: (\S+)", text) or re.search(r"Error merging override (\S+?)=", text)
        requested = f"{key.group(1)}={value.group(1)}" if key else " ".join(overrides)
        return SettingsError(
            requested,
            f"{value.group(1)} is no {value.group(2).lower()}",
            f"give a value of type {value.group(2).lower()}",
        )
    if ambiguous := re.search(r"Ambiguous value for argument '([^']+)'", text):
        return SettingsError(
            ambiguous.group(1), "several values are a grid", "add -m to run it, or brackets for a list: key=[a,b]"
        )
    if missing := re.search(r"Could not override '([^']+)'", text):
        key = missing.group(1)
        added = {"data.splits": "NAME=[FILE]", "data.features": "COLUMN=WIDTH", "task.train_pairs": "DIRECTION=PAIRS"}
        for mapping, how in added.items():
            if key.startswith(mapping):
                return SettingsError(key, "what no file names is added, not overridden", f"write +{mapping}.{how}")
        is_tie = key.startswith("tying.ties.")
        remedy = f"choose it first: tying={key.split('.')[2]}" if is_tie else suggestion(key, known_keys())
        return SettingsError(key, "there is no such key", remedy)
    if mismatch := re.search(r"Error merging override (data\.splits\S*?)=(\S+)", text):
        key, given = mismatch.groups()
        return SettingsError(f"{key}={given}", "it is no list of files", f"write data.splits.train=[{given}]")
    return SettingsError(
        " ".join(overrides) or "the configuration",
        first_line(error),
        "`tietrain --help` shows the groups and their choices",
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from: OmegaConf's own error says which value was wrong."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def first_line(error: BaseException) -> str:
    """The first line of an error's text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def tying_choices() -> list[str]:
    """Names that can follow `tying=`."""
    register_schema()
    GlobalHydra.instance().clear()
    with initialize_config_module(CONF, version_base="1.3"):
        return sorted(GlobalHydra.instance().config_loader().get_group_options("tying"))


def config_yaml(config: RunConfig) -> str:
    """The whole resolved configuration as YAML, for `config.yaml` of a run directory."""
    body: dict[str, Any] = dataclasses.asdict(config)
    return OmegaConf.to_yaml(OmegaConf.create(body))
