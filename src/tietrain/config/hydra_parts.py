"""The parts of Hydra that its manual does not document, all imported here: a new version of Hydra is checked against them."""

import argparse
import copy
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self, TypeVar

from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository, IConfigRepository
from hydra._internal.core_plugins import (
    file_config_source,
    importlib_resources_config_source,
    structured_config_source,
)
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.defaults_list import DefaultsList, Overrides, create_defaults_list
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import get_args_parser
from hydra.core.default_element import ResultDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf._utils import get_omega_conf_dumper
from omegaconf.basecontainer import BaseContainer

from tietrain.config.keys import ALL, unknown_flag
from tietrain.config.scheme_options import find_ties, split_choice
from tietrain.config.user_files import check_user_file
from tietrain.errors import SettingsError

T = TypeVar("T")
# Compositions of files that a process keeps: a search over schemes would fill the memory.
MOST_KEPT = 64

__all__ = [
    "ChoiceSweep",
    "GlobalHydra",
    "GridLauncher",
    "HydraContext",
    "JobReturn",
    "JobStatus",
    "Override",
    "OverridesParser",
    "Plugins",
    "RunMode",
    "SideBySideConf",
    "Singleton",
    "TaskFunction",
    "add_folders",
    "apart",
    "compose_cell_of_grid",
    "composed_once",
    "get_omega_conf_dumper",
    "parse_flags",
    "register_launcher",
    "register_sources",
    "run_job",
    "setup_globals",
    "split_sweep",
    "typed",
]


class _Uncopied(ConfigSource):
    """A reader that stays itself where Hydra copies it with all that it knows, for each composition and listed group."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class _WithOptions(_Uncopied):
    """A reader of configurations that knows choices with options, `tying/cycle:n_unique:2`."""

    def is_config(self, config_path: str) -> bool:
        """Whether the choice stands for a file."""
        return super().is_config(split_choice(config_path)[0])  # type: ignore[safe-super]

    def load_config(self, config_path: str) -> ConfigResult:
        """What its file holds, with the options that the choice states; SettingsError if the file has no such option."""
        result = super().load_config(split_choice(config_path)[0])  # type: ignore[safe-super]
        for (label, option), text in find_ties(config_path, OmegaConf.select(result.config, "ties")).items():
            value = OverridesParser.create().parse_override(f"{option}={text}").value()
            OmegaConf.update(result.config, f"ties.{label}.{option}", value)
        return result


class _ReadOnce(importlib_resources_config_source.ImportlibResourcesConfigSource):
    """A reader of the files of packages, which stay as they are: it reads each only once."""

    found: ClassVar[dict[tuple[str, str], ConfigResult]] = {}

    def load_config(self, config_path: str) -> ConfigResult:
        key = (self.path, config_path)
        if key not in self.found:
            self.found[key] = super().load_config(config_path)
        return copy.deepcopy(self.found[key])  # Hydra changes what it gets


# Hydra keeps these because they have the names of its own.
class ImportlibResourcesConfigSource(_WithOptions, _ReadOnce):
    """Hydra's reader of our `conf/`, in which claim cards are not configurations."""

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Names in a folder."""
        return [name for name in super().list(config_path, results_filter) if name != "claims"]


class FileConfigSource(_WithOptions, file_config_source.FileConfigSource):
    """Hydra's reader of a folder of the user, which looks at each file first."""

    def load_config(self, config_path: str) -> ConfigResult:
        """What a file of the folder holds; SettingsError if it is not a configuration."""
        name = self._normalize_file_name(split_choice(config_path)[0])
        path = Path(os.path.realpath(os.path.join(self.path, name)))
        check_user_file(path, {key.rpartition(".")[2] for key, found in ALL.items() if found.is_text})
        return super().load_config(config_path)


class StructuredConfigSource(_Uncopied, structured_config_source.StructuredConfigSource):
    """Hydra's reader of the types of the whole tree."""


@contextmanager
def apart() -> Iterator[None]:
    """Inside, Hydra is not initialized, and what it and OmegaConf register is forgotten at the end: the process may use both."""
    Plugins.instance()  # looks for plugins, once for the process
    instances = Singleton._instances
    resolvers = BaseContainer._resolvers
    Singleton._instances = {cls: _copied(kept) for cls, kept in instances.items() if cls is not GlobalHydra}
    BaseContainer._resolvers = dict(resolvers)
    try:
        yield
    finally:
        Singleton._instances = instances
        BaseContainer._resolvers = resolvers


def _copied(registry: Any) -> Any:
    """Another registry of the same entries."""
    copied = copy.copy(registry)
    vars(copied).update({name: _copied_entries(entries) for name, entries in vars(registry).items()})
    return copied


def _copied_entries(entries: Any) -> Any:
    """Another collection of the same entries; those of a group are a collection within it."""
    copied = copy.copy(entries)
    if isinstance(copied, dict):
        copied |= {name: _copied_entries(group) for name, group in copied.items() if isinstance(group, dict)}
    return copied


def register_sources() -> None:
    """Let Hydra read configurations with these."""
    for source in (ImportlibResourcesConfigSource, FileConfigSource, StructuredConfigSource):
        SourcesRegistry.instance().types[source.scheme()] = source


def register_launcher(launcher: type[Launcher]) -> str:
    """Let Hydra, which looks for launchers in one package alone, find another one; returns its name for `_target_`."""
    name = f"hydra_plugins.{launcher.__module__}.{launcher.__name__}"
    Plugins.instance().class_name_to_class[name] = launcher
    return name


class GridLauncher(Launcher):
    """A launcher of our own, which keeps what Hydra tells it."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """What Hydra says before it lets cells run."""
        self._context = hydra_context
        self._task = task_function
        self._config = config


@dataclass
class SideBySideConf:
    """What can be set of the launcher `joblib`, ours in the place of Hydra's. n_jobs: cells at once; null is as many as cores."""

    _target_: str = "hydra_plugins.tietrain.cli.side_by_side.SideBySide"
    n_jobs: int | None = None


def compose_cell_of_grid(
    context: HydraContext, common: DictConfig, overrides: Sequence[str], number: int
) -> DictConfig:
    """The configuration of a cell, for `run_job`. number: its place in the grid, from 0."""
    cell = context.config_loader.load_sweep_config(common, list(overrides))
    with open_dict(cell):
        cell.hydra.job.id = f"{cell.hydra.job.name}_{number}"
        cell.hydra.job.num = number
    return cell


def add_folders(folders: Iterable[str]) -> None:
    """Let Hydra, which must be initialized, look for configurations in folders too, as behind its flag -cd."""
    loader = GlobalHydra.instance().config_loader()
    path = loader.get_search_path()
    for folder in folders:
        path.prepend("command-line", f"file://{os.path.abspath(folder)}", anchor="schema")  # which must be last
    loader.repository = ConfigRepository(path)  # type: ignore[attr-defined]


class _Kept(dict[tuple[str, ...], T]):
    """What was found for choices of files, the latest MOST_KEPT."""

    def once(self, key: tuple[str, ...], find: Callable[[], T]) -> T:
        """What is kept under a key, found now if nothing is."""
        if key not in self:
            self[key] = find()
            if len(self) > MOST_KEPT:
                del self[next(iter(self))]
        return self[key]


class _Compositions:
    """The lists of files that choices of them stand for, and these files merged."""

    def __init__(self) -> None:
        self.lists: _Kept[DefaultsList] = _Kept()
        self.merged: _Kept[DictConfig] = _Kept()


_of_packages = _Compositions()


@contextmanager
def composed_once() -> Iterator[None]:
    """Let Hydra read and merge files only once for all configurations that choose the same ones, such as cells with other values.

    Inside, files must stay as they are. What packages alone bring stays as it is and is kept for the process.
    """
    if config_loader_impl.create_defaults_list is not create_defaults_list:  # type: ignore[attr-defined]
        yield  # it is so already
        return
    merge = ConfigLoaderImpl._compose_config_from_defaults_list
    of_folders = _Compositions()

    def kept(repo: IConfigRepository) -> _Compositions:
        return of_folders if any(source.scheme() == "file" for source in repo.get_sources()) else _of_packages

    def find(repo: IConfigRepository, overrides_list: list[Override], **how: Any) -> DefaultsList:
        values = Overrides(repo, overrides_list).config_overrides
        choices = [str(override.input_line) for override in overrides_list if override not in values]
        found = kept(repo).lists.once(
            (str(repo.get_sources()), str(how), *choices),
            lambda: create_defaults_list(repo=repo, overrides_list=overrides_list, **how),
        )
        return replace(found, config_overrides=values)

    def compose(loader: ConfigLoaderImpl, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        key = (str(repo.get_sources()), *map(str, defaults))
        merged = kept(repo).merged.once(key, lambda: merge(loader, defaults, repo))
        return copy.deepcopy(merged)  # Hydra enters the values

    config_loader_impl.create_defaults_list = find  # type: ignore[attr-defined, assignment]
    ConfigLoaderImpl._compose_config_from_defaults_list = compose  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        config_loader_impl.create_defaults_list = create_defaults_list  # type: ignore[attr-defined]
        ConfigLoaderImpl._compose_config_from_defaults_list = merge  # type: ignore[method-assign]


def parse_flags(argv: Sequence[str]) -> argparse.Namespace:
    """Hydra's own flags among command-line words, the rest as `overrides`; SettingsError for one that it does not know."""

    def refuse(message: str) -> NoReturn:
        raise SettingsError("tietrain", message, "`tietrain --help` lists the flags")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    flags, unknown = parser.parse_known_args(list(argv))
    for word in unknown:
        raise unknown_flag(word, "tietrain")
    return flags


def typed(word: str) -> str:
    r"""An override as it was typed: Hydra's sweeper escapes colons.

    >>> typed(r"tying=cycle\:n_unique\:2")
    'tying=cycle:n_unique:2'
    """
    return word.replace("\\:", ":")


def split_sweep(words: Sequence[str]) -> list[list[str]]:
    """The overrides of each cell of a grid, in order, as Hydra's basic sweeper makes them; Hydra must be initialized.

    >>> from tietrain.config.compose import initialized
    >>> with initialized([], []):
    ...     split_sweep(["seed=1,2", "task=mt"])
    [['seed=1', 'task=mt'], ['seed=2', 'task=mt']]
    """
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    (cells,) = BasicSweeper.split_arguments(parser.parse_overrides(list(words)), None)
    return cells
