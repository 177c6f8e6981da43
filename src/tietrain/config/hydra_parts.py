"""The parts of Hydra that its manual does not document, all imported here: a new version of Hydra is checked against them."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins import file_config_source
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode

from tietrain.config.keys import ALL
from tietrain.config.user_files import check_user_file

__all__ = [
    "ChoiceSweep",
    "GlobalHydra",
    "Override",
    "OverridesParser",
    "RunMode",
    "check_user_files",
    "parse_flags",
    "split_sweep",
]


class FileConfigSource(file_config_source.FileConfigSource):
    """Hydra's reader of a folder of the user, which looks at each file first. Hydra keeps it because it has the same name."""

    def load_config(self, config_path: str) -> ConfigResult:
        """What a file of the folder holds; SettingsError if it is not a configuration."""
        path = Path(os.path.realpath(os.path.join(self.path, self._normalize_file_name(config_path))))
        check_user_file(path, {key.rpartition(".")[2] for key, found in ALL.items() if found.is_text})
        return super().load_config(config_path)


def check_user_files() -> None:
    """Let Hydra look at each file of the user before it reads it."""
    SourcesRegistry.instance().types[FileConfigSource.scheme()] = FileConfigSource


def parse_flags(argv: Sequence[str]) -> argparse.Namespace:
    """Hydra's own flags among command-line words, the rest as `overrides`; SystemExit 2 for one it does not know."""
    return get_args_parser().parse_args(list(argv))


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
