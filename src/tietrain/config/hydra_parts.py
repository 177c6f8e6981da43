"""The parts of Hydra that its manual does not document, all imported here: a new version of Hydra is checked against them."""

import argparse
from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode

__all__ = ["GlobalHydra", "Override", "OverridesParser", "RunMode", "parse_flags", "split_sweep"]


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
