"""The parts of Hydra that its manual does not document, all imported here: a new version of Hydra is checked against them."""

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode

__all__ = ["BasicSweeper", "GlobalHydra", "Override", "OverridesParser", "RunMode", "get_args_parser"]
