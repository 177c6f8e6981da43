"""The tasks: what a model learns, and how it is scored."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from tietrain.config import RunConfig

if TYPE_CHECKING:
    from tietrain.data.prepared import Prepared
    from tietrain.train.tasks.task import Task


def make_task(config: RunConfig, prepared: "Prepared") -> "Task":
    """The task that a configuration names."""
    from tietrain.train.tasks.lm import LanguageModelling
    from tietrain.train.tasks.mlm import MaskedLanguageModelling
    from tietrain.train.tasks.mt import Translation

    tasks: dict[str, Callable[[RunConfig, Prepared], Task]] = {
        "lm": LanguageModelling,
        "mlm": MaskedLanguageModelling,
        "mt": Translation,
    }
    return tasks[config.task.name](config, prepared)
