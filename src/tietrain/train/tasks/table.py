"""The tasks by name."""

from __future__ import annotations

from collections.abc import Callable

from tietrain.config import RunConfig
from tietrain.data.prepared import Prepared
from tietrain.train.tasks.lm import LanguageModelling
from tietrain.train.tasks.mlm import MaskedLanguageModelling
from tietrain.train.tasks.mt import Translation
from tietrain.train.tasks.task import Task

TASKS: dict[str, Callable[[RunConfig, Prepared], Task]] = {
    "lm": LanguageModelling,
    "mlm": MaskedLanguageModelling,
    "mt": Translation,
}


def make_task(config: RunConfig, prepared: Prepared) -> Task:
    """The task that a configuration names."""
    return TASKS[config.task.name](config, prepared)
