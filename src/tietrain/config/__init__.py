"""The whole configuration as typed dataclasses, with the checks that need no data and no torch.

The YAML files of `conf/` hold values; the types, the checks and the meaning of every key are here.
"""

from tietrain.config.data import OWN_SPLITS, DataConfig
from tietrain.config.model import InitStd, ModelConfig, TyingConfig
from tietrain.config.run import RunConfig
from tietrain.config.study import MATCHED, MatchConfig, ReportConfig, TuneConfig
from tietrain.config.task import TaskConfig
from tietrain.config.training import DEFAULT_STEPS, HardwareConfig, OptimConfig, TrainConfig

__all__ = [
    "DEFAULT_STEPS",
    "MATCHED",
    "OWN_SPLITS",
    "DataConfig",
    "HardwareConfig",
    "InitStd",
    "MatchConfig",
    "ModelConfig",
    "OptimConfig",
    "ReportConfig",
    "RunConfig",
    "TaskConfig",
    "TrainConfig",
    "TuneConfig",
    "TyingConfig",
]
